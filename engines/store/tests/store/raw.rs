//! Raw keys, planned transactions, notes, compaction on demand.

use crate::rig::{Rig, describe, now, put};
use bytes::Bytes;
use corten_store::engine::fjall::FjallEngine;
use corten_store::engine::memory::{Fault, MemoryDisk, MemoryEngine};
use corten_store::raw::{RawPlan, RawStore, RawView};
use corten_store::*;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

struct RawRig {
    raw: RawStore,
    core: Core,
}

impl RawRig {
    fn on(options: Options) -> RawRig {
        let (store, core) = Store::open_manual(options).unwrap();
        RawRig {
            raw: RawStore::of(store),
            core,
        }
    }

    fn commit<T: Send + 'static>(
        &mut self,
        plan: impl FnOnce(&RawView) -> RawPlan<T> + Send + 'static,
    ) -> Result<raw::RawCommitted<T>, CommitError> {
        let raw = self.raw.clone();
        let mut waiting = Box::pin(raw.commit(plan));
        let mut context = Context::from_waker(Waker::noop());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        self.core.step();
        match waiting.as_mut().poll(&mut context) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("the step left a transaction unanswered"),
        }
    }

    fn put(&mut self, key: &'static [u8], value: &'static str, lease: u64) -> Revision {
        let op = self
            .raw
            .put(key, Bytes::from_static(value.as_bytes()), lease);
        let plan = move |_: &RawView| RawPlan {
            ops: vec![op],
            notes: Vec::new(),
            answer: (),
        };
        self.commit(plan).unwrap().revision
    }
}

fn keys(view: &RawView, start: &[u8], end: Option<&[u8]>) -> Vec<Vec<u8>> {
    view.range(start, end).map(|e| e.key().bytes()).collect()
}

#[test]
fn a_planned_transaction_sees_the_state_it_changes() {
    let mut rig = RawRig::on(RawStore::options(MemoryEngine::on(&MemoryDisk::new())));
    let raw = rig.raw.clone();
    // Two increments in one batch: the second sees the first.
    let increment = |raw: &RawStore| {
        let inner = raw.clone();
        let raw = raw.clone();
        async move {
            let plan = move |view: &RawView| {
                let before = view
                    .get(b"\xffn")
                    .map_or(0, |entry| entry.stored().unwrap()[0]);
                RawPlan {
                    ops: vec![inner.put(b"\xffn", Bytes::from(vec![before + 1]), 0)],
                    notes: Vec::new(),
                    answer: before,
                }
            };
            raw.commit(plan).await
        }
    };
    let (mut a, mut b) = (Box::pin(increment(&raw)), Box::pin(increment(&raw)));
    let mut context = Context::from_waker(Waker::noop());
    assert!(a.as_mut().poll(&mut context).is_pending());
    assert!(b.as_mut().poll(&mut context).is_pending());
    rig.core.step();
    let (a, b) = (now(a).unwrap().unwrap(), now(b).unwrap().unwrap());
    assert_eq!((a.answer, b.answer), (0, 1));
    assert_eq!((a.revision, b.revision), (Revision(2), Revision(3)));
    let entry = raw.view().get(b"\xffn").unwrap().clone();
    assert_eq!((entry.version(), entry.stored().unwrap()[0]), (2, 2));
    assert_eq!(
        raw.view_at(Revision(2))
            .unwrap()
            .get(b"\xffn")
            .unwrap()
            .stored()
            .unwrap()[0],
        1
    );
    let read = rig.commit(|view| RawPlan {
        ops: Vec::new(),
        notes: Vec::new(),
        answer: view.len(),
    });
    let read = read.unwrap();
    assert_eq!(
        (read.answer, read.revision),
        (1, Revision(3)),
        "a read takes no revision"
    );
}

#[test]
fn ranges_and_watches_follow_the_bytes() {
    let mut rig = RawRig::on(RawStore::options(MemoryEngine::on(&MemoryDisk::new())));
    let mut watch = rig.raw.watch(b"b", Some(b"c"), Revision(1)).unwrap();
    for key in [&b"a"[..], b"b", b"b\0", b"b\xff", b"c", b"\0", b"\xff\xff"] {
        rig.put(key, "v", 0);
    }
    let view = rig.raw.view();
    assert_eq!(keys(&view, b"b", Some(b"c")), [&b"b"[..], b"b\0", b"b\xff"]);
    assert_eq!(keys(&view, b"b", None).len(), 5);
    assert_eq!(keys(&view, b"\0", None)[0], b"\0");
    assert_eq!(keys(&view, b"c", Some(b"b")), Vec::<Vec<u8>>::new());
    let (first, third) = (rig.raw.clone(), rig.raw.clone());
    rig.commit(move |_| RawPlan {
        ops: vec![
            first.delete(b"b\xff"),
            third.put(b"b", Bytes::from_static(b"w"), 0),
        ],
        notes: Vec::new(),
        answer: (),
    })
    .unwrap();
    let mut events = Vec::new();
    watch.try_batch(&mut events, 100).unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|e| (e.revision().0, e.kind(), e.key().bytes()))
        .collect();
    assert_eq!(told.len(), 5);
    assert_eq!(told[3], (9, EventKind::Deleted, b"b\xff".to_vec()));
    assert_eq!(told[4], (9, EventKind::Updated, b"b".to_vec()));
    assert_eq!(events[4].previous().unwrap().stored().unwrap(), "v");
}

#[test]
fn leases_and_raw_keys_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut rig = RawRig::on(RawStore::options(
        FjallEngine::open(directory.path()).unwrap(),
    ));
    rig.put(b"\x00\xfe/leased", "v", 1 << 63);
    rig.put(b"plain", "v", 0);
    drop(rig);
    let rig = RawRig::on(RawStore::options(
        FjallEngine::open(directory.path()).unwrap(),
    ));
    let view = rig.raw.view();
    assert_eq!(view.get(b"\x00\xfe/leased").unwrap().lease(), 1 << 63);
    assert_eq!(view.get(b"plain").unwrap().lease(), 0);
    assert_eq!(view.revision(), Revision(3));
}

#[test]
fn notes_take_no_revision() {
    let disk = MemoryDisk::new();
    let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1)));
    let options = || {
        let mut options = RawStore::options(MemoryEngine::on(&disk));
        options.clock = clock.clone();
        options
    };
    let mut rig = RawRig::on(options());
    let note = |notes: Vec<Note>| {
        move |_: &RawView| RawPlan {
            ops: Vec::new(),
            notes,
            answer: (),
        }
    };
    let all = vec![
        Note::set("lease/1", "a"),
        Note::set("lease/2", "b"),
        Note::set("m", "c"),
    ];
    let committed = rig.commit(note(all)).unwrap();
    assert_eq!(committed.revision, Revision(1));
    rig.commit(note(vec![Note::remove("lease/1")])).unwrap();
    // A note that was not made durable is undone in the log too.
    disk.fail(Fault::NoSpaceLate);
    rig.commit(note(vec![Note::remove("m"), Note::set("lease/9", "x")]))
        .unwrap_err();
    disk.heal();
    clock.advance(Duration::from_secs(60));
    rig.core.step();
    assert!(rig.raw.store().health().is_writable());
    drop(rig);
    let rig = RawRig::on(options());
    let view = rig.raw.view();
    let leases: Vec<_> = view
        .notes("lease/")
        .map(|(name, text)| (name.to_owned(), text.clone()))
        .collect();
    assert_eq!(leases, [("lease/2".to_owned(), Bytes::from_static(b"b"))]);
    assert_eq!(view.note("m").unwrap(), "c");
    assert_eq!(view.revision(), Revision(1));
}

#[test]
fn notes_survive_a_restart_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let open = || RawStore::options(FjallEngine::open(directory.path()).unwrap());
    let mut rig = RawRig::on(open());
    rig.commit(|_| RawPlan {
        ops: Vec::new(),
        notes: vec![Note::set("a", "1"), Note::set("b", "2"), Note::remove("b")],
        answer: (),
    })
    .unwrap();
    drop(rig);
    let rig = RawRig::on(open());
    assert_eq!(rig.raw.view().note("a").unwrap(), "1");
    assert!(rig.raw.view().note("b").is_none());
}

#[test]
fn compaction_forgets_what_is_older() {
    let mut rig = RawRig::on(RawStore::options(MemoryEngine::on(&MemoryDisk::new())));
    for _ in 0..10_000 {
        rig.put(b"k", "v", 0);
    }
    let raw = rig.raw.clone();
    assert!(raw.view_at(Revision(50)).is_ok());
    raw.compact(Revision(9_000)).unwrap();
    assert!(matches!(
        raw.view_at(Revision(50)),
        Err(RevisionError::Compacted(_))
    ));
    assert!(raw.view_at(Revision(9_000)).is_ok());
    assert!(raw.watch(b"k", None, Revision(8_998)).is_err());
    let mut watch = raw.watch(b"k", None, Revision(8_999)).unwrap();
    assert_eq!(
        now(watch.next()).unwrap().unwrap().revision(),
        Revision(9_000)
    );
    assert!(matches!(
        raw.compact(Revision(20_000)),
        Err(RevisionError::Future { .. })
    ));
    let before = raw.store().stats().window_bytes;
    for _ in 0..100 {
        if rig.core.step().more == Again::Later {
            break;
        }
    }
    assert!(
        raw.store().stats().window_bytes < before / 5,
        "memory is given back"
    );
    assert_eq!(raw.oldest(), Revision(8_999));
}

#[test]
fn objects_opened_raw_are_found_under_their_paths() {
    let mut rig = Rig::new();
    let key = Key::new(&Resource::new("services/specs"), "default", "kubernetes");
    rig.put(&key, "u|1");
    let disk = rig.disk.clone();
    drop(rig);
    let mut raw = RawRig::on(RawStore::options(MemoryEngine::on(&disk)));
    let path = b"/registry/services/specs/default/kubernetes";
    assert_eq!(raw.raw.view().get(path).unwrap().stored().unwrap(), "u|1");
    raw.put(path, "u|2", 0);
    drop(raw);
    // What was written raw tells no resource: the describer finds it.
    struct Finds;
    impl Describe for Finds {
        fn describe(&self, key: &Key, stored: &Bytes) -> Result<Header, String> {
            describe(key, stored)
        }
        fn locate(&self, found: Key, _: &Bytes) -> Result<Key, String> {
            assert!(found.is_raw());
            Ok(Key::new(
                &Resource::new("services/specs"),
                "default",
                "kubernetes",
            ))
        }
    }
    let options = Options::described(MemoryEngine::on(&disk), Finds);
    let (store, mut core) = Store::open_manual(options).unwrap();
    let entry = store.get(&key).unwrap();
    assert_eq!(
        (entry.stored().unwrap().as_ref(), entry.version()),
        (&b"u|2"[..], 2)
    );
    drop(put(&key, ""));
    core.step();
}
