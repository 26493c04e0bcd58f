//! Deterministic simulation of the store alone: the real writer, log engines, watches and compaction under clients
//! that read and write at random, on disks that lose, tear and reorder what was not synced, fail, fill up and flip
//! bits, with a virtual clock.
//!
//! Invariant: a seed decides everything. Leaves out fjall, whose files are the machine's: `cargo xtask soak crash`
//! kills the real process over them.

mod check;
mod disk;
mod world;

pub use world::{StoreReport, run_store};
