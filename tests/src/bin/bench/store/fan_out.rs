//! Many watches on one prefix, over ten connections; every change reaches each.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use corten_etcd::client::WatchConnection;
use corten_etcd::proto::etcdserverpb as pb;

use super::Store;
use super::report::{Row, cost, rate};
use super::server::Running;

const CONNECTIONS: usize = 10;

impl Store {
    pub(super) async fn fan_out(&self, running: &Running, rows: &mut Vec<Row>) -> Result<()> {
        let count = self.watches / CONNECTIONS;
        let mut listening = Vec::new();
        for _ in 0..CONNECTIONS {
            listening.push(listen(running, count).await?);
        }
        let before = running.sample();
        let started = Instant::now();
        let wanted = self.changes;
        let mut tasks = Vec::new();
        for mut watch in listening {
            tasks.push(tokio::spawn(async move {
                let mut seen = 0;
                while seen < count * wanted {
                    seen += watch.next().await?.context("the watch ended")?.events.len();
                }
                anyhow::Ok(seen)
            }));
        }
        let client = running.client()?;
        for number in 0..self.changes {
            let put = pb::PutRequest {
                key: format!("fan/{number}").into(),
                value: vec![b'v'; self.value_bytes].into(),
                ..Default::default()
            };
            client.put(&put).await?;
        }
        let mut events = 0;
        for task in tasks {
            events += task.await??;
        }
        let seconds = started.elapsed().as_secs_f64();
        let after = running.sample();
        let (cpu, events) = (after.cpu_seconds - before.cpu_seconds, events as f64);
        rows.push(Row {
            server: running.server,
            what: format!("watch event, {} watches", self.watches),
            figures: vec![
                cost("cpu_us", cpu * 1e6 / events, 2),
                rate("per_cpu_second", events / cpu),
                rate("per_second", events / seconds),
                cost("resident_mib", after.resident_kib as f64 / 1024.0, 0),
            ],
        });
        Ok(())
    }
}

/// A connection with this many watches, all of them begun.
async fn listen(running: &Running, count: usize) -> Result<WatchConnection> {
    let mut watch = running.client()?.watch().await?;
    let mut created = 0;
    for _ in 0..count {
        let request = pb::WatchCreateRequest {
            key: "fan/".into(),
            range_end: "fan0".into(),
            ..Default::default()
        };
        watch.create_as(request).await?;
        // Answers are read on the way, or the server would wait with further ones.
        while created < count {
            match tokio::time::timeout(Duration::ZERO, watch.next()).await {
                Ok(response) => {
                    created += usize::from(response?.context("the watch ended")?.created)
                }
                Err(_) => break,
            }
        }
    }
    while created < count {
        created += usize::from(watch.next().await?.context("the watch ended")?.created);
    }
    Ok(watch)
}
