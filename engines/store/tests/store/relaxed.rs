//! Relaxed writes: answered before they are synced, at most a window of them lost, no revision given twice.

use crate::rig::{Rig, put};
use corten_store::engine::memory::{Fault, MemoryDisk, Unsynced};
use corten_store::*;
use std::sync::Arc;
use std::time::Duration;

fn key(name: &str) -> Key {
    Key::new(&Resource::new("leases"), "n", name)
}

fn relaxed(key: &Key, text: &str) -> Transaction {
    let mut transaction = Transaction::put(put(key, text));
    transaction.durability = Durability::Relaxed;
    transaction
}

fn rig(disk: &MemoryDisk, clock: &Arc<ManualClock>) -> Rig {
    Rig::on(disk.clone(), clock.clone(), |options| {
        options.relaxed = Some(Relaxed {
            window: Duration::from_secs(1),
            transactions: 2000,
        });
    })
}

fn parts() -> (MemoryDisk, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1)));
    (MemoryDisk::new(), clock)
}

#[test]
fn a_power_cut_takes_at_most_the_window() {
    let (disk, clock) = parts();
    let mut rig = rig(&disk, &clock);
    rig.put(&key("synced"), "u|");
    rig.commit(relaxed(&key("old"), "u|1")).unwrap();
    assert_eq!(rig.core.next_wake(), Some(Duration::from_secs(1)));
    rig.pass(Duration::from_secs(1));
    let seen = rig.commit(relaxed(&key("young"), "u|2")).unwrap().revision;
    clock.advance(Duration::from_millis(900));
    rig.core.step();
    drop((rig.store, rig.core));
    disk.crash(Unsynced::Lost);
    let mut rig = self::rig(&disk, &clock);
    assert!(rig.store.get(&key("synced")).is_some() && rig.store.get(&key("old")).is_some());
    assert!(rig.store.get(&key("young")).is_none(), "the window's loss");
    assert!(
        rig.store.revision() > seen,
        "a revision that was seen is not given again"
    );
    assert!(rig.put(&key("next"), "u|").mod_revision() > seen);
}

#[test]
fn a_synced_write_takes_the_relaxed_ones_before_it_along() {
    let (disk, clock) = parts();
    let mut rig = rig(&disk, &clock);
    rig.commit(relaxed(&key("a"), "u|1")).unwrap();
    rig.put(&key("b"), "u|2");
    drop((rig.store, rig.core));
    disk.crash(Unsynced::Lost);
    let rig = self::rig(&disk, &clock);
    assert!(rig.store.get(&key("a")).is_some() && rig.store.get(&key("b")).is_some());
}

#[test]
fn the_process_may_die_and_an_orderly_end_loses_nothing() {
    let (disk, clock) = parts();
    let mut first = rig(&disk, &clock);
    first.commit(relaxed(&key("a"), "u|1")).unwrap();
    drop((first.store, first.core));
    disk.crash(Unsynced::Kept);
    let mut second = rig(&disk, &clock);
    assert!(second.store.get(&key("a")).is_some());
    second.commit(relaxed(&key("b"), "u|1")).unwrap();
    second.core.close();
    drop(second.store);
    disk.crash(Unsynced::Lost);
    assert!(rig(&disk, &clock).store.get(&key("b")).is_some());
}

#[test]
fn it_is_off_unless_asked_for() {
    let (disk, clock) = parts();
    let mut rig = Rig::on(disk.clone(), clock.clone(), |_| ());
    rig.commit(relaxed(&key("a"), "u|1")).unwrap();
    drop((rig.store, rig.core));
    disk.crash(Unsynced::Lost);
    assert!(Rig::on(disk, clock, |_| ()).store.get(&key("a")).is_some());
}

#[test]
fn the_number_of_unsynced_writes_is_bounded() {
    let (disk, clock) = parts();
    let mut rig = rig(&disk, &clock);
    let mut lost_at_most = 0;
    for number in 0..3000 {
        rig.commit(relaxed(&key("a"), &format!("u|{number}")))
            .unwrap();
        lost_at_most = number;
    }
    let seen = rig.store.revision();
    drop((rig.store, rig.core));
    disk.crash(Unsynced::Lost);
    let rig = self::rig(&disk, &clock);
    let entry = rig.store.get(&key("a")).unwrap();
    let text = String::from_utf8_lossy(&entry.stored().unwrap()).into_owned();
    let kept: i32 = text[2..].parse().unwrap();
    assert!(lost_at_most - kept < 2000, "{kept}");
    assert!(rig.store.revision() > seen);
}

#[test]
fn a_failed_sync_suspends_and_loses_nothing() {
    let (disk, clock) = parts();
    let mut rig = rig(&disk, &clock);
    rig.commit(relaxed(&key("a"), "u|1")).unwrap();
    disk.fail(Fault::SyncFails);
    rig.pass(Duration::from_millis(1000));
    assert!(!rig.store.health().is_writable());
    disk.heal();
    rig.pass(Duration::from_secs(120));
    assert!(rig.store.health().is_writable());
    drop((rig.store, rig.core));
    disk.crash(Unsynced::Lost);
    assert!(self::rig(&disk, &clock).store.get(&key("a")).is_some());
}
