//! Project chores: code generation, tidiness, tests, benchmarks.
fn main() {}
