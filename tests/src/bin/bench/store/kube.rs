//! Upstream's kube-apiserver on Corten's face and on etcd: creates per second, and the CPU of both processes.

use anyhow::Result;
use corten_tests::{NetworkNamespace, Oracle};

use super::Store;
use super::report::{Row, cost, rate};
use super::server::Server;
use crate::create::Create;
use crate::pinned::{SERVER, on_core};

/// Numbers of clients that create objects.
const CLIENTS: [usize; 3] = [1, 16, 64];

impl Store {
    /// Creates on a kube-apiserver whose storage is this server.
    pub(super) fn kube(&self, server: Server, rows: &mut Vec<Row>) -> Result<()> {
        let network = NetworkNamespace::create()?;
        let data = self.directory.join("storage");
        let storage = server.command(&data, Oracle::STORAGE_PORT, Oracle::STORAGE_PORT + 1)?;
        let oracle = Oracle::start_on(storage, &self.directory, &network, |command| {
            on_core(SERVER, || command.spawn()).map_err(std::io::Error::other)?
        })?;
        let mut measured = Vec::new();
        let create = Create::of(self.operations / 10, &CLIENTS);
        let processes = oracle.processes();
        let name = server.name();
        let outcome = create.measure(name, &network, oracle.access(), &processes, &mut measured);
        drop(oracle);
        std::fs::remove_dir_all(&data)?;
        outcome?;
        for one in measured {
            rows.push(Row {
                server,
                what: format!("kube-apiserver: {}, {} clients", one.kind(), one.clients),
                figures: vec![
                    rate("per_second", one.per_second),
                    cost("cpu_us_of_storage", one.cpu_us[1], 0),
                    cost("cpu_us_of_kube_apiserver", one.cpu_us[0], 0),
                    cost("cpu_us_of_both", one.cpu_us.iter().sum(), 0),
                    cost("p50_ms", one.p50_ms, 2),
                    cost("p99_ms", one.p99_ms, 2),
                ],
            });
        }
        Ok(())
    }
}
