//! The store: one revision counter, persistent trees, a durable log, watches.
//!
//! A store keeps the whole state in memory as immutable, shared [`Entry`]s and makes every change durable
//! before anybody sees it. It knows keys, bytes and headers, not kinds: what the bytes mean is the caller's.
//!
//! ```
//! # use corten_store::{*, engine::memory::{MemoryDisk, MemoryEngine}};
//! # use bytes::Bytes;
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let engine = MemoryEngine::on(&MemoryDisk::new()); // or FjallEngine::open(directory)?
//! let store = Store::open(Options::new(engine, |_: &Key, _: &Bytes| Ok(Header::default())))?;
//! let pods = Resource::new("pods");
//!
//! let list = store.snapshot(&pods);
//! let mut watch = store.watch(&pods, Scope::namespace("default"), list.revision())?;
//!
//! let key = Key::new(&pods, "default", "web");
//! let put = Put::new(key, Bytes::from_static(b"k8s\0..."), Header::of("uid").label("app", "web").build());
//! let committed = store.commit(Transaction::put(put.when(Precondition::MustNotExist))).await?;
//!
//! let event = watch.next().await?;
//! assert_eq!(event.revision(), committed.revision);
//! assert_eq!(event.kind(), EventKind::Created);
//! assert_eq!(store.get(event.key()).expect("it was committed").header().label("app"), Some("web"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The contract
//!
//! (each line names the test that holds it to its word)
//!
//! - Revisions: every transaction that changes something takes the next revision, all its keys at once or none;
//!   what changes nothing takes none (`model::the_store_equals_its_model`).
//! - Commits: an answered commit is durable, and every read that starts after the answer sees it
//!   (`crash::acknowledged_writes_survive_kill`).
//! - Conflicts answer with what is there (`commit::conflicts_answer_with_the_current_entry`).
//! - Snapshots hold every change up to their revision and none after it; old ones are exact while retained and
//!   `Compacted` afterwards (`model::the_store_equals_its_model`, `history::old_revisions_are_exact_until_compacted`).
//! - Watches yield every event of their scope after their start, in order, once, and end with a reason rather
//!   than skip (`model::the_store_equals_its_model`, `watch::a_slow_watcher_is_told_so`).
//! - A watch's progress never claims an event that it has not yielded (`watch::progress_covers_what_was_seen`,
//!   `watch::progress_waits_for_all_events_of_a_revision`).
//! - Expired objects are deleted without a scan, as ordinary events (`expiry::objects_expire_in_order`).
//! - Cached objects and encodings stay within their budget (`cache::the_budget_drops_what_was_not_read`).
//! - Where memory is bounded, values beyond the bound are on the disk alone: no answer is another for it, of now or of
//!   old revisions (`cold::bounded_memory_changes_no_answer`, `cold::bounded_memory_changes_no_answer_on_fjall`), the
//!   bound is kept (`cold::values_stay_within_their_budget`), and what cannot be read back is an error, never another
//!   value (`cold::a_record_that_changed_on_the_disk_is_not_served`).
//! - A log that fails makes the store read-only until a probe succeeds; what nobody was told of is undone
//!   (`failure::a_failed_log_suspends_and_recovers`, `failure::a_full_disk_suspends_and_recovers`). After a
//!   failed sync the log is written anew (`fjall::a_rebuilt_store_is_the_same`).
//! - A damaged record is reported with its key and the store opens read-only
//!   (`failure::a_damaged_record_is_named`, `fjall::a_damaged_record_is_named`).
//! - After a restart only what the disk has is believed, not what the kernel remembers of a sync that failed
//!   (the store's simulation, `sim::the_store_keeps_its_word`).
//! - A torn end of the journal loses nothing before it (`fjall::a_torn_journal_keeps_what_came_before`).
//! - Raw keys are any bytes; a planned transaction sees exactly the state that it changes
//!   (`raw::a_planned_transaction_sees_the_state_it_changes`); notes are durable without a revision
//!   (`raw::notes_take_no_revision`).
//! - Compaction on demand forgets at once what is older (`raw::compaction_forgets_what_is_older`).
//! - One directory, one store (`fjall::a_second_open_names_the_holder`); a newer format is refused
//!   (`fjall::a_newer_format_is_refused`); the format is lifted by what needs it, and only then
//!   (`format::a_store_is_lifted_by_what_needs_it`).
//! - Keys, values and transactions that are too large are refused (`commit::what_is_too_large_is_refused`), and
//!   revisions of the future (`history::revisions_that_have_not_happened_are_refused`).
//! - Watches cost nothing once they are dropped (`watch::a_hundred_thousand_watches_come_and_go`).
//! - Compaction goes in slices between batches, so that no writer waits for a whole one
//!   (`history::compaction_goes_in_slices`).
//! - What is sealed is sealed in every log, rebuilt ones and backups included
//!   (`seal::nothing_plain_reaches_the_disk`); what another key sealed is stale (`seal::what_is_stale_is_told`).
//! - Relaxed writes survive the process, not the power: at most the window's are lost, never a revision reused
//!   (`relaxed::a_power_cut_takes_at_most_the_window`).
//! - A backup holds one revision, whole or since another; restoring moves the revision on
//!   (`backup::a_chain_of_backups_restores`), and damage is found (`backup::every_flipped_bit_is_found`).
//! - All engines hold the same (`differential::three_engines_agree`).
//! - After a restart revisions go on and older watches are `Compacted` (`fjall::revisions_go_on_after_a_restart`).
//!
//! # Decisions
//!
//! - The header is not stored. It is described again from the object at open ([`Describe`]), so that it never
//!   disagrees with the program that reads it, and so that every engine holds upstream's bytes and no more.
//! - Old snapshots are made by undoing retained events on the nearest retained tree (`history`).
//! - After a failed write the memory is the truth: the probe restores in the log what memory says.
//!
//! Left out: the meaning of the bytes, ciphers (see [`Seal`]), replication, remote engines.

pub mod backup;
mod cache;
mod clock;
mod cold;
mod core;
mod draft;
pub mod engine;
mod entry;
mod header;
mod health;
mod history;
mod key;
mod queue;
pub mod raw;
pub mod remote;
mod seal;
mod snapshot;
mod store;
mod transaction;
mod watch;
mod window;

pub use cache::{AnyObject, Encoding};
pub use clock::{Clock, ManualClock, SystemClock};
pub use cold::ReadError;
pub use core::{Again, BatchLimits, Core, Relaxed, Step};
pub use entry::{Entry, Event, EventKind, Transition};
pub use header::{Header, HeaderBuilder};
pub use health::Health;
pub use key::{Key, ROOT, Resource, Revision, Scope};
pub use seal::{Opened, Plain, Seal};
pub use snapshot::{NODE, Page, Snapshot, StateSnapshot};
pub use store::{Describe, OpenError, Options, RevisionError, Stats, Store};
pub use transaction::{
    Bounds, CommitError, Committed, Conflict, Durability, Expiry, FinishObject, Note, Op, Outcome,
    Plan, Planned, Precondition, Put, Template, Transaction,
};
pub use watch::{Compacted, Watch, WatchEnd};
pub use window::Retention;
