//! The single writer: takes what waits as one batch, applies it to the index beyond what is visible, makes it
//! durable at once, shows it, answers. Between batches it removes what was compacted and ends expired leases.

use super::evaluate::{Applying, header};
use super::frame::Entry;
use super::lease::Lease;
use super::log::Log;
use super::record::Record;
use super::store::Shared;
use crate::proto::etcdserverpb::{
    CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantResponse,
    LeaseRevokeResponse, PutRequest, PutResponse, TxnRequest, TxnResponse,
};
use crate::{Code, Refusal};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What waits at most; more is refused.
const QUEUE_MAX: usize = 10_000;
/// Commands and bytes of one batch, at most.
const BATCH_MAX: usize = 2048;
const BATCH_BYTES: usize = 16 << 20;
/// Changes pruned at once, so that nobody waits long.
const PRUNE_MAX: usize = 2048;
/// Leases that end at once, at most.
const EXPIRE_MAX: usize = 256;
/// How long an expired lease waits that could not be revoked.
const EXPIRE_RETRY: Duration = Duration::from_secs(3);
/// After how long without work the log's room is prepared, once there was any.
const IDLE: Duration = Duration::from_millis(250);

/// A change that is asked for.
pub enum Command {
    /// A put.
    Put(PutRequest),
    /// A deletion.
    Delete(DeleteRangeRequest),
    /// A transaction.
    Txn(TxnRequest),
    /// A compaction: the revision, and when to answer.
    Compact(i64, Finish),
    /// A lease: id and seconds.
    Grant(i64, i64),
    /// The end of a lease.
    Revoke(i64),
    /// An alarm was raised (true) or ended.
    Alarm(i32, bool),
    /// Records that were made elsewhere, in order, and the revision that the store has afterwards.
    Import(Vec<Arc<Record>>, i64),
}

/// When a compaction is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// As soon as it is decided.
    Scheduled,
    /// When memory holds nothing of it any more.
    Done,
}

/// What a command answered.
#[derive(Debug)]
pub enum Answer {
    /// See [`Command::Put`].
    Put(PutResponse),
    /// See [`Command::Delete`].
    Delete(DeleteRangeResponse),
    /// See [`Command::Txn`].
    Txn(TxnResponse),
    /// See [`Command::Compact`].
    Compact(CompactionResponse),
    /// See [`Command::Grant`].
    Grant(LeaseGrantResponse),
    /// See [`Command::Revoke`].
    Revoke(LeaseRevokeResponse),
    /// It is done.
    Done,
}

pub(crate) type Answered = Result<Answer, Refusal>;

type Then = Box<dyn FnOnce(Answered) + Send>;

/// Somebody who is to be called, and what with.
pub struct Called {
    then: Then,
    result: Answered,
}

impl Called {
    /// Calls.
    pub fn call(self) {
        (self.then)(self.result);
    }
}

/// Takes those of a batch who are to be called.
pub type Deliver = Box<dyn Fn(Vec<Called>) + Send + Sync>;

/// Who is told what a command answered.
pub(crate) enum Respond {
    /// Somebody who waits.
    Channel(oneshot::Sender<Answered>),
    /// Somebody who is called.
    Call(Then),
}

/// Answers a batch: those who wait at once, those who are called together.
struct Responses<'a> {
    deliver: Option<&'a Deliver>,
    called: Vec<Called>,
}

impl Responses<'_> {
    fn say(&mut self, to: Option<Respond>, result: Answered) {
        match to {
            // Whoever does not wait any more does not want to know.
            Some(Respond::Channel(channel)) => drop(channel.send(result)),
            Some(Respond::Call(then)) => self.called.push(Called { then, result }),
            None => {}
        }
    }
}

impl Drop for Responses<'_> {
    fn drop(&mut self) {
        let called = std::mem::take(&mut self.called);
        match self.deliver {
            Some(deliver) if !called.is_empty() => deliver(called),
            _ => called.into_iter().for_each(Called::call),
        }
    }
}

struct Pending {
    command: Command,
    answer: Option<Respond>,
}

impl Pending {
    fn bytes(&self) -> usize {
        match &self.command {
            Command::Put(put) => put.key.len() + put.value.len(),
            Command::Txn(txn) => prost::Message::encoded_len(txn),
            _ => 64,
        }
    }
}

#[derive(Default)]
struct Waiting {
    pending: VecDeque<Pending>,
    closed: bool,
}

/// What waits for the writer.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

impl Queue {
    pub(crate) fn push(&self, command: Command) -> Result<oneshot::Receiver<Answered>, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.push_for(command, Respond::Channel(answer))?;
        Ok(answered)
    }

    pub(crate) fn push_for(&self, command: Command, answer: Respond) -> Result<(), Refusal> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Refusal::STOPPED);
        }
        if waiting.pending.len() >= QUEUE_MAX {
            return Err(Refusal::TOO_MANY_REQUESTS);
        }
        let was_empty = waiting.pending.is_empty();
        waiting.pending.push_back(Pending {
            command,
            answer: Some(answer),
        });
        drop(waiting);
        if was_empty {
            self.arrived.notify_one();
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Waits until something arrives, the time is up or the queue is closed; takes a batch. None: closed and empty.
    fn take(&self, until: Option<Instant>) -> Option<Vec<Pending>> {
        let mut waiting = self.waiting.lock();
        if waiting.pending.is_empty() {
            if waiting.closed {
                return None;
            }
            match until {
                Some(until) => drop(self.arrived.wait_until(&mut waiting, until)),
                None => self.arrived.wait(&mut waiting),
            }
        }
        let (mut count, mut bytes) = (0, 0);
        for pending in waiting.pending.iter().take(BATCH_MAX) {
            if bytes > BATCH_BYTES {
                break;
            }
            bytes += pending.bytes();
            count += 1;
        }
        Some(waiting.pending.drain(..count).collect())
    }
}

/// What a failed batch has to take back besides changes of keys.
#[derive(Default)]
struct Taken {
    granted: Vec<i64>,
    revoked: Vec<(i64, Lease)>,
    compacted: Option<(i64, Option<i64>)>,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    /// Leases that are gone but granted in a segment that is still there.
    dead_grants: HashMap<i64, u32>,
    grants: HashMap<i64, u32>,
    /// Compactions that are answered when pruning is done.
    pruned: Vec<(Respond, i64)>,
    last_changes: Vec<Arc<Record>>,
    last_work: Option<Instant>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: Log,
        grants: HashMap<i64, u32>,
        dead: HashMap<i64, u32>,
    ) -> Writer {
        Writer {
            shared,
            log,
            dead_grants: dead,
            grants,
            pruned: Vec::new(),
            last_changes: Vec::new(),
            last_work: None,
        }
    }

    pub(crate) fn run(mut self) {
        while let Some(mut batch) = self.shared.queue.take(self.next_wake()) {
            self.add_expired(&mut batch);
            if !batch.is_empty() {
                self.commit(batch);
                self.last_work = Some(Instant::now());
            } else if self.log.is_unprepared() && !self.shared.index.read().is_pruning() {
                self.log.prepare();
            }
            self.prune();
            if let Err(error) = self.log.roll_when_full() {
                tracing::warn!(%error, "the next segment of the log cannot be made; the last one grows");
            }
            self.reclaim();
        }
        self.shared.hub_closed();
    }

    fn next_wake(&self) -> Option<Instant> {
        let index = self.shared.index.read();
        if index.is_pruning() {
            return Some(Instant::now());
        }
        let due = index.leases.next_due();
        if !self.log.is_unprepared() {
            return due;
        }
        let idle = self.last_work.map_or_else(Instant::now, |at| at + IDLE);
        Some(due.map_or(idle, |due| due.min(idle)))
    }

    fn add_expired(&mut self, batch: &mut Vec<Pending>) {
        let now = Instant::now();
        if self
            .shared
            .index
            .read()
            .leases
            .next_due()
            .is_none_or(|due| due > now)
        {
            return;
        }
        let expired = self.shared.index.write().leases.expired(now, EXPIRE_MAX);
        let revoke = |id| Pending {
            command: Command::Revoke(id),
            answer: None,
        };
        batch.extend(expired.into_iter().map(revoke));
    }

    fn commit(&mut self, batch: Vec<Pending>) {
        let shared = self.shared.clone();
        let mut changes = std::mem::take(&mut self.last_changes);
        changes.clear();
        let mut taken = Taken::default();
        let mut answers = Vec::with_capacity(batch.len());
        let mut index = shared.index.write();
        let base = index.revision;
        let mut lost = Vec::new();
        for Pending { command, answer } in batch {
            if let (Command::Revoke(id), None) = (&command, &answer) {
                lost.push(*id);
            }
            let result = self.apply(&mut index, command, &mut changes, &mut taken);
            answers.push((answer, result));
        }
        shared.bytes.store(index.bytes, Ordering::Relaxed);
        let reached = index.revision;
        drop(index);
        if !self.log.frame().is_empty()
            && let Err(error) = self.log.append()
        {
            self.take_back(base, taken, &lost);
            let refusal = self.failed(&error);
            let mut responses = shared.responses();
            for (answer, _) in answers {
                responses.say(answer, Err(refusal.clone()));
            }
            return;
        }
        self.shared
            .log_bytes
            .store(self.log.bytes(), Ordering::Relaxed);
        self.shared
            .written
            .store(self.log.written(), Ordering::Relaxed);
        self.shared
            .applied
            .fetch_add(answers.len() as u64, Ordering::Relaxed);
        if reached > base {
            let publish = || self.shared.published.store(reached, Ordering::Release);
            self.shared.hub.publish(&changes, publish);
        }
        let mut responses = shared.responses();
        for (answer, result) in answers {
            match result {
                Ok(Outcome::Answer(done)) => responses.say(answer, Ok(done)),
                Ok(Outcome::WhenPruned(revision)) => {
                    if let Some(answer) = answer {
                        self.pruned.push((answer, revision));
                    }
                }
                Err(refusal) => responses.say(answer, Err(refusal)),
            }
        }
        drop(responses);
        self.last_changes = changes;
    }

    fn apply(
        &mut self,
        index: &mut super::index::Index,
        command: Command,
        changes: &mut Vec<Arc<Record>>,
        taken: &mut Taken,
    ) -> Result<Outcome, Refusal> {
        let segment = self.log.segment();
        let base = index.revision;
        let grows = matches!(
            command,
            Command::Put(_) | Command::Txn(_) | Command::Grant(..)
        );
        if grows && self.shared.is_over_quota(index.bytes) {
            self.shared.raise_no_space();
        }
        if grows && self.shared.has_alarm(1) {
            return Err(Refusal::NO_SPACE);
        }
        let mut applying = Applying::on(index, segment);
        let answer = match command {
            Command::Put(put) => applying.put(&put).map(Answer::Put),
            Command::Delete(delete) => Ok(Answer::Delete(applying.delete(&delete))),
            Command::Txn(txn) => applying.txn(&txn).map(Answer::Txn),
            Command::Revoke(id) => {
                if index.leases.get(id).is_none() {
                    return Err(Refusal::LEASE_NOT_FOUND);
                }
                return Ok(Outcome::Answer(self.revoke(index, id, changes, taken)));
            }
            other => return self.apply_other(index, other, changes, taken),
        };
        let done = std::mem::take(&mut applying.changes);
        if answer.is_err() && !done.is_empty() {
            index.undo(base);
            return answer.map(Outcome::Answer);
        }
        self.record(index, done, changes);
        answer.map(Outcome::Answer)
    }

    fn record(
        &mut self,
        index: &mut super::index::Index,
        done: Vec<Arc<Record>>,
        changes: &mut Vec<Arc<Record>>,
    ) {
        for record in &done {
            index.revision = index.revision.max(record.main());
            self.log.frame().change(record);
        }
        changes.extend(done);
    }

    fn revoke(
        &mut self,
        index: &mut super::index::Index,
        id: i64,
        changes: &mut Vec<Arc<Record>>,
        taken: &mut Taken,
    ) -> Answer {
        let lease = index.leases.remove(id);
        if let Some(lease) = lease {
            let mut applying = Applying::on(index, self.log.segment());
            for key in lease.keys() {
                applying.delete_key(key);
            }
            let done = std::mem::take(&mut applying.changes);
            self.record(index, done, changes);
            taken.revoked.push((id, lease));
        }
        self.log.frame().entry(&Entry::Revoke(id));
        if let Some(segment) = self.grants.remove(&id) {
            self.dead_grants.insert(id, segment);
        }
        Answer::Revoke(LeaseRevokeResponse {
            header: header(index.revision),
        })
    }

    fn apply_other(
        &mut self,
        index: &mut super::index::Index,
        command: Command,
        changes: &mut Vec<Arc<Record>>,
        taken: &mut Taken,
    ) -> Result<Outcome, Refusal> {
        match command {
            Command::Compact(revision, finish) => {
                if revision <= index.compacted {
                    return Err(Refusal::COMPACTED);
                }
                if revision > index.revision {
                    return Err(Refusal::FUTURE_REVISION);
                }
                self.log.frame().entry(&Entry::Compact(revision));
                taken.compacted.get_or_insert(index.compaction());
                index.compact(revision);
                Ok(match finish {
                    Finish::Done => Outcome::WhenPruned(index.revision),
                    Finish::Scheduled => Outcome::Answer(compacted(index.revision)),
                })
            }
            Command::Grant(id, ttl) => {
                let ttl = index.leases.check(id, ttl)?;
                index.leases.grant(id, ttl, Instant::now());
                self.log.frame().entry(&Entry::Grant(id, ttl));
                self.grants.insert(id, self.log.segment());
                taken.granted.push(id);
                Ok(Outcome::Answer(Answer::Grant(LeaseGrantResponse {
                    header: header(index.revision),
                    id,
                    ttl,
                    error: String::new(),
                })))
            }
            Command::Alarm(kind, on) => {
                self.log.frame().entry(&Entry::Alarm(kind, on));
                self.shared.set_alarm(kind, on);
                Ok(Outcome::Answer(Answer::Done))
            }
            Command::Import(records, revision) => {
                for record in records {
                    if record.main() < index.revision {
                        return Err(Refusal::new(
                            Code::FailedPrecondition,
                            "an imported change is older than the store",
                        ));
                    }
                    let (segment, sub) = (self.log.segment(), record.position().sub);
                    let again = Record::decode(record.encoded(), sub, segment);
                    let record = again.map_or(record, Arc::new);
                    self.log.frame().change(&record);
                    index.leases.attach(record.lease(), record.key());
                    index.insert(record.clone());
                    changes.push(record);
                }
                self.log.frame().entry(&Entry::Baseline(revision));
                index.revision = index.revision.max(revision);
                Ok(Outcome::Answer(Answer::Done))
            }
            _ => Err(Refusal::new(
                Code::Internal,
                "a command reached the wrong place",
            )),
        }
    }

    fn take_back(&mut self, base: i64, taken: Taken, lost: &[i64]) {
        let mut index = self.shared.index.write();
        for id in taken.granted {
            index.leases.remove(id);
            self.grants.remove(&id);
        }
        for (id, lease) in taken.revoked {
            if let Some(segment) = self.dead_grants.remove(&id) {
                self.grants.insert(id, segment);
            }
            index.leases.restore(id, lease);
        }
        if let Some(before) = taken.compacted {
            index.uncompact(before);
        }
        index.undo(base);
        let retry = Instant::now() + EXPIRE_RETRY;
        for id in lost {
            index.leases.retry(*id, retry);
        }
        self.shared.bytes.store(index.bytes, Ordering::Relaxed);
    }

    fn failed(&self, error: &std::io::Error) -> Refusal {
        tracing::error!(%error, "the log cannot be written; the change is refused");
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Refusal::NO_SPACE;
        }
        Refusal::new(
            Code::Unavailable,
            format!("etcdserver: the log cannot be written: {error}"),
        )
    }

    fn prune(&mut self) {
        let shared = self.shared.clone();
        if !shared.index.read().is_pruning() {
            return;
        }
        let mut buried = Vec::new();
        let mut index = shared.index.write();
        index.prune(PRUNE_MAX, |record| {
            buried.push((record.segment(), record.logged_len()))
        });
        let done = !index.is_pruning();
        shared.bytes.store(index.bytes, Ordering::Relaxed);
        drop(index);
        for (segment, bytes) in buried {
            self.log.bury(segment, bytes);
        }
        if done {
            let mut responses = shared.responses();
            for (answer, revision) in self.pruned.drain(..) {
                responses.say(Some(answer), Ok(compacted(revision)));
            }
        }
    }

    /// Writes one run of segments anew that hold little of what is retained.
    fn reclaim(&mut self) {
        if self.shared.index.read().is_pruning() {
            return;
        }
        let Some(run) = self.log.reclaimable() else {
            return;
        };
        if let Err(error) =
            super::reclaim::run(&self.shared, &mut self.log, &mut self.dead_grants, &run)
        {
            tracing::warn!(%error, "segments of the log could not be written anew; they stay as they are");
        }
        self.shared
            .log_bytes
            .store(self.log.bytes(), Ordering::Relaxed);
    }
}

enum Outcome {
    Answer(Answer),
    WhenPruned(i64),
}

fn compacted(revision: i64) -> Answer {
    Answer::Compact(CompactionResponse {
        header: header(revision),
    })
}

impl Shared {
    fn responses(&self) -> Responses<'_> {
        Responses {
            deliver: self.deliver.as_ref(),
            called: Vec::new(),
        }
    }
}
