//! Runs controllers: queues their keys, executes their plans, and waits for its own writes.
//!
//! Invariant: a key of a controller is reconciled by one worker at a time, and only from a snapshot that shows every
//! write of its last plan. Nothing is polled: a reconcile starts with a change, with a deadline, or with a retry.

mod execute;
pub mod queue;
mod recorder;
mod worker;

pub use execute::Executed;
pub use recorder::{Occurrence, Recorder, reference_to, reference_to_object};
pub use worker::{Driver, Settings, mirror_for};
