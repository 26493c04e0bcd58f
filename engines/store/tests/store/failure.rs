//! Disks that fail: what callers are told, what stays readable, how the store comes back.

use crate::rig::{Rig, describe, put};
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::{Fault, MemoryDisk, MemoryEngine};
use corten_store::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn key(name: &str) -> Key {
    Key::new(&Resource::new("pods"), "n", name)
}

#[test]
fn a_failed_log_suspends_and_recovers() {
    let mut rig = Rig::new();
    rig.put(&key("old"), "u|1");
    let mut watch = rig
        .store
        .watch(key("").resource(), Scope::All, Revision(1))
        .unwrap();
    rig.disk.fail(Fault::SyncFails);
    let answers = rig.batch(vec![
        Transaction::put(put(&key("new"), "u|")),
        Transaction::put(put(&key("new"), "u|2").when(Precondition::MustNotExist)),
        Transaction::delete(key("old"), Precondition::Any),
        Transaction::put(put(&key(""), "u|")),
    ]);
    assert!(matches!(answers[0], Err(CommitError::Storage(_))));
    assert!(
        matches!(answers[1], Err(CommitError::Storage(_))),
        "a conflict with what was not made durable is none"
    );
    assert!(matches!(answers[3], Err(CommitError::Invalid { .. })));
    assert_eq!(rig.store.revision(), Revision(2));
    assert!(rig.store.get(&key("old")).is_some() && rig.store.get(&key("new")).is_none());
    let refused = rig.commit(put(&key("new"), "u|")).unwrap_err().to_string();
    assert_eq!(
        refused,
        "the store is read-only: appending to memory: broken pipe"
    );

    rig.pass(Duration::from_secs(1));
    assert!(!rig.store.health().is_writable(), "the first probe failed");
    rig.disk.heal();
    assert_eq!(rig.core.next_wake().map(|wake| wake.as_secs()), Some(2));
    rig.pass(Duration::from_secs(2));
    assert!(rig.store.health().is_writable());
    assert_eq!(rig.put(&key("other"), "u|").mod_revision(), Revision(3));
    let mut events = Vec::new();
    watch.try_batch(&mut events, 10).unwrap();
    assert_eq!(events.len(), 2);

    let rig = rig.restarted();
    assert!(rig.store.get(&key("old")).is_some() && rig.store.get(&key("new")).is_none());
    assert_eq!(rig.store.revision(), Revision(3));
}

#[test]
fn a_damaged_record_is_named() {
    let mut rig = Rig::new();
    rig.put(&key("good"), "u|");
    rig.put(&key("bad"), "u|");
    assert!(rig.disk.corrupt("/registry/pods/n/bad"));
    let mut rig = rig.restarted();
    let Health::Damaged { records } = rig.store.health() else {
        panic!("{:?}", rig.store.health())
    };
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].key, "/registry/pods/n/bad");
    assert!(
        records[0].reason.contains("checksum"),
        "{}",
        records[0].reason
    );
    assert!(rig.store.get(&key("good")).is_some() && rig.store.get(&key("bad")).is_none());
    let error = rig.commit(put(&key("bad"), "u|")).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "the store is read-only: 1 of its records cannot be read, /registry/pods/n/bad: "
        ),
        "{error}"
    );
    assert_eq!(rig.store.revision(), Revision(3));
}

#[test]
fn an_object_that_cannot_be_described_is_named() {
    let disk = MemoryDisk::new();
    let rig = Rig::on(
        disk,
        Arc::new(ManualClock::starting_at(Duration::from_secs(1))),
        |_| (),
    );
    let mut rig = rig;
    rig.put(&key("a"), "u|");
    let options = Options::new(MemoryEngine::on(&rig.disk), |_: &Key, _: &bytes::Bytes| {
        Err("no kind".to_owned())
    });
    let (store, _core) = Store::open_manual(options).unwrap();
    let Health::Damaged { records } = store.health() else {
        panic!("{:?}", store.health())
    };
    assert_eq!(records[0].reason, "its object cannot be read: no kind");
}

/// A small file system of its own, unmounted at the end.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path, options: &str) -> SmallDisk<'a> {
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "small"])
            .arg(at)
            .status()
            .unwrap();
        assert!(mounted.success());
        SmallDisk(at)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0)
            .status();
    }
}

#[test]
fn a_full_disk_suspends_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(directory.path(), "size=4m");
    let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1)));
    let open = || {
        let mut options = Options::new(
            FjallEngine::open(&directory.path().join("store")).unwrap(),
            describe,
        );
        options.clock = clock.clone();
        let (store, core) = Store::open_manual(options).unwrap();
        Rig {
            store,
            core,
            clock: clock.clone(),
            disk: MemoryDisk::new(),
        }
    };
    let mut rig = open();
    let ballast = directory.path().join("ballast");
    std::fs::write(&ballast, vec![1u8; 1 << 20]).unwrap();
    let noise = |number: u32| -> String {
        let mut state = number.wrapping_mul(2_654_435_761) | 1;
        let mut letter = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            char::from(b'a' + (state % 26) as u8)
        };
        (0..30_000).map(|_| letter()).collect()
    };
    let mut acknowledged = 0;
    let error = loop {
        match rig.commit(put(&key(&acknowledged.to_string()), &noise(acknowledged))) {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 1000, "a small disk does not fill");
    };
    assert!(matches!(error, CommitError::Storage(_)), "{error}");
    assert!(error.to_string().contains("no space left"), "{error}");
    assert!(acknowledged > 10);
    assert_eq!(
        rig.store.snapshot(key("").resource()).len(),
        acknowledged as usize,
        "reads go on"
    );
    assert!(!rig.store.health().is_writable());

    std::fs::remove_file(&ballast).unwrap();
    for _ in 0..10 {
        rig.pass(Duration::from_secs(30));
        if rig.store.health().is_writable() {
            break;
        }
    }
    assert_eq!(rig.store.health(), Health::Writable);
    rig.put(&key("after"), "u|");
    drop(rig);
    let rig = open();
    let snapshot = rig.store.snapshot(key("").resource());
    assert_eq!(snapshot.len(), acknowledged as usize + 1);
    for number in 0..acknowledged {
        let entry = snapshot.get("n", &number.to_string()).unwrap();
        assert_eq!(entry.stored().unwrap(), noise(number).as_bytes());
    }
    drop((rig, snapshot, disk));
}
