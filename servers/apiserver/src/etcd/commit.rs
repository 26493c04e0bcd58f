//! A commit as a transaction of etcd: every precondition is a comparison of revisions. It answers when the store
//! shows it, so that whoever wrote also reads it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use corten_etcd::Refusal;
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use corten_etcd::proto::etcdserverpb::request_op::Request;
use corten_etcd::proto::etcdserverpb::response_op::Response;
use corten_store::{
    CommitError, Committed, Conflict, Entry, Expiry, Op, Outcome, Precondition, Put, Revision,
    Store, Transaction,
};

use super::{Elsewhere, lost};

/// How often a commit is tried whose preconditions hold although etcd's comparison failed: what it compared with
/// was old.
const TRIES_MAX: usize = 8;
/// How often a commit is sent that etcd refuses to look at, and the longest wait between.
const SENDS_MAX: usize = 10;
const WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a durable commit waits to be seen here before it is answered anyway.
const SEEN_MAX: Duration = Duration::from_secs(5);

pub(crate) async fn run(
    elsewhere: &Elsewhere,
    store: Store,
    mut transaction: Transaction,
) -> Result<Committed, CommitError> {
    if let (Some(_), Some(op)) = (&transaction.plan, transaction.ops.first()) {
        return Err(CommitError::Invalid {
            key: op.key().clone(),
            reason: "it is planned at its turn, which etcd does not give",
        });
    }
    for _ in 0..TRIES_MAX {
        let ttl = longest(&transaction);
        let lease = match ttl {
            Some(ttl) => elsewhere
                .leases
                .lasting(ttl)
                .await
                .map_err(|refusal| lost(&refusal))?,
            None => 0,
        };
        let request = request(elsewhere, &store, &transaction, lease)?;
        let response = send(elsewhere, &request).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        if response.succeeded {
            return Ok(committed(elsewhere, &store, &mut transaction, response, revision).await);
        }
        let reaching = elsewhere.reach(&store, revision);
        match tokio::time::timeout(super::FRESH_MAX, reaching).await {
            Ok(reached) => drop(reached?),
            Err(_) => return Err(CommitError::ReadOnly("etcd's watch lags behind".to_owned())),
        }
        if let Some(conflict) = conflict(&store, &transaction) {
            return Err(CommitError::Conflict(Box::new(conflict)));
        }
    }
    Err(CommitError::ReadOnly(
        "others write the same keys all the time".to_owned(),
    ))
}

async fn send(
    elsewhere: &Elsewhere,
    request: &pb::TxnRequest,
) -> Result<pb::TxnResponse, CommitError> {
    let mut wait = Duration::from_millis(20);
    let mut last = Refusal::TOO_MANY_REQUESTS;
    for _ in 0..SENDS_MAX {
        match elsewhere.client.txn(request).await {
            // Refused before it was looked at: it may be sent again.
            Err(refusal) if refusal == Refusal::TOO_MANY_REQUESTS => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
            Err(refusal) if refusal == Refusal::NO_LEADER => {
                elsewhere.client.move_on().await;
                last = refusal;
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
            Err(refusal) if refusal == Refusal::LEASE_NOT_FOUND => {
                elsewhere.leases.forget().await;
                return Err(CommitError::ReadOnly(refusal.to_string()));
            }
            Err(refusal) => return Err(lost(&refusal)),
            Ok(response) => return Ok(response),
        }
    }
    Err(CommitError::ReadOnly(last.to_string()))
}

/// How long what it writes is to live, if any of it expires.
fn longest(transaction: &Transaction) -> Option<Duration> {
    let lives = transaction.ops.iter().map(|op| match op {
        Op::Put(Put {
            expiry: Expiry::After(ttl),
            ..
        }) => Some(*ttl),
        _ => None,
    });
    lives.max().flatten()
}

/// The transaction in etcd's terms; `expiring` is the lease for what expires.
fn request(
    elsewhere: &Elsewhere,
    store: &Store,
    transaction: &Transaction,
    expiring: i64,
) -> Result<pb::TxnRequest, CommitError> {
    let mut request = pb::TxnRequest::default();
    for op in &transaction.ops {
        let current = store.get(op.key());
        let key = elsewhere.vault.keys.there(&op.key().path());
        request
            .compare
            .extend(compare(&key, op.precondition(), current.as_deref()));
        let done = match op {
            Op::Put(put) => Request::RequestPut(pb::PutRequest {
                key: key.clone(),
                value: sealed(elsewhere, put, &key)?,
                lease: lease(put, current.as_deref(), expiring),
                ..pb::PutRequest::default()
            }),
            Op::Delete(..) => Request::RequestDeleteRange(pb::DeleteRangeRequest {
                key: key.clone(),
                prev_kv: true,
                ..pb::DeleteRangeRequest::default()
            }),
            Op::Check(..) => read(key.clone()),
        };
        request.success.push(op_of(done));
    }
    Ok(request)
}

fn sealed(elsewhere: &Elsewhere, put: &Put, there: &Bytes) -> Result<Bytes, CommitError> {
    let sealed = elsewhere.vault.seal(&put.key, there, &put.stored);
    sealed.map_err(|reason| CommitError::Seal {
        key: put.key.clone(),
        reason,
    })
}

fn op_of(request: Request) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(request),
    }
}

fn read(key: Bytes) -> Request {
    Request::RequestRange(pb::RangeRequest {
        key,
        keys_only: true,
        ..pb::RangeRequest::default()
    })
}

fn compare(key: &Bytes, wanted: &Precondition, current: Option<&Entry>) -> Option<pb::Compare> {
    let (result, revision) = match wanted {
        Precondition::Any => return None,
        Precondition::MustNotExist => (CompareResult::Equal, 0),
        Precondition::MustExist => (CompareResult::Greater, 0),
        Precondition::ModRevision(revision) => (CompareResult::Equal, revision.0 as i64),
        // The version whose uid is known; if it is another one there, both are looked at again.
        Precondition::Uid(uid) => match current.filter(|entry| entry.header().uid() == uid) {
            Some(entry) => (CompareResult::Equal, entry.mod_revision().0 as i64),
            // Fails, so that what is there is read.
            None => (CompareResult::Less, 0),
        },
    };
    Some(pb::Compare {
        result: result as i32,
        target: CompareTarget::Mod as i32,
        key: key.clone(),
        target_union: Some(TargetUnion::ModRevision(revision)),
        ..pb::Compare::default()
    })
}

fn lease(put: &Put, current: Option<&Entry>, expiring: i64) -> i64 {
    match put.expiry {
        Expiry::Never => 0,
        Expiry::Keep => current.map_or(0, |entry| entry.lease() as i64),
        Expiry::After(_) => expiring,
    }
}

/// The first precondition that does not hold of what the store shows.
fn conflict(store: &Store, transaction: &Transaction) -> Option<Conflict> {
    let state = store.snapshot_all();
    transaction.ops.iter().enumerate().find_map(|(index, op)| {
        let current = state.get(op.key()).cloned();
        if op.precondition().holds(current.as_deref()) {
            return None;
        }
        Some(Conflict {
            op: index,
            key: op.key().clone(),
            precondition: op.precondition().clone(),
            current,
            revision: state.revision(),
        })
    })
}

/// What was done; waits until the store shows it.
async fn committed(
    elsewhere: &Elsewhere,
    store: &Store,
    transaction: &mut Transaction,
    response: pb::TxnResponse,
    revision: i64,
) -> Committed {
    let before: Vec<Option<Arc<Entry>>> = transaction
        .ops
        .iter()
        .map(|op| store.get(op.key()))
        .collect();
    if tokio::time::timeout(SEEN_MAX, elsewhere.reach(store, revision))
        .await
        .is_err()
    {
        tracing::warn!(
            revision,
            "a commit is durable but etcd's watch does not show it yet"
        );
    }
    let at = Revision(revision as u64);
    let mut outcomes = Vec::with_capacity(transaction.ops.len());
    for ((op, answer), before) in transaction
        .ops
        .drain(..)
        .zip(response.responses)
        .zip(before)
    {
        outcomes.push(match (op, answer.response) {
            (Op::Put(put), _) => Outcome::Put(store.shown(put, at, before.as_deref())),
            (Op::Delete(key, _), Some(Response::ResponseDeleteRange(done))) => {
                let deleted = done
                    .prev_kvs
                    .first()
                    .and_then(|kv| elsewhere.vault.entry(kv).ok()?);
                match (deleted, before) {
                    (Some(kv), Some(before)) if before.mod_revision() == kv.mod_revision => {
                        Outcome::Deleted(before)
                    }
                    (Some(kv), before) => {
                        let header = before.map(|b| b.header().clone()).unwrap_or_default();
                        Outcome::Deleted(store.detached(key, header, kv))
                    }
                    (None, _) => Outcome::Unchanged,
                }
            }
            _ => Outcome::Unchanged,
        });
    }
    Committed {
        revision: at,
        outcomes,
    }
}
