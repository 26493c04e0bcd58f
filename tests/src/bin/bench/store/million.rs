//! Many objects: how long they take to load, the memory and the disk that they take, how long opening takes, and what
//! is left on the disk when all of them were written again several times and compacted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::request_op::Request;

use super::Store;
use super::report::{Row, cost, rate};
use super::server::{Running, Server};

/// Puts of one transaction.
const BLOCK: usize = 100;
/// Transactions under way.
const CLIENTS: usize = 8;
/// How often history is compacted while everything is written again.
const SLICES: usize = 10;
/// How long a call may take: etcd compacts and defragments gigabytes in one.
const CALL_MAX: Duration = Duration::from_secs(600);
/// How long the files may take to become smaller.
const SETTLE_MAX: Duration = Duration::from_secs(120);

impl Store {
    pub(super) async fn many(&self, running: Running, rows: &mut Vec<Row>) -> Result<()> {
        let mut row = |running: &Running, what: &str, figures| {
            rows.push(Row {
                server: running.server,
                what: format!("{what}, {} objects", self.objects),
                figures,
            })
        };
        let before = running.sample();
        let started = Instant::now();
        self.write(&running, 0, 0..self.objects).await?;
        let (seconds, after) = (started.elapsed().as_secs_f64(), running.sample());
        let objects = self.objects as f64;
        let figures = vec![
            cost("seconds", seconds, 1),
            cost(
                "cpu_us",
                (after.cpu_seconds - before.cpu_seconds) * 1e6 / objects,
                1,
            ),
            rate("per_second", objects / seconds),
            cost("resident_mib", mib(after.resident_kib << 10), 0),
            cost("disk_mib", mib(running.disk_bytes()), 0),
        ];
        row(&running, "load", figures);

        let running = running.restart()?;
        let seconds = running.ready().await?.as_secs_f64();
        self.check(&running).await?;
        let after = running.sample();
        let figures = vec![
            cost("seconds", seconds, 2),
            cost("cpu_seconds", after.cpu_seconds, 2),
            cost("resident_mib", mib(after.resident_kib << 10), 0),
            cost(
                "resident_per_stored_byte",
                (after.resident_kib << 10) as f64 / self.live_bytes(),
                2,
            ),
        ];
        row(&running, "open", figures);

        let started = Instant::now();
        self.rewrite(&running).await?;
        let seconds = started.elapsed().as_secs_f64();
        let bytes = settled(&running).await;
        let figures = vec![
            cost("seconds", seconds, 1),
            cost("disk_mib", mib(bytes), 0),
            cost("disk_per_live_byte", bytes as f64 / self.live_bytes(), 2),
            cost("resident_mib", mib(running.sample().resident_kib << 10), 0),
            cost(
                "resident_mib_max",
                mib(running.resident_kib_max()? << 10),
                0,
            ),
        ];
        row(
            &running,
            &format!("after {} rewrites", self.rewrites),
            figures,
        );
        Ok(())
    }

    /// The bytes of all keys and values.
    fn live_bytes(&self) -> f64 {
        (self.objects * (key(0).len() + self.value_bytes)) as f64
    }

    /// Writes every object again and again, compacted as an API server does: often.
    async fn rewrite(&self, running: &Running) -> Result<()> {
        let client = running.client()?;
        for round in 1..=self.rewrites {
            for slice in 0..SLICES {
                let from = self.objects * slice / SLICES;
                let until = self.objects * (slice + 1) / SLICES;
                self.write(running, round, from..until).await?;
                compact(&client).await?;
            }
        }
        if running.server == Server::Etcd {
            // Otherwise its file never becomes smaller.
            let request = pb::DefragmentRequest {};
            let _: pb::DefragmentResponse = client
                .call_within(CALL_MAX, "/etcdserverpb.Maintenance/Defragment", &request)
                .await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        running: &Running,
        round: usize,
        objects: std::ops::Range<usize>,
    ) -> Result<()> {
        let next = Arc::new(AtomicUsize::new(objects.start));
        let mut tasks = Vec::new();
        for _ in 0..CLIENTS {
            let (client, next, bytes) = (running.client()?, next.clone(), self.value_bytes);
            let end = objects.end;
            tasks.push(tokio::spawn(async move {
                loop {
                    let from = next.fetch_add(BLOCK, Ordering::Relaxed);
                    if from >= end {
                        return anyhow::Ok(());
                    }
                    let block = from..(from + BLOCK).min(end);
                    let _: pb::TxnResponse = client
                        .call_within(CALL_MAX, "/etcdserverpb.KV/Txn", &puts(block, round, bytes))
                        .await?;
                }
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(())
    }

    /// Looks whether everything is there.
    async fn check(&self, running: &Running) -> Result<()> {
        let request = pb::RangeRequest {
            key: "/registry/".into(),
            range_end: "/registry0".into(),
            count_only: true,
            ..Default::default()
        };
        let answer: pb::RangeResponse = running
            .client()?
            .call_within(CALL_MAX, "/etcdserverpb.KV/Range", &request)
            .await?;
        let count = answer.count;
        ensure!(
            count == self.objects as i64,
            "{count} of {} objects are there after opening",
            self.objects
        );
        Ok(())
    }
}

/// Forgets all history, and waits until that is done.
async fn compact(client: &Client) -> Result<()> {
    let status = client.status().await?;
    let request = pb::CompactionRequest {
        revision: status.header.map_or(0, |header| header.revision),
        physical: true,
    };
    let _: pb::CompactionResponse = client
        .call_within(CALL_MAX, "/etcdserverpb.KV/Compact", &request)
        .await?;
    Ok(())
}

/// The size of the files when it has not changed for two seconds.
async fn settled(running: &Running) -> u64 {
    let started = Instant::now();
    let (mut bytes, mut since) = (running.disk_bytes(), Instant::now());
    while since.elapsed() < Duration::from_secs(2) && started.elapsed() < SETTLE_MAX {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = running.disk_bytes();
        if now != bytes {
            (bytes, since) = (now, Instant::now());
        }
    }
    bytes
}

fn puts(objects: std::ops::Range<usize>, round: usize, bytes: usize) -> pb::TxnRequest {
    let put = |object: usize| pb::RequestOp {
        request: Some(Request::RequestPut(pb::PutRequest {
            key: key(object).into(),
            value: value(object, round, bytes),
            ..Default::default()
        })),
    };
    pb::TxnRequest {
        success: objects.map(put).collect(),
        ..Default::default()
    }
}

fn key(object: usize) -> String {
    format!(
        "/registry/configmaps/namespace-{:04}/object-{object:08}",
        object / 1000
    )
}

/// Bytes that cannot be made smaller and differ for every object and round.
fn value(object: usize, round: usize, bytes: usize) -> Bytes {
    let mut state = (object as u64) << 20 | (round as u64 + 1);
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    out.truncate(bytes);
    out.into()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
