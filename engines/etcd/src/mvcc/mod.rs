//! The multi-version store behind etcd's API: byte keys, every revision since the last compaction, leases, watches.
//!
//! One writer applies a batch to the index beyond what readers see, makes it durable with one write and one
//! `fdatasync`, and shows it. The log is a row of segments; those that hold little of what is retained are written
//! anew. (Why the log is its own: `docs/decisions/007-a-log-for-the-etcd-face.md`.)
//!
//! Invariant: an answered change is durable, and every read that starts after the answer sees it
//! (`etcd_store::acknowledged_changes_survive`).
//! Invariant: what was not made durable is never seen (`etcd_store::a_failed_log_changes_nothing`).

pub(crate) mod check;
mod copy;
mod evaluate;
mod frame;
mod hash;
mod hub;
mod index;
mod lease;
mod log;
mod reclaim;
mod record;
mod store;
mod watch;
mod writer;

pub use check::covers;
pub use copy::FILE as COPY_FILE;
pub use evaluate::header;
pub use hash::Hash;
pub use log::{Fault, LogError, LogOptions};
pub use record::{Parts, Position, Record};
pub use store::{Stats, Store, StoreOptions};
/// Numbers in protobuf's variable length.
pub(crate) mod varint {
    pub(crate) use super::record::{read_varint, varint};
}
pub use watch::{Said, Shown, WatchStream};
pub use writer::{Answer, Called, Command, Deliver, Finish};
