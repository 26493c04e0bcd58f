//! One run of the store's simulation: clients, faults, deaths and restarts in the order that the seed decides.

use super::check::{Asked, Checker, Known, Model, asked};
use super::disk::VirtualDisk;
use crate::rng::Rng;
use bytes::Bytes;
use corten_store::engine::memory::{Fault, MemoryDisk, MemoryEngine, Unsynced};
use corten_store::{
    Clock, CommitError, Committed, Core, Durability, Expiry, Header, Health, Key, ManualClock, Op,
    Options, Precondition, Put, Relaxed, Resource, Retention, Revision, RevisionError, Scope,
    Snapshot, Store, Transaction, Watch, WatchEnd,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Turns of one run.
const TURNS: u64 = 160;
/// Of values in memory, where that is bounded: a few.
const VALUE_BYTES: usize = 60;
/// Turns that a healed store may take until it accepts writes again.
const HEALING: u64 = 200;
const START: Duration = Duration::from_secs(1_767_225_600);
const RESOURCES: [&str; 3] = ["pods", "secrets", LEASES];
/// Writes of this resource may be answered before they are synced.
const LEASES: &str = "leases";

type Answer = Result<Committed, CommitError>;

/// How a run ended.
#[derive(Debug)]
pub struct StoreReport {
    /// The seed.
    pub seed: u64,
    /// What must never happen and did; empty when all is well.
    pub violations: Vec<String>,
    /// What happened.
    pub trace: Vec<String>,
    /// Transactions that were answered.
    pub answered: u64,
    /// Times that the store died and came back.
    pub restarts: u64,
}

#[derive(Clone)]
enum Disk {
    Memory(MemoryDisk),
    Virtual(VirtualDisk),
}

struct InFlight {
    asked: Vec<Asked>,
    when: Vec<(Key, Precondition)>,
    asked_at: u64,
    answer: Pin<Box<dyn Future<Output = Answer>>>,
}

struct Watching {
    watch: Watch,
    resource: Resource,
    from: u64,
    seen: Vec<Arc<corten_store::Event>>,
}

struct World {
    rng: Rng,
    clock: Arc<ManualClock>,
    disk: Disk,
    relaxed: bool,
    /// Values are on the disk alone as soon as nobody needs them.
    bounded: bool,
    retention: Retention,
    open: Option<(Store, Core)>,
    audit: Vec<Watch>,
    checker: Checker,
    in_flight: Vec<InFlight>,
    /// Answered with an unknown outcome since the store last accepted writes.
    doubtful: Vec<Vec<Asked>>,
    watches: Vec<Watching>,
    held: Vec<(Resource, Snapshot)>,
    trace: Vec<String>,
    writes: u64,
    answered: u64,
    restarts: u64,
    heals_in: u64,
    stalled: u64,
}

/// Runs a seed.
pub fn run_store(seed: u64) -> StoreReport {
    let mut world = World::new(seed);
    world.reopen();
    for turn in 0..TURNS {
        world.turn();
        if !world.checker.violations.is_empty() {
            world.say(format!("turn {turn} went wrong"));
            break;
        }
    }
    world.finish();
    StoreReport {
        seed,
        violations: world.checker.violations,
        trace: world.trace,
        answered: world.answered,
        restarts: world.restarts,
    }
}

fn describe(_: &Key, _: &Bytes) -> Result<Header, String> {
    Ok(Header::default())
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let disk = match seed.is_multiple_of(3) {
            true => Disk::Virtual(VirtualDisk::new(seed)),
            false => Disk::Memory(MemoryDisk::new()),
        };
        let retention = Retention {
            age: Duration::from_secs(rng.between(5, 600)),
            events: rng.between(10, 400) as usize,
            bytes: 1 << 20,
        };
        World {
            relaxed: matches!(disk, Disk::Memory(_)) && rng.chance(300),
            bounded: matches!(disk, Disk::Memory(_)) && seed.is_multiple_of(2),
            rng,
            clock: Arc::new(ManualClock::starting_at(START)),
            disk,
            retention,
            open: None,
            audit: Vec::new(),
            checker: Checker::at(Revision(1)),
            in_flight: Vec::new(),
            doubtful: Vec::new(),
            watches: Vec::new(),
            held: Vec::new(),
            trace: Vec::new(),
            writes: 0,
            answered: 0,
            restarts: 0,
            heals_in: 0,
            stalled: 0,
        }
    }

    fn say(&mut self, what: impl AsRef<str>) {
        let revision = self.checker.revision();
        self.trace.push(format!("r{revision} {}", what.as_ref()));
    }

    fn violation(&mut self, what: String) {
        self.checker.violations.push(what);
    }

    fn turn(&mut self) {
        for _ in 0..self.rng.below(5) {
            self.client();
        }
        match self.stalled {
            0 => self.step(),
            _ => self.stalled -= 1,
        }
        self.clock
            .advance(Duration::from_millis(self.rng.below(400)));
        self.observe();
        self.go_wrong();
    }

    /// One client does one thing.
    fn client(&mut self) {
        let Some((store, _)) = &self.open else {
            return;
        };
        let store = store.clone();
        let resource = Resource::new(RESOURCES[self.rng.below(3) as usize]);
        match self.rng.below(12) {
            0..=6 => self.write(&store),
            7 => {
                let snapshot = store.snapshot(&resource);
                if snapshot.revision().0 != self.checker.revision() {
                    let last = self.checker.revision();
                    self.violation(format!("a list at {} after {last}", snapshot.revision()));
                }
                self.checker.snapshot(&resource, &snapshot);
                if self.rng.chance(200) {
                    self.held.push((resource, snapshot));
                }
            }
            8 => self.look_back(&store, &resource),
            9 => self.watch(&store, resource),
            10 if self.rng.chance(100) => {
                let revision = Revision(self.rng.below(store.revision().0 + 1));
                if store.compact(revision).is_err() {
                    self.violation(format!("compaction at {revision} was refused"));
                }
            }
            _ => self.read_one(&store, &resource),
        }
    }

    fn key(&mut self) -> Key {
        let resource = Resource::new(RESOURCES[self.rng.below(3) as usize]);
        let namespace = ["a", "b"][self.rng.below(2) as usize];
        Key::new(&resource, namespace, &format!("o{}", self.rng.below(5)))
    }

    fn write(&mut self, store: &Store) {
        let is_relaxed = self.relaxed && self.rng.chance(500);
        let count = if is_relaxed {
            1
        } else {
            self.rng.between(1, 3)
        };
        let mut ops: Vec<Op> = Vec::new();
        for _ in 0..count {
            let key = match is_relaxed {
                true => Key::new(
                    &Resource::new(LEASES),
                    "loose",
                    &self.rng.below(4).to_string(),
                ),
                false => self.key(),
            };
            if ops.iter().any(|op| op.key() == &key) {
                continue;
            }
            let precondition = self.precondition(&key);
            self.writes += 1;
            ops.push(match self.rng.below(5) {
                0 => Op::Delete(key, precondition),
                1 if !is_relaxed => Op::Check(key, precondition),
                n => {
                    let padding = self.rng.below(900) as usize;
                    let text = format!("w{} {}", self.writes, "x".repeat(padding));
                    let put = Put::new(key, text.into(), Header::default()).when(precondition);
                    Op::Put(match n {
                        2 => put.expiring(Expiry::After(Duration::from_secs(self.rng.below(20)))),
                        _ => put,
                    })
                }
            });
        }
        let (asked, when) = asked(&ops);
        let mut transaction = Transaction::of(ops);
        if is_relaxed {
            transaction.durability = Durability::Relaxed;
        }
        let store = store.clone();
        self.in_flight.push(InFlight {
            asked,
            when,
            asked_at: store.revision().0,
            answer: Box::pin(async move { store.commit(transaction).await }),
        });
        self.collect();
    }

    fn precondition(&mut self, key: &Key) -> Precondition {
        let modified = self
            .checker
            .now()
            .get(key)
            .map_or(0, |known| known.modified);
        match self.rng.below(6) {
            0 => Precondition::MustNotExist,
            1 => Precondition::MustExist,
            2 => Precondition::ModRevision(Revision(modified)),
            3 => Precondition::ModRevision(Revision(modified.saturating_sub(1))),
            _ => Precondition::Any,
        }
    }

    fn read_one(&mut self, store: &Store, resource: &Resource) {
        let key = Key::new(resource, "a", &format!("o{}", self.rng.below(5)));
        let found = store
            .get(&key)
            .map(|entry| entry.stored().expect("values are readable").to_vec());
        let expected = self.checker.now().get(&key).map(|known| known.text.clone());
        if found != expected {
            self.violation(format!("{key} reads as another state than the log's"));
        }
    }

    fn look_back(&mut self, store: &Store, resource: &Resource) {
        let at = Revision(self.rng.below(store.revision().0 + 3));
        match store.snapshot_at(resource, at) {
            Ok(snapshot) => self.checker.snapshot(resource, &snapshot),
            Err(RevisionError::Future { .. }) if at > store.revision() => {}
            Err(RevisionError::Compacted(_)) if at < store.oldest(resource) => {}
            Err(error) => self.violation(format!("looking back to {at}: {error}")),
        }
    }

    fn watch(&mut self, store: &Store, resource: Resource) {
        let scope = match self.rng.below(3) {
            0 => Scope::namespace("a"),
            1 => Scope::object("a", "o1"),
            _ => Scope::All,
        };
        let oldest = store.oldest(&resource).0;
        let from = oldest
            + self
                .rng
                .below(store.revision().0 + 2 - oldest.min(store.revision().0));
        match store.watch(&resource, scope, Revision(from)) {
            Ok(watch) => self.watches.push(Watching {
                watch,
                resource,
                from,
                seen: Vec::new(),
            }),
            Err(error) => self.violation(format!("a watch from {from}: {error}")),
        }
    }

    /// The store works, unless its process is down; then everything that it published is checked.
    fn step(&mut self) {
        let Some((store, core)) = &mut self.open else {
            return;
        };
        let store = store.clone();
        core.step();
        self.follow(&store);
        self.collect();
        if store.health() == Health::Writable {
            self.doubtful.clear();
        }
    }

    fn follow(&mut self, store: &Store) {
        let mut events = Vec::new();
        for watch in &mut self.audit {
            if let Err(end) = watch.try_batch(&mut events, usize::MAX)
                && end != WatchEnd::Closed
            {
                self.checker
                    .violations
                    .push(format!("the audit's watch ended: {end}"));
            }
        }
        events.sort_by_key(|event| event.revision());
        self.checker.publish(&events);
        if self.checker.revision() != store.revision().0 {
            let last = self.checker.revision();
            self.violation(format!(
                "the store is at {}, its log ends at {last}",
                store.revision()
            ));
        }
    }

    /// Takes in the answers there are.
    fn collect(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for mut one in std::mem::take(&mut self.in_flight) {
            match one.answer.as_mut().poll(&mut context) {
                Poll::Pending => self.in_flight.push(one),
                Poll::Ready(answer) => {
                    self.answered += 1;
                    match answer {
                        Ok(committed) => {
                            let InFlight {
                                asked,
                                when,
                                asked_at,
                                ..
                            } = &one;
                            self.checker.committed(asked, when, *asked_at, &committed);
                        }
                        Err(CommitError::Conflict(conflict)) => {
                            self.checker.conflicted(one.asked_at, &conflict);
                        }
                        Err(CommitError::Storage(_)) => self.doubtful.push(one.asked),
                        Err(CommitError::ReadOnly(_) | CommitError::Closed) => {}
                        Err(error) => self.violation(format!("refused: {error}")),
                    }
                }
            }
        }
    }

    /// Watches go on, some slowly; snapshots that are held are looked at again.
    fn observe(&mut self) {
        for mut one in std::mem::take(&mut self.watches) {
            if self.rng.chance(500) {
                self.watches.push(one);
                continue;
            }
            let limit = self.rng.between(1, 30) as usize;
            let read = one.watch.try_batch(&mut one.seen, limit);
            let progress = one.watch.progress().0;
            let scope = one.watch.scope().clone();
            self.checker.watched(
                &one.resource,
                &scope,
                one.from,
                &one.seen,
                progress.min(self.checker.revision()),
            );
            match read {
                Ok(()) if self.watches.len() < 12 => self.watches.push(one),
                Ok(()) | Err(WatchEnd::Closed) => {}
                Err(WatchEnd::TooSlow { seen, oldest }) if seen < oldest => {}
                Err(end) => self.violation(format!("a watch ended without reason: {end}")),
            }
        }
        let held = std::mem::take(&mut self.held);
        for (resource, snapshot) in &held {
            self.checker.snapshot(resource, snapshot);
        }
        let keep = held.len().min(6);
        self.held = held.into_iter().rev().take(keep).collect();
    }

    fn go_wrong(&mut self) {
        if self.heals_in > 0 {
            self.heals_in -= 1;
            if self.heals_in == 0 {
                self.heal();
            }
        }
        if self.open.is_none() {
            if self.rng.chance(300) {
                self.reopen();
            }
            return;
        }
        match self.rng.below(100) {
            0..=1 => self.die(),
            2 if self.heals_in == 0 => self.fault(),
            3 => self.stalled = self.rng.between(1, 6),
            _ => {}
        }
    }

    fn heal(&mut self) {
        self.say("the disk works again");
        match &self.disk {
            Disk::Memory(disk) => disk.heal(),
            Disk::Virtual(disk) => disk.heal(),
        }
    }

    fn fault(&mut self) {
        self.heals_in = self.rng.between(2, 12);
        let which = self.rng.below(3);
        self.say(format!("the disk fails: {which}"));
        match (&self.disk, which) {
            (Disk::Memory(disk), 0) => disk.fail(Fault::NoSpace),
            (Disk::Memory(disk), 1) => disk.fail(Fault::NoSpaceLate),
            (Disk::Memory(disk), _) => disk.fail(Fault::SyncFails),
            (Disk::Virtual(disk), 0) => disk.fill(),
            (Disk::Virtual(disk), _) => disk.fail_syncs(),
        }
    }

    /// The process dies; the power with it or not.
    fn die(&mut self) {
        let Some((store, mut core)) = self.open.take() else {
            return;
        };
        let is_power = self.rng.chance(500);
        let how = self.rng.below(4);
        self.say(format!("the store dies: {how}, power {is_power}"));
        match (&self.disk, how) {
            (Disk::Memory(disk), 1) => disk.fail(Fault::CrashBeforeWrite),
            (Disk::Memory(disk), 2) => disk.fail(Fault::CrashBeforeSync),
            (Disk::Memory(disk), 3) => disk.fail(Fault::CrashAfterSync),
            _ => {}
        }
        let mut maybe: Vec<Vec<Asked>> =
            self.in_flight.iter().map(|one| one.asked.clone()).collect();
        if how != 0 && matches!(self.disk, Disk::Memory(_)) {
            core.step();
        }
        self.follow(&store);
        if self.bounded {
            // What they hold is read from the store, which is gone.
            self.watches.clear();
            self.held.clear();
        }
        // The order matters: on a virtual disk nothing that happens after the crash reaches it.
        match &self.disk {
            Disk::Memory(disk) => {
                drop(core);
                disk.crash(match is_power {
                    true => Unsynced::Lost,
                    false => Unsynced::Kept,
                });
            }
            Disk::Virtual(disk) => {
                match is_power {
                    true => disk.crash(),
                    false => disk.kill(),
                }
                drop(core);
            }
        }
        self.collect();
        drop(store);
        self.in_flight.clear();
        maybe.append(&mut self.doubtful);
        self.doubtful = maybe;
        (self.heals_in, self.stalled) = (0, 0);
        for mut one in std::mem::take(&mut self.watches) {
            let _ = one.watch.try_batch(&mut one.seen, usize::MAX);
            let scope = one.watch.scope().clone();
            self.checker
                .watched(&one.resource, &scope, one.from, &one.seen, 0);
        }
        self.audit.clear();
    }

    fn options(&self) -> Result<Options, corten_store::OpenError> {
        let mut options = Options::new(MemoryEngine::on(&MemoryDisk::new()), describe);
        options.engine = match &self.disk {
            Disk::Memory(disk) => Box::new(MemoryEngine::on(disk)),
            Disk::Virtual(disk) => Box::new(disk.engine()?),
        };
        options.clock = self.clock.clone();
        options.cluster_id = Some(7);
        options.retention = self.retention.clone();
        options.relaxed = self.relaxed.then(Relaxed::default);
        options.value_bytes = self.bounded.then_some(VALUE_BYTES);
        Ok(options)
    }

    fn reopen(&mut self) {
        let opened = self.options().and_then(Store::open_manual);
        let (store, core) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.violation(format!("the store does not open: {error}")),
        };
        if store.health() != Health::Writable {
            self.violation(format!("the store came back as {:?}", store.health()));
        }
        let model = everything(&store);
        let maybe = std::mem::take(&mut self.doubtful);
        let loose = |key: &Key| key.resource().as_str() == LEASES && key.namespace() == "loose";
        let is_new = self.restarts == 0 && self.checker.revision() == 1;
        if !is_new {
            let at = store.revision().0;
            let wall = self.clock.wall().as_millis() as u64;
            self.checker.reopened(at, model, &maybe, &loose, wall);
        } else if store.revision().0 > 1 {
            self.checker = Checker::at(store.revision());
        }
        self.restarts += 1;
        let revision = store.revision();
        self.say(format!("the store is open at {revision}"));
        for resource in RESOURCES {
            match store.watch(&Resource::new(resource), Scope::All, revision) {
                Ok(watch) => self.audit.push(watch),
                Err(error) => self.violation(format!("a new store refuses a watch: {error}")),
            }
        }
        self.open = Some((store, core));
    }

    /// Faults end; the store must accept writes again, close, and come back as it was.
    fn finish(&mut self) {
        if !self.checker.violations.is_empty() {
            return;
        }
        self.heal();
        if self.open.is_none() {
            self.reopen();
        }
        for _ in 0..HEALING {
            self.clock.advance(Duration::from_secs(1));
            self.step();
            let health = self.open.as_ref().map(|(store, _)| store.health());
            if health == Some(Health::Writable) && self.in_flight.is_empty() {
                break;
            }
        }
        let Some((store, core)) = self.open.take() else {
            return;
        };
        if store.health() != Health::Writable || !self.in_flight.is_empty() {
            self.violation(format!("the store does not recover: {:?}", store.health()));
            return;
        }
        core.close();
        self.follow(&store);
        let (before, revision) = (everything(&store), store.revision());
        drop(store);
        self.audit.clear();
        self.relaxed = false;
        match self.options().and_then(Store::open_manual) {
            Ok((store, _core)) if everything(&store) == before && store.revision() >= revision => {}
            Ok(_) => self.violation("the store is another after an orderly restart".to_owned()),
            Err(error) => self.violation(format!("the store does not open: {error}")),
        }
        if let Disk::Virtual(disk) = self.disk.clone() {
            self.flip(&disk, &before);
        }
    }

    /// A flipped bit is noticed, or does not matter.
    fn flip(&mut self, disk: &VirtualDisk, before: &Model) {
        disk.flip();
        let opening = || self.options().and_then(Store::open_manual);
        // Where redb finds its own file impossible it may panic in builds for debugging; that is noticed too.
        let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(opening));
        if let Ok(Ok((store, _core))) = opened
            && store.health() == Health::Writable
            && everything(&store) != *before
        {
            self.violation("a flipped bit changed the state and nobody noticed".to_owned());
        }
    }
}

fn everything(store: &Store) -> Model {
    let all = store.snapshot_all();
    let resources: BTreeSet<Resource> = all.resources().cloned().collect();
    let entries = resources.iter().flat_map(|resource| {
        let entries: Vec<_> = all.resource(resource).iter().cloned().collect();
        entries
    });
    entries
        .map(|entry| {
            let known = Known {
                text: entry.stored().expect("values are readable").to_vec(),
                modified: entry.mod_revision().0,
                expires: entry.expires_at().map_or(0, |at| at.as_millis() as u64),
            };
            (entry.key().clone(), known)
        })
        .collect()
}
