//! The commit pipeline as one flat ladder of stages: take what is queued, check and draft it on a copy of the
//! state, make it durable once, publish, answer, ring. Driven by `step` alone: by a thread, or by a simulation.

use crate::clock::Clock;
use crate::draft::Draft;
use crate::engine::{Batch, Engine, EngineError, Identity, Logged, Write};
use crate::entry::ByKey;
use crate::queue::Pending;
use crate::snapshot::State;
use crate::store::Shared;
use crate::window::{Channel, Retention};
use crate::{
    CommitError, Committed, Durability, Entry, Event, Health, Key, Note, Precondition, Resource,
    Revision, Seal, Transaction, seal,
};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Deletions of expired objects that one step takes on.
const EXPIRE_MAX: usize = 256;
/// How many entries one batch has when the whole state is written.
const WHOLE_ENTRIES: usize = 1000;
/// The bytes after which such a batch takes no further entry.
const WHOLE_BYTES: usize = 4 << 20;
/// Events that one step drops from the history.
const SWEEP_MAX: usize = 4096;
const PROBE_FIRST: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_secs(30);

/// What bounds one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// The most transactions that become durable together.
    pub transactions: usize,
    /// The bytes after which a batch takes no further transaction.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> BatchLimits {
        BatchLimits {
            transactions: 512,
            bytes: 8 << 20,
        }
    }
}

/// How long, and for how many transactions, relaxed writes may stay unsynced: what a power cut may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relaxed {
    /// The oldest unsynced write is at most this old.
    pub window: Duration,
    /// There are at most so many unsynced transactions.
    pub transactions: u64,
}

impl Default for Relaxed {
    fn default() -> Relaxed {
        Relaxed {
            window: Duration::from_secs(1),
            transactions: 10_000,
        }
    }
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The transactions answered, those of expired objects included.
    pub transactions: usize,
    /// Whether there is more to do at once.
    pub more: Again,
}

/// When to step again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At once.
    Now,
    /// When something is queued or [`Core::next_wake`] is reached.
    Later,
}

#[derive(PartialEq)]
enum Asked {
    Now,
    WhenDue,
}

enum Mode {
    Writable,
    Suspended {
        repair: Repair,
        probe_at: u64,
        backoff: Duration,
    },
    Damaged,
}

/// How the log is brought to agree with the state again, which nobody was told more than.
enum Repair {
    /// These keys may have been written.
    Undo(HashSet<Key>, HashSet<Arc<str>>),
    /// What the disk holds is in doubt.
    Rebuild,
}

impl Repair {
    fn after(error: &EngineError, keys: HashSet<Key>, notes: HashSet<Arc<str>>) -> Repair {
        match error {
            EngineError::NoSpace { .. } => Repair::Undo(keys, notes),
            _ => Repair::Rebuild,
        }
    }
}

/// The single writer.
pub struct Core {
    pub(crate) shared: Arc<Shared>,
    engine: Box<dyn Engine>,
    clock: Arc<dyn Clock>,
    retention: Retention,
    limits: BatchLimits,
    mode: Mode,
    /// (milliseconds since the Unix epoch, key) of every entry that expires.
    expiring: BTreeSet<(u64, Key)>,
    window_bytes: isize,
    sweep_at: u64,
    identity: Identity,
    relaxed: Option<Relaxed>,
    /// Relaxed transactions that are not synced, and when they must be (monotonic milliseconds).
    unsynced: Option<(u64, u64)>,
    /// What batches that failed were to replace: not read back from the log until it was repaired.
    doubtful: Vec<Arc<Entry>>,
}

impl Core {
    pub(crate) fn new(
        shared: Arc<Shared>,
        engine: Box<dyn Engine>,
        clock: Arc<dyn Clock>,
        retention: Retention,
        limits: BatchLimits,
        identity: Identity,
        relaxed: Option<Relaxed>,
    ) -> Core {
        let state = shared.state.load();
        let mut expiring = BTreeSet::new();
        for entry in state.trees.values().flat_map(|tree| tree.entries.iter()) {
            if entry.0.expires_at_millis() != 0 {
                expiring.insert((entry.0.expires_at_millis(), entry.0.key().clone()));
            }
        }
        drop(state);
        let mode = if shared.health.borrow().is_writable() {
            Mode::Writable
        } else {
            Mode::Damaged
        };
        Core {
            shared,
            engine,
            clock,
            retention,
            limits,
            mode,
            expiring,
            window_bytes: 0,
            sweep_at: 0,
            identity,
            relaxed,
            unsynced: None,
            doubtful: Vec::new(),
        }
    }

    /// Does what is due now: one batch of what is queued and expired, one slice of compaction, a probe of a log
    /// that failed. Never waits for anything but the log.
    pub fn step(&mut self) -> Step {
        self.probe();
        let mut pending = self.shared.queue.take(&self.limits);
        self.expire(&mut pending);
        let transactions = pending.len();
        if transactions > 0 {
            match &self.mode {
                Mode::Writable => self.commit(pending),
                Mode::Suspended { .. } | Mode::Damaged => self.refuse(pending),
            }
        }
        self.sync(Asked::WhenDue);
        let swept = self.sweep();
        let due = self.next_wake() == Some(Duration::ZERO);
        let again = swept == Again::Now || due || !self.shared.queue.is_empty();
        Step {
            transactions,
            more: if again { Again::Now } else { Again::Later },
        }
    }

    /// How long until something is due although nothing is queued; none if nothing ever is.
    pub fn next_wake(&self) -> Option<Duration> {
        let mono = millis(self.clock.monotonic());
        let sweep = (self.window_bytes > 0)
            .then(|| Duration::from_millis(self.sweep_at.saturating_sub(mono)));
        let sync = self
            .unsynced
            .map(|(_, at)| Duration::from_millis(at.saturating_sub(mono)));
        let other = match &self.mode {
            Mode::Writable => {
                let wall = millis(self.clock.wall());
                self.expiring
                    .first()
                    .map(|(at, _)| Duration::from_millis(at.saturating_sub(wall)))
            }
            Mode::Suspended { probe_at, .. } => {
                Some(Duration::from_millis(probe_at.saturating_sub(mono)))
            }
            Mode::Damaged => None,
        };
        [sweep, sync, other].into_iter().flatten().min()
    }

    /// Commits what is still queued and closes the store: watches end, the engine is released.
    pub fn close(mut self) {
        self.shared.queue.close();
        while !self.shared.queue.is_empty() {
            self.step();
        }
        self.sync(Asked::Now);
        drop(self);
    }

    pub(crate) fn now(&self) -> Now {
        crate::remote::now_of(&*self.clock)
    }

    /// Shows what happened elsewhere.
    pub(crate) fn show(&mut self, draft: Draft) {
        let bells = self.publish(draft);
        let revision = self.shared.revision();
        for channel in bells {
            channel.bell.send_replace(revision);
        }
        self.shared.progress.send_replace(revision);
    }

    /// Says that the state is another one, at this revision, and wakes every watcher.
    pub(crate) fn announce(&mut self, revision: Revision) {
        self.shared.published.store(revision.0, Ordering::Release);
        for channel in self.shared.channels() {
            channel.bell.send_replace(revision);
        }
        self.shared.progress.send_replace(revision);
    }

    /// The bytes that the engine wrote since it was opened.
    pub fn bytes_written(&self) -> u64 {
        self.engine.bytes_written()
    }

    fn expire(&self, pending: &mut Vec<Pending>) {
        if !matches!(self.mode, Mode::Writable) {
            return;
        }
        let wall = millis(self.clock.wall());
        for (_, key) in self
            .expiring
            .iter()
            .take_while(|(at, _)| *at <= wall)
            .take(EXPIRE_MAX)
        {
            // A write in this batch that comes first may have renewed it.
            let revision = self
                .shared
                .state
                .load()
                .get(key)
                .map_or(Revision::NONE, |entry| entry.mod_revision());
            let delete = Transaction::delete(key.clone(), Precondition::ModRevision(revision));
            pending.push(Pending::internal(delete));
        }
    }

    fn refuse(&self, pending: Vec<Pending>) {
        let refusal = self.shared.health.borrow().refusal();
        for pending in pending {
            pending.answer(Err(CommitError::ReadOnly(refusal.clone())));
        }
    }

    fn commit(&mut self, pending: Vec<Pending>) {
        let now = Now {
            wall: millis(self.clock.wall()),
            mono: millis(self.clock.monotonic()),
        };
        let mut draft = Draft::on(&self.shared, now);
        let answers: Vec<(Pending, Result<Committed, CommitError>)> = pending
            .into_iter()
            .map(|mut pending| {
                let transaction = std::mem::take(&mut pending.transaction);
                let result = draft.apply(transaction);
                (pending, result)
            })
            .collect();
        let mut bells = Vec::new();
        if !draft.transactions.is_empty() {
            let transactions = std::mem::take(&mut draft.transactions);
            let identity = self.lift(&transactions);
            let durability = match (self.relaxed, identity) {
                (Some(_), None) => draft.durability,
                _ => Durability::Synced,
            };
            let batch = Batch {
                identity,
                revision: draft.state.revision,
                transactions,
                durability,
            };
            if let Err(error) = self.engine.append(&batch) {
                self.doubtful
                    .extend(draft.events.iter().filter_map(|e| e.previous().cloned()));
                self.suspend(error, batch, answers);
                return;
            }
            self.identity = batch.identity.unwrap_or(self.identity);
            self.count_unsynced(&batch, now.mono);
            bells = self.publish(draft);
        }
        // Answered before the watchers are woken, of which there may be many.
        for (pending, result) in answers {
            pending.answer(result);
        }
        self.ring(bells);
    }

    fn count_unsynced(&mut self, batch: &Batch, now: u64) {
        self.unsynced = match (batch.durability, self.relaxed) {
            (Durability::Relaxed, Some(relaxed)) => {
                let (count, at) = self.unsynced.unwrap_or((0, now + millis(relaxed.window)));
                let count = count + batch.transactions.len() as u64;
                // The next batch may add as many as a batch can.
                let is_full = count + self.limits.transactions as u64 * 2 > relaxed.transactions;
                Some((count, if is_full { now } else { at }))
            }
            // One sync is for everything before it.
            _ => None,
        };
    }

    /// Makes relaxed writes durable.
    fn sync(&mut self, asked: Asked) {
        let Some((_, at)) = self.unsynced else { return };
        let is_due = asked == Asked::Now || millis(self.clock.monotonic()) >= at;
        if !is_due || !matches!(self.mode, Mode::Writable) {
            return;
        }
        self.unsynced = None;
        if let Err(error) = self.engine.sync() {
            // They are published, so memory has them and the rebuilt log will.
            self.suspend_for(&error, Repair::Rebuild);
        }
    }

    /// The store's identity with a newer format, if these transactions need one.
    fn lift(&self, transactions: &[Logged]) -> Option<Identity> {
        let needed = transactions.iter().map(Logged::format_needed).max();
        let format = needed.filter(|format| *format > self.identity.format)?;
        Some(Identity {
            format,
            ..self.identity
        })
    }

    fn publish(&mut self, mut draft: Draft) -> Vec<Arc<Channel>> {
        draft.fill_slots();
        draft.release();
        let mut by_resource: Vec<(Resource, Vec<Arc<Event>>)> = Vec::new();
        for event in draft.events {
            self.reschedule(&event);
            let resource = event.key().resource();
            match by_resource.iter_mut().rev().find(|(of, _)| of == resource) {
                Some((_, events)) => events.push(event),
                None => by_resource.push((resource.clone(), vec![event])),
            }
        }
        let mut bells = Vec::with_capacity(by_resource.len());
        for (resource, events) in by_resource {
            let channel = self.shared.channel(&resource);
            let tree = &draft.state.trees[&resource];
            self.window_bytes += channel.push(events, draft.state.revision, tree, &self.retention);
            bells.push(channel);
        }
        let state = Arc::new(draft.state);
        let revision = state.revision;
        self.shared.state.store(state);
        // After the state: whoever sees an event also reads it.
        self.shared.published.store(revision.0, Ordering::Release);
        self.shared.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.shared
            .counters
            .bytes_written
            .store(self.engine.bytes_written(), Ordering::Relaxed);
        bells
    }

    fn ring(&self, bells: Vec<Arc<Channel>>) {
        if bells.is_empty() {
            return;
        }
        let revision = self.shared.revision();
        for channel in bells {
            channel.bell.send_replace(revision);
        }
        self.shared.progress.send_replace(revision);
    }

    fn reschedule(&mut self, event: &Event) {
        if let Some(previous) = event.previous()
            && previous.expires_at_millis() != 0
        {
            self.expiring
                .remove(&(previous.expires_at_millis(), previous.key().clone()));
        }
        if let Some(entry) = event.entry()
            && entry.expires_at_millis() != 0
        {
            self.expiring
                .insert((entry.expires_at_millis(), entry.key().clone()));
        }
    }

    fn suspend(
        &mut self,
        error: EngineError,
        batch: Batch,
        answers: Vec<(Pending, Result<Committed, CommitError>)>,
    ) {
        let writes = batch.transactions.iter().flat_map(|logged| &logged.writes);
        let keys = writes.map(|write| write.key().clone()).collect();
        let notes = batch.transactions.iter().flat_map(|logged| &logged.notes);
        let notes = notes.map(|note| note.name.clone()).collect();
        let repair = match self.unsynced.take() {
            // Opening the log again may lose what was published before this batch.
            Some(_) => Repair::Rebuild,
            None => Repair::after(&error, keys, notes),
        };
        self.suspend_for(&error, repair);
        let error = Arc::new(error);
        for (pending, result) in answers {
            let result = match result {
                Err(
                    error @ (CommitError::Invalid { .. }
                    | CommitError::TooLarge { .. }
                    | CommitError::Read(_)
                    | CommitError::Seal { .. }),
                ) => Err(error),
                // A conflict may have been with what was not made durable.
                Ok(_) | Err(_) => Err(CommitError::Storage(error.clone())),
            };
            pending.answer(result);
        }
    }

    fn suspend_for(&mut self, error: &EngineError, repair: Repair) {
        tracing::error!(%error, "the log cannot be written, the store is read-only");
        let probe_at = millis(self.clock.monotonic() + PROBE_FIRST);
        self.mode = Mode::Suspended {
            repair,
            probe_at,
            backoff: PROBE_FIRST,
        };
        self.shared.set_health(Health::Suspended {
            reason: error.to_string(),
        });
    }

    /// Tries whether the log can be written again, by making it agree with the state.
    fn probe(&mut self) {
        let Mode::Suspended {
            repair,
            probe_at,
            backoff,
        } = &mut self.mode
        else {
            return;
        };
        let now = self.clock.monotonic();
        if millis(now) < *probe_at {
            return;
        }
        let state = self.shared.state.load_full();
        let result = match repair {
            Repair::Undo(keys, notes) => {
                let batch = undo(&state, keys, notes, &self.shared.seal);
                batch.and_then(|batch| {
                    self.engine.reopen()?;
                    self.engine.append(&batch)
                })
            }
            Repair::Rebuild => {
                let mut batches = whole(&state, self.identity, &self.shared.seal);
                self.engine.rebuild(&mut batches)
            }
        };
        match result {
            Ok(()) => {
                tracing::info!("the log can be written again");
                self.mode = Mode::Writable;
                for entry in self.doubtful.drain(..) {
                    // One that the failed batch made itself is in no view.
                    let current = state.get(entry.key());
                    if current.is_some_and(|current| Arc::ptr_eq(current, &entry)) {
                        entry.release();
                    }
                }
                self.shared.set_health(Health::Writable);
            }
            Err(error) => {
                if let Repair::Undo(keys, notes) = repair {
                    let (keys, notes) = (std::mem::take(keys), std::mem::take(notes));
                    *repair = Repair::after(&error, keys, notes);
                }
                *backoff = (*backoff * 2).min(PROBE_MAX);
                *probe_at = millis(now + *backoff);
                self.shared.set_health(Health::Suspended {
                    reason: error.to_string(),
                });
            }
        }
    }

    fn sweep(&mut self) -> Again {
        let mono = millis(self.clock.monotonic());
        let mut left = SWEEP_MAX;
        if mono >= self.sweep_at || self.shared.sweep_now.swap(false, Ordering::AcqRel) {
            let oldest = mono.saturating_sub(millis(self.retention.age));
            for channel in self.shared.channels() {
                let (events, bytes) = channel.drop_before(oldest, left);
                left = left.saturating_sub(events);
                self.window_bytes -= bytes as isize;
            }
            if left == 0 {
                self.shared.sweep_now.store(true, Ordering::Release);
            } else {
                let period = (millis(self.retention.age) / 64).clamp(1, 5000);
                self.sweep_at = mono + period;
            }
        }
        if self.window_bytes > self.retention.bytes as isize {
            let largest = self
                .shared
                .channels()
                .into_iter()
                .max_by_key(|channel| channel.window.read().bytes);
            if let Some(channel) = largest {
                let (events, bytes) = channel.shrink_by_half(left.max(1));
                left = left.saturating_sub(events);
                self.window_bytes -= bytes as isize;
            }
        }
        let over = self.window_bytes > self.retention.bytes as isize;
        self.shared
            .counters
            .window_bytes
            .store(self.window_bytes.max(0) as u64, Ordering::Relaxed);
        if left == 0 || over {
            Again::Now
        } else {
            Again::Later
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shared.queue.close();
        for pending in self.shared.queue.take(&BatchLimits {
            transactions: usize::MAX,
            bytes: usize::MAX,
        }) {
            pending.answer(Err(CommitError::Closed));
        }
        self.shared.permits.close();
        self.shared.closed.store(true, Ordering::Release);
        self.shared.set_health(Health::Closed);
        self.ring(self.shared.channels());
    }
}

/// A batch that restores keys in the log to what the state says.
fn undo(
    state: &State,
    keys: &HashSet<Key>,
    notes: &HashSet<Arc<str>>,
    seal: &Arc<dyn Seal>,
) -> Result<Batch, EngineError> {
    let restore = |key: &Key| {
        Ok(match state.get(key) {
            Some(entry) => Write::Put(entry.clone(), Revision::NONE, seal::kept(seal, entry)?),
            None => Write::Delete(key.clone(), Revision::NONE),
        })
    };
    let logged = Logged {
        revision: state.revision,
        writes: keys
            .iter()
            .map(restore)
            .collect::<Result<_, EngineError>>()?,
        notes: notes
            .iter()
            .map(|name| Note {
                name: name.clone(),
                text: state.notes.get(name).cloned(),
            })
            .collect(),
    };
    Ok(Batch {
        revision: state.revision,
        transactions: vec![logged],
        ..Batch::default()
    })
}

/// The whole state as batches of bounded size, the last with the store's identity.
pub(crate) fn whole<'a>(
    state: &'a State,
    identity: Identity,
    seal: &'a Arc<dyn Seal>,
) -> impl Iterator<Item = Result<Batch, EngineError>> + 'a {
    let revision = state.revision;
    let batch = move |writes, notes, identity| Batch {
        identity,
        revision,
        transactions: vec![Logged {
            revision,
            writes,
            notes,
        }],
        ..Batch::default()
    };
    let mut entries = state.trees.values().flat_map(|tree| tree.entries.iter());
    let mut is_last = false;
    let notes = state.notes.iter();
    let notes: Vec<Note> = notes
        .map(|(name, text)| Note::set(name, text.clone()))
        .collect();
    std::iter::from_fn(move || {
        if is_last {
            return None;
        }
        let (mut writes, mut bytes) = (Vec::new(), 0);
        while writes.len() < WHOLE_ENTRIES && bytes < WHOLE_BYTES {
            let Some(ByKey(entry)) = entries.next() else {
                break;
            };
            let kept = match seal::kept(seal, entry) {
                Ok(kept) => kept,
                Err(error) => return Some(Err(error)),
            };
            bytes += kept.len();
            writes.push(Write::Put(entry.clone(), Revision::NONE, kept));
        }
        is_last = writes.is_empty();
        Some(Ok(match is_last {
            true => batch(writes, notes.clone(), Some(identity)),
            false => batch(writes, Vec::new(), None),
        }))
    })
}

/// One moment on both clocks, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) wall: u64,
    pub(crate) mono: u64,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
