//! Real containers: every test has its own state, run directory and cgroup parent, and must leave nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adoption;
mod isolation;
mod lifecycle;
mod node;
mod resources;
mod streams;
mod volumes;
