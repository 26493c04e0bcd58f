//! What an idle cluster writes: every node renews its lease every ten seconds, and history is compacted every five
//! minutes, as kube-apiserver does. The hours are simulated: the writes follow each other at once. What counts is
//! whether the files grow.

use std::time::Instant;

use anyhow::{Context, Result};
use corten_etcd::client::Client;
use corten_etcd::proto::etcdserverpb as pb;

use super::Store;
use super::report::{Row, cost};
use super::server::Running;

/// About what an encoded Lease takes.
const LEASE_BYTES: usize = 400;
const RENEW_SECONDS: usize = 10;
const COMPACT_SECONDS: usize = 300;
const CLIENTS: usize = 16;

impl Store {
    pub(super) async fn idle_day(&self, running: &Running, rows: &mut Vec<Row>) -> Result<()> {
        let clients: Vec<Client> = (0..CLIENTS)
            .map(|_| running.client())
            .collect::<Result<_>>()?;
        let before = running.sample();
        let started = Instant::now();
        let (mut first, mut most) = (0, 0);
        let mut last_revision = 0;
        for tick in 0..self.hours * 3600 / RENEW_SECONDS {
            self.renew_all(&clients, tick).await?;
            let second = (tick + 1) * RENEW_SECONDS;
            if second.is_multiple_of(COMPACT_SECONDS) {
                last_revision = compact(&clients[0], last_revision).await?;
            }
            if second.is_multiple_of(3600) {
                let bytes = running.disk_bytes();
                if first == 0 {
                    first = bytes;
                }
                most = most.max(bytes);
            }
        }
        let after = running.sample();
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let writes = (self.hours * 3600 / RENEW_SECONDS * self.nodes) as f64;
        rows.push(Row {
            server: running.server,
            what: format!("leases of {} nodes, {} hours", self.nodes, self.hours),
            figures: vec![
                cost("disk_mib_after_first_hour", mib(first), 1),
                cost("disk_mib_max", mib(most), 1),
                cost("disk_mib_at_end", mib(running.disk_bytes()), 1),
                cost(
                    "cpu_us",
                    (after.cpu_seconds - before.cpu_seconds) * 1e6 / writes,
                    1,
                ),
                cost(
                    "written_bytes",
                    (after.written_bytes - before.written_bytes) as f64 / writes,
                    0,
                ),
                cost("resident_mib", after.resident_kib as f64 / 1024.0, 0),
                cost("seconds", started.elapsed().as_secs_f64(), 0),
            ],
        });
        Ok(())
    }

    async fn renew_all(&self, clients: &[Client], tick: usize) -> Result<()> {
        let mut tasks = Vec::new();
        for (number, client) in clients.iter().cloned().enumerate() {
            let mine = (number..self.nodes).step_by(CLIENTS);
            tasks.push(tokio::spawn(async move {
                for node in mine {
                    let mut value = format!("node-{node} renewed at {tick:08} ").into_bytes();
                    value.resize(LEASE_BYTES, b'.');
                    let put = pb::PutRequest {
                        key: format!("/registry/leases/kube-node-lease/node-{node}").into(),
                        value: value.into(),
                        ..Default::default()
                    };
                    client.put(&put).await?;
                }
                anyhow::Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        Ok(())
    }
}

/// Forgets what is older than the last time, as kube-apiserver does; answers the present revision.
async fn compact(client: &Client, last_revision: i64) -> Result<i64> {
    if last_revision > 0 {
        let request = pb::CompactionRequest {
            revision: last_revision,
            physical: false,
        };
        client.compact(&request).await?;
    }
    let status = client.status().await?;
    let header = status.header.context("a status without a header")?;
    Ok(header.revision)
}
