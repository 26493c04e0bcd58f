//! Random histories against a model that is a list of maps. One run mixes batches, conflicts, multi-key
//! transactions, expiry, failing disks, restarts, watches opened and read at any time, and views of the past.

use crate::rig::{Rig, describe, put};
use corten_store::engine::memory::{Fault, MemoryDisk, MemoryEngine, Unsynced};
use corten_store::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Change {
    Put(u8, u8, Option<u8>),
    Delete(u8),
    Check(u8),
}

#[derive(Clone, Debug)]
enum Do {
    Batch(Vec<Vec<(Change, u8)>>),
    Watch(u8, u8),
    Read(u8, u8),
    Look(u8),
    Pass(u8),
    Fail(u8),
    Restart,
}

#[derive(Clone, Debug, PartialEq)]
struct Object {
    stored: String,
    created: u64,
    modified: u64,
    version: u64,
    expires_at: Option<Duration>,
}

/// (path, object after, object before)
type Logged = (u64, Key, Option<Object>, Option<Object>);
type Objects = BTreeMap<Key, Object>;

struct Watching {
    watch: Watch,
    resource: Resource,
    scope: Scope,
    from: u64,
    seen: Vec<Arc<Event>>,
}

struct Model {
    rig: Rig,
    objects: Objects,
    /// The state at each revision since the store was last opened.
    past: BTreeMap<u64, Objects>,
    log: Vec<Logged>,
    watches: Vec<Watching>,
}

fn key(number: u8) -> Key {
    let number = number as usize % 16;
    let resource = Resource::new(["pods", "secrets"][number / 8]);
    Key::new(
        &resource,
        ["", "a", "a-b", "b"][number / 2 % 4],
        ["x", "y"][number % 2],
    )
}

fn scope(number: u8) -> Scope {
    match number % 4 {
        0 | 1 => Scope::All,
        2 => Scope::namespace("a"),
        _ => Scope::object("a", "x"),
    }
}

impl Model {
    fn new() -> Model {
        let rig = Rig::with(|options| options.limits.transactions = 1000);
        let past = BTreeMap::from([(1, Objects::new())]);
        Model {
            rig,
            objects: Objects::new(),
            past,
            log: Vec::new(),
            watches: Vec::new(),
        }
    }

    fn revision(&self) -> u64 {
        *self.past.last_key_value().unwrap().0
    }

    fn precondition(&self, key: &Key, choice: u8) -> Precondition {
        let modified = self.objects.get(key).map_or(0, |object| object.modified);
        match choice % 8 {
            0 => Precondition::MustNotExist,
            1 => Precondition::MustExist,
            2 => Precondition::ModRevision(Revision(modified)),
            3 => Precondition::ModRevision(Revision(modified.saturating_sub(1))),
            4 => Precondition::Uid("1".into()),
            _ => Precondition::Any,
        }
    }

    fn holds(&self, key: &Key, precondition: &Precondition) -> bool {
        let object = self.objects.get(key);
        match precondition {
            Precondition::Any => true,
            Precondition::MustNotExist => object.is_none(),
            Precondition::MustExist => object.is_some(),
            Precondition::ModRevision(wanted) => {
                object.map_or(0, |object| object.modified) == wanted.0
            }
            Precondition::Uid(uid) => {
                object.is_some_and(|object| object.stored.starts_with(&format!("{uid}|")))
            }
        }
    }

    /// What the model says of a transaction: the revision it must be answered with, none for a conflict.
    fn apply(&mut self, ops: &[(Change, Key, Precondition)]) -> Option<u64> {
        if !ops
            .iter()
            .all(|(_, key, precondition)| self.holds(key, precondition))
        {
            return None;
        }
        let next = self.revision() + 1;
        let mut changed = false;
        for (change, key, _) in ops {
            let before = self.objects.get(key).cloned();
            let after = match change {
                Change::Put(_, text, ttl) => Some(Object {
                    stored: format!("{}|{text}", text % 3),
                    created: before.as_ref().map_or(next, |before| before.created),
                    modified: next,
                    version: before.as_ref().map_or(1, |before| before.version + 1),
                    expires_at: ttl
                        .map(|ttl| self.rig.clock.wall() + Duration::from_secs(u64::from(ttl))),
                }),
                Change::Delete(_) if before.is_some() => None,
                Change::Delete(_) | Change::Check(_) => continue,
            };
            changed = true;
            self.record(next, key, after, before);
        }
        if changed {
            self.past.insert(next, self.objects.clone());
        }
        Some(self.revision())
    }

    fn record(&mut self, revision: u64, key: &Key, after: Option<Object>, before: Option<Object>) {
        match &after {
            Some(object) => drop(self.objects.insert(key.clone(), object.clone())),
            None => drop(self.objects.remove(key)),
        }
        self.log.push((revision, key.clone(), after, before));
    }

    fn batch(&mut self, batch: &[Vec<(Change, u8)>]) {
        let mut expected = Vec::new();
        let mut transactions = Vec::new();
        for changes in batch {
            let mut ops: Vec<(Change, Key, Precondition)> = Vec::new();
            for (change, choice) in changes {
                let (Change::Put(number, ..) | Change::Delete(number) | Change::Check(number)) =
                    change;
                let key = key(*number);
                if ops.iter().all(|(_, other, _)| *other != key) {
                    let precondition = self.precondition(&key, *choice);
                    ops.push((change.clone(), key, precondition));
                }
            }
            expected.push(self.apply(&ops));
            let ops = ops.into_iter();
            let ops = ops.map(|(change, key, when)| op(change, key, when));
            transactions.push(Transaction::of(ops.collect()));
        }
        for (answer, expected) in self.rig.batch(transactions).into_iter().zip(expected) {
            match (answer, expected) {
                (Ok(committed), Some(revision)) => assert_eq!(committed.revision.0, revision),
                (Err(CommitError::Conflict(_)), None) => {}
                (answer, expected) => panic!("expected {expected:?}, got {answer:?}"),
            }
        }
        self.expire();
    }

    /// The store deletes what is due after it took the queued batch, in order of time and key.
    fn expire(&mut self) {
        let now = self.rig.clock.wall();
        let due = |object: &Object| object.expires_at.filter(|at| *at <= now);
        let mut expired: Vec<(Duration, Key)> = self
            .objects
            .iter()
            .filter_map(|(key, object)| Some((due(object)?, key.clone())))
            .collect();
        expired.sort();
        for (_, key) in expired {
            let before = self.objects.get(&key).cloned();
            let next = self.revision() + 1;
            self.record(next, &key, None, before);
            self.past.insert(next, self.objects.clone());
        }
    }

    fn run(&mut self, what: &Do) {
        match what {
            Do::Batch(batch) => self.batch(batch),
            Do::Watch(number, back) => {
                let resource = key(*number).resource().clone();
                let first = *self.past.first_key_value().unwrap().0;
                let from = self
                    .revision()
                    .saturating_sub(u64::from(back % 16))
                    .max(first);
                let scope = scope(number / 16);
                let watch = self
                    .rig
                    .store
                    .watch(&resource, scope.clone(), Revision(from))
                    .unwrap();
                self.watches.push(Watching {
                    watch,
                    resource,
                    scope,
                    from,
                    seen: Vec::new(),
                });
            }
            Do::Read(number, limit) => {
                let count = self.watches.len().max(1);
                if let Some(watching) = self.watches.get_mut(*number as usize % count) {
                    watching
                        .watch
                        .try_batch(&mut watching.seen, *limit as usize)
                        .unwrap();
                    let progress = watching.watch.progress();
                    watching.check(&self.log, progress.0);
                }
            }
            Do::Look(back) => self.look(*back),
            Do::Pass(seconds) => {
                self.rig
                    .clock
                    .advance(Duration::from_secs(u64::from(*seconds)));
                self.rig.core.step();
                self.expire();
            }
            Do::Fail(kind) => self.fail(*kind),
            Do::Restart => self.restart(),
        }
    }

    fn look(&self, back: u8) {
        let first = *self.past.first_key_value().unwrap().0;
        let revision = self.revision().saturating_sub(u64::from(back)).max(first);
        for resource in ["pods", "secrets"].map(Resource::new) {
            let snapshot = self
                .rig
                .store
                .snapshot_at(&resource, Revision(revision))
                .unwrap();
            let found = snapshot
                .iter()
                .map(|entry| (entry.key().clone(), object(entry)));
            let wanted = self.past[&revision]
                .iter()
                .filter(|(key, _)| *key.resource() == resource);
            assert!(found.eq(wanted.map(|(key, object)| (key.clone(), object.clone()))));
            assert_eq!(snapshot.revision().0, revision);
        }
    }

    /// A batch that the disk does not take changes nothing for anybody, now or after the disk is back.
    fn fail(&mut self, kind: u8) {
        let faults = [Fault::NoSpace, Fault::NoSpaceLate, Fault::SyncFails];
        let fault = faults[kind as usize % 3];
        self.rig.disk.fail(fault);
        let answer = self.rig.commit(put(&key(kind), "lost|"));
        assert!(matches!(answer, Err(CommitError::Storage(_))), "{answer:?}");
        assert!(matches!(self.rig.store.health(), Health::Suspended { .. }));
        let answer = self.rig.commit(put(&key(kind), "lost|"));
        assert!(
            matches!(answer, Err(CommitError::ReadOnly(_))),
            "{answer:?}"
        );
        self.rig.disk.heal();
        self.rig.clock.advance(Duration::from_secs(1));
        self.rig.core.step();
        self.expire();
        assert_eq!(self.rig.store.health(), Health::Writable);
    }

    fn restart(&mut self) {
        self.finish();
        let (disk, clock) = (self.rig.disk.clone(), self.rig.clock.clone());
        let spare = Rig::on(MemoryDisk::new(), clock.clone(), |_| ());
        drop(std::mem::replace(&mut self.rig, spare));
        disk.crash(Unsynced::Lost);
        self.rig = Rig::on(disk, clock, |options| options.limits.transactions = 1000);
        assert_eq!(self.rig.store.revision().0, self.revision());
        assert_eq!(self.rig.store.cluster_id(), 7);
        self.past = BTreeMap::from([(self.revision(), self.objects.clone())]);
        self.look(0);
    }

    /// Every watch has seen exactly what the log says.
    fn finish(&mut self) {
        for mut watching in std::mem::take(&mut self.watches) {
            watching
                .watch
                .try_batch(&mut watching.seen, usize::MAX)
                .unwrap();
            assert_eq!(
                watching.watch.progress().0.max(watching.from),
                self.revision()
            );
            watching.check(&self.log, self.revision());
        }
    }
}

impl Watching {
    /// What was seen is the log's part in scope, after the start and up to the progress at least.
    fn check(&self, log: &[Logged], progress: u64) {
        let mut wanted = log.iter().filter(|(revision, key, ..)| {
            *revision > self.from && *key.resource() == self.resource && self.scope.covers(key)
        });
        for event in &self.seen {
            let (revision, key, after, before) =
                wanted.next().expect("an event that is not in the log");
            assert_eq!((event.revision().0, event.key()), (*revision, key));
            assert_eq!(event.entry().map(object), *after);
            assert_eq!(event.previous().map(object), *before);
        }
        if let Some((revision, ..)) = wanted.next() {
            assert!(
                *revision >= progress,
                "progress {progress} claims the event at {revision}"
            );
        }
    }
}

fn op(change: Change, key: Key, when: Precondition) -> Op {
    match change {
        Change::Put(_, text, ttl) => {
            let expiry = ttl.map_or(Expiry::Never, |ttl| {
                Expiry::After(Duration::from_secs(u64::from(ttl)))
            });
            Op::Put(
                put(&key, &format!("{}|{text}", text % 3))
                    .when(when)
                    .expiring(expiry),
            )
        }
        Change::Delete(_) => Op::Delete(key, when),
        Change::Check(_) => Op::Check(key, when),
    }
}

fn object(entry: &Arc<Entry>) -> Object {
    Object {
        stored: String::from_utf8(entry.stored().unwrap().to_vec()).unwrap(),
        created: entry.create_revision().0,
        modified: entry.mod_revision().0,
        version: entry.version(),
        expires_at: entry.expires_at(),
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<u8>(), any::<u8>(), proptest::option::weighted(0.2, 1u8..5)).prop_map(|(k, t, ttl)| Change::Put(k, t, ttl)),
        3 => any::<u8>().prop_map(Change::Delete),
        1 => any::<u8>().prop_map(Change::Check),
    ]
}

fn step() -> impl Strategy<Value = Do> {
    let transaction = proptest::collection::vec((change(), any::<u8>()), 1..4);
    prop_oneof![
        8 => proptest::collection::vec(transaction, 1..6).prop_map(Do::Batch),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(number, back)| Do::Watch(number, back)),
        3 => (any::<u8>(), 0u8..6).prop_map(|(number, limit)| Do::Read(number, limit)),
        2 => any::<u8>().prop_map(Do::Look),
        2 => (0u8..4).prop_map(Do::Pass),
        1 => any::<u8>().prop_map(Do::Fail),
        1 => Just(Do::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_equals_its_model(steps in proptest::collection::vec(step(), 1..60)) {
        let mut model = Model::new();
        for step in &steps {
            model.run(step);
        }
        for back in 0..=255 {
            model.look(back);
        }
        model.finish();
    }

    /// A process that dies in the middle of a commit comes back with a state that some order of events explains:
    /// everything acknowledged, and the batch in flight entirely or not at all.
    #[test]
    fn a_crash_in_a_commit_is_all_or_nothing(before in 0u8..5, point in 0u8..3, kept in any::<bool>()) {
        let mut rig = Rig::new();
        let key = |name: u8| Key::new(&Resource::new("pods"), "n", &name.to_string());
        for name in 0..before {
            rig.put(&key(name), "u|");
        }
        let fault = [Fault::CrashBeforeWrite, Fault::CrashBeforeSync, Fault::CrashAfterSync][point as usize];
        rig.disk.fail(fault);
        let in_flight = Transaction::put(put(&key(100), "u|")).and(Op::Put(put(&key(101), "u|")));
        let answers = rig.batch(vec![in_flight, Transaction::delete(key(0), Precondition::Any)]);
        prop_assert!(answers.iter().all(|answer| matches!(answer, Err(CommitError::Storage(_)))));
        let disk = rig.disk.clone();
        disk.crash(if kept { Unsynced::Kept } else { Unsynced::Lost });
        drop(rig);
        let (store, _core) = Store::open_manual(Options::new(MemoryEngine::on(&disk), describe)).unwrap();
        let there = fault == Fault::CrashAfterSync || (fault == Fault::CrashBeforeSync && kept);
        prop_assert_eq!(store.get(&key(100)).is_some(), there);
        prop_assert_eq!(store.get(&key(101)).is_some(), there);
        prop_assert_eq!(store.get(&key(0)).is_some(), before > 0 && !there);
        let transactions = u64::from(before) + if !there { 0 } else if before > 0 { 2 } else { 1 };
        prop_assert_eq!(store.revision(), Revision(1 + transactions));
    }
}
