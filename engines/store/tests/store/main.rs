//! The store's contract, one module per promise (see the crate's documentation).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod backup;
mod cold;
mod commit;
mod contract;
mod crash;
mod differential;
mod expiry;
mod failure;
mod fjall;
mod format;
mod history;
mod model;
mod raw;
mod relaxed;
mod rig;
mod seal;
mod snapshot;
mod watch;
