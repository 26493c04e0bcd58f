//! Compaction of etcd as upstream's servers do it: all servers on one etcd agree by the key `compact_rev_key`, so that
//! one of them compacts in every interval, and what happened in the last interval stays. It lies outside the prefix.

use std::time::Duration;

use corten_etcd::Refusal;
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use corten_etcd::proto::etcdserverpb::request_op::Request;
use corten_etcd::proto::etcdserverpb::response_op::Response;

const KEY: &str = "compact_rev_key";

/// How the last round ended: the key's version, and how far etcd was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    version: i64,
    revision: i64,
}

/// Compacts in every interval until it is aborted; zero is never.
pub(super) async fn run(client: Client, interval: Duration) {
    if interval.is_zero() {
        return;
    }
    let mut last = Round::default();
    loop {
        tokio::time::sleep(interval).await;
        match round(&client, last).await {
            Ok(now) => last = now,
            Err(refusal) => {
                tracing::warn!(%refusal, "compacting etcd failed; the next round tries again")
            }
        }
    }
}

/// Whoever still knows the key's version writes it and compacts what the round before saw; the others learn it.
async fn round(client: &Client, last: Round) -> Result<Round, Refusal> {
    let response = client.txn(&turn(last)).await?;
    let revision = response.header.map_or(0, |header| header.revision);
    if !response.succeeded {
        let version = response.responses.first().and_then(found).unwrap_or(0);
        return Ok(Round { version, revision });
    }
    if last.revision > 0 {
        let request = pb::CompactionRequest {
            revision: last.revision,
            physical: false,
        };
        match client.compact(&request).await {
            // Somebody else did.
            Err(refusal) if refusal == Refusal::COMPACTED => {}
            other => drop(other?),
        }
    }
    Ok(Round {
        version: last.version + 1,
        revision,
    })
}

fn turn(last: Round) -> pb::TxnRequest {
    let op = |request| pb::RequestOp {
        request: Some(request),
    };
    pb::TxnRequest {
        compare: vec![pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Version as i32,
            key: KEY.into(),
            target_union: Some(TargetUnion::Version(last.version)),
            ..pb::Compare::default()
        }],
        success: vec![op(Request::RequestPut(pb::PutRequest {
            key: KEY.into(),
            value: last.revision.to_string().into(),
            ..pb::PutRequest::default()
        }))],
        failure: vec![op(Request::RequestRange(pb::RangeRequest {
            key: KEY.into(),
            ..pb::RangeRequest::default()
        }))],
    }
}

fn found(op: &pb::ResponseOp) -> Option<i64> {
    match op.response.as_ref()? {
        Response::ResponseRange(range) => Some(range.kvs.first()?.version),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_taken_only_at_the_version_that_is_known() {
        let turn = turn(Round {
            version: 4,
            revision: 90,
        });
        assert_eq!(turn.compare[0].target_union, Some(TargetUnion::Version(4)));
        let Some(Request::RequestPut(put)) = &turn.success[0].request else {
            panic!("no put");
        };
        assert_eq!((&put.key[..], &put.value[..]), (KEY.as_bytes(), &b"90"[..]));
    }
}
