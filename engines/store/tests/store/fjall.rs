//! The engine on a local directory.

use crate::rig::{Rig, describe, put};
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::MemoryDisk;
use corten_store::engine::{Batch, Engine, EngineError, Identity};
use corten_store::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

fn key(name: &str) -> Key {
    Key::new(&Resource::new("pods"), "n", name)
}

fn open(directory: &Path) -> Rig {
    let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1)));
    let mut options = Options::new(FjallEngine::open(directory).unwrap(), describe);
    options.clock = clock.clone();
    let (store, core) = Store::open_manual(options).unwrap();
    Rig {
        store,
        core,
        clock,
        disk: MemoryDisk::new(),
    }
}

fn journal(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory.join("db")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "jnl"))
        .unwrap()
}

#[test]
fn revisions_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = open(directory.path());
    let cluster_id = rig.store.cluster_id();
    rig.put(&key("a"), "u|1");
    rig.put(&key("a"), "u|2");
    rig.put(&key("b"), "u|");
    rig.commit(
        put(&Key::cluster(&Resource::new("minions"), "node"), "v|")
            .expiring(Expiry::After(Duration::from_secs(60))),
    )
    .unwrap();
    rig.delete(&key("b"));
    assert!(rig.store.stats().bytes_written > 0);
    drop(rig);
    let mut rig = open(directory.path());
    assert_eq!(
        (rig.store.cluster_id(), rig.store.revision()),
        (cluster_id, Revision(6))
    );
    let entry = rig.store.get(&key("a")).unwrap();
    assert_eq!(
        (
            entry.create_revision(),
            entry.mod_revision(),
            entry.version()
        ),
        (Revision(2), Revision(3), 2)
    );
    assert_eq!(
        (entry.stored().unwrap(), entry.header().uid()),
        (bytes::Bytes::from_static(b"u|2"), "u")
    );
    assert!(rig.store.get(&key("b")).is_none());
    let node = rig
        .store
        .get(&Key::cluster(&Resource::new("minions"), "node"))
        .unwrap();
    assert_eq!(node.expires_at(), Some(Duration::from_secs(61)));
    let pods = Resource::new("pods");
    assert_eq!(
        rig.store
            .watch(&pods, Scope::All, Revision(5))
            .err()
            .unwrap()
            .oldest,
        Revision(6)
    );
    assert!(rig.store.watch(&pods, Scope::All, Revision(6)).is_ok());
    assert!(rig.store.snapshot_at(&pods, Revision(5)).is_err());
    assert_eq!(rig.put(&key("c"), "u|").mod_revision(), Revision(7));
}

#[test]
fn a_second_open_names_the_holder() {
    let directory = tempfile::tempdir().unwrap();
    let rig = open(directory.path());
    let error = FjallEngine::open(directory.path()).err().unwrap();
    assert!(matches!(&error, EngineError::InUse { pid, .. } if *pid == std::process::id()));
    assert_eq!(
        error.to_string(),
        format!(
            "the data directory {} is in use by process {}; stop it first or choose another directory",
            directory.path().display(),
            std::process::id()
        )
    );
    drop(rig);
    FjallEngine::open(directory.path()).unwrap();
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut engine = FjallEngine::open(directory.path()).unwrap();
    let identity = Some(Identity {
        format: 99,
        cluster_id: 5,
    });
    engine
        .append(&Batch {
            identity,
            revision: Revision(4),
            ..Batch::default()
        })
        .unwrap();
    drop(engine);
    let options = Options::new(FjallEngine::open(directory.path()).unwrap(), describe);
    let error = Store::open_manual(options).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the store has format 99, this program knows formats up to 2; use the program that wrote it"
    );
}

#[test]
fn a_damaged_record_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = open(directory.path());
    rig.put(&key("good"), "u|");
    rig.put(&key("bad"), "u|");
    drop(rig);
    {
        // As a program with a bug would leave it: fjall's own checksums are right.
        let database = ::fjall::Database::builder(directory.path().join("db"))
            .open()
            .unwrap();
        let data = database
            .keyspace("data", ::fjall::KeyspaceCreateOptions::default)
            .unwrap();
        let mut record = data.get(key("bad").path()).unwrap().unwrap().to_vec();
        *record.last_mut().unwrap() ^= 1;
        data.insert(key("bad").path(), record).unwrap();
        database.persist(::fjall::PersistMode::SyncAll).unwrap();
    }
    let rig = open(directory.path());
    let Health::Damaged { records } = rig.store.health() else {
        panic!("{:?}", rig.store.health())
    };
    assert_eq!(records[0].key, "/registry/pods/n/bad");
    assert!(rig.store.get(&key("good")).is_some());
}

#[test]
fn a_torn_journal_keeps_what_came_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = open(directory.path());
    let mut lengths = Vec::new();
    let used = || {
        let bytes = std::fs::read(journal(directory.path())).unwrap();
        bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1)
    };
    for number in 0..20 {
        rig.put(&key(&number.to_string()), &format!("u|{}", "x".repeat(100)));
        lengths.push(used());
    }
    drop(rig);
    let whole = std::fs::read(journal(directory.path())).unwrap();
    let torn = tempfile::tempdir().unwrap();
    for (survivors, cut) in [
        (19, lengths[19] - 5),
        (15, lengths[15] - 1),
        (10, lengths[9] + 8),
        (3, lengths[2] + 60),
    ] {
        let copied = std::process::Command::new("cp")
            .args(["-rT"])
            .args([directory.path(), torn.path()])
            .status()
            .unwrap();
        assert!(copied.success());
        // Both ways that a tail is lost: the file ends, or the blocks were never written.
        for length in [cut as u64, whole.len() as u64] {
            let mut bytes = whole[..cut].to_vec();
            bytes.resize(length as usize, 0);
            std::fs::write(journal(torn.path()), bytes).unwrap();
            let mut rig = open(torn.path());
            assert_eq!(
                rig.store.snapshot(key("").resource()).len(),
                survivors,
                "cut at {cut} of {}",
                lengths[19]
            );
            assert_eq!(rig.store.revision(), Revision(survivors as u64 + 1));
            rig.put(&key("next"), "u|");
            drop(rig);
            assert_eq!(
                open(torn.path()).store.snapshot(key("").resource()).len(),
                survivors + 1
            );
        }
    }
}

#[test]
fn an_interrupted_making_starts_over() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("db/keyspaces")).unwrap();
    std::fs::write(directory.path().join("db/0.jnl"), "").unwrap();
    let mut rig = open(directory.path());
    rig.put(&key("a"), "u|");
}

#[test]
fn more_than_a_memtable_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = open(directory.path());
    let text = format!("u|{}", "x".repeat(20_000));
    for round in 0..10 {
        let transactions = (0..100)
            .map(|name| Transaction::put(put(&key(&format!("{name}")), &format!("{text}{round}"))));
        rig.batch(transactions.collect())
            .into_iter()
            .for_each(|answer| drop(answer.unwrap()));
    }
    drop(rig);
    let rig = open(directory.path());
    let snapshot = rig.store.snapshot(key("").resource());
    assert_eq!((snapshot.len(), snapshot.revision()), (100, Revision(1001)));
    assert!(
        snapshot
            .iter()
            .all(|entry| entry.stored().unwrap().ends_with(b"9"))
    );
}

#[test]
fn a_rebuilt_store_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let db = |name: &str| directory.path().join(name);
    let mut rig = open(directory.path());
    for name in 0..2500 {
        rig.put(&key(&name.to_string()), &format!("u|{name}"));
    }
    rig.delete(&key("7"));
    let (before, cluster_id) = (
        rig.store.snapshot(key("").resource()),
        rig.store.cluster_id(),
    );
    let whole = rig.store.snapshot_all();
    drop(rig);

    let mut engine = FjallEngine::open(directory.path()).unwrap();
    let identity = Identity {
        format: corten_store::engine::FORMAT,
        cluster_id,
    };
    engine
        .rebuild(&mut whole.batches(identity, &(Arc::new(Plain) as Arc<dyn Seal>)))
        .unwrap();
    drop(engine);
    let same = || {
        let rig = open(directory.path());
        let after = rig.store.snapshot(key("").resource());
        assert_eq!(
            (after.revision(), rig.store.cluster_id()),
            (before.revision(), cluster_id)
        );
        assert_eq!(
            crate::rig::texts(after.iter()),
            crate::rig::texts(before.iter())
        );
        assert!(!db("db-next").exists() && !db("db-ready").exists());
    };
    same();

    // Interrupted before the new database was whole: it is forgotten.
    std::fs::create_dir(db("db-next")).unwrap();
    same();
    // Interrupted between the two: the new one takes the place of the old one.
    std::fs::rename(db("db"), db("db-ready")).unwrap();
    same();
    std::fs::rename(db("db"), db("db-ready")).unwrap();
    std::fs::create_dir(db("db")).unwrap();
    std::fs::write(db("db/version"), "not a database").unwrap();
    same();
}

#[test]
fn a_making_that_was_interrupted_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("db");
    // As a kill leaves it that comes while fjall writes its version, found by the endurance test.
    std::fs::create_dir_all(database.join("keyspaces")).unwrap();
    for (name, bytes) in [("0.jnl", &[0u8; 4096][..]), ("lock", &[]), ("version", &[])] {
        std::fs::write(database.join(name), bytes).unwrap();
    }
    drop(FjallEngine::open(directory.path()).unwrap());
    // What has a tree may have objects: it is not thrown away.
    std::fs::write(database.join("version"), b"").unwrap();
    assert!(FjallEngine::open(directory.path()).is_err());
    assert!(database.join("keyspaces").read_dir().unwrap().count() > 0);
}
