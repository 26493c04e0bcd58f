//! `store`: Corten's etcd face and etcd itself side by side: the same client, the same disk, equal durability, the
//! server on one core and the load on another. What is measured: requests and watches (by default), `--million`
//! objects, the leases of an idle cluster (`--leases`), and upstream's kube-apiserver on either (`--apiserver`).

mod fan_out;
mod kube;
mod leases;
mod million;
mod report;
mod requests;
mod server;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use corten_tests::NetworkNamespace;

use crate::pinned::{LOAD, pin};
use report::Row;
use server::{Running, Server};

/// Flags of `store`.
#[derive(Debug, Args)]
pub struct Store {
    /// Measure many objects: load, memory, opening, space after rewriting and compaction
    #[arg(long, group = "part")]
    million: bool,
    /// Measure the leases of an idle cluster: the size of the files over time
    #[arg(long, group = "part")]
    leases: bool,
    /// Measure upstream's kube-apiserver on both
    #[arg(long, group = "part")]
    apiserver: bool,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 1000])]
    clients: Vec<usize>,
    /// Requests for each number of clients above one; one client makes a tenth of them
    #[arg(long, default_value_t = 40_000)]
    operations: usize,
    /// Bytes of a value
    #[arg(long, default_value_t = 1024)]
    value_bytes: usize,
    /// Watches on one prefix
    #[arg(long, default_value_t = 10_000)]
    watches: usize,
    /// Changes that the watches see
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Objects of `--million`
    #[arg(long, default_value_t = 1_000_000)]
    objects: usize,
    /// How often `--million` writes every object again
    #[arg(long, default_value_t = 10)]
    rewrites: usize,
    /// Nodes that renew leases every ten seconds in `--leases`
    #[arg(long, default_value_t = 100)]
    nodes: usize,
    /// Hours that `--leases` simulates
    #[arg(long, default_value_t = 24)]
    hours: usize,
    /// Where the servers keep their data
    #[arg(long, default_value = "/var/tmp/corten-bench-store")]
    directory: PathBuf,
    /// Measure one server only
    #[arg(long)]
    only: Option<Server>,
}

impl Store {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let mut rows = Vec::new();
        let outcome = [Server::Etcd, Server::Corten]
            .into_iter()
            .filter(|server| self.only.is_none_or(|only| only == *server))
            .try_for_each(|server| self.measure(server, &mut rows));
        let removed = std::fs::remove_dir_all(&self.directory);
        report::print(&rows);
        outcome?;
        removed?;
        let part = match (self.million, self.leases, self.apiserver) {
            (true, ..) => "store-million",
            (_, true, _) => "store-leases",
            (_, _, true) => "store-apiserver",
            _ => "store",
        };
        crate::history::record(part, report::json(&rows))
    }

    fn measure(&self, server: Server, rows: &mut Vec<Row>) -> Result<()> {
        if self.apiserver {
            return self.kube(server, rows);
        }
        // What the host filters and tracks is not measured.
        NetworkNamespace::create()?.enter(|| self.on_own_network(server, rows))?
    }

    fn on_own_network(&self, server: Server, rows: &mut Vec<Row>) -> Result<()> {
        let running = Running::start(server, &self.directory)?;
        pin(LOAD)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            running.ready().await?;
            if self.million {
                return self.many(running, rows).await;
            }
            if self.leases {
                return self.idle_day(&running, rows).await;
            }
            self.requests(&running, rows).await?;
            self.fan_out(&running, rows).await
        })
    }
}
