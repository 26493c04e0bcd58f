//! The same random transactions, crashes and restarts on all three engines: answers and states are the same.

use crate::rig::{Rig, describe, put};
use corten_store::engine::Engine;
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::{MemoryDisk, MemoryEngine, Unsynced};
use corten_store::engine::redb::RedbEngine;
use corten_store::*;
use proptest::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
enum Do {
    /// (key, what, how)
    Batch(Vec<Vec<(u8, u8, u16)>>),
    /// The process ends in an orderly way and comes back.
    Reopen,
    /// The process dies: what was on disk at that moment is all there is.
    Crash,
    /// The engine writes everything anew.
    Rebuild,
    Pass(u8),
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let transaction = prop::collection::vec((any::<u8>(), any::<u8>(), any::<u16>()), 1..5);
    let step = prop_oneof![
        8 => prop::collection::vec(transaction, 1..6).prop_map(Do::Batch),
        1 => Just(Do::Reopen),
        1 => Just(Do::Crash),
        1 => Just(Do::Rebuild),
        1 => any::<u8>().prop_map(Do::Pass),
    ];
    prop::collection::vec(step, 1..30)
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Memory,
    Fjall,
    Redb,
}

struct Side {
    kind: Kind,
    rig: Option<Rig>,
    disk: MemoryDisk,
    clock: Arc<ManualClock>,
    root: tempfile::TempDir,
    generation: u32,
}

impl Side {
    fn new(kind: Kind) -> Side {
        let mut side = Side {
            kind,
            rig: None,
            disk: MemoryDisk::new(),
            clock: Arc::new(ManualClock::starting_at(Duration::from_secs(1_000))),
            root: tempfile::tempdir().unwrap(),
            generation: 0,
        };
        side.open();
        side
    }

    fn directory(&self) -> PathBuf {
        self.root.path().join(self.generation.to_string())
    }

    fn engine(&self) -> Box<dyn Engine> {
        match self.kind {
            Kind::Memory => Box::new(MemoryEngine::on(&self.disk)),
            Kind::Fjall => Box::new(FjallEngine::open(&self.directory()).unwrap()),
            Kind::Redb => Box::new(RedbEngine::open(&self.directory()).unwrap()),
        }
    }

    fn open(&mut self) {
        let mut options = Options::new(MemoryEngine::on(&self.disk), describe);
        options.engine = self.engine();
        options.clock = self.clock.clone();
        options.cluster_id = Some(7);
        let (store, core) = Store::open_manual(options).unwrap();
        assert_eq!(store.health(), Health::Writable);
        self.rig = Some(Rig {
            store,
            core,
            clock: self.clock.clone(),
            disk: self.disk.clone(),
        });
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().unwrap()
    }

    fn run(&mut self, step: &Do) -> String {
        match step {
            Do::Batch(batch) => {
                let transactions = batch.iter().map(|ops| transaction(ops)).collect();
                let answers = self.rig().batch(transactions);
                let told = answers.iter().map(|answer| match answer {
                    Ok(committed) => format!("{} {:?}", committed.revision, committed.outcomes),
                    Err(error) => error.to_string(),
                });
                told.collect::<Vec<_>>().join("\n")
            }
            Do::Reopen => {
                let rig = self.rig.take().unwrap();
                rig.core.close();
                drop(rig.store);
                self.open();
                String::new()
            }
            Do::Crash => {
                let rig = self.rig.take().unwrap();
                let (from, to) = (
                    self.directory(),
                    self.root.path().join((self.generation + 1).to_string()),
                );
                if !matches!(self.kind, Kind::Memory) {
                    copy(&from, &to);
                }
                drop(rig);
                self.disk.crash(Unsynced::Lost);
                self.generation += 1;
                self.open();
                String::new()
            }
            Do::Rebuild => {
                let rig = self.rig.take().unwrap();
                let whole = rig.store.snapshot_all();
                let identity = engine::Identity {
                    format: engine::FORMAT,
                    cluster_id: 7,
                };
                drop(rig);
                self.engine()
                    .rebuild(&mut whole.batches(identity, &(Arc::new(Plain) as Arc<dyn Seal>)))
                    .unwrap();
                self.open();
                String::new()
            }
            Do::Pass(seconds) => {
                self.rig().pass(Duration::from_secs(u64::from(*seconds)));
                String::new()
            }
        }
    }

    fn state(&mut self) -> String {
        let state = self.rig().store.snapshot_all();
        let mut text = format!("at {}\n", state.revision());
        for resource in state.resources() {
            for entry in state.resource(resource).iter() {
                text += &format!(
                    "{} {}-{} v{} {:?} lease {} {}\n",
                    entry.key(),
                    entry.create_revision(),
                    entry.mod_revision(),
                    entry.version(),
                    entry.expires_at(),
                    entry.lease(),
                    String::from_utf8_lossy(&entry.stored().unwrap())
                );
            }
        }
        for (name, note) in state.notes("") {
            text += &format!("note {name} {note:?}\n");
        }
        text
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        let target = to.join(file.file_name());
        match file.file_type().unwrap().is_dir() {
            true => copy(&file.path(), &target),
            // A file may go while it is looked at: fjall works in the background.
            false => drop(std::fs::copy(file.path(), target)),
        }
    }
}

fn transaction(changes: &[(u8, u8, u16)]) -> Transaction {
    let mut ops: Vec<Op> = Vec::new();
    let mut notes = Vec::new();
    for (number, what, how) in changes {
        let resource = Resource::new(["pods", "events"][usize::from(number % 2)]);
        let key = match number % 5 {
            0 => Key::raw(&[*number, 0, 255]),
            _ => Key::new(&resource, "n", &format!("o{}", number % 9)),
        };
        if ops.iter().any(|op| op.key() == &key) {
            continue;
        }
        let text = format!("u|{}", "x".repeat(usize::from(*how) % 3000));
        let put = put(&key, &text);
        match what % 8 {
            0 => ops.push(Op::Delete(key, Precondition::Any)),
            1 => ops.push(Op::Put(put.when(Precondition::MustNotExist))),
            2 => ops.push(Op::Check(key, Precondition::MustExist)),
            3 => ops.push(Op::Put(
                put.expiring(Expiry::After(Duration::from_secs(u64::from(*how % 200)))),
            )),
            4 => ops.push(Op::Put(put.leased(u64::from(*how)))),
            5 => notes.push(Note::set(&format!("n{}", number % 4), text.into_bytes())),
            6 => notes.push(Note::remove(&format!("n{}", number % 4))),
            _ => ops.push(Op::Put(put)),
        }
    }
    Transaction {
        ops,
        notes,
        ..Transaction::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn three_engines_agree(steps in steps()) {
        let mut sides = [Side::new(Kind::Memory), Side::new(Kind::Fjall), Side::new(Kind::Redb)];
        for step in &steps {
            let told: Vec<String> = sides.iter_mut().map(|side| side.run(step)).collect();
            prop_assert_eq!(&told[0], &told[1]);
            prop_assert_eq!(&told[0], &told[2]);
            let states: Vec<String> = sides.iter_mut().map(Side::state).collect();
            prop_assert_eq!(&states[0], &states[1]);
            prop_assert_eq!(&states[0], &states[2]);
        }
    }
}

#[test]
fn a_damaged_record_in_redb_is_noticed() {
    let mut side = Side::new(Kind::Redb);
    side.rig().put(&Key::raw(b"a"), "u|1");
    let state = side.state();
    drop(side.rig.take());
    // A damaged file is an error or named damage, never a silent loss.
    let file = side.directory().join("store.redb");
    let bytes = std::fs::read(&file).unwrap();
    let at = bytes
        .windows(3)
        .position(|window| window == b"u|1")
        .unwrap();
    let mut flipped = bytes.clone();
    flipped[at + 2] ^= 1;
    std::fs::write(&file, &flipped).unwrap();
    let engine = RedbEngine::open(&side.directory());
    if let Ok(engine) = engine {
        let (store, _core) = Store::open_manual(Options::new(engine, describe)).unwrap();
        assert!(!store.health().is_writable(), "{:?}", store.health());
    }
    std::fs::write(&file, &bytes).unwrap();
    side.open();
    assert_eq!(side.state(), state);
}
