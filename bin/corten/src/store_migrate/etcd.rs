//! An etcd as source and as target. While a copy is under way the target holds a mark, so that one that was interrupted
//! is begun again instead of being taken for a state.

use super::replay::{self, Step};
use super::{Kept, Migrate, Preserved, Revisions, State, now};
use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::request_op::Request;
use std::collections::BTreeMap;

/// Keys of one request.
const PAGE: usize = 100;
/// Bytes of one request.
const PAGE_BYTES: usize = 1 << 20;
/// The most revisions that are kept without being asked for.
const AUTO_MAX: i64 = 1_000_000;
/// Writes under way at once, where their order does not matter.
const AT_ONCE: usize = 256;

/// The key that says that a copy is under way.
fn mark(prefix: &str) -> Bytes {
    format!("corten/migration{prefix}").into()
}

fn end(prefix: &str) -> Bytes {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end.into()
}

pub(super) async fn read(client: &Client, prefix: &str) -> Result<State> {
    let mark = one(client, mark(prefix)).await?;
    ensure!(
        mark.kvs.is_empty(),
        "a copy into it was interrupted: run it again"
    );
    let mut start = Bytes::copy_from_slice(prefix.as_bytes());
    let mut revision = 0;
    let mut found = Vec::new();
    loop {
        let request = pb::RangeRequest {
            key: start.clone(),
            range_end: end(prefix),
            limit: 1000,
            revision,
            ..Default::default()
        };
        let response = client.range(&request).await?;
        if revision == 0 {
            revision = response.header.map_or(0, |header| header.revision);
        }
        let last = response.kvs.last().map(|kv| kv.key.clone());
        // Bytes of their own: the messages they came in are larger.
        found.extend(response.kvs.into_iter().map(|kv| (kv.lease, kept(&kv))));
        match last.filter(|_| response.more) {
            Some(last) => start = [&last[..], &[0]].concat().into(),
            None => break,
        }
    }
    let expiries = expiries(client, found.iter().map(|(lease, _)| *lease)).await?;
    let keys = found.into_iter().map(|(lease, mut kept)| {
        kept.expires = expiries.get(&lease).copied().unwrap_or(0);
        kept
    });
    Ok(State::new(revision, keys.collect()))
}

fn kept(kv: &corten_etcd::proto::mvccpb::KeyValue) -> Kept {
    Kept {
        key: Bytes::copy_from_slice(&kv.key),
        value: Bytes::copy_from_slice(&kv.value),
        create: kv.create_revision,
        modified: kv.mod_revision,
        version: kv.version,
        expires: 0,
    }
}

/// When leases end.
async fn expiries(
    client: &Client,
    leases: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, u64>> {
    let mut all: BTreeMap<i64, u64> = leases.filter(|id| *id != 0).map(|id| (id, 0)).collect();
    for (id, expires) in &mut all {
        let left = client.time_to_live(*id).await?.ttl.max(1);
        *expires = now() + left as u64;
    }
    Ok(all)
}

async fn one(client: &Client, key: Bytes) -> Result<pb::RangeResponse> {
    let request = pb::RangeRequest {
        key,
        ..Default::default()
    };
    Ok(client.range(&request).await?)
}

pub(super) async fn write(client: &Client, flags: &Migrate, state: &State) -> Result<Preserved> {
    let current = clear(client, &flags.prefix).await?;
    let leases = grant(client, state).await?;
    let first = state.keys.iter().map(|kept| kept.create).min().unwrap_or(0);
    let room = current < first;
    let keeps = match flags.revisions {
        Revisions::New => false,
        Revisions::Auto => room && state.revision - current <= AUTO_MAX,
        Revisions::Keep if !room => bail!(
            "its revision is {current} already, that of the oldest key is {first}: revisions can only be kept in a new etcd"
        ),
        Revisions::Keep => true,
    };
    let writer = Writer {
        client,
        leases,
        mark: mark(&flags.prefix),
    };
    if keeps {
        writer.replay(state, current).await?;
        return Ok(Preserved::Revisions);
    }
    writer.append(state).await?;
    Ok(Preserved::Values)
}

/// Makes sure that there is nothing but what an interrupted copy left, and removes that; answers etcd's revision.
async fn clear(client: &Client, prefix: &str) -> Result<i64> {
    let marked = one(client, mark(prefix)).await?;
    if marked.kvs.is_empty() {
        let request = pb::RangeRequest {
            key: Bytes::copy_from_slice(prefix.as_bytes()),
            range_end: end(prefix),
            limit: 1,
            keys_only: true,
            ..Default::default()
        };
        let found = client.range(&request).await?;
        ensure!(
            found.kvs.is_empty(),
            "it already holds keys that begin with {prefix}"
        );
        return Ok(found.header.map_or(0, |header| header.revision));
    }
    // The mark last: if this is interrupted as well, it is still there.
    for (key, range_end) in [
        (Bytes::copy_from_slice(prefix.as_bytes()), end(prefix)),
        (mark(prefix), Bytes::new()),
    ] {
        let request = pb::DeleteRangeRequest {
            key,
            range_end,
            ..Default::default()
        };
        client.delete(&request).await?;
    }
    let now = one(client, mark(prefix)).await?;
    Ok(now.header.map_or(0, |header| header.revision))
}

/// A lease for each minute in which something expires.
async fn grant(client: &Client, state: &State) -> Result<BTreeMap<u64, i64>> {
    let mut leases = BTreeMap::new();
    for kept in state.keys.iter().filter(|kept| kept.expires != 0) {
        let minute = kept.expires / 60;
        if let std::collections::btree_map::Entry::Vacant(vacant) = leases.entry(minute) {
            let seconds = ((minute + 1) * 60).saturating_sub(now()).max(1);
            vacant.insert(client.grant(0, seconds as i64).await?.id);
        }
    }
    Ok(leases)
}

struct Writer<'a> {
    client: &'a Client,
    leases: BTreeMap<u64, i64>,
    mark: Bytes,
}

impl Writer<'_> {
    fn put(&self, kept: &Kept) -> pb::RequestOp {
        let lease = match kept.expires {
            0 => 0,
            expires => self.leases.get(&(expires / 60)).copied().unwrap_or(0),
        };
        put(kept.key.clone(), kept.value.clone(), lease)
    }

    async fn send(&self, ops: Vec<pb::RequestOp>) -> Result<i64> {
        let request = pb::TxnRequest {
            success: ops,
            ..Default::default()
        };
        let answer = self.client.txn(&request).await?;
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    /// Writes keys in the order of their revisions, as many at once as fit.
    async fn append(&self, state: &State) -> Result<()> {
        let marking = put(self.mark.clone(), Bytes::from_static(b"under way"), 0);
        self.send(vec![marking]).await?;
        let mut ops = Vec::new();
        let mut bytes = 0;
        for kept in &state.keys {
            let length = kept.key.len() + kept.value.len();
            if ops.len() == PAGE || (bytes + length > PAGE_BYTES && !ops.is_empty()) {
                self.send(std::mem::take(&mut ops)).await?;
                bytes = 0;
            }
            bytes += length;
            ops.push(self.put(kept));
        }
        self.send(ops).await?;
        self.send(vec![delete(self.mark.clone())]).await?;
        Ok(())
    }

    /// Makes etcd count through the same revisions: each key is created, written again and written last at its own.
    async fn replay(&self, state: &State, current: i64) -> Result<()> {
        let mut at = current;
        for step in replay::steps(state, current) {
            match step {
                Step::Fill(count) => {
                    self.fill(count).await?;
                    at += count;
                }
                Step::Write { early, last } => {
                    let empty =
                        |index: &usize| put(state.keys[*index].key.clone(), Bytes::new(), 0);
                    let mut ops: Vec<_> = early.iter().map(empty).collect();
                    ops.extend(last.iter().map(|index| self.put(&state.keys[*index])));
                    at += 1;
                    // The mark is made by the first write and removed by the last one.
                    match at == state.revision {
                        true if at == current + 1 => {}
                        true => ops.push(delete(self.mark.clone())),
                        false => ops.push(put(self.mark.clone(), Bytes::new(), 0)),
                    }
                    let there = self.send(ops).await?;
                    ensure!(
                        there == at,
                        "it is at revision {there}, not {at}: somebody else writes to it"
                    );
                }
            }
        }
        Ok(())
    }

    /// Takes revisions at which none of the keys was written.
    async fn fill(&self, count: i64) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let mut together = tokio::task::JoinSet::new();
            for _ in 0..left.min(AT_ONCE as i64) {
                let (client, key) = (self.client.clone(), self.mark.clone());
                together.spawn(async move {
                    let put = pb::PutRequest {
                        key,
                        ..Default::default()
                    };
                    client.put(&put).await
                });
                left -= 1;
            }
            while let Some(done) = together.join_next().await {
                done.context("a write was given up")??;
            }
        }
        Ok(())
    }
}

fn put(key: Bytes, value: Bytes, lease: i64) -> pb::RequestOp {
    let put = pb::PutRequest {
        key,
        value,
        lease,
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(Request::RequestPut(put)),
    }
}

fn delete(key: Bytes) -> pb::RequestOp {
    let delete = pb::DeleteRangeRequest {
        key,
        ..Default::default()
    };
    pb::RequestOp {
        request: Some(Request::RequestDeleteRange(delete)),
    }
}
