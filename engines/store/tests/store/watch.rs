//! Watches: order, scope, waking, progress, ends.

use crate::rig::{Rig, now, put};
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::*;

fn pods() -> Resource {
    Resource::new("pods")
}

fn all(watch: &mut Watch) -> Vec<String> {
    let mut events = Vec::new();
    watch.try_batch(&mut events, usize::MAX).unwrap();
    events.iter().map(|event| format!("{event:?}")).collect()
}

#[test]
fn scopes_and_starts_are_kept() {
    let mut rig = Rig::new();
    rig.put(&Key::new(&pods(), "a", "1"), "");
    let watch = |scope, from| rig.store.watch(&pods(), scope, Revision(from)).unwrap();
    let mut everything = watch(Scope::All, 1);
    let mut later = watch(Scope::All, 2);
    let mut future = watch(Scope::All, 4);
    let mut namespace = watch(Scope::namespace("a"), 2);
    let mut object = watch(Scope::object("b", "1"), 2);
    rig.put(&Key::new(&pods(), "b", "1"), "");
    rig.delete(&Key::new(&pods(), "a", "1"));
    rig.put(&Key::new(&Resource::new("secrets"), "a", "1"), "");
    rig.put(&Key::new(&pods(), "b", "1"), "2");
    assert_eq!(
        all(&mut everything),
        [
            "r2 Created /registry/pods/a/1",
            "r3 Created /registry/pods/b/1",
            "r4 Deleted /registry/pods/a/1",
            "r6 Updated /registry/pods/b/1"
        ]
    );
    assert_eq!(all(&mut later).len(), 3);
    assert_eq!(all(&mut future), ["r6 Updated /registry/pods/b/1"]);
    assert_eq!(all(&mut namespace), ["r4 Deleted /registry/pods/a/1"]);
    assert_eq!(
        all(&mut object),
        [
            "r3 Created /registry/pods/b/1",
            "r6 Updated /registry/pods/b/1"
        ]
    );
    assert_eq!(rig.store.stats().watchers, 5);
    drop((everything, later, future, namespace, object));
    assert_eq!(rig.store.stats().watchers, 0);
}

#[test]
fn events_hold_both_states() {
    let mut rig = Rig::new();
    let key = Key::new(&pods(), "a", "1");
    let mut watch = rig.store.watch(&pods(), Scope::All, Revision(1)).unwrap();
    for text in ["in|1", "out|2", "in|3", "in|4"] {
        rig.put(&key, text);
    }
    rig.delete(&key);
    let selects = |entry: &Entry| entry.header().uid() == "in";
    let mut seen = Vec::new();
    while let Some(event) = watch.try_next().unwrap() {
        seen.push(match event.transition(selects) {
            None => "nothing".to_owned(),
            Some(Transition::Enter(entry)) => format!("enter {entry:?}"),
            Some(Transition::Change(entry)) => format!("change {entry:?}"),
            Some(Transition::Leave(entry)) => format!("leave {entry:?} at {}", event.revision()),
        });
    }
    assert_eq!(
        seen,
        [
            "enter /registry/pods/a/1 @2 v1 (4 B)",
            "leave /registry/pods/a/1 @2 v1 (4 B) at 3",
            "enter /registry/pods/a/1 @4 v3 (4 B)",
            "change /registry/pods/a/1 @5 v4 (4 B)",
            "leave /registry/pods/a/1 @5 v4 (4 B) at 6",
        ]
    );
}

#[test]
fn frames_are_made_once() {
    let mut rig = Rig::new();
    let mut watches: Vec<Watch> = (0..10)
        .map(|_| rig.store.watch(&pods(), Scope::All, Revision(1)).unwrap())
        .collect();
    rig.put(&Key::new(&pods(), "a", "1"), "u|");
    let mut made = 0;
    for watch in &mut watches {
        let event = watch.try_next().unwrap().unwrap();
        let frame = event.frame_or(Encoding(1), |event| {
            made += 1;
            Ok::<_, ()>(event.latest().stored().unwrap())
        });
        assert_eq!(frame.unwrap(), "u|");
    }
    assert_eq!(made, 1);
}

#[test]
fn a_slow_watcher_is_told_so() {
    let mut rig = Rig::with(|options| options.retention.events = 10);
    let key = Key::new(&pods(), "a", "1");
    let mut slow = rig.store.watch(&pods(), Scope::All, Revision(1)).unwrap();
    let mut keen = rig.store.watch(&pods(), Scope::All, Revision(1)).unwrap();
    for _ in 0..5 {
        rig.put(&key, "");
    }
    assert_eq!(slow.try_next().unwrap().unwrap().revision(), Revision(2));
    for round in 0..20 {
        rig.put(&key, "");
        let mut events = Vec::new();
        keen.try_batch(&mut events, 100).unwrap();
        assert_eq!(events.len(), if round == 0 { 6 } else { 1 });
    }
    let end = WatchEnd::TooSlow {
        seen: Revision(2),
        oldest: Revision(16),
    };
    assert_eq!(slow.try_next().unwrap_err(), end);
    assert_eq!(now(slow.next()).unwrap().unwrap_err(), end);
    assert!(rig.store.watch(&pods(), Scope::All, Revision(15)).is_err());
    assert!(rig.store.watch(&pods(), Scope::All, Revision(16)).is_ok());
}

#[test]
fn a_watcher_that_saw_all_survives_compaction() {
    let mut rig = Rig::new();
    let key = Key::new(&pods(), "a", "1");
    let mut watch = rig.store.watch(&pods(), Scope::All, Revision(1)).unwrap();
    rig.put(&key, "");
    assert_eq!(all(&mut watch).len(), 1);
    rig.pass(std::time::Duration::from_secs(400));
    assert_eq!(rig.store.oldest(&pods()), Revision(2));
    assert!(watch.try_next().unwrap().is_none());
    rig.put(&key, "");
    assert_eq!(all(&mut watch).len(), 1);
}

#[test]
fn progress_covers_what_was_seen() {
    let mut rig = Rig::new();
    let mut watch = rig
        .store
        .watch(&pods(), Scope::namespace("a"), Revision(1))
        .unwrap();
    assert_eq!(watch.progress(), Revision(1));
    rig.put(&Key::new(&Resource::new("secrets"), "a", "1"), "");
    assert_eq!(watch.progress(), Revision(2), "other resources count");
    rig.put(&Key::new(&pods(), "b", "1"), "");
    assert_eq!(watch.progress(), Revision(3), "so do other namespaces");
    rig.put(&Key::new(&pods(), "a", "1"), "");
    rig.put(&Key::new(&pods(), "b", "1"), "");
    assert_eq!(
        watch.progress(),
        Revision(3),
        "but nothing beyond an event not yet yielded"
    );
    assert_eq!(watch.try_next().unwrap().unwrap().revision(), Revision(4));
    assert_eq!(watch.progress(), Revision(5));
}

#[test]
fn progress_waits_for_all_events_of_a_revision() {
    let mut rig = Rig::new();
    let mut watch = rig.store.watch(&pods(), Scope::All, Revision(1)).unwrap();
    let both = Transaction::put(put(&Key::new(&pods(), "a", "1"), "u|"))
        .and(Op::Put(put(&Key::new(&pods(), "a", "2"), "u|")));
    rig.commit(both).unwrap();
    assert_eq!(watch.try_next().unwrap().unwrap().revision(), Revision(2));
    assert_eq!(
        watch.progress(),
        Revision(1),
        "the second event is not yielded yet"
    );
    assert_eq!(watch.try_next().unwrap().unwrap().revision(), Revision(2));
    assert_eq!(watch.progress(), Revision(2));
}

#[test]
fn watches_that_are_dropped_leave_nothing() {
    let mut rig = Rig::new();
    let open = |store: &Store| {
        (0..1000)
            .map(|_| store.watch(&pods(), Scope::All, store.revision()).unwrap())
            .collect::<Vec<_>>()
    };
    for _ in 0..100 {
        let watches = open(&rig.store);
        assert_eq!(rig.store.stats().watchers, 1000);
        drop(watches);
    }
    rig.put(&Key::new(&pods(), "a", "1"), "");
    assert_eq!(rig.store.stats().watchers, 0);
}

#[test]
fn the_end_comes_after_the_last_event() {
    let mut rig = Rig::new();
    let mut watch = rig.store.watch(&pods(), Scope::All, Revision(1)).unwrap();
    assert!(now(watch.next()).is_none());
    rig.put(&Key::new(&pods(), "a", "1"), "");
    drop(rig);
    assert_eq!(now(watch.next()).unwrap().unwrap().revision(), Revision(2));
    assert_eq!(now(watch.next()).unwrap().unwrap_err(), WatchEnd::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_watchers_see_every_event() {
    const WATCHERS: u64 = 500;
    const WRITES: u64 = 200;
    let store = Store::open(Options::new(
        MemoryEngine::on(&MemoryDisk::new()),
        crate::rig::describe,
    ))
    .unwrap();
    let readers: Vec<_> = (0..WATCHERS)
        .map(|number| {
            let namespace = ["", "n0", "n1"][number as usize % 3];
            let mut watch = store
                .watch(&pods(), Scope::namespace(namespace), Revision(1))
                .unwrap();
            let expected = if namespace.is_empty() {
                WRITES
            } else {
                WRITES / 2
            };
            tokio::spawn(async move {
                let mut last = Revision(1);
                for _ in 0..expected {
                    let event = watch.next().await.unwrap();
                    assert!(event.revision() > last);
                    last = event.revision();
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..WRITES / 4 {
                    let key = Key::new(
                        &pods(),
                        &format!("n{}", number % 2),
                        &format!("{writer}-{number}"),
                    );
                    store.commit(put(&key, "u|").into()).await.unwrap();
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(readers) {
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_catches_up_with_a_known_write() {
    let store = Store::open(Options::new(
        MemoryEngine::on(&MemoryDisk::new()),
        crate::rig::describe,
    ))
    .unwrap();
    let mut watch = store.watch(&pods(), Scope::All, Revision(1)).unwrap();
    let key = Key::new(&pods(), "a", "1");
    let committed = store.commit(put(&key, "u|").into()).await.unwrap();
    let mut events = Vec::new();
    watch
        .catch_up(committed.revision, &mut events, usize::MAX)
        .await
        .unwrap();
    assert_eq!(events.len(), 1);
    let mut batch = Vec::new();
    store.commit(put(&key, "u|2").into()).await.unwrap();
    watch.next_batch(&mut batch, 10).await.unwrap();
    assert_eq!(batch.len(), 1);
}

#[test]
fn a_hundred_thousand_watches_come_and_go() {
    let mut rig = Rig::new();
    rig.put(&Key::new(&pods(), "a", "0"), "u|");
    let mut watches = Vec::new();
    for number in 0..100_000 {
        let scope = Scope::namespace(["a", "b"][number % 2]);
        watches.push(rig.store.watch(&pods(), scope, Revision(2)).unwrap());
    }
    assert_eq!(rig.store.stats().watchers, 100_000);
    rig.put(&Key::new(&pods(), "a", "1"), "u|");
    for (number, watch) in watches.iter_mut().enumerate() {
        assert_eq!(watch.try_next().unwrap().is_some(), number % 2 == 0);
    }
    drop(watches);
    assert_eq!(rig.store.stats().watchers, 0);
    rig.put(&Key::new(&pods(), "a", "2"), "u|");
}
