//! Old revisions: exact while retained, definitely refused afterwards.

use crate::rig::{Rig, texts};
use corten_store::*;
use std::time::Duration;

fn compacted(error: RevisionError) -> Compacted {
    match error {
        RevisionError::Compacted(compacted) => compacted,
        other => panic!("{other}"),
    }
}

#[test]
fn old_revisions_are_exact_until_compacted() {
    let mut rig = Rig::new();
    let pods = Resource::new("pods");
    let mut expected = vec![(
        rig.store.revision(),
        texts(rig.store.snapshot(&pods).iter()),
    )];
    // Longer than the stride of retained states, so that both ways of going back are taken.
    for number in 0..5000u64 {
        let key = Key::new(&pods, "n", &format!("{}", number * 7919 % 40));
        if number % 3 == 2 && rig.store.get(&key).is_some() {
            rig.delete(&key);
        } else {
            rig.put(&key, &format!("u|{number}"));
        }
        if number % 83 == 0 {
            expected.push((
                rig.store.revision(),
                texts(rig.store.snapshot(&pods).iter()),
            ));
        }
    }
    for (revision, texts_then) in &expected {
        let snapshot = rig.store.snapshot_at(&pods, *revision).unwrap();
        assert_eq!(snapshot.revision(), *revision);
        assert_eq!(&texts(snapshot.iter()), texts_then);
    }
    let current = rig.store.revision();
    assert_eq!(
        rig.store.snapshot_at(&pods, current.next()).err(),
        Some(RevisionError::Future {
            requested: current.next(),
            current
        })
    );
    assert_eq!(
        compacted(rig.store.snapshot_at(&pods, Revision(0)).err().unwrap()).oldest,
        Revision(1)
    );

    rig.pass(Duration::from_secs(200));
    rig.put(&Key::new(&pods, "n", "late"), "u|");
    rig.pass(Duration::from_secs(120));
    let gone = compacted(rig.store.snapshot_at(&pods, Revision(2500)).err().unwrap());
    assert_eq!(
        gone,
        Compacted {
            requested: Revision(2500),
            oldest: current,
            current: current.next()
        }
    );
    assert_eq!(rig.store.oldest(&pods), current);
    assert_eq!(
        rig.store.snapshot_at(&pods, current).unwrap().len(),
        rig.store.snapshot(&pods).len() - 1
    );
    let watch = rig
        .store
        .watch(&pods, Scope::All, Revision(2500))
        .err()
        .unwrap();
    assert_eq!(watch, gone);
    assert!(rig.store.watch(&pods, Scope::All, current).is_ok());
}

#[test]
fn an_idle_store_has_nothing_to_wake_for() {
    let mut rig = Rig::new();
    rig.put(&Key::cluster(&Resource::new("nodes"), "a"), "u|");
    rig.core.step();
    assert!(rig.core.next_wake().is_some());
    rig.pass(Duration::from_secs(301));
    rig.pass(Duration::from_secs(10));
    assert_eq!(rig.core.next_wake(), None);
    assert_eq!(rig.store.stats().window_bytes, 0);
}

#[test]
fn the_number_of_events_is_bounded_per_resource() {
    let mut rig = Rig::with(|options| options.retention.events = 100);
    let (pods, leases) = (Resource::new("pods"), Resource::new("leases"));
    rig.put(&Key::new(&pods, "n", "a"), "u|");
    for number in 0..1000 {
        rig.put(&Key::new(&leases, "n", "a"), &format!("u|{number}"));
    }
    assert_eq!(rig.store.oldest(&leases), Revision(1002 - 100));
    assert_eq!(
        rig.store.oldest(&pods),
        Revision(1),
        "a busy resource does not cost a quiet one its history"
    );
}

#[test]
fn the_bytes_of_history_are_bounded() {
    let mut rig = Rig::with(|options| options.retention.bytes = 100_000);
    let pods = Resource::new("pods");
    let text = format!("u|{}", "x".repeat(1000));
    for _ in 0..1000 {
        rig.put(&Key::new(&pods, "n", "a"), &text);
        rig.core.step();
        assert!(rig.store.stats().window_bytes <= 102_000);
    }
    let oldest = rig.store.oldest(&pods);
    assert!(oldest > Revision(900) && oldest < Revision(980), "{oldest}");
    assert!(rig.store.snapshot_at(&pods, oldest).is_ok());
}

#[test]
fn a_transaction_is_retained_as_a_whole() {
    let mut rig = Rig::with(|options| options.retention.events = 10);
    let pods = Resource::new("pods");
    for _ in 0..20 {
        let put = |name: usize| {
            Op::Put(crate::rig::put(
                &Key::new(&pods, "n", &name.to_string()),
                "u|",
            ))
        };
        rig.commit((0..4).fold(Transaction::default(), |t, name| t.and(put(name))))
            .unwrap();
    }
    let oldest = rig.store.oldest(&pods);
    let mut watch = rig.store.watch(&pods, Scope::All, oldest).unwrap();
    let mut events = Vec::new();
    watch.try_batch(&mut events, usize::MAX).unwrap();
    assert_eq!(
        events.len(),
        8,
        "two whole transactions of four, not ten events"
    );
}

#[test]
fn revisions_that_have_not_happened_are_refused() {
    let mut rig = Rig::new();
    let pods = Resource::new("pods");
    rig.put(&Key::new(&pods, "n", "a"), "u|");
    let future = RevisionError::Future {
        requested: Revision(3),
        current: Revision(2),
    };
    let seen = rig.store.snapshot_at(&pods, Revision(3)).err();
    assert_eq!(seen, Some(future));
    assert_eq!(rig.store.compact(Revision(3)), Err(future));
    assert_eq!(future.to_string(), "revision 3 is in the future; now is 2");
}

#[test]
fn compaction_goes_in_slices() {
    const EVENTS: usize = 20_000;
    let mut rig = Rig::with(|options| options.limits.transactions = 1000);
    let pods = Resource::new("pods");
    let key = Key::new(&pods, "n", "a");
    for _ in 0..EVENTS / 1000 {
        rig.batch(
            (0..1000)
                .map(|_| crate::rig::put(&key, "u|").into())
                .collect(),
        );
    }
    rig.store.compact(rig.store.revision()).unwrap();
    let mut steps = 0;
    let full = rig.store.stats().window_bytes;
    let mut before = full;
    while before > full / 100 {
        // A writer that comes in the midst is answered by the very next step, and no step does it all.
        rig.put(&key, "u|");
        let after = rig.store.stats().window_bytes;
        assert!(
            before - after.min(before) <= full / 4,
            "{before} to {after} of {full}"
        );
        before = after;
        steps += 1;
        assert!(steps < 100, "compaction does not end");
    }
    assert!(steps >= 4, "{steps}");
}
