//! The handle that everybody holds, and how a store is opened and closed.

use crate::backup::{self, About, BackupError};
use crate::cache::Budget;
use crate::clock::{Clock, SystemClock};
use crate::cold::{Pager, Stored};
use crate::core::{Again, BatchLimits, Core, Relaxed};
use crate::engine::record::{self, Record};
use crate::engine::{Batch, Damage, Engine, EngineError, FORMAT, FORMAT_FIRST, Identity, Logged};
use crate::entry::{Entry, EntryParts};
use crate::history;
use crate::queue::{Pending, Queue};
use crate::remote::Remote;
use crate::snapshot::{Snapshot, State, StateSnapshot};
use crate::watch::{Compacted, Watch};
use crate::window::{Channel, Retention};
use crate::{
    Bounds, CommitError, Committed, Health, Key, Note, Opened, Plain, Resource, Revision, Scope,
    Seal, Transaction,
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot, watch};

/// The note of a store in which relaxed writes are allowed: how many revisions a power cut may take back.
const RELAXED_NOTE: &str = "relaxed";

/// Describes a stored object at open: what its header is.
pub trait Describe: Send + Sync {
    /// The header of an object, or why its bytes cannot be read.
    fn describe(&self, key: &Key, stored: &Bytes) -> Result<crate::Header, String>;

    /// The key under which an object found at `path` is kept, when the record tells of none (it was written by
    /// path alone) or tells of one and this store keeps everything by path.
    fn locate(&self, found: Key, _stored: &Bytes) -> Result<Key, String> {
        Ok(found)
    }
}

impl<F: Fn(&Key, &Bytes) -> Result<crate::Header, String> + Send + Sync> Describe for F {
    fn describe(&self, key: &Key, stored: &Bytes) -> Result<crate::Header, String> {
        self(key, stored)
    }
}

/// How a store is opened.
pub struct Options {
    /// What makes commits durable.
    pub engine: Box<dyn Engine>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Describes the objects found at open.
    pub describe: Arc<dyn Describe>,
    /// How much history is kept.
    pub retention: Retention,
    /// What bounds one batch.
    pub limits: BatchLimits,
    /// What bounds one transaction.
    pub bounds: Bounds,
    /// The bytes that typed objects, encodings and event frames may take in memory together.
    pub cache_bytes: usize,
    /// The most transactions that wait for the writer; further commits wait for their turn to queue.
    pub queue_max: usize,
    /// The id of a store that is new; a random one if none is given.
    pub cluster_id: Option<u64>,
    /// What happens to objects on their way to the disk.
    pub seal: Arc<dyn Seal>,
    /// Whether transactions that allow it are answered before they are synced; they are not if none.
    pub relaxed: Option<Relaxed>,
    /// The bytes that objects' values may take in memory; those beyond it are read back from the disk when they are
    /// asked for. All are in memory if none.
    pub value_bytes: Option<usize>,
}

impl Options {
    /// The usual options.
    pub fn new(
        engine: impl Engine + 'static,
        describe: impl Fn(&Key, &Bytes) -> Result<crate::Header, String> + Send + Sync + 'static,
    ) -> Options {
        Options::described(engine, describe)
    }

    /// The usual options with a [`Describe`] that is more than a function.
    pub fn described(engine: impl Engine + 'static, describe: impl Describe + 'static) -> Options {
        Options {
            engine: Box::new(engine),
            clock: Arc::new(SystemClock::new()),
            describe: Arc::new(describe),
            retention: Retention::default(),
            limits: BatchLimits::default(),
            bounds: Bounds::default(),
            cache_bytes: 256 << 20,
            queue_max: 4096,
            cluster_id: None,
            seal: Arc::new(Plain),
            relaxed: None,
            value_bytes: None,
        }
    }

    /// With values, history, and what is made from objects bounded to about `bytes` of memory together; the rest of
    /// the values is on the disk alone. Keys and headers stay in memory, some hundred bytes for each object.
    pub fn bounded(self, bytes: usize) -> Options {
        let half = bytes / 2;
        let retention = Retention {
            bytes: self.retention.bytes.min(half / 2),
            ..self.retention
        };
        Options {
            value_bytes: Some(half),
            cache_bytes: self.cache_bytes.min(half / 2),
            retention,
            ..self
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The engine could not be opened or read.
    #[error("opening the store: {0}")]
    Engine(#[from] EngineError),
    /// A newer program wrote it.
    #[error(
        "the store has format {found}, this program knows formats up to {known}; use the program that wrote it"
    )]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest one known.
        known: u32,
    },
    /// The writer's thread could not be started.
    #[error("starting the store's writer: {0}")]
    Thread(std::io::Error),
    /// The engine cannot read single values back, as bounded memory needs it.
    #[error(
        "this engine cannot keep values on the disk alone: open the store without a bound on its memory"
    )]
    Unbounded,
    /// There is no randomness for the cluster id.
    #[error("making a cluster id: {0}")]
    Random(String),
}

/// Revisions that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    /// It is too old.
    #[error(transparent)]
    Compacted(#[from] Compacted),
    /// It has not happened yet.
    #[error("revision {requested} is in the future; now is {current}")]
    Future {
        /// The revision asked for.
        requested: Revision,
        /// The store's revision.
        current: Revision,
    },
}

/// Figures about a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// The current revision.
    pub revision: Revision,
    /// The number of objects.
    pub objects: usize,
    /// The batches made durable since the store was opened.
    pub batches: u64,
    /// The bytes handed to the log since the store was opened.
    pub bytes_written: u64,
    /// The bytes that cached objects and encodings take.
    pub cache_bytes: usize,
    /// About how many bytes the retained history takes.
    pub window_bytes: u64,
    /// The open watches.
    pub watchers: usize,
    /// The bytes of values in memory that could be read back, where memory is bounded.
    pub value_bytes: usize,
    /// How often a value was read back from the disk.
    pub value_reads: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) window_bytes: AtomicU64,
}

/// What readers, watchers and the writer share.
pub(crate) struct Shared {
    pub(crate) state: ArcSwap<State>,
    /// The revision of `state`, stored after it.
    pub(crate) published: AtomicU64,
    pub(crate) closed: AtomicBool,
    pub(crate) watchers: AtomicUsize,
    pub(crate) progress: watch::Sender<Revision>,
    pub(crate) health: watch::Sender<Health>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) queue: Queue,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) counters: Counters,
    channels: RwLock<HashMap<Resource, Arc<Channel>>>,
    /// History starts here.
    opened_at: Revision,
    /// What [`Store::compact`] has forgotten: up to this revision.
    compacted: AtomicU64,
    /// The history is to be swept before its time.
    pub(crate) sweep_now: AtomicBool,
    pub(crate) cluster_id: u64,
    pub(crate) limits: Bounds,
    pub(crate) seal: Arc<dyn Seal>,
    /// Where commits go, when the log is elsewhere.
    remote: OnceLock<Arc<dyn Remote>>,
    /// What was written up to this revision may have been sealed otherwise than now.
    stale_through: AtomicU64,
    /// Where values are that are not in memory, if memory is bounded.
    pub(crate) pager: Option<Arc<Pager>>,
}

impl Shared {
    /// Later channels start here.
    pub(crate) fn forget_before(&self, revision: Revision) {
        self.compacted.fetch_max(revision.0, Ordering::AcqRel);
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.published.load(Ordering::Acquire))
    }

    pub(crate) fn channel(&self, resource: &Resource) -> Arc<Channel> {
        if let Some(channel) = self.channels.read().get(resource) {
            return channel.clone();
        }
        let mut channels = self.channels.write();
        channels
            .entry(resource.clone())
            .or_insert_with(|| {
                let compacted = Revision(self.compacted.load(Ordering::Acquire));
                Arc::new(Channel::starting_at(self.opened_at.max(compacted)))
            })
            .clone()
    }

    pub(crate) fn channels(&self) -> Vec<Arc<Channel>> {
        self.channels.read().values().cloned().collect()
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.health.send_if_modified(|now| {
            let changed = *now != health;
            *now = health;
            changed
        });
    }

    pub(crate) async fn wait_for(&self, revision: Revision) -> Result<Revision, CommitError> {
        let mut progress = self.progress.subscribe();
        loop {
            let now = self.revision();
            if now >= revision {
                return Ok(now);
            }
            if self.closed.load(Ordering::Acquire) || progress.changed().await.is_err() {
                return Err(CommitError::Closed);
            }
        }
    }
}

/// A store. Clones are the same store; it closes when the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
}

/// Closes the store and waits for its thread, if it has one.
struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    fn close(&self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the writer was already reported, and there is nothing left to close.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store {
    /// Opens a store with a thread that writes. Blocks while the stored objects are read.
    pub fn open(options: Options) -> Result<Store, OpenError> {
        let (store, core) = Store::open_manual(options)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || drive(core))
            .map_err(OpenError::Thread)?;
        *store.writer.thread.lock() = Some(thread);
        Ok(store)
    }

    /// Opens a store whose writer the caller drives: commits wait until [`Core::step`] answers them.
    pub fn open_manual(options: Options) -> Result<(Store, Core), OpenError> {
        let Options {
            mut engine,
            clock,
            describe,
            retention,
            limits,
            bounds,
            cache_bytes,
            queue_max,
            cluster_id,
            seal,
            relaxed,
            value_bytes,
        } = options;
        let budget = Budget::new(cache_bytes);
        let pager = value_bytes.map(|limit| pager(engine.as_mut(), limit, &seal));
        let pager = pager.transpose()?;
        let reader = Reader {
            describe: &*describe,
            seal: &*seal,
            budget: &budget,
            pager: pager.as_ref(),
        };
        let found = load(engine.as_mut(), &reader, cluster_id, relaxed)?;
        let health = if found.damage.is_empty() {
            Health::Writable
        } else {
            Health::Damaged {
                records: found.damage,
            }
        };
        let revision = found.state.revision;
        let shared = Arc::new(Shared {
            state: ArcSwap::from_pointee(found.state),
            published: AtomicU64::new(revision.0),
            closed: AtomicBool::new(false),
            watchers: AtomicUsize::new(0),
            progress: watch::Sender::new(revision),
            health: watch::Sender::new(health),
            budget,
            queue: Queue::default(),
            permits: Arc::new(Semaphore::new(queue_max.clamp(1, Semaphore::MAX_PERMITS))),
            counters: Counters::default(),
            channels: RwLock::default(),
            opened_at: revision,
            compacted: AtomicU64::new(0),
            sweep_now: AtomicBool::new(false),
            cluster_id: found.identity.cluster_id,
            limits: bounds,
            seal,
            remote: OnceLock::new(),
            stale_through: AtomicU64::new(0),
            pager,
        });
        let core = Core::new(
            shared.clone(),
            engine,
            clock,
            retention,
            limits,
            found.identity,
            relaxed,
        );
        let writer = Arc::new(Writer {
            shared: shared.clone(),
            thread: Mutex::new(None),
        });
        Ok((Store { shared, writer }, core))
    }

    /// Commits a transaction: when this answers, the change is durable and every later read sees it. If the
    /// caller stops waiting, the transaction may or may not happen.
    pub async fn commit(&self, transaction: Transaction) -> Result<Committed, CommitError> {
        if let Some(remote) = self.shared.remote.get() {
            return remote.commit(self.clone(), transaction).await;
        }
        let permit = self
            .shared
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| CommitError::Closed)?;
        let (answer, answered) = oneshot::channel();
        self.shared
            .queue
            .push(Pending::new(transaction, answer, permit))?;
        answered.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Waits until reads see everything that was committed before the call, also by others on the same log.
    pub async fn fresh(&self) -> Result<Revision, CommitError> {
        match self.shared.remote.get() {
            Some(remote) => remote.fresh(self.clone()).await,
            None => Ok(self.revision()),
        }
    }

    /// Whether others write to the same log.
    pub fn is_remote(&self) -> bool {
        self.shared.remote.get().is_some()
    }

    pub(crate) fn remote(&self) -> Option<&Arc<dyn Remote>> {
        self.shared.remote.get()
    }

    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.shared.budget
    }

    pub(crate) fn set_remote(&self, remote: Arc<dyn Remote>) {
        // Set once, right after it was opened.
        let _ = self.shared.remote.set(remote);
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.shared.revision()
    }

    /// The random id that the store was given when it was made.
    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id
    }

    /// One object as it is now.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.shared.state.load().get(key).cloned()
    }

    /// One resource as it is now.
    pub fn snapshot(&self, resource: &Resource) -> Snapshot {
        Snapshot::of(&self.shared.state.load(), resource)
    }

    /// One resource as it was at a revision that is still retained.
    pub fn snapshot_at(
        &self,
        resource: &Resource,
        revision: Revision,
    ) -> Result<Snapshot, RevisionError> {
        let current = self.shared.state.load_full();
        if revision > current.revision {
            return Err(RevisionError::Future {
                requested: revision,
                current: current.revision,
            });
        }
        if revision == current.revision {
            return Ok(Snapshot::of(&current, resource));
        }
        let channel = self.shared.channel(resource);
        Ok(history::at(&current, &channel, resource, revision)?)
    }

    /// Forgets the history before a revision: snapshots at it, and watches that begin with its events, stay
    /// possible; older ones are `Compacted` from now on. The objects themselves are not touched, and the memory is
    /// given back little by little.
    pub fn compact(&self, revision: Revision) -> Result<(), RevisionError> {
        let current = self.revision();
        if revision > current {
            return Err(RevisionError::Future {
                requested: revision,
                current,
            });
        }
        let through = Revision(revision.0.saturating_sub(1));
        self.shared
            .compacted
            .fetch_max(through.0, Ordering::Release);
        for channel in self.shared.channels() {
            channel.raise_floor(through);
        }
        self.shared.sweep_now.store(true, Ordering::Release);
        self.shared.queue.wake();
        Ok(())
    }

    /// Every resource as it is now, at one revision.
    pub fn snapshot_all(&self) -> StateSnapshot {
        StateSnapshot(self.shared.state.load_full())
    }

    /// The oldest revision from which the history of a resource is complete: from it and later ones watches
    /// can start and snapshots can be taken.
    pub fn oldest(&self, resource: &Resource) -> Revision {
        self.shared.channel(resource).window.read().floor
    }

    /// Watches a resource: every event after `from`, which may lie in the future.
    pub fn watch(
        &self,
        resource: &Resource,
        scope: Scope,
        from: Revision,
    ) -> Result<Watch, Compacted> {
        Watch::start(
            self.shared.clone(),
            self.shared.channel(resource),
            scope,
            from,
        )
    }

    /// Waits until the store has reached a revision; answers the one it is at.
    pub async fn wait_for(&self, revision: Revision) -> Result<Revision, CommitError> {
        self.shared.wait_for(revision).await
    }

    /// Whether the store accepts writes.
    pub fn health(&self) -> Health {
        self.shared.health.borrow().clone()
    }

    /// Follows [`Store::health`].
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Writes a backup of everything as it is now, or of what changed after a revision; see [`crate::backup`].
    /// Blocks until it is written. Commits go on meanwhile.
    pub fn backup(
        &self,
        since: Revision,
        out: &mut dyn std::io::Write,
    ) -> Result<About, BackupError> {
        if let Health::Damaged { .. } = self.health() {
            return Err(BackupError::Refused(format!(
                "a damaged store is not backed up: {}",
                self.health().refusal()
            )));
        }
        let state = self.snapshot_all();
        if since > state.revision() {
            return Err(BackupError::Chain(format!(
                "the store is at revision {}, the backup to build on is at {since}; is it of another cluster?",
                state.revision()
            )));
        }
        let about = About {
            format: FORMAT,
            cluster_id: self.cluster_id(),
            since,
            revision: state.revision(),
            objects: 0,
            changed: 0,
        };
        let identity = Identity {
            format: FORMAT,
            cluster_id: self.cluster_id(),
        };
        backup::write(about, &mut state.batches(identity, &self.shared.seal), out)
    }

    /// Whether an object's bytes at rest are to be written again, even if they say the same: another key than the one
    /// in use now encrypted them, or may have.
    pub fn is_stale(&self, entry: &Entry) -> bool {
        let marked = self.shared.stale_through.load(Ordering::Acquire);
        entry.is_stale() || entry.mod_revision().0 <= marked
    }

    /// The seal changed: all that was written so far is stale.
    pub fn mark_stale(&self) {
        let now = self.revision().0;
        self.shared.stale_through.fetch_max(now, Ordering::Release);
    }

    /// Whether objects may be on the disk alone ([`Options::bounded`]), so that whoever reads many should not hold
    /// all of them at once.
    pub fn is_bounded(&self) -> bool {
        self.shared.pager.is_some()
    }

    /// Figures for metrics.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        Stats {
            revision: shared.revision(),
            objects: shared.state.load().len(),
            batches: shared.counters.batches.load(Ordering::Relaxed),
            bytes_written: shared.counters.bytes_written.load(Ordering::Relaxed),
            cache_bytes: shared.budget.used(),
            window_bytes: shared.counters.window_bytes.load(Ordering::Relaxed),
            watchers: shared.watchers.load(Ordering::Relaxed),
            value_bytes: shared.pager.as_ref().map_or(0, |pager| pager.used()),
            value_reads: shared.pager.as_ref().map_or(0, |pager| pager.reads()),
        }
    }

    /// Commits what is queued, ends all watches and releases the engine. Blocks until that is done.
    pub fn close(&self) {
        self.writer.close();
    }
}

fn pager(
    engine: &mut dyn Engine,
    limit: usize,
    seal: &Arc<dyn Seal>,
) -> Result<Arc<Pager>, OpenError> {
    let values = engine.values().ok_or(OpenError::Unbounded)?;
    Ok(Pager::new(limit, values, seal.clone()))
}

fn drive(mut core: Core) {
    loop {
        let step = core.step();
        if core.shared.queue.is_closed() {
            core.close();
            return;
        }
        if step.more == Again::Later {
            core.shared.queue.wait(core.next_wake());
        }
    }
}

struct Found {
    state: State,
    identity: Identity,
    damage: Vec<Damage>,
}

/// Makes entries of records.
struct Reader<'a> {
    describe: &'a dyn Describe,
    seal: &'a dyn Seal,
    budget: &'a Arc<Budget>,
    pager: Option<&'a Arc<Pager>>,
}

fn load(
    engine: &mut dyn Engine,
    reader: &Reader<'_>,
    cluster_id: Option<u64>,
    relaxed: Option<Relaxed>,
) -> Result<Found, OpenError> {
    let mut state = State::empty(Revision(1));
    let mut unreadable = Vec::new();
    let loaded = engine.load(&mut |path, bytes| match record::decode(path, bytes) {
        Ok(record) => match reader.revive(record, &state) {
            Ok(entry) => {
                state.revision = state.revision.max(entry.mod_revision());
                state.insert(Arc::new(entry));
            }
            Err(damage) => unreadable.push(damage),
        },
        Err(reason) => unreadable.push(Damage {
            key: String::from_utf8_lossy(path).into_owned(),
            reason,
        }),
    })?;
    state.revision = state.revision.max(loaded.revision);
    for note in loaded.notes {
        if let Some(text) = note.text {
            state.notes.insert(note.name, text);
        }
    }
    let mut damage = loaded.damage;
    damage.append(&mut unreadable);
    let mut identity = match loaded.identity {
        Some(identity) if identity.format > FORMAT => {
            return Err(OpenError::NewerFormat {
                found: identity.format,
                known: FORMAT,
            });
        }
        Some(identity) => identity,
        None => {
            let cluster_id = match cluster_id {
                Some(id) => id,
                None => getrandom::u64().map_err(|error| OpenError::Random(error.to_string()))?,
            };
            let identity = Identity {
                format: FORMAT_FIRST,
                cluster_id,
            };
            engine.append(&Batch {
                identity: Some(identity),
                revision: state.revision,
                ..Batch::default()
            })?;
            identity
        }
    };
    if damage.is_empty() {
        identity = skip_unsynced(engine, &mut state, identity, relaxed)?;
    }
    Ok(Found {
        state,
        identity,
        damage,
    })
}

/// While relaxed writes are allowed a power cut may take revisions back that clients have seen: they are never
/// given again. A note in the store tells that they were allowed.
fn skip_unsynced(
    engine: &mut dyn Engine,
    state: &mut State,
    identity: Identity,
    relaxed: Option<Relaxed>,
) -> Result<Identity, EngineError> {
    let was = state
        .notes
        .get(RELAXED_NOTE)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    if was.is_none() && relaxed.is_none() {
        return Ok(identity);
    }
    state.revision = Revision(state.revision.0 + was.unwrap_or(0));
    let note = match relaxed {
        Some(relaxed) => Note::set(RELAXED_NOTE, relaxed.transactions.to_string()),
        None => Note::remove(RELAXED_NOTE),
    };
    match &note.text {
        Some(text) => drop(state.notes.insert(note.name.clone(), text.clone())),
        None => drop(state.notes.remove(&note.name)),
    }
    let logged = Logged {
        revision: state.revision,
        writes: Vec::new(),
        notes: vec![note],
    };
    let identity = Identity {
        format: identity.format.max(logged.format_needed()),
        ..identity
    };
    engine.append(&Batch {
        identity: Some(identity),
        revision: state.revision,
        transactions: vec![logged],
        ..Batch::default()
    })?;
    Ok(identity)
}

impl Reader<'_> {
    fn revive(&self, record: Record<'_>, state: &State) -> Result<Entry, Damage> {
        let path = record.key.path();
        let unreadable = |reason| Damage {
            key: path.clone(),
            reason: format!("its object cannot be read: {reason}"),
        };
        let opened = self.seal.open(&record.key, record.stored);
        let Opened { plain, is_stale } = opened.map_err(unreadable)?;
        let stored = plain;
        let describe = self.describe;
        let key = describe.locate(record.key, &stored).map_err(unreadable)?;
        let header = describe.describe(&key, &stored).map_err(unreadable)?;
        let resource = state
            .trees
            .get_key_value(key.resource())
            .map(|(resource, _)| resource.clone());
        let key = match resource {
            Some(resource) => key.with_resource(resource),
            None => key,
        };
        let parts = EntryParts {
            key,
            create_revision: record.create_revision,
            mod_revision: record.mod_revision,
            version: record.version,
            expires_at: record.expires_at,
            lease: record.lease,
            is_stale,
            header,
            stored: Stored::found(self.pager, stored),
        };
        Ok(Entry::new(parts, self.budget))
    }
}
