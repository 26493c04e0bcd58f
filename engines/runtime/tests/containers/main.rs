//! Real containers: every test has its own state, run directory and cgroup parent, and must leave nothing behind.

mod adoption;
mod isolation;
mod lifecycle;
mod node;
mod resources;
mod streams;
mod volumes;
