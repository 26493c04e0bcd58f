//! Puts and gets: each client has a connection of its own and waits for its answer. Beside the single client, what
//! one write and its `fdatasync` cost on that disk at that time.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb as pb;

use super::Store;
use super::report::{Figure, Row, cost, rate};
use super::server::Running;
use crate::history::percentile;

/// How many keys the requests go to.
const KEYS: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Put,
    Get,
}

impl Store {
    /// Puts, then gets of what was put, for each number of clients.
    pub(super) async fn requests(&self, running: &Running, rows: &mut Vec<Row>) -> Result<()> {
        for what in [What::Put, What::Get] {
            for clients in &self.clients {
                let mut figures = Vec::new();
                if *clients == 1 && what == What::Put {
                    figures.push(cost("fdatasync_floor_us", self.floor_us()?, 0));
                }
                figures.extend(self.round(running, what, *clients).await?);
                let name = if what == What::Put { "put" } else { "get" };
                let s = if *clients == 1 { "" } else { "s" };
                rows.push(Row {
                    server: running.server,
                    what: format!("{name}, {clients} client{s}"),
                    figures,
                });
            }
        }
        Ok(())
    }

    async fn round(&self, running: &Running, what: What, clients: usize) -> Result<Vec<Figure>> {
        let operations = match clients {
            1 => self.operations / 10,
            _ => self.operations,
        };
        let mut connections = Vec::new();
        for _ in 0..clients {
            let client = running.client()?;
            client.status().await?;
            connections.push(client);
        }
        let next = Arc::new(AtomicUsize::new(0));
        let value = bytes::Bytes::from(vec![b'v'; self.value_bytes]);
        let before = running.sample();
        let started = Instant::now();
        let mut tasks = Vec::new();
        for client in connections {
            let one = one_client(client, what, next.clone(), operations, value.clone());
            tasks.push(tokio::spawn(one));
        }
        let mut times = Vec::with_capacity(operations);
        for task in tasks {
            times.append(&mut task.await??);
        }
        let seconds = started.elapsed().as_secs_f64();
        let after = running.sample();
        times.sort_by(f64::total_cmp);
        let count = operations as f64;
        let mut figures = vec![
            cost(
                "cpu_us",
                (after.cpu_seconds - before.cpu_seconds) * 1e6 / count,
                1,
            ),
            rate("per_second", count / seconds),
            cost("p50_us", percentile(&times, 0.5), 0),
            cost("p99_us", percentile(&times, 0.99), 0),
        ];
        if what == What::Put {
            let written = after.written_bytes - before.written_bytes;
            figures.push(cost("written_bytes", written as f64 / count, 0));
        }
        figures.push(cost("resident_mib", after.resident_kib as f64 / 1024.0, 0));
        Ok(figures)
    }

    /// The median of one write and its sync, into room that was taken before.
    fn floor_us(&self) -> Result<f64> {
        const WRITES: usize = 300;
        let path = self.directory.join("floor");
        let file = File::create(&path)?;
        let size = (WRITES * self.value_bytes) as u64;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)?;
        file.sync_all()?;
        let block = vec![b'x'; self.value_bytes];
        let mut times = Vec::with_capacity(WRITES);
        for number in 0..WRITES {
            let started = Instant::now();
            file.write_all_at(&block, (number * self.value_bytes) as u64)?;
            file.sync_data()?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        std::fs::remove_file(&path)?;
        times.sort_by(f64::total_cmp);
        Ok(percentile(&times, 0.5))
    }
}

async fn one_client(
    client: Client,
    what: What,
    next: Arc<AtomicUsize>,
    operations: usize,
    value: bytes::Bytes,
) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= operations {
            return Ok(times);
        }
        let key: bytes::Bytes = format!("key/{:08}", number % KEYS).into();
        let started = Instant::now();
        match what {
            What::Put => {
                let put = pb::PutRequest {
                    key,
                    value: value.clone(),
                    ..Default::default()
                };
                client.put(&put).await?;
            }
            What::Get => {
                let range = pb::RangeRequest {
                    key,
                    ..Default::default()
                };
                let answer = client.range(&range).await?;
                let found = answer.kvs.len();
                ensure!(found <= 1, "a get found {found} keys");
            }
        }
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
}
