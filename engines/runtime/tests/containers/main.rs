//! Real containers: every test has its own state, run directory and cgroup parent, and must leave nothing behind.

#![allow(clippy::unwrap_used)] // a test program: its helpers are tests too

mod adoption;
mod isolation;
mod lifecycle;
mod node;
mod resources;
mod streams;
mod volumes;
