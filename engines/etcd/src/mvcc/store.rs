//! The handle that everybody holds: reads from the index what is visible, hands changes to the writer.

use super::check;
use super::evaluate;
use super::frame::Entry;
use super::hash::{self, Hash};
use super::hub::Hub;
use super::index::{Index, Span};
use super::log::{Log, LogError, LogOptions};
use super::record::{Position, Record};
use super::watch::WatchStream;
use super::writer::{Answer, Command, Deliver, Queue, Respond, Writer};
use crate::proto::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseTimeToLiveResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use crate::{Code, Refusal};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::watch;

/// How a store is opened.
pub struct StoreOptions {
    /// The directory of its log; made if need be.
    pub directory: PathBuf,
    /// The operations of a transaction, at most.
    pub txn_ops_max: usize,
    /// The bytes of a change, at most.
    pub request_bytes_max: usize,
    /// The bytes of retained changes beyond which the alarm NOSPACE is raised; 0 for no bound.
    pub quota_bytes: u64,
    /// How the log is kept.
    pub log: LogOptions,
    /// Takes those of a batch who are to be called ([`Store::put_then`]); by default the writer calls them.
    pub deliver: Option<Deliver>,
}

impl StoreOptions {
    /// The usual options, with upstream's bounds.
    pub fn new(directory: PathBuf) -> StoreOptions {
        StoreOptions {
            directory,
            txn_ops_max: 128,
            request_bytes_max: 1536 * 1024,
            quota_bytes: 2 << 30,
            log: LogOptions::default(),
            deliver: None,
        }
    }
}

/// Figures about a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// The revision of the newest visible change.
    pub revision: i64,
    /// The oldest readable revision, -1 if all are.
    pub compacted: i64,
    /// The number of keys with history.
    pub keys: usize,
    /// The bytes of all retained changes.
    pub live_bytes: u64,
    /// The bytes of the log's files.
    pub log_bytes: u64,
    /// The bytes written to the log since the store was opened.
    pub written: u64,
    /// The commands applied since the store was opened.
    pub applied: u64,
}

/// What readers and the writer share.
pub(crate) struct Shared {
    pub(crate) index: RwLock<Index>,
    pub(crate) published: AtomicI64,
    pub(crate) queue: Queue,
    pub(crate) hub: Hub,
    pub(crate) bytes: AtomicU64,
    pub(crate) log_bytes: AtomicU64,
    pub(crate) written: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) deliver: Option<Deliver>,
    alarms: Mutex<BTreeSet<i32>>,
    closed: watch::Sender<bool>,
    quota: u64,
}

impl Shared {
    pub(crate) fn is_over_quota(&self, bytes: u64) -> bool {
        self.quota != 0 && bytes > self.quota
    }

    pub(crate) fn has_alarm(&self, kind: i32) -> bool {
        self.alarms.lock().contains(&kind)
    }

    pub(crate) fn raise_no_space(&self) {
        if self.alarms.lock().insert(1) {
            tracing::warn!("the quota is used up: compact, then end the alarm NOSPACE");
        }
    }

    pub(crate) fn set_alarm(&self, kind: i32, on: bool) {
        let mut alarms = self.alarms.lock();
        if on {
            alarms.insert(kind);
        } else {
            alarms.remove(&kind);
        }
    }

    pub(crate) fn hub_closed(&self) {
        self.closed.send_replace(true);
    }
}

/// A store. Clones are the same store; it closes when [`Store::close`] is called or the last one is dropped.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    closer: Arc<Closer>,
}

struct Closer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    ids: (u64, u64),
    txn_ops_max: usize,
    request_bytes_max: usize,
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Closer {
    fn close(&self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic of the writer was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// What the log says, on its way into the index.
#[derive(Default)]
struct Replayed {
    index: Index,
    grants: HashMap<i64, u32>,
    dead_grants: HashMap<i64, u32>,
    alarms: BTreeSet<i32>,
    compacted: i64,
    buried: Vec<(u32, u64)>,
}

impl Replayed {
    fn entry(&mut self, segment: u32, entry: Entry<'_>, now: Instant) -> Result<i64, String> {
        match entry {
            Entry::Put(sub, encoded) => {
                let record =
                    Record::decode(encoded, sub, segment).ok_or("a version cannot be decoded")?;
                let main = record.main();
                self.index.insert(Arc::new(record));
                return Ok(main);
            }
            Entry::Delete(main, sub, key) => {
                let record = Record::tombstone(key, Position { main, sub }, segment);
                self.index.insert(Arc::new(record));
                return Ok(main);
            }
            Entry::Grant(id, ttl) => {
                self.index.leases.grant(id, ttl, now);
                self.grants.insert(id, segment);
            }
            Entry::Revoke(id) => {
                self.index.leases.remove(id);
                if let Some(segment) = self.grants.remove(&id) {
                    self.dead_grants.insert(id, segment);
                }
            }
            Entry::Compact(revision) => self.compacted = self.compacted.max(revision),
            Entry::Baseline(revision) => {
                self.index.revision = self.index.revision.max(revision);
                return Ok(revision);
            }
            Entry::Alarm(kind, true) => drop(self.alarms.insert(kind)),
            Entry::Alarm(kind, false) => drop(self.alarms.remove(&kind)),
        }
        Ok(0)
    }

    fn finish(&mut self, now: Instant) {
        if self.compacted > 0 {
            self.index.compact(self.compacted);
            let buried = &mut self.buried;
            while self.index.is_pruning() {
                self.index.prune(usize::MAX, |record| {
                    buried.push((record.segment(), record.logged_len()))
                });
            }
        }
        self.index.reattach();
        self.index.leases.renew_all(now);
    }
}

impl Store {
    /// Opens a store; blocks while its log is read.
    pub fn open(options: StoreOptions) -> Result<Store, LogError> {
        let now = Instant::now();
        let mut replayed = Replayed::default();
        let mut log = Log::open(
            &options.directory,
            options.log,
            new_ids,
            &mut |segment, entry| replayed.entry(segment, entry, now),
        )?;
        replayed.finish(Instant::now());
        for (segment, bytes) in replayed.buried.drain(..) {
            log.bury(segment, bytes);
        }
        let shared = Arc::new(Shared {
            published: AtomicI64::new(replayed.index.revision),
            bytes: AtomicU64::new(replayed.index.bytes),
            index: RwLock::new(replayed.index),
            queue: Queue::default(),
            hub: Hub::default(),
            log_bytes: AtomicU64::new(log.bytes()),
            written: AtomicU64::new(0),
            applied: AtomicU64::new(0),
            deliver: options.deliver,
            alarms: Mutex::new(replayed.alarms),
            closed: watch::Sender::new(false),
            quota: options.quota_bytes,
        });
        let ids = log.ids();
        let writer = Writer::new(shared.clone(), log, replayed.grants, replayed.dead_grants);
        let thread = std::thread::Builder::new()
            .name("mvcc-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| LogError::Io {
                attempt: "starting the writer's thread".to_owned(),
                source,
            })?;
        let closer = Arc::new(Closer {
            shared: shared.clone(),
            thread: Mutex::new(Some(thread)),
            ids,
            txn_ops_max: options.txn_ops_max,
            request_bytes_max: options.request_bytes_max,
        });
        Ok(Store { shared, closer })
    }

    /// Answers what is queued, then closes the log. Blocks until that is done.
    pub fn close(&self) {
        self.closer.close();
    }

    /// Becomes true when the store is closed.
    pub fn watch_closed(&self) -> watch::Receiver<bool> {
        self.shared.closed.subscribe()
    }

    /// The ids of the store and of its one member.
    pub fn ids(&self) -> (u64, u64) {
        self.closer.ids
    }

    /// The revision of the newest change that readers see.
    pub fn revision(&self) -> i64 {
        self.shared.published.load(Ordering::Acquire)
    }

    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.shared.index.read()
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.shared.hub
    }

    /// Figures about it.
    pub fn stats(&self) -> Stats {
        let index = self.index();
        Stats {
            revision: self.revision(),
            compacted: index.compacted,
            keys: index.len(),
            live_bytes: self.shared.bytes.load(Ordering::Relaxed),
            log_bytes: self.shared.log_bytes.load(Ordering::Relaxed),
            written: self.shared.written.load(Ordering::Relaxed),
            applied: self.shared.applied.load(Ordering::Relaxed),
        }
    }

    /// Hands a change to the writer and waits for its answer.
    pub async fn submit(&self, command: Command) -> Result<Answer, Refusal> {
        let answered = self.shared.queue.push(command)?;
        answered.await.unwrap_or(Err(Refusal::STOPPED))
    }

    /// Reads a range.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Refusal> {
        check::range(request)?;
        let visible = self.revision();
        evaluate::range(&self.index(), request, visible)
    }

    /// Writes a key.
    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, Refusal> {
        check::put(&request)?;
        self.check_size(request.key.len() + request.value.len())?;
        match self.submit(Command::Put(request)).await? {
            Answer::Put(response) => Ok(response),
            _ => Err(mixed_up()),
        }
    }

    /// Like [`Store::put`], for callers that do not wait: `then` is called, which must not take long.
    pub fn put_then(
        &self,
        request: PutRequest,
        then: impl FnOnce(Result<Answer, Refusal>) + Send + 'static,
    ) -> Result<(), Refusal> {
        check::put(&request)?;
        self.check_size(request.key.len() + request.value.len())?;
        let then = Respond::Call(Box::new(then));
        self.shared.queue.push_for(Command::Put(request), then)
    }

    /// Like [`Store::txn`], for callers that do not wait: one that only reads is answered at once, for any other
    /// `then` is called, which must not take long.
    pub fn txn_then(
        &self,
        request: TxnRequest,
        then: impl FnOnce(Result<Answer, Refusal>) + Send + 'static,
    ) -> Result<Option<TxnResponse>, Refusal> {
        check::txn(&request, self.closer.txn_ops_max)?;
        if check::is_readonly(&request) {
            let visible = self.revision();
            return evaluate::readonly_txn(&self.index(), &request, visible).map(Some);
        }
        self.check_size(prost::Message::encoded_len(&request))?;
        let then = Respond::Call(Box::new(then));
        self.shared.queue.push_for(Command::Txn(request), then)?;
        Ok(None)
    }

    /// Deletes keys.
    pub async fn delete(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Refusal> {
        check::delete(&request)?;
        match self.submit(Command::Delete(request)).await? {
            Answer::Delete(response) => Ok(response),
            _ => Err(mixed_up()),
        }
    }

    /// A transaction.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Refusal> {
        check::txn(&request, self.closer.txn_ops_max)?;
        if check::is_readonly(&request) {
            let visible = self.revision();
            return evaluate::readonly_txn(&self.index(), &request, visible);
        }
        self.check_size(prost::Message::encoded_len(&request))?;
        match self.submit(Command::Txn(request)).await? {
            Answer::Txn(response) => Ok(response),
            _ => Err(mixed_up()),
        }
    }

    fn check_size(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes > self.closer.request_bytes_max {
            return Err(Refusal::REQUEST_TOO_LARGE);
        }
        Ok(())
    }

    /// Gives a lease its whole time again; its seconds, or none if there is no such lease.
    pub fn renew(&self, id: i64) -> Option<i64> {
        self.shared.index.write().leases.renew(id, Instant::now())
    }

    /// How a lease stands; with its keys if asked.
    pub fn time_to_live(&self, id: i64, with_keys: bool) -> LeaseTimeToLiveResponse {
        let header = evaluate::header(self.revision());
        let index = self.index();
        let now = Instant::now();
        match index.leases.get(id).filter(|lease| lease.expires > now) {
            None => LeaseTimeToLiveResponse {
                header,
                id,
                ttl: -1,
                ..LeaseTimeToLiveResponse::default()
            },
            Some(lease) => LeaseTimeToLiveResponse {
                header,
                id,
                ttl: lease.expires.saturating_duration_since(now).as_secs() as i64,
                granted_ttl: lease.ttl,
                keys: match with_keys {
                    true => lease.keys().map(Bytes::copy_from_slice).collect(),
                    false => Vec::new(),
                },
            },
        }
    }

    /// The ids of all leases.
    pub fn leases(&self) -> Vec<i64> {
        self.index().leases.ids()
    }

    /// Every lease: id and seconds granted.
    pub fn granted(&self) -> Vec<(i64, i64)> {
        self.index()
            .leases
            .iter()
            .map(|(id, lease)| (id, lease.ttl))
            .collect()
    }

    /// The alarms that are raised.
    pub fn alarms(&self) -> Vec<i32> {
        self.shared.alarms.lock().iter().copied().collect()
    }

    /// The hash of the history up to a revision (0: now).
    pub fn hash(&self, revision: i64) -> Result<Hash, Refusal> {
        let visible = self.revision();
        hash::hash(&self.index(), revision, visible)
    }

    /// Every retained record in order: what a copy of the store is made of.
    pub fn retained(&self) -> Vec<Arc<Record>> {
        let visible = self.revision();
        self.index().retained(visible)
    }

    /// Every key as it is now, in order.
    pub fn current(&self) -> (i64, Vec<Arc<Record>>) {
        let visible = self.revision();
        (visible, self.index().range(Span::all(), visible, 0).records)
    }

    /// A copy of everything as one file, see [`super::COPY_FILE`].
    pub fn copy(&self) -> Vec<u8> {
        let visible = self.revision();
        super::copy::copy(&self.index(), self.ids(), visible)
    }

    /// A stream of watches, none yet.
    pub fn watches(&self) -> WatchStream {
        WatchStream::new(self.clone())
    }
}

fn mixed_up() -> Refusal {
    Refusal::new(Code::Internal, "the answer does not fit the question")
}

/// Two random ids.
fn new_ids() -> (u64, u64) {
    let id = || getrandom::u64().unwrap_or(1).max(1);
    (id(), id())
}
