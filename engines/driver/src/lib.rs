//! Runs controllers: queues their keys, executes their plans, and waits for its own writes.
//!
//! Invariant: a key of a controller is reconciled by one worker at a time, and only from a snapshot that shows every
//! write of its last plan. Nothing is polled: a reconcile starts with a change, with a deadline, or with a retry. All
//! that decides is pure ([`queue`], [`Reconciler`], [`Execution`], [`Probe`]), so that a simulation runs the same code.

mod election;
mod execution;
mod facts;
pub mod queue;
mod reconciler;
mod recorder;
mod requests;
#[cfg(test)]
mod tests;
mod worker;

pub use election::{Election, Terms};
pub use execution::{Executed, Execution, Job, Sign};
pub use facts::Probe;
pub use reconciler::{Moment, Reconciler};
pub use recorder::{Occurrence, Recorder, reference_to, reference_to_object};
pub use worker::{Driver, Settings, mirror_for};
