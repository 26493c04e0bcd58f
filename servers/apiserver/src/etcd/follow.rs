//! Following etcd: one watch over all keys, begun again where it was after every loss, and from a whole new reading
//! when what happened meanwhile is compacted. Invariant: a transaction is applied whole and in order, once.

use std::sync::Arc;
use std::time::Duration;

use corten_etcd::Refusal;
use corten_etcd::client::WatchOptions;
use corten_etcd::proto::etcdserverpb::WatchResponse;
use corten_etcd::proto::mvccpb::event::EventType;
use corten_etcd::proto::mvccpb::{Event, KeyValue};
use corten_store::Revision;
use corten_store::remote::{Follower, RemoteChange};
use tokio::time::Instant;

use super::Elsewhere;
use super::reading::read_all;
use super::vault::Vault;

/// How often etcd is asked how far it is when nothing happens, and how long it may take to answer. A connection
/// that was cut without a word is noticed so.
const ASK_EVERY: Duration = Duration::from_secs(5);
const SILENT_MAX: Duration = Duration::from_secs(12);
/// How often old history is dropped.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// How a watch ended.
enum Ended {
    /// What comes next is compacted.
    Compacted,
    /// The connection or the server is gone.
    Lost(Refusal),
}

/// Follows until it is aborted.
pub(crate) async fn run(mut follower: Follower, elsewhere: Arc<Elsewhere>, mut revision: i64) {
    let mut wait = RETRY_FIRST;
    loop {
        let before = revision;
        match watch(&mut follower, &elsewhere, &mut revision).await {
            Ended::Compacted => match read_all(&elsewhere.client, &elsewhere.vault).await {
                Ok(read) => {
                    tracing::warn!(
                        from = revision,
                        to = read.revision,
                        "etcd compacted what was not seen yet; read everything anew"
                    );
                    follower.reset(Revision(read.revision as u64), read.entries);
                    revision = read.revision;
                    continue;
                }
                Err(why) => follower.set_reachable(Err(why)),
            },
            Ended::Lost(refusal) => {
                tracing::warn!(%refusal, "the watch on etcd ended; going on at revision {revision}");
                follower.set_reachable(Err(refusal.to_string()));
            }
        }
        if revision > before {
            wait = RETRY_FIRST;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
        elsewhere.client.move_on().await;
    }
}

async fn watch(follower: &mut Follower, elsewhere: &Elsewhere, revision: &mut i64) -> Ended {
    let mut connection = match elsewhere.client.watch().await {
        Ok(connection) => connection,
        Err(refusal) => return Ended::Lost(refusal),
    };
    let options = WatchOptions {
        key: elsewhere.vault.keys.start(),
        range_end: elsewhere.vault.keys.end(),
        start_revision: *revision + 1,
    };
    if let Err(refusal) = connection.create(&options).await {
        return Ended::Lost(refusal);
    }
    let mut heard = Instant::now();
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut ask = tokio::time::interval(ASK_EVERY);
    let mut parts: Vec<Event> = Vec::new();
    loop {
        let asked = tokio::select! {
            response = connection.next() => {
                heard = Instant::now();
                match response {
                    Ok(Some(response)) => match applied(follower, &elsewhere.vault, revision, response, &mut parts) {
                        Some(ended) => return ended,
                        None => continue,
                    },
                    Ok(None) => return Ended::Lost(Refusal::STOPPED),
                    Err(refusal) => return Ended::Lost(refusal),
                }
            }
            () = elsewhere.progress.notified() => connection.request_progress().await,
            _ = ask.tick() => {
                if heard.elapsed() > SILENT_MAX {
                    return Ended::Lost(Refusal::TIMEOUT);
                }
                connection.request_progress().await
            }
            _ = sweep.tick() => {
                follower.sweep();
                continue;
            }
        };
        if let Err(refusal) = asked {
            return Ended::Lost(refusal);
        }
    }
}

/// Applies a response; answers how the watch ended, if it did.
fn applied(
    follower: &mut Follower,
    vault: &Vault,
    revision: &mut i64,
    response: WatchResponse,
    parts: &mut Vec<Event>,
) -> Option<Ended> {
    if response.canceled {
        return Some(match response.compact_revision {
            0 => Ended::Lost(Refusal::new(
                corten_etcd::Code::Unavailable,
                response.cancel_reason,
            )),
            _ => Ended::Compacted,
        });
    }
    if response.created {
        follower.set_reachable(Ok(()));
        return None;
    }
    if response.events.is_empty() && parts.is_empty() {
        let now = response.header.map_or(0, |header| header.revision);
        if now > *revision {
            *revision = now;
            follower.progress(Revision(now as u64));
        }
        return None;
    }
    parts.extend(response.events);
    // The pieces of one transaction must not be shown apart.
    if response.fragment {
        return None;
    }
    let transactions = transactions(vault, parts.drain(..));
    if let Some((last, _)) = transactions.last() {
        *revision = last.0 as i64;
    }
    follower.apply(transactions);
    None
}

fn transactions(
    vault: &Vault,
    events: impl Iterator<Item = Event>,
) -> Vec<(Revision, Vec<RemoteChange>)> {
    let mut all: Vec<(Revision, Vec<RemoteChange>)> = Vec::new();
    for event in events {
        let kind = event.r#type();
        let Some(kv) = event.kv else { continue };
        let change = match kind {
            EventType::Put => put(vault, &kv),
            EventType::Delete => vault.keys.here(&kv.key).map(RemoteChange::Delete),
        };
        let Some(change) = change else { continue };
        let revision = Revision(kv.mod_revision as u64);
        match all.last_mut() {
            Some((same, changes)) if *same == revision => changes.push(change),
            _ => all.push((revision, vec![change])),
        }
    }
    all
}

/// What cannot be decrypted is not shown; the version before it must not be shown either.
fn put(vault: &Vault, kv: &KeyValue) -> Option<RemoteChange> {
    match vault.entry(kv) {
        Ok(entry) => entry.map(RemoteChange::Put),
        Err(why) => {
            let key = String::from_utf8_lossy(&kv.key);
            tracing::error!(%key, why, "an object that another server wrote cannot be read");
            vault.keys.here(&kv.key).map(RemoteChange::Delete)
        }
    }
}
