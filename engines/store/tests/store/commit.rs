//! Transactions: preconditions, atomicity, revisions, slots.

use crate::rig::{Rig, put};
use bytes::Bytes;
use corten_store::*;
use std::sync::Arc;

fn pods() -> Resource {
    Resource::new("pods")
}

fn conflict(answer: Result<Committed, CommitError>) -> Box<Conflict> {
    match answer {
        Err(CommitError::Conflict(conflict)) => conflict,
        other => panic!("expected a conflict, got {other:?}"),
    }
}

#[test]
fn conflicts_answer_with_the_current_entry() {
    let mut rig = Rig::new();
    let key = Key::new(&pods(), "a", "x");
    let first = rig.put(&key, "u1|1");
    assert_eq!(
        (
            first.create_revision(),
            first.mod_revision(),
            first.version()
        ),
        (Revision(2), Revision(2), 1)
    );

    for precondition in [
        Precondition::MustNotExist,
        Precondition::ModRevision(Revision(1)),
        Precondition::ModRevision(Revision::NONE),
        Precondition::Uid("u2".into()),
    ] {
        let conflict = conflict(rig.commit(put(&key, "u1|2").when(precondition.clone())));
        assert!(Arc::ptr_eq(conflict.current.as_ref().unwrap(), &first));
        assert_eq!((conflict.op, conflict.precondition), (0, precondition));
    }
    let missing = Key::new(&pods(), "a", "y");
    for precondition in [
        Precondition::MustExist,
        Precondition::ModRevision(Revision(2)),
        Precondition::Uid("".into()),
    ] {
        assert!(
            conflict(rig.commit(put(&missing, "u1|2").when(precondition)))
                .current
                .is_none()
        );
    }
    assert_eq!(rig.store.revision(), Revision(2));

    for (number, precondition) in [
        Precondition::Any,
        Precondition::MustExist,
        Precondition::ModRevision(Revision(4)),
        Precondition::Uid("u1".into()),
    ]
    .into_iter()
    .enumerate()
    {
        let committed = rig.commit(put(&key, "u1|2").when(precondition)).unwrap();
        assert_eq!(committed.revision, Revision(3 + number as u64));
    }
    let entry = rig.store.get(&key).unwrap();
    assert_eq!(
        (
            entry.create_revision(),
            entry.mod_revision(),
            entry.version()
        ),
        (Revision(2), Revision(6), 5)
    );
    let error = rig
        .commit(put(&key, "u1|").when(Precondition::MustNotExist))
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "commit of /registry/pods/a/x: it must satisfy MustNotExist, but it is at revision 6 with uid \"u1\""
    );
}

#[test]
fn a_transaction_happens_entirely_or_not_at_all() {
    let mut rig = Rig::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| Key::new(&pods(), "n", name));
    rig.put(&a, "a|");
    let refused = Transaction::put(put(&b, "b|"))
        .and(Op::Delete(a.clone(), Precondition::Any))
        .and(Op::Check(c.clone(), Precondition::MustExist));
    assert_eq!(conflict(rig.commit(refused)).op, 2);
    assert_eq!(rig.store.revision(), Revision(2));
    assert!(rig.store.get(&a).is_some() && rig.store.get(&b).is_none());

    let accepted = Transaction::put(put(&b, "b|"))
        .and(Op::Delete(a.clone(), Precondition::Any))
        .and(Op::Check(c.clone(), Precondition::MustNotExist));
    let committed = rig.commit(accepted).unwrap();
    assert_eq!(committed.revision, Revision(3));
    assert!(matches!(
        &committed.outcomes[..],
        [Outcome::Put(_), Outcome::Deleted(_), Outcome::Unchanged]
    ));
    assert!(rig.store.get(&a).is_none() && rig.store.get(&b).is_some());
}

#[test]
fn a_batch_sees_its_earlier_transactions() {
    let mut rig = Rig::new();
    let key = Key::new(&pods(), "n", "a");
    let create = |text| Transaction::put(put(&key, text).when(Precondition::MustNotExist));
    let answers = rig.batch(vec![
        create("1|"),
        create("2|"),
        Transaction::delete(key.clone(), Precondition::Uid("1".into())),
        Transaction::delete(key.clone(), Precondition::Any),
        create("3|"),
    ]);
    assert_eq!(answers[0].as_ref().unwrap().revision, Revision(2));
    match &answers[1] {
        Err(CommitError::Conflict(conflict)) => {
            assert_eq!(conflict.current.as_ref().unwrap().stored().unwrap(), "1|")
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(answers[2].as_ref().unwrap().revision, Revision(3));
    assert!(matches!(
        answers[3].as_ref().unwrap().outcomes[..],
        [Outcome::Unchanged]
    ));
    assert_eq!(answers[4].as_ref().unwrap().revision, Revision(4));
    assert_eq!(rig.store.stats().batches, 1);
    let entry = rig.store.get(&key).unwrap();
    assert_eq!((entry.version(), entry.create_revision()), (1, Revision(4)));
}

#[test]
fn wrong_transactions_are_refused() {
    let mut rig = Rig::new();
    let key = |name: &str| Key::new(&pods(), "n", name);
    let twice = Transaction::put(put(&key("a"), "|")).and(Op::Delete(key("a"), Precondition::Any));
    let many = (0..20).fold(Transaction::default(), |t, n| {
        t.and(Op::Put(put(&key(&format!("a{}", n % 19)), "|")))
    });
    for transaction in [twice, many, Transaction::put(put(&key(""), "|"))] {
        assert!(matches!(
            rig.commit(transaction),
            Err(CommitError::Invalid { .. })
        ));
    }
    assert_eq!(
        rig.commit(Transaction::default()).unwrap().revision,
        Revision(1)
    );
}

#[test]
fn slots_come_with_the_write_and_know_their_revision() {
    let mut rig = Rig::new();
    let key = Key::new(&pods(), "n", "a");
    let encoding = Encoding(3);
    let json = Template {
        encoding,
        bytes: Bytes::from_static(b"{\"resourceVersion\":\"\"}"),
        revision_at: 20,
    };
    let put = put(&key, "u|")
        .with_encoding(json)
        .with_object(100, |entry| {
            Arc::new(format!("object at {}", entry.mod_revision()))
        });
    let entry = rig.commit(put).unwrap().entry().unwrap().clone();
    assert_eq!(*entry.object_as::<String>().unwrap(), "object at 2");
    assert_eq!(
        entry.encoded(encoding).unwrap(),
        "{\"resourceVersion\":\"2\"}"
    );
    assert_eq!(rig.store.stats().cache_bytes, 100 + 23);
    let made = entry
        .encoded_or(Encoding(4), |entry| Ok::<_, ()>(entry.stored().unwrap()))
        .unwrap();
    assert_eq!(made, "u|");
    assert!(entry.encoded_or(Encoding(5), |_| Err(())).is_err());
    assert!(entry.object_as::<u32>().is_none());
}

#[test]
fn equal_headers_are_shared() {
    let mut rig = Rig::new();
    let key = Key::new(&pods(), "n", "a");
    let first = rig.put(&key, "u|1");
    let second = rig.put(&key, "u|2");
    assert_eq!(
        first.header().uid().as_ptr(),
        second.header().uid().as_ptr()
    );
    assert_eq!(first.key().tail().as_ptr(), second.key().tail().as_ptr());
}

#[test]
fn a_closed_store_answers_so() {
    let mut rig = Rig::new();
    let key = Key::new(&pods(), "n", "a");
    rig.put(&key, "u|");
    let Rig { store, core, .. } = rig;
    core.close();
    let answer = crate::rig::now(store.commit(Transaction::put(put(&key, "u|2"))));
    assert!(matches!(answer, Some(Err(CommitError::Closed))));
    assert_eq!(store.health(), Health::Closed);
    assert_eq!(store.get(&key).unwrap().stored().unwrap(), "u|");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_threaded_store_commits_from_many_tasks() {
    use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
    let disk = MemoryDisk::new();
    let mut options = Options::new(MemoryEngine::on(&disk), crate::rig::describe);
    options.queue_max = 8;
    let store = Store::open(options).unwrap();
    let tasks: Vec<_> = (0..32)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for number in 0..50 {
                    let key = Key::new(&pods(), "n", &format!("{task}-{number}"));
                    let committed = store.commit(put(&key, "u|").into()).await.unwrap();
                    assert!(store.revision() >= committed.revision);
                    assert!(store.get(&key).is_some());
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.revision(), Revision(1601));
    assert_eq!(store.snapshot(&pods()).len(), 1600);
    assert_eq!(
        store.wait_for(Revision(1601)).await.unwrap(),
        Revision(1601)
    );
    store.close();
    assert!(matches!(
        store.wait_for(Revision(1602)).await,
        Err(CommitError::Closed)
    ));
}

#[test]
fn what_is_too_large_is_refused() {
    let mut rig = Rig::new();
    let pods = Resource::new("pods");
    let fits = "n".repeat(4096 - "/registry/pods/n/".len());
    rig.put(&Key::new(&pods, "n", &fits), "u|");
    let refused = |rig: &mut Rig, transaction: Transaction| {
        let error = rig.commit(transaction).unwrap_err();
        assert!(matches!(error, CommitError::TooLarge { .. }), "{error}");
        error.to_string()
    };
    let long = Key::new(&pods, "n", &format!("{fits}n"));
    let text = refused(&mut rig, put(&long, "u|").into());
    assert!(
        text.ends_with("the length of its key in bytes is 4097, at most 4096 is stored"),
        "{text}"
    );
    assert!(text.len() < 400, "a refusal does not repeat a long key");
    let long = Key::raw(&[0xff; 4097]);
    refused(&mut rig, put(&long, "u|").into());
    rig.put(&Key::raw(&[0xff; 4096]), "u|");
    let key = Key::new(&pods, "n", "a");
    let large = format!("u|{}", "x".repeat(3 << 20));
    let text = refused(&mut rig, put(&key, &large).into());
    assert_eq!(
        text,
        "commit of /registry/pods/n/a: the size of its value in bytes is 3145730, at most 3145728 is stored"
    );
    let many = |count: usize| {
        let ops = (0..count).map(|n| Op::Put(put(&Key::new(&pods, "n", &n.to_string()), "u|")));
        Transaction::of(ops.collect())
    };
    let text = refused(&mut rig, many(129));
    assert!(
        text.ends_with("the number of its operations is 129, at most 128 is stored"),
        "{text}"
    );
    rig.commit(many(128)).unwrap();
}
