//! The one binary: subcommands, flags and wiring.
fn main() {}
