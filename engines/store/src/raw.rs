//! The store as a flat map from any bytes to any bytes, with nothing of Kubernetes in it: what an etcd face stands
//! on. Keys, values and revisions are exact; each key has create revision, mod revision, version and lease number.
//! Leases themselves, authorization and wire formats are left out: a lease is a number on the entry, and whoever
//! keeps leases makes them durable as [`Note`]s (outside of revisions) and deletes their keys in one transaction.
//!
//! A store of objects can be opened raw (every key is then upstream's path); see [`Describe::locate`] for the way
//! back.

use crate::engine::Engine;
use crate::{
    CommitError, Describe, Entry, Header, Key, Note, Op, Options, Outcome, Planned, Precondition,
    Put, Resource, Revision, RevisionError, Scope, Snapshot, StateSnapshot, Store, Transaction,
    Watch,
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// Keeps every record under its path alone.
struct ByPath(Header);

impl Describe for ByPath {
    fn describe(&self, _: &Key, _: &Bytes) -> Result<Header, String> {
        Ok(self.0.clone())
    }

    fn locate(&self, found: Key, _: &Bytes) -> Result<Key, String> {
        match found.is_raw() {
            true => Ok(found),
            false => Ok(Key::raw(&found.bytes())),
        }
    }
}

/// A store of raw keys. Cheap to clone.
#[derive(Clone)]
pub struct RawStore {
    store: Store,
    resource: Resource,
    header: Header,
}

/// What a raw transaction decided to do, and what to answer besides.
pub struct RawPlan<T> {
    /// The changes, in the order in which watchers see them; a key may occur once.
    pub ops: Vec<Op>,
    /// Changes beside the revisions.
    pub notes: Vec<Note>,
    /// Handed back when the changes are durable.
    pub answer: T,
}

/// A raw transaction that is durable.
#[derive(Clone, Debug)]
pub struct RawCommitted<T> {
    /// Its revision; if nothing changed, the store's revision at its turn.
    pub revision: Revision,
    /// What each change did, in order.
    pub outcomes: Vec<Outcome>,
    /// What the plan answered.
    pub answer: T,
}

impl RawStore {
    /// The options of a raw store on an engine, to be adjusted and given to [`Store::open`].
    pub fn options(engine: impl Engine + 'static) -> Options {
        Options::described(engine, ByPath(Header::default()))
    }

    /// The raw view of a store that was opened with [`RawStore::options`].
    pub fn of(store: Store) -> RawStore {
        RawStore {
            store,
            resource: Resource::raw(),
            header: Header::default(),
        }
    }

    /// The store below: health, statistics, closing, waiting for a revision.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// Everything as it is now.
    pub fn view(&self) -> RawView {
        RawView::of(&self.store.snapshot_all())
    }

    /// Everything as it was at a revision that is retained. Its notes are those of now.
    pub fn view_at(&self, revision: Revision) -> Result<RawView, RevisionError> {
        Ok(RawView {
            snapshot: self.store.snapshot_at(&self.resource, revision)?,
            all: self.store.snapshot_all(),
        })
    }

    /// A change that writes a key. `value` is kept as it is: a slice of a larger buffer keeps all of that.
    pub fn put(&self, key: &[u8], value: Bytes, lease: u64) -> Op {
        Op::Put(Put::new(Key::raw(key), value, self.header.clone()).leased(lease))
    }

    /// A change that deletes a key, if it is there.
    pub fn delete(&self, key: &[u8]) -> Op {
        Op::Delete(Key::raw(key), Precondition::Any)
    }

    /// Commits what `plan` decides when the transaction's turn comes, on exactly the state that it changes: all
    /// changes at one revision or none. A plan without changes takes no revision and is an exact read. It runs on
    /// the writer's thread and must neither block nor take long.
    pub async fn commit<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&RawView) -> RawPlan<T> + Send + 'static,
    ) -> Result<RawCommitted<T>, CommitError> {
        let slot = Arc::new(Mutex::new(None));
        let answer = slot.clone();
        let transaction = Transaction::planned(move |state| {
            let RawPlan { ops, notes, answer } = plan(&RawView::of(state));
            *slot.lock() = Some(answer);
            Planned { ops, notes }
        });
        let committed = self.store.commit(transaction).await?;
        let answer = answer.lock().take();
        Ok(RawCommitted {
            revision: committed.revision,
            outcomes: committed.outcomes,
            answer: answer.expect("a planned transaction that is committed ran its plan"),
        })
    }

    /// Watches the keys from `start` (inclusive) to `end` (exclusive; none is no end): every event after revision
    /// `from`, with the entries before and after it. Events of one revision come in the order of its changes.
    pub fn watch(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        from: Revision,
    ) -> Result<Watch, crate::Compacted> {
        self.store
            .watch(&self.resource, Scope::raw(start, end), from)
    }

    /// Forgets the history before a revision (see [`Store::compact`]).
    pub fn compact(&self, revision: Revision) -> Result<(), RevisionError> {
        self.store.compact(revision)
    }

    /// The oldest revision that can be read.
    pub fn oldest(&self) -> Revision {
        self.store.oldest(&self.resource)
    }
}

/// All raw keys at one revision. Cheap to take and to clone.
#[derive(Clone)]
pub struct RawView {
    snapshot: Snapshot,
    all: StateSnapshot,
}

impl RawView {
    fn of(state: &StateSnapshot) -> RawView {
        RawView {
            snapshot: state.resource(&Resource::raw()),
            all: state.clone(),
        }
    }

    /// The revision of this view.
    pub fn revision(&self) -> Revision {
        self.snapshot.revision()
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.snapshot.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.snapshot.is_empty()
    }

    /// One key.
    pub fn get(&self, key: &[u8]) -> Option<&Arc<Entry>> {
        self.snapshot.get("", &crate::key::raw_tail(key))
    }

    /// The keys from `start` (inclusive) to `end` (exclusive; none is no end), in the order of their bytes. An
    /// entry's key is [`Entry::key`]`().bytes()`, its value [`Entry::stored`].
    pub fn range<'a>(
        &'a self,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        self.snapshot.range(&Scope::raw(start, end), None)
    }

    /// A note, if there is one of that name.
    pub fn note(&self, name: &str) -> Option<&Bytes> {
        self.all.note(name)
    }

    /// The notes whose names start with `prefix`, by name.
    pub fn notes<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Bytes)> {
        self.all.notes(prefix)
    }
}
