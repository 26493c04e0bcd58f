//! Bounded memory: values on the disk alone change no answer, of now or of old revisions, and stay within their budget.

use crate::rig::{Rig, describe, put, texts};
use bytes::Bytes;
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::{Fault, MemoryDisk, MemoryEngine, Unsynced};
use corten_store::engine::redb::RedbEngine;
use corten_store::*;
use std::sync::Arc;
use std::time::Duration;

const BUDGET: usize = 4_000;

fn pods() -> Resource {
    Resource::new("pods")
}

fn key(name: &str) -> Key {
    Key::new(&pods(), "n", name)
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

/// The same store twice: once with everything in memory, once with hardly anything.
struct Pair {
    plain: Side,
    bounded: Side,
}

struct Side {
    rig: Option<Rig>,
    watch: Option<Watch>,
    seen: Vec<Arc<Event>>,
    /// Held for long, as a slow list holds it.
    held: Option<Snapshot>,
    directory: Option<tempfile::TempDir>,
    value_bytes: Option<usize>,
}

impl Side {
    fn open(&mut self, disk: MemoryDisk, clock: Arc<ManualClock>) {
        let rig = Rig::on(disk, clock, |options| {
            if let Some(directory) = &self.directory {
                options.engine = Box::new(FjallEngine::open(directory.path()).unwrap());
            }
            options.value_bytes = self.value_bytes;
            options.retention.events = 60;
        });
        assert_eq!(rig.store.health(), Health::Writable);
        self.watch = Some(
            rig.store
                .watch(&pods(), Scope::All, rig.store.revision())
                .unwrap(),
        );
        self.seen.clear();
        self.held = None;
        self.rig = Some(rig);
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().unwrap()
    }

    fn restart(&mut self, is_power: bool) {
        (self.watch, self.held) = (None, None);
        let Rig {
            store,
            core,
            clock,
            disk,
        } = self.rig.take().unwrap();
        drop((store, core));
        disk.crash(match is_power {
            true => Unsynced::Lost,
            false => Unsynced::Kept,
        });
        self.open(disk, clock);
    }

    /// Everything that can be read, now and then.
    fn told(&mut self, back: u64) -> String {
        let watch = self.watch.as_mut().unwrap();
        // It may have been too slow, which both must say.
        let ended = watch.try_batch(&mut self.seen, usize::MAX);
        let store = self.rig.as_ref().unwrap().store.clone();
        let now = store.snapshot(&pods());
        let then = Revision(now.revision().0.saturating_sub(back));
        let mut told = format!("{} {ended:?} {:?}\n", now.revision(), texts(now.iter()));
        told += &match store.snapshot_at(&pods(), then) {
            Ok(then) => format!("{:?}\n", texts(then.iter())),
            Err(error) => error.to_string(),
        };
        if let Some(held) = &self.held {
            told += &format!("{:?}\n", texts(held.iter()));
        }
        for event in self.seen.drain(..) {
            told += &format!(
                "{event:?} {:?} {:?}\n",
                texts(event.entry()),
                texts(event.previous())
            );
        }
        told
    }
}

impl Pair {
    fn new(is_on_disk: bool) -> Pair {
        let side = |value_bytes| {
            let mut side = Side {
                rig: None,
                watch: None,
                seen: Vec::new(),
                held: None,
                directory: is_on_disk.then(|| tempfile::tempdir().unwrap()),
                value_bytes,
            };
            let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1)));
            side.open(MemoryDisk::new(), clock);
            side
        };
        Pair {
            plain: side(None),
            bounded: side(Some(BUDGET)),
        }
    }

    fn both<T: PartialEq + std::fmt::Debug>(&mut self, mut run: impl FnMut(&mut Side) -> T) {
        let (plain, bounded) = (run(&mut self.plain), run(&mut self.bounded));
        assert_eq!(plain, bounded);
    }

    fn step(&mut self, random: &mut Random) {
        match random.below(20) {
            0 => {
                let is_power = random.below(2) == 0;
                self.both(|side| side.restart(is_power));
            }
            1 => self.both(|side| side.rig().pass(Duration::from_secs(90))),
            2 => self.both(|side| side.held = Some(side.rig().store.snapshot(&pods()))),
            3 => {
                let fault = [Fault::NoSpace, Fault::NoSpaceLate, Fault::SyncFails]
                    [random.below(3) as usize];
                self.both(|side| {
                    side.rig().disk.fail(fault);
                });
                self.batch(random);
                self.both(|side| side.told(3));
                self.both(|side| {
                    side.rig().disk.heal();
                    side.rig().pass(Duration::from_secs(40));
                    assert!(side.rig().store.health().is_writable());
                });
            }
            _ => self.batch(random),
        }
        let back = random.below(80);
        self.both(|side| side.told(back));
    }

    fn batch(&mut self, random: &mut Random) {
        let seed = random.below(u64::MAX);
        self.both(|side| {
            let mut random = Random(seed);
            let transactions = (0..=random.below(5))
                .map(|_| {
                    let key = key(&format!("o{}", random.below(12)));
                    let text = format!("{}|{}", seed % 9, "x".repeat(random.below(1500) as usize));
                    match random.below(6) {
                        0 => Transaction::delete(key, Precondition::Any),
                        1 => Transaction::put(put(&key, &text).when(Precondition::MustNotExist)),
                        _ => Transaction::put(put(&key, &text)),
                    }
                })
                .collect();
            let answers = side.rig().batch(transactions);
            let told = answers.iter().map(|answer| match answer {
                Ok(committed) => format!("{} {:?}", committed.revision, committed.outcomes),
                Err(error) => error.to_string(),
            });
            told.collect::<Vec<_>>()
        });
    }
}

#[test]
fn bounded_memory_changes_no_answer() {
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut pair = Pair::new(false);
        for _ in 0..80 {
            pair.step(&mut random);
        }
        let stats = pair.bounded.rig().store.stats();
        assert!(stats.value_bytes <= BUDGET, "{stats:?}");
    }
}

#[test]
fn bounded_memory_changes_no_answer_on_fjall() {
    let mut reads = 0;
    for seed in 0..4 {
        let mut random = Random(1_000 + seed);
        let mut pair = Pair::new(true);
        for _ in 0..60 {
            pair.step(&mut random);
        }
        reads += pair.bounded.rig().store.stats().value_reads;
    }
    assert!(reads > 100, "{reads}");
}

#[test]
fn values_stay_within_their_budget() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let engine = FjallEngine::open(directory.path()).unwrap();
        let mut options = Options::new(engine, describe).bounded(256 << 10);
        options.limits.transactions = 1;
        let (store, core) = Store::open_manual(options).unwrap();
        Rig {
            store,
            core,
            clock: Arc::new(ManualClock::starting_at(Duration::ZERO)),
            disk: MemoryDisk::new(),
        }
    };
    let text = |number: usize| format!("{number}|{}", "v".repeat(8_000));
    let mut rig = open();
    for round in 0..3 {
        for number in 0..200 {
            rig.put(&key(&format!("{number:03}")), &text(number + round));
        }
    }
    for _ in 0..2 {
        let stats = rig.store.stats();
        assert!(stats.value_bytes <= 128 << 10, "{stats:?}");
        assert!(stats.window_bytes <= 128 << 10, "{stats:?}");
        for (number, entry) in rig.store.snapshot(&pods()).iter().enumerate() {
            assert_eq!(entry.stored().unwrap(), text(number + 2));
            assert_eq!(entry.stored_len(), text(number + 2).len());
        }
        assert!(rig.store.stats().value_bytes <= 128 << 10);
        drop(rig);
        rig = open();
    }
}

#[test]
fn entries_of_a_closed_store_let_go_of_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let engine = FjallEngine::open(directory.path()).unwrap();
        let mut options = Options::new(engine, describe);
        options.value_bytes = Some(0);
        Store::open_manual(options).unwrap()
    };
    let (store, core) = open();
    let mut rig = Rig {
        store,
        core,
        clock: Arc::new(ManualClock::starting_at(Duration::ZERO)),
        disk: MemoryDisk::new(),
    };
    let entry = rig.put(&key("a"), "u|1");
    assert_eq!(entry.stored().unwrap(), "u|1");
    drop(rig);
    let error = entry.stored().unwrap_err().to_string();
    assert!(
        error.starts_with(
            "the stored object /registry/pods/n/a at revision 2 cannot be read back from the disk: "
        ),
        "{error}"
    );
    let (store, _core) = open();
    assert_eq!(store.get(&key("a")).unwrap().stored().unwrap(), "u|1");
}

#[test]
fn a_record_that_changed_on_the_disk_is_not_served() {
    let mut rig = Rig::with(|options| options.value_bytes = Some(0));
    let entry = rig.put(&key("a"), "u|1");
    assert!(rig.disk.corrupt("/registry/pods/n/a"));
    let error = entry.stored().unwrap_err();
    assert!(error.reason.contains("checksum"), "{error}");
    // Watchers and old views would need it, so that it cannot be replaced either.
    let error = rig.commit(put(&key("a"), "u|2")).unwrap_err();
    assert!(matches!(error, CommitError::Read(_)), "{error}");
    rig.put(&key("b"), "u|");
}

#[test]
fn an_engine_that_cannot_read_back_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let engine = RedbEngine::open(directory.path()).unwrap();
    let options = Options::new(engine, describe).bounded(1 << 20);
    assert!(matches!(
        Store::open_manual(options),
        Err(OpenError::Unbounded)
    ));
    let options = Options::new(
        MemoryEngine::on(&MemoryDisk::new()),
        |_: &Key, _: &Bytes| Ok(Header::default()),
    );
    assert!(Store::open_manual(options.bounded(1 << 20)).is_ok());
}
