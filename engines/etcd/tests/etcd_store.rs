//! The multi-version store through restarts, torn writes, failing disks and rewritten segments.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use bytes::Bytes;
use corten_etcd::mvcc::{
    Answer, COPY_FILE, Command, Finish, LogError, LogOptions, Said, Store, StoreOptions,
};
use corten_etcd::proto::etcdserverpb::request_op::Request;
use corten_etcd::proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};
use corten_etcd::{Code, Refusal};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tempfile::TempDir;

fn open(directory: &Path) -> Store {
    open_small(directory, 64 << 20)
}

fn open_small(directory: &Path, segment_bytes: u64) -> Store {
    let mut options = StoreOptions::new(directory.to_owned());
    options.log.segment_bytes = segment_bytes;
    Store::open(options).unwrap()
}

async fn put(store: &Store, key: &str, value: &str) -> i64 {
    let request = PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    };
    store.put(request).await.unwrap().header.unwrap().revision
}

async fn delete(store: &Store, key: &str) -> i64 {
    let request = DeleteRangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        ..Default::default()
    };
    store.delete(request).await.unwrap().deleted
}

fn get(store: &Store, key: &str, revision: i64) -> Result<Option<Bytes>, Refusal> {
    let request = RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        revision,
        ..Default::default()
    };
    Ok(store
        .range(&request)?
        .kvs
        .first()
        .map(|kv| kv.value.clone()))
}

/// Everything that must be the same after a restart.
fn facts(store: &Store) -> (i64, i64, u32, Vec<(i64, i64)>, (u64, u64)) {
    let hash = store.hash(0).unwrap();
    (
        store.revision(),
        hash.compacted,
        hash.hash,
        store.granted(),
        store.ids(),
    )
}

async fn work(store: &Store, rounds: usize) {
    for round in 0..rounds {
        let key = format!("k{}", round % 13);
        match round % 7 {
            0 => drop(delete(store, &key).await),
            // Refused where there is one already.
            1 if round % 2 == 0 => {
                drop(store.submit(Command::Grant(round as i64 + 1, 3600)).await);
            }
            2 if round % 5 == 0 => drop(store.submit(Command::Revoke(round as i64 - 6)).await),
            3 if round % 4 == 0 => {
                let until = store.revision() - 10;
                drop(store.submit(Command::Compact(until, Finish::Done)).await);
            }
            _ => drop(put(store, &key, &format!("{round}-{}", "x".repeat(round % 300))).await),
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[tokio::test]
async fn acknowledged_changes_survive() {
    let directory = TempDir::new().unwrap();
    let store = open_small(directory.path(), 32 << 10);
    for round in 1..8 {
        work(&store, 40 * round).await;
        // What a kill leaves behind: the files as they are, while the store goes on.
        let left = TempDir::new().unwrap();
        copy_dir(directory.path(), left.path());
        let again = open(left.path());
        assert_eq!(facts(&again), facts(&store));
        again.close();
    }
    let before = facts(&store);
    store.close();
    let store = open(directory.path());
    assert_eq!(facts(&store), before);
    let next = put(&store, "new", "1").await;
    assert_eq!(next, before.0 + 1);
}

#[tokio::test]
async fn a_torn_end_is_cut_and_damage_inside_is_named() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    put(&store, "a", "first").await;
    put(&store, "a", "second-second").await;
    let before = facts(&store);
    put(&store, "a", "third").await;
    store.close();
    let file = directory.path().join("00000001-00000001.log");
    let whole = std::fs::read(&file).unwrap();
    let find = |text: &[u8]| whole.windows(text.len()).position(|w| w == text).unwrap();

    let mut torn = whole.clone();
    torn[find(b"third")] ^= 1;
    std::fs::write(&file, &torn).unwrap();
    let store = open(directory.path());
    assert_eq!(facts(&store), before);
    put(&store, "a", "again").await;
    store.close();
    assert_eq!(
        get(&open(directory.path()), "a", 0).unwrap().unwrap(),
        "again"
    );

    let mut damaged = whole.clone();
    damaged[find(b"second-second")] ^= 1;
    std::fs::write(&file, &damaged).unwrap();
    match Store::open(StoreOptions::new(directory.path().to_owned())) {
        Err(LogError::Damaged { after, until, .. }) => assert_eq!((after, until), (2, 4)),
        other => panic!("opened: {:?}", other.map(|_| ())),
    }
}

#[tokio::test]
async fn a_newer_format_is_refused_and_the_first_one_goes_on() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    put(&store, "a", "1").await;
    store.close();
    let file = directory.path().join("00000001-00000001.log");
    let whole = std::fs::read(&file).unwrap();
    let in_format = |format: u32| {
        let mut bytes = whole.clone();
        bytes[8..12].copy_from_slice(&format.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        bytes
    };
    std::fs::write(&file, in_format(99)).unwrap();
    match Store::open(StoreOptions::new(directory.path().to_owned())) {
        Err(LogError::NewerFormat { found: 99, .. }) => {}
        other => panic!("opened: {:?}", other.map(|_| ())),
    }
    // In the first one checksums began with what every head has in common.
    let mut first = in_format(1);
    let length = u32::from_le_bytes(first[64..68].try_into().unwrap()) as usize;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&first[..64]), &first[72..80 + length]);
    first[68..72].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&file, &first).unwrap();
    let store = open(directory.path());
    assert_eq!(get(&store, "a", 0).unwrap().unwrap(), "1");
    put(&store, "a", "2").await;
    let before = facts(&store);
    store.close();
    assert_eq!(facts(&open(directory.path())), before);
}

#[tokio::test]
async fn a_failed_log_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let failing = Arc::new(AtomicUsize::new(0));
    let asked = failing.clone();
    let mut options = StoreOptions::new(directory.path().to_owned());
    options.log = LogOptions {
        fault: Some(Box::new(move || match asked.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(io::ErrorKind::StorageFull.into()),
            _ => Err(io::Error::other("the disk is gone")),
        })),
        ..LogOptions::default()
    };
    let store = Store::open(options).unwrap();
    store.submit(Command::Grant(5, 3600)).await.unwrap();
    put(&store, "a", "1").await;
    let before = facts(&store);
    for (mode, code) in [(1, Code::ResourceExhausted), (2, Code::Unavailable)] {
        failing.store(mode, Ordering::SeqCst);
        let request = PutRequest {
            key: "a".into(),
            value: "lost".into(),
            ..Default::default()
        };
        assert_eq!(store.put(request).await.unwrap_err().code, code);
        assert!(store.submit(Command::Revoke(5)).await.is_err());
        assert!(store.submit(Command::Grant(6, 3600)).await.is_err());
        assert_eq!(facts(&store), before);
        assert_eq!(get(&store, "a", 0).unwrap().unwrap(), "1");
        failing.store(0, Ordering::SeqCst);
        let request = DeleteRangeRequest {
            key: "nothing".into(),
            ..Default::default()
        };
        store.delete(request).await.unwrap();
    }
    assert_eq!(put(&store, "a", "2").await, before.0 + 1);
    let after = facts(&store);
    store.close();
    assert_eq!(facts(&open(directory.path())), after);
}

#[tokio::test]
async fn compaction_gives_the_disk_back() {
    let directory = TempDir::new().unwrap();
    let store = open_small(directory.path(), 64 << 10);
    let value = "v".repeat(1000);
    for round in 0..20 {
        for key in 0..50 {
            put(&store, &format!("key-{key}"), &value).await;
        }
        if round % 2 == 1 {
            let now = store.revision();
            store
                .submit(Command::Compact(now, Finish::Done))
                .await
                .unwrap();
        }
    }
    // Every change lets the writer put one more run of segments in order.
    for _ in 0..40 {
        put(&store, "key-0", &value).await;
    }
    let stats = store.stats();
    assert!(stats.log_bytes < 350_000, "{stats:?}");
    let before = facts(&store);
    assert_eq!(get(&store, "key-1", 10), Err(Refusal::COMPACTED));
    store.close();
    assert_eq!(facts(&open(directory.path())), before);
}

/// A segment that is not needed any more becomes the next one: what it held before is never taken for its own, whether
/// the newest change is whole or torn.
#[tokio::test]
async fn segments_are_written_over() {
    let directory = TempDir::new().unwrap();
    let spare = directory.path().join("spare");
    let value = "v".repeat(1000);
    let mut written_over = 0;
    for round in 0..12 {
        let store = open_small(directory.path(), 32 << 10);
        let had_spare = spare.exists();
        for key in 0..60 {
            put(&store, &format!("key-{key}"), &value).await;
        }
        written_over += usize::from(had_spare && !spare.exists());
        let now = store.revision();
        store
            .submit(Command::Compact(now, Finish::Done))
            .await
            .unwrap();
        for _ in 0..8 {
            put(&store, "key-0", &value).await;
        }
        let before = facts(&store);
        let last = format!("last of round {round}");
        put(&store, "last", &last).await;
        let whole = facts(&store);
        store.close();
        let left = TempDir::new().unwrap();
        copy_dir(directory.path(), left.path());
        tear(left.path(), last.as_bytes());
        for (place, facts_of) in [(left.path(), before), (directory.path(), whole)] {
            let again = open_small(place, 32 << 10);
            assert_eq!(facts(&again), facts_of);
            put(&again, "again", "x").await;
            let more = facts(&again);
            again.close();
            assert_eq!(facts(&open_small(place, 32 << 10)), more);
        }
    }
    assert!(written_over > 3, "{written_over}");
}

/// Damages this text in the newest segment.
fn tear(directory: &Path, text: &[u8]) {
    let files = std::fs::read_dir(directory).unwrap();
    let logs = files.map(|file| file.unwrap().path());
    let newest = logs
        .filter(|path| path.extension().is_some_and(|it| it == "log"))
        .max();
    let newest = newest.unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let found = bytes.windows(text.len()).position(|w| w == text);
    bytes[found.expect("the newest change is in the newest segment")] ^= 1;
    std::fs::write(newest, bytes).unwrap();
}

/// Twenty nodes renew their leases every ten seconds for a day, compacted every five minutes.
#[tokio::test]
async fn a_day_of_leases_leaves_the_files_flat() {
    const NODES: usize = 20;
    const TICKS: usize = 30;
    let directory = TempDir::new().unwrap();
    let store = open_small(directory.path(), 1 << 20);
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let (mut early, mut late) = (0, 0);
    for round in 0..24 * 12 {
        let before = store.revision();
        for tick in 0..TICKS {
            for node in 0..NODES {
                let answered = answered.clone();
                let request = PutRequest {
                    key: format!("leases/node-{node}").into(),
                    value: format!("{round:06} {tick:06} {}", ".".repeat(400)).into(),
                    ..Default::default()
                };
                let then = move |answer| drop(answered.send(answer));
                store.put_then(request, then).unwrap();
            }
        }
        for _ in 0..TICKS * NODES {
            assert!(matches!(answers.recv().await, Some(Ok(Answer::Put(_)))));
        }
        if before > 1 {
            let compact = Command::Compact(before, Finish::Scheduled);
            store.submit(compact).await.unwrap();
        }
        let bytes = store.stats().log_bytes;
        match round {
            ..12 => early = early.max(bytes),
            _ => late = late.max(bytes),
        }
    }
    assert_eq!(store.stats().keys, NODES);
    // One segment more or less is being written anew at any time.
    assert!(
        late <= early + (1 << 20),
        "{early} bytes in the first hour, then {late}"
    );
    store.close();
}

#[tokio::test]
async fn changes_without_waiting_are_answered_once() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let then = || {
        let answered = answered.clone();
        move |answer| drop(answered.send(answer))
    };
    let of = |key: &'static str| PutRequest {
        key: key.into(),
        ..Default::default()
    };
    assert_eq!(store.put_then(of(""), then()), Err(Refusal::EMPTY_KEY));
    store.put_then(of("a"), then()).unwrap();
    let Some(Ok(Answer::Put(response))) = answers.recv().await else {
        panic!("no answer to a put");
    };
    assert_eq!(response.header.unwrap().revision, 2);
    let range = RequestOp {
        request: Some(Request::RequestRange(RangeRequest {
            key: "a".into(),
            ..Default::default()
        })),
    };
    let read = TxnRequest {
        success: vec![range.clone()],
        ..Default::default()
    };
    let response = store.txn_then(read, then()).unwrap();
    assert_eq!(response.unwrap().responses.len(), 1);
    let put = RequestOp {
        request: Some(Request::RequestPut(of("b"))),
    };
    let write = TxnRequest {
        success: vec![put, range],
        ..Default::default()
    };
    assert_eq!(store.txn_then(write, then()), Ok(None));
    let Some(Ok(Answer::Txn(response))) = answers.recv().await else {
        panic!("no answer to a transaction");
    };
    assert_eq!(response.responses.len(), 2);
    store.close();
    assert_eq!(store.put_then(of("c"), then()), Err(Refusal::STOPPED));
    assert!(answers.try_recv().is_err());
}

#[tokio::test]
async fn a_copy_is_the_same_store() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    work(&store, 200).await;
    let other = TempDir::new().unwrap();
    std::fs::write(other.path().join(COPY_FILE), store.copy()).unwrap();
    let copied = open(other.path());
    assert_eq!(facts(&copied), facts(&store));
    put(&copied, "a", "b").await;
}

#[tokio::test]
async fn one_directory_one_store() {
    let directory = TempDir::new().unwrap();
    let _store = open(directory.path());
    let second = Store::open(StoreOptions::new(directory.path().to_owned()));
    assert!(matches!(second, Err(LogError::InUse(_))));
}

#[tokio::test]
async fn a_full_quota_refuses_until_the_alarm_ends() {
    let directory = TempDir::new().unwrap();
    let mut options = StoreOptions::new(directory.path().to_owned());
    options.quota_bytes = 4000;
    let store = Store::open(options).unwrap();
    let mut refused = None;
    for _ in 0..100 {
        let request = PutRequest {
            key: "a".into(),
            value: "x".repeat(100).into(),
            ..Default::default()
        };
        if let Err(refusal) = store.put(request).await {
            refused = Some(refusal);
            break;
        }
    }
    assert_eq!(refused, Some(Refusal::NO_SPACE));
    assert_eq!(store.alarms(), [1]);
    assert_eq!(delete(&store, "nothing").await, 0);
    let now = store.revision();
    store
        .submit(Command::Compact(now, Finish::Done))
        .await
        .unwrap();
    store.submit(Command::Alarm(1, false)).await.unwrap();
    put(&store, "a", "b").await;
    assert!(matches!(
        store.submit(Command::Alarm(1, false)).await,
        Ok(Answer::Done)
    ));
}

#[tokio::test]
async fn quiet_watches_outlive_compaction_and_slow_ones_are_told() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let mut quiet = store.watches();
    let mut slow = store.watches();
    let create = |key: &'static str| WatchCreateRequest {
        key: key.into(),
        ..Default::default()
    };
    let quiet_id = quiet.create(&create("quiet")).unwrap();
    let slow_id = slow.create(&create("busy")).unwrap();
    for round in 0..50 {
        put(&store, "busy", &round.to_string()).await;
    }
    let now = store.revision();
    store
        .submit(Command::Compact(now, Finish::Done))
        .await
        .unwrap();
    put(&store, "quiet", "woken").await;
    quiet.changed().await;
    let (_, said) = quiet.step();
    let [Said::Changes(id, revision, shown)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!((*id, *revision, shown.len()), (quiet_id, now + 1, 1));
    let (_, said) = slow.step();
    assert!(
        matches!(&said[..], [Said::Compacted(id, oldest)] if (*id, *oldest) == (slow_id, now)),
        "{said:?}"
    );
}
