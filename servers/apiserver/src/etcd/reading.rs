//! Reads of etcd itself: everything at the start and after a gap, one resource at an old revision. Reads are repeated
//! at another member when one does not answer.

use std::time::Duration;

use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb::{RangeRequest, RangeResponse};
use corten_etcd::proto::mvccpb::KeyValue;
use corten_etcd::{Code, Refusal};
use corten_store::remote::{Recalled, RemoteEntry};
use corten_store::{CommitError, Key, Resource, Revision};

use super::vault::Vault;
use super::{compacted, lost};

/// The keys of one page.
const PAGE: i64 = 1000;
/// How often a read is repeated (long enough for a new leader to be found), the longest wait between, and how long one
/// may take.
const READS_MAX: usize = 40;
const WAIT_MAX: Duration = Duration::from_millis(300);
const READ_MAX: Duration = Duration::from_secs(3);

/// Everything at one revision.
pub(super) struct Read {
    pub(super) cluster_id: u64,
    pub(super) revision: i64,
    pub(super) entries: Vec<RemoteEntry>,
}

/// As [`read_all`], unless a copy into this etcd was not finished: half a state must not be served.
pub(super) async fn begin(client: &Client, vault: &Vault) -> Result<Read, String> {
    let prefix = vault.keys.start();
    let mark = RangeRequest {
        key: [b"corten/migration", &prefix[..]].concat().into(),
        ..RangeRequest::default()
    };
    let marked = again(client, &mark).await;
    if !marked
        .map_err(|refusal| refusal.to_string())?
        .kvs
        .is_empty()
    {
        return Err("`corten store migrate` into it was interrupted: run it again".to_owned());
    }
    read_all(client, vault).await
}

/// Every key below the prefix. What cannot be decrypted is an error: a list without it would be wrong.
pub(super) async fn read_all(client: &Client, vault: &Vault) -> Result<Read, String> {
    let request = RangeRequest {
        key: vault.keys.start(),
        range_end: vault.keys.end(),
        ..RangeRequest::default()
    };
    let mut entries = Vec::new();
    let mut unreadable = None;
    let each = |kv: &KeyValue| match vault.entry(kv) {
        Ok(entry) => entries.extend(entry),
        Err(why) => {
            let key = String::from_utf8_lossy(&kv.key);
            unreadable = Some(format!("{key}: {why}"));
        }
    };
    let (cluster_id, revision) = pages(client, request, each)
        .await
        .map_err(|refusal| refusal.to_string())?;
    match unreadable {
        Some(why) => Err(why),
        None => Ok(Read {
            cluster_id,
            revision,
            entries,
        }),
    }
}

/// One resource as it was.
pub(super) async fn at(
    client: &Client,
    vault: &Vault,
    resource: &Resource,
    revision: Revision,
) -> Result<Vec<Recalled>, Result<corten_store::RevisionError, CommitError>> {
    let (key, range_end) = vault.keys.of(resource);
    let request = RangeRequest {
        key,
        range_end,
        revision: revision.0 as i64,
        ..RangeRequest::default()
    };
    let mut found = Vec::new();
    let each = |kv: &KeyValue| {
        let Ok(Some(remote)) = vault.entry(kv) else {
            return;
        };
        let raw = Key::raw(&remote.path);
        let Ok(key) = vault.describe.locate(raw, &remote.stored) else {
            return;
        };
        if key.resource() == resource
            && let Ok(header) = vault.describe.describe(&key, &remote.stored)
        {
            found.push(Recalled {
                key,
                header,
                remote,
            });
        }
    };
    match pages(client, request, each).await {
        Ok(_) => Ok(found),
        Err(refusal) if refusal == Refusal::COMPACTED => Err(Ok(compacted(revision))),
        Err(refusal) => Err(Err(lost(&refusal))),
    }
}

/// Reads a range page by page at one revision; the cluster's id and the revision.
async fn pages(
    client: &Client,
    mut request: RangeRequest,
    mut each: impl FnMut(&KeyValue),
) -> Result<(u64, i64), Refusal> {
    request.limit = PAGE;
    let mut cluster_id = 0;
    loop {
        let response = again(client, &request).await?;
        if let Some(header) = &response.header {
            cluster_id = header.cluster_id;
            if request.revision == 0 {
                request.revision = header.revision;
            }
        }
        response.kvs.iter().for_each(&mut each);
        match response.kvs.last().filter(|_| response.more) {
            Some(last) => request.key = [&last.key[..], &[0]].concat().into(),
            None => return Ok((cluster_id, request.revision)),
        }
    }
}

/// Repeats a read that fails for reasons that pass: a lost connection, a change of leader, too much to do.
pub(super) async fn again(
    client: &Client,
    request: &RangeRequest,
) -> Result<RangeResponse, Refusal> {
    let mut wait = Duration::from_millis(20);
    for _ in 1..READS_MAX {
        match client.range_within(READ_MAX, request).await {
            Err(refusal) if refusal.is_transient() => {
                if refusal.code == Code::Unavailable {
                    client.move_on().await;
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(WAIT_MAX);
            }
            other => return other,
        }
    }
    client.range_within(READ_MAX, request).await
}
