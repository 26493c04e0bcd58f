//! What the etcd face is not to swallow: each is refused in upstream's words, and the face goes on as before.

use crate::process::{Ours, client, ready};
use anyhow::{Context, Result, bail, ensure};
use corten_etcd::Refusal;
use corten_etcd::client::{Client, WatchOptions};
use corten_etcd::proto::etcdserverpb as pb;
use std::time::Duration;

/// Watches opened and dropped.
const WATCHES: usize = 100_000;
/// Of them on one stream.
const ON_ONE: usize = 10_000;
/// What a stream that nobody reads may make the server keep, beside the events themselves.
const UNREAD: usize = 20_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn on_the_face<F>(run: impl FnOnce(Client) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let ours = Ours::start().await?;
        let client = client(ours.url())?;
        ready(&client).await?;
        let ran = tokio::time::timeout(PATIENCE, run(client)).await;
        ours.serving.stop().await;
        ran.context("it takes too long")?
    })
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

fn at(revision: i64) -> pb::RangeRequest {
    pb::RangeRequest {
        key: "a".into(),
        revision,
        ..Default::default()
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Refusal>, with: &Refusal) -> Result<()> {
    match answer {
        Err(refusal) if refusal == *with => Ok(()),
        other => bail!("expected {with:?}, got {other:?}"),
    }
}

/// Too much, the future, the past, and leases that are over.
pub fn wrong_requests_are_refused() -> Result<()> {
    on_the_face(|client| async move {
        let large = "x".repeat(1_600_000);
        refused(
            client.put(&put("a", &large)).await,
            &Refusal::REQUEST_TOO_LARGE,
        )?;
        refused(
            client.put(&put(&large, "1")).await,
            &Refusal::REQUEST_TOO_LARGE,
        )?;
        let operation = |number: usize| pb::RequestOp {
            request: Some(pb::request_op::Request::RequestPut(put(
                &format!("k{number}"),
                "1",
            ))),
        };
        let txn = |count: usize| pb::TxnRequest {
            success: (0..count).map(operation).collect(),
            ..Default::default()
        };
        refused(client.txn(&txn(129)).await, &Refusal::TOO_MANY_OPS)?;
        client.txn(&txn(128)).await?;
        refused(
            client.range(&at(1_000_000)).await,
            &Refusal::FUTURE_REVISION,
        )?;
        for number in 0..10 {
            client.put(&put("a", &number.to_string())).await?;
        }
        let now = client.status().await?.header.context("header")?.revision;
        let compact = |revision| pb::CompactionRequest {
            revision,
            ..Default::default()
        };
        client.compact(&compact(now)).await?;
        refused(client.range(&at(now - 1)).await, &Refusal::COMPACTED)?;
        refused(client.compact(&compact(now - 1)).await, &Refusal::COMPACTED)?;
        refused(
            client.compact(&compact(now + 9)).await,
            &Refusal::FUTURE_REVISION,
        )?;
        past_watch(&client, now).await?;

        let lease = client.grant(0, 1).await?.id;
        let leased = |key: &str| pb::PutRequest {
            lease,
            ..put(key, "1")
        };
        let mut watch = client.watch().await?;
        watch.create(&of_key("leased", 0)).await?;
        client.put(&leased("leased")).await?;
        // The lease ends when its key goes.
        loop {
            let said = watch.next().await?.context("the watch ended")?;
            if said.events.iter().any(|event| event.r#type == 1) {
                break;
            }
        }
        refused(client.put(&leased("late")).await, &Refusal::LEASE_NOT_FOUND)?;
        let found = client.range(&at(0)).await?;
        ensure!(found.kvs.len() == 1, "it goes on as before");
        Ok(())
    })
}

fn of_key(key: &str, start_revision: i64) -> WatchOptions {
    WatchOptions {
        key: key.to_owned().into(),
        range_end: Default::default(),
        start_revision,
    }
}

/// A watch of what was compacted is cancelled, and told from where there is something.
async fn past_watch(client: &Client, compacted: i64) -> Result<()> {
    let mut watch = client.watch().await?;
    watch.create(&of_key("a", 2)).await?;
    loop {
        let said = watch.next().await?.context("the stream ended")?;
        if said.canceled {
            ensure!(said.compact_revision == compacted, "{said:?}");
            return Ok(());
        }
    }
}

/// A client that stops reading its watch costs neither others nor writers.
pub fn a_client_that_stops_reading_stops_nobody() -> Result<()> {
    on_the_face(|client| async move {
        let url = client.clone();
        let mut deaf = url.watch().await?;
        deaf.create(&of_key("busy", 0)).await?;
        deaf.next().await?;
        let mut hears = client.watch().await?;
        hears.create(&of_key("busy", 0)).await?;
        hears.next().await?;
        let value = "x".repeat(2_000);
        let writing = {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..UNREAD {
                    client.put(&put("busy", &value)).await?;
                }
                Ok::<(), Refusal>(())
            })
        };
        let mut heard = 0;
        while heard < UNREAD {
            heard += hears
                .next()
                .await?
                .context("the stream ended")?
                .events
                .len();
        }
        writing.await??;
        // It reads again, and has missed nothing.
        let (mut seen, mut last) = (0, 0);
        while seen < UNREAD {
            let said = deaf.next().await?.context("the stream ended")?;
            for event in &said.events {
                let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
                ensure!(revision > last, "{revision} after {last}");
                (seen, last) = (seen + 1, revision);
            }
        }
        Ok(())
    })
}

/// Watches come and go by the hundred thousand, and nothing stays of them.
pub fn a_hundred_thousand_watches_come_and_go() -> Result<()> {
    on_the_face(|client| async move {
        for _ in 0..WATCHES / ON_ONE {
            let mut watch = client.watch().await?;
            let mut made = 0;
            for number in 0..ON_ONE {
                watch.create(&of_key(&format!("k{number}"), 0)).await?;
                // Answers are read now and then, so that neither side waits for the other.
                if number % 100 == 99 {
                    while made <= number {
                        made += usize::from(watch.next().await?.context("ended")?.created);
                    }
                }
            }
        }
        client.put(&put("k1", "1")).await?;
        let mut watch = client.watch().await?;
        watch.create(&of_key("k1", 1)).await?;
        let mut seen = 0;
        while seen == 0 {
            seen = watch.next().await?.context("ended")?.events.len();
        }
        Ok(())
    })
}
