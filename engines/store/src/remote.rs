//! A store whose log is elsewhere: others write to it too, what happened there is applied here in order, and a
//! commit is asked for there. Readers, snapshots and watches are those of any store.
//!
//! Invariant: the state at a revision is what the log held at that revision; a gap in what is known ends every watch
//! instead of being skipped.

use crate::cache::Budget;
use crate::core::{Core, Now, millis};
use crate::draft::Draft;
use crate::engine::{
    Batch, Engine, EngineError, FORMAT, FORMAT_FIRST, Identity, Loaded, Logged, Write,
};
use crate::entry::{Entry, EntryParts};
use crate::snapshot::State;
use crate::{
    CommitError, Committed, Describe, Header, Health, Key, OpenError, Options, Put, Resource,
    Revision, RevisionError, Snapshot, Store, Transaction,
};
use bytes::Bytes;
use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;

/// What a [`Remote`] is on its way to answer.
pub type Answering<'a, T> = Pin<Box<dyn Future<Output = Result<T, CommitError>> + Send + 'a>>;

/// Where commits go instead of to an engine.
pub trait Remote: Send + Sync {
    /// Commits there; answers when this store shows it.
    fn commit(&self, store: Store, transaction: Transaction) -> Answering<'_, Committed>;

    /// Waits until this store shows everything that was committed anywhere before the call.
    fn fresh(&self, store: Store) -> Answering<'_, Revision>;

    /// A resource as it was at a revision that this store has forgotten.
    fn recall(&self, resource: Resource, revision: Revision) -> Recalling<'_>;
}

/// An object as it was.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// Its key.
    pub key: Key,
    /// What selectors read.
    pub header: Header,
    /// The version.
    pub remote: RemoteEntry,
}

/// A resource that is being read at an old revision. An error is a revision that cannot be read, or why the log could
/// not be asked.
pub type Recalling<'a> = Pin<
    Box<
        dyn Future<Output = Result<Arc<Vec<Recalled>>, Result<RevisionError, CommitError>>>
            + Send
            + 'a,
    >,
>;

/// One version of an object as the log has it.
#[derive(Clone, Debug)]
pub struct RemoteEntry {
    /// The key's path, such as `/registry/pods/default/web`.
    pub path: Bytes,
    /// The revision at which it was created.
    pub create_revision: Revision,
    /// The revision of this version.
    pub mod_revision: Revision,
    /// How many times it was written since.
    pub version: u64,
    /// The lease it is attached to, 0 for none.
    pub lease: u64,
    /// Whether it is to be written again, because it was not encrypted as it would be now.
    pub is_stale: bool,
    /// The bytes to show readers.
    pub stored: Bytes,
}

impl RemoteEntry {
    /// What an entry is made of.
    fn parts(self, key: Key, header: Header) -> EntryParts {
        EntryParts {
            key,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            expires_at: 0,
            is_stale: self.is_stale,
            lease: self.lease,
            header,
            stored: self.stored.into(),
        }
    }
}

/// What happened to a key.
#[derive(Clone, Debug)]
pub enum RemoteChange {
    /// It was written.
    Put(RemoteEntry),
    /// It was deleted: its path.
    Delete(Bytes),
}

/// Applies what happened to a store. There is one for each.
pub struct Follower {
    core: Core,
    describe: Arc<dyn Describe>,
}

/// Keeps nothing: the log is elsewhere.
struct Elsewhere {
    cluster_id: u64,
    revision: Revision,
}

impl Engine for Elsewhere {
    fn load(&mut self, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<Loaded, EngineError> {
        Ok(Loaded {
            identity: Some(Identity {
                format: FORMAT_FIRST,
                cluster_id: self.cluster_id,
            }),
            revision: self.revision,
            notes: Vec::new(),
            damage: Vec::new(),
        })
    }

    fn append(&mut self, _: &Batch) -> Result<(), EngineError> {
        Err(EngineError::Stopped)
    }

    fn reopen(&mut self) -> Result<(), EngineError> {
        Err(EngineError::Stopped)
    }

    fn rebuild(
        &mut self,
        _: &mut dyn Iterator<Item = Result<Batch, EngineError>>,
    ) -> Result<(), EngineError> {
        Err(EngineError::Stopped)
    }

    fn bytes_written(&self) -> u64 {
        0
    }
}

impl Store {
    /// A store that follows a log elsewhere, as it is at a revision. Commits go to `remote`.
    pub fn open_remote(
        cluster_id: u64,
        revision: Revision,
        entries: Vec<RemoteEntry>,
        describe: Arc<dyn Describe>,
        remote: Arc<dyn Remote>,
    ) -> Result<(Store, Follower), OpenError> {
        let engine = Elsewhere {
            cluster_id,
            revision,
        };
        let none = |_: &Key, _: &Bytes| -> Result<Header, String> { Ok(Header::default()) };
        let options = Options::described(engine, none);
        let (store, core) = Store::open_manual(options)?;
        store.set_remote(remote);
        let mut follower = Follower { core, describe };
        follower.load(revision, entries);
        Ok((store, follower))
    }

    /// The entry that a committed write made at a revision, with what came along for readers. When the store has
    /// gone on since, or does not show it yet, it is an entry of its own.
    pub fn shown(&self, put: Put, revision: Revision, before: Option<&Entry>) -> Arc<Entry> {
        let found = self
            .get(&put.key)
            .filter(|entry| entry.mod_revision() == revision);
        let entry = found.unwrap_or_else(|| {
            let remote = RemoteEntry {
                path: Bytes::new(),
                create_revision: before.map_or(revision, |before| before.create_revision()),
                mod_revision: revision,
                version: before.map_or(1, |before| before.version() + 1),
                lease: 0,
                is_stale: false,
                stored: put.stored.clone(),
            };
            self.detached(put.key.clone(), put.header.clone(), remote)
        });
        if let Some((finish, size)) = put.object {
            entry.slots().keep_object(finish(&entry), size);
        }
        for template in put.encodings {
            let bytes = template.fill(entry.mod_revision());
            entry.slots().keep_encoded(template.encoding, bytes);
        }
        entry
    }

    /// An entry that is not in the store.
    pub fn detached(&self, key: Key, header: Header, remote: RemoteEntry) -> Arc<Entry> {
        Arc::new(Entry::new(remote.parts(key, header), self.budget()))
    }
}

impl Store {
    /// One resource as it was at a revision: as [`Store::snapshot_at`], and what is forgotten here is read in the log
    /// elsewhere. The outer error is a log that cannot be asked.
    pub async fn recall(
        &self,
        resource: &Resource,
        revision: Revision,
    ) -> Result<Result<Snapshot, RevisionError>, CommitError> {
        let here = self.snapshot_at(resource, revision);
        let (Err(RevisionError::Compacted(_)), Some(remote)) = (&here, self.remote()) else {
            return Ok(here);
        };
        let recalled = match remote.recall(resource.clone(), revision).await {
            Ok(recalled) => recalled,
            Err(Ok(error)) => return Ok(Err(error)),
            Err(Err(error)) => return Err(error),
        };
        let mut state = State::empty(revision);
        for Recalled {
            key,
            header,
            remote,
        } in recalled.iter()
        {
            state.insert(self.detached(key.clone(), header.clone(), remote.clone()));
        }
        Ok(Ok(Snapshot::of(&state, resource)))
    }
}

impl Follower {
    fn now(&self) -> Now {
        self.core.now()
    }

    /// The key of a path: what the objects' own names say, else the path itself.
    fn key(&self, path: &Bytes, stored: Option<&Bytes>) -> Key {
        let raw = Key::raw(path);
        match stored {
            Some(stored) => self.describe.locate(raw.clone(), stored).unwrap_or(raw),
            None => raw,
        }
    }

    fn entry(&self, remote: RemoteEntry) -> Arc<Entry> {
        let mut key = self.key(&remote.path, Some(&remote.stored));
        let header = match self.describe.describe(&key, &remote.stored) {
            Ok(header) => header,
            Err(reason) => {
                // Somebody else's: kept as bytes under its path, so that nothing is hidden.
                tracing::debug!(%key, reason, "a key of the log holds no object that is known");
                key = Key::raw(&remote.path);
                Header::default()
            }
        };
        Arc::new(Entry::new(
            remote.parts(key, header),
            &self.core.shared.budget,
        ))
    }

    /// Replaces everything, without events: for the beginning.
    fn load(&mut self, revision: Revision, entries: Vec<RemoteEntry>) {
        let mut state = State::empty(revision);
        for remote in entries {
            state.insert(self.entry(remote));
        }
        self.core.shared.state.store(Arc::new(state));
    }

    /// Applies transactions in the order of their revisions; each is shown whole.
    pub fn apply(&mut self, transactions: Vec<(Revision, Vec<RemoteChange>)>) {
        let mut draft = Draft::on(&self.core.shared, self.now());
        for (revision, changes) in transactions {
            if revision <= draft.state.revision {
                continue;
            }
            for change in changes {
                self.change(&mut draft, revision, change);
            }
            draft.state.revision = revision;
        }
        self.core.show(draft);
    }

    fn change(&self, draft: &mut Draft, revision: Revision, change: RemoteChange) {
        match change {
            RemoteChange::Put(remote) => {
                let entry = self.entry(remote);
                let previous = draft.state.insert(entry.clone());
                draft.happened(revision, Some(entry), previous);
            }
            RemoteChange::Delete(path) => {
                if let Some(before) = draft.state.remove_path(&path) {
                    draft.happened(revision, None, Some(before));
                }
            }
        }
    }

    /// Nothing that this store keeps happened up to this revision.
    pub fn progress(&mut self, revision: Revision) {
        let mut draft = Draft::on(&self.core.shared, self.now());
        if revision > draft.state.revision {
            draft.state.revision = revision;
            self.core.show(draft);
        }
    }

    /// Starts anew from what the log holds at a revision, after some of what happened is not known any more: every
    /// watch ends, and lists at older revisions are refused.
    pub fn reset(&mut self, revision: Revision, entries: Vec<RemoteEntry>) {
        let shared = self.core.shared.clone();
        let resources: HashSet<_> = shared.state.load().trees.keys().cloned().collect();
        let mut state = State::empty(revision);
        for remote in entries {
            state.insert(self.entry(remote));
        }
        for resource in resources.iter().chain(state.trees.keys()) {
            shared.channel(resource).raise_floor(revision);
        }
        shared.forget_before(revision);
        shared.state.store(Arc::new(state));
        self.core.announce(revision);
    }

    /// Says whether the log can be reached; a store that cannot reach it refuses writes.
    pub fn set_reachable(&self, reachable: Result<(), String>) {
        self.core.shared.set_health(match reachable {
            Ok(()) => Health::Writable,
            Err(reason) => Health::Suspended { reason },
        });
    }

    /// Drops history that is too old.
    pub fn sweep(&mut self) {
        let _ = self.core.step();
    }
}

/// Makes an engine that is empty hold these entries, with their revisions, and when each expires (in milliseconds since
/// the Unix epoch, 0 for never).
pub fn build(
    engine: &mut dyn Engine,
    cluster_id: u64,
    revision: Revision,
    entries: Vec<(RemoteEntry, u64)>,
    describe: &dyn Describe,
) -> Result<(), EngineError> {
    let budget = Budget::new(0);
    let writes = entries.into_iter().map(|(remote, expires_at)| {
        let raw = Key::raw(&remote.path);
        let key = describe.locate(raw.clone(), &remote.stored).unwrap_or(raw);
        let stored = remote.stored.clone();
        let parts = EntryParts {
            key,
            create_revision: remote.create_revision,
            mod_revision: remote.mod_revision,
            version: remote.version,
            expires_at,
            is_stale: false,
            lease: 0,
            header: Header::default(),
            stored: remote.stored.into(),
        };
        let entry = Arc::new(Entry::new(parts, &budget));
        Write::Put(entry, Revision::NONE, stored)
    });
    let logged = Logged {
        revision,
        writes: writes.collect(),
        notes: Vec::new(),
    };
    engine.append(&Batch {
        identity: Some(Identity {
            format: FORMAT,
            cluster_id,
        }),
        revision,
        transactions: vec![logged],
        ..Batch::default()
    })
}

/// Whole milliseconds, for callers of this module's parent.
pub(crate) fn now_of(clock: &dyn crate::Clock) -> Now {
    Now {
        wall: millis(clock.wall()),
        mono: millis(clock.monotonic()),
    }
}
