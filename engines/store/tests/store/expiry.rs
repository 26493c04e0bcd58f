//! Objects that the store deletes by itself.

use crate::rig::{Rig, put};
use corten_store::*;
use std::time::Duration;

fn after(seconds: u64) -> Expiry {
    Expiry::After(Duration::from_secs(seconds))
}

#[test]
fn objects_expire_in_order() {
    let mut rig = Rig::new();
    let events = Resource::new("events");
    let key = |name: &str| Key::new(&events, "n", name);
    let mut watch = rig.store.watch(&events, Scope::All, Revision(1)).unwrap();
    for (name, seconds) in [
        ("c", 30),
        ("a", 10),
        ("b", 20),
        ("kept", 10),
        ("longer", 10),
        ("gone", 10),
    ] {
        rig.commit(put(&key(name), "u|").expiring(after(seconds)))
            .unwrap();
    }
    rig.commit(put(&key("kept"), "u|2").expiring(Expiry::Never))
        .unwrap();
    rig.commit(put(&key("longer"), "u|2").expiring(after(25)))
        .unwrap();
    rig.commit(put(&key("b"), "u|2").expiring(Expiry::Keep))
        .unwrap();
    rig.delete(&key("gone"));
    let mut seen = Vec::new();
    watch.try_batch(&mut seen, usize::MAX).unwrap();
    for (passed, expected) in [
        (9, ""),
        (1, "a"),
        (9, ""),
        (1, "b"),
        (5, "longer"),
        (5, "c"),
        (1000, ""),
    ] {
        rig.pass(Duration::from_secs(passed));
        let event = watch.try_next().unwrap();
        assert_eq!(
            event.map_or(String::new(), |event| event.key().name().to_owned()),
            expected
        );
    }
    assert!(rig.store.get(&key("kept")).unwrap().expires_at().is_none());
    assert_eq!(rig.core.next_wake(), None);
}

#[test]
fn expiry_outlives_a_restart() {
    let mut rig = Rig::new();
    let key = Key::new(&Resource::new("events"), "n", "a");
    let entry = rig
        .commit(put(&key, "u|").expiring(after(60)))
        .unwrap()
        .entry()
        .unwrap()
        .clone();
    assert_eq!(entry.expires_at(), Some(Duration::from_secs(1_700_000_060)));
    let mut rig = rig.restarted();
    assert_eq!(rig.core.next_wake(), Some(Duration::from_secs(60)));
    rig.pass(Duration::from_secs(59));
    assert!(rig.store.get(&key).is_some());
    rig.pass(Duration::from_secs(1));
    assert!(rig.store.get(&key).is_none());
}

#[test]
fn a_renewal_in_the_same_batch_wins() {
    let mut rig = Rig::new();
    let key = Key::new(&Resource::new("events"), "n", "a");
    rig.commit(put(&key, "u|").expiring(after(60))).unwrap();
    rig.clock.advance(Duration::from_secs(60));
    rig.commit(put(&key, "u|2").expiring(after(60))).unwrap();
    assert_eq!(rig.store.get(&key).unwrap().stored().unwrap(), "u|2");
    rig.pass(Duration::from_secs(60));
    assert!(rig.store.get(&key).is_none());
}

#[test]
fn many_expire_in_slices() {
    let mut rig = Rig::new();
    let events = Resource::new("events");
    for number in 0..1000 {
        rig.commit(put(&Key::new(&events, "n", &number.to_string()), "").expiring(after(1)))
            .unwrap();
    }
    rig.clock.advance(Duration::from_secs(1));
    let step = rig.core.step();
    assert_eq!((step.transactions, step.more), (256, Again::Now));
    rig.pass(Duration::ZERO);
    assert_eq!(rig.store.snapshot(&events).len(), 0);
}
