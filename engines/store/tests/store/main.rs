//! The store's contract, one module per promise (see the crate's documentation).

#![allow(clippy::unwrap_used)]

mod commit;
mod crash;
mod differential;
mod expiry;
mod failure;
mod fjall;
mod format;
mod history;
mod model;
mod raw;
mod rig;
mod snapshot;
mod watch;
