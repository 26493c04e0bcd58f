//! `api`: what operations of the API cost: Corten's API server and upstream's kube-apiserver with etcd, one after the
//! other on the same core, with the load on another. Every line is one operation: server CPU, throughput, latencies
//! and memory; beside upstream, the ratio. Left out: what a node or controllers add.

mod bodies;
mod load;
mod operations;
mod report;
mod servers;
mod watches;
mod webhook;

use anyhow::{Result, bail};
use clap::Args;

use crate::history::{record, table};
use operations::OPERATIONS;
use servers::{Running, Which};

/// Flags of `api`.
#[derive(Debug, Args)]
pub struct Api {
    /// Operations to measure (all but the large ones unless named); a prefix names all that begin with it
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure kube-apiserver with etcd as well (the default)
    #[arg(long, overrides_with = "no_peer")]
    peer: bool,
    /// Measure Corten alone
    #[arg(long)]
    no_peer: bool,
    /// Requests for each operation on one object
    #[arg(long, default_value_t = 4000)]
    operations: usize,
    /// Clients of operations on one object, a connection each
    #[arg(long, default_value_t = 16)]
    clients: usize,
    /// Pods that lists are made of
    #[arg(long, default_value_t = 6000)]
    pods: usize,
    /// Pods of the large lists
    #[arg(long, default_value_t = 100_000)]
    many_pods: usize,
    /// Name the operations and end
    #[arg(long)]
    list: bool,
}

impl Api {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        let chosen = self.chosen()?;
        if self.list {
            for operation in OPERATIONS {
                println!("{:<24} {}", operation.name, operation.about);
            }
            return Ok(());
        }
        let mut measured = Vec::new();
        let peer = if self.no_peer {
            None
        } else {
            Some(Which::Upstream)
        };
        for which in [Some(Which::Corten), peer].into_iter().flatten() {
            let server = Running::start(which)?;
            let mut bench = operations::Bench::new(self, &server);
            for operation in &chosen {
                eprintln!("{}: {}", which.name(), operation.name);
                let rows = (operation.run)(&mut bench);
                measured
                    .extend(rows.map_err(|e| e.context(format!("measuring {}", operation.name)))?);
            }
        }
        table(&report::rows(&measured));
        record("api", report::json(&measured))
    }

    fn chosen(&self) -> Result<Vec<&'static operations::Operation>> {
        for wanted in &self.only {
            if !OPERATIONS
                .iter()
                .any(|o| o.name.starts_with(wanted.as_str()))
            {
                bail!("no operation is called {wanted}; see --list");
            }
        }
        let is_chosen = |operation: &&operations::Operation| match self.only.is_empty() {
            true => !operation.large,
            false => self
                .only
                .iter()
                .any(|w| operation.name.starts_with(w.as_str())),
        };
        Ok(OPERATIONS.iter().filter(is_chosen).collect())
    }
}
