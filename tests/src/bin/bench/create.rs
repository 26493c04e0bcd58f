//! `create`: objects per second and server CPU for each, at 1, 16 and 64 clients, on Corten's API server
//! alone and on upstream's kube-apiserver with etcd. Each client has its own connection and waits for
//! its answer; both servers write to the same file system and sync each commit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use corten_tests::{ApiAccess, Cluster, NetworkNamespace, Options, Oracle, Sample};
use serde_json::{Value, json};

use crate::history::{percentile, record, round, table};
use crate::pinned::{LOAD, SERVER, on_core, pin};

/// Flags of `create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Creates for each number of clients
    #[arg(long, default_value_t = 4000)]
    operations: usize,
    /// Numbers of clients
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    clients: Vec<usize>,
    /// Measure one server only
    #[arg(long)]
    only: Option<Server>,
}

/// A server to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    Corten,
    Upstream,
}

/// What is created.
#[derive(Debug, Clone, Copy)]
enum Kind {
    ConfigMap,
    Pod,
}

/// What creates took on one server.
#[derive(Debug)]
pub struct Measured {
    server: &'static str,
    kind: Kind,
    /// The number of clients.
    pub clients: usize,
    /// Creates per second.
    pub per_second: f64,
    /// CPU of each process for one create.
    pub cpu_us: Vec<f64>,
    /// The median.
    pub p50_ms: f64,
    /// What one of a hundred takes at least.
    pub p99_ms: f64,
    written_kib_per_1000: f64,
    resident_mib: f64,
}

impl Create {
    /// This many creates by each of these numbers of clients.
    pub fn of(operations: usize, clients: &[usize]) -> Create {
        Create {
            operations,
            clients: clients.to_vec(),
            only: None,
        }
    }

    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        let mut measured = Vec::new();
        if self.only != Some(Server::Upstream) {
            self.corten(&mut measured)?;
        }
        if self.only != Some(Server::Corten) {
            self.upstream(&mut measured)?;
        }
        let mut rows = vec![header()];
        rows.extend(measured.iter().map(Measured::row));
        table(&rows);
        record(
            "create",
            Value::Array(measured.iter().map(Measured::json).collect()),
        )
    }

    fn corten(&self, measured: &mut Vec<Measured>) -> Result<()> {
        let cluster = Cluster::prepare(Options {
            name: "bench-create",
            images: &[],
        })?;
        on_core(SERVER, || cluster.launch_api_server())??;
        let access = ApiAccess::from_kubeconfig(cluster.kubectl())?;
        let processes = [cluster.process_id()?];
        let network = cluster.network()?;
        let outcome = self.measure("corten", network, &access, &processes, measured);
        cluster.finish()?;
        outcome
    }

    fn upstream(&self, measured: &mut Vec<Measured>) -> Result<()> {
        let directory = std::path::PathBuf::from(format!(
            "/var/tmp/corten-bench-oracle-{}",
            std::process::id()
        ));
        std::fs::create_dir_all(&directory)?;
        let network = NetworkNamespace::create()?;
        let outcome = (|| {
            let oracle = Oracle::start(&directory, &network, |command| {
                on_core(SERVER, || command.spawn()).map_err(std::io::Error::other)?
            })?;
            let processes = oracle.processes();
            self.measure("upstream", &network, oracle.access(), &processes, measured)
        })();
        std::fs::remove_dir_all(&directory)?;
        outcome
    }

    /// Creates objects on a server that is these processes.
    pub fn measure(
        &self,
        server: &'static str,
        network: &NetworkNamespace,
        access: &ApiAccess,
        processes: &[u32],
        measured: &mut Vec<Measured>,
    ) -> Result<()> {
        for (round, kind) in [Kind::ConfigMap, Kind::Pod].into_iter().enumerate() {
            for &clients in &self.clients {
                let namespace = format!("bench-{round}-{clients}");
                network.enter(|| prepare(access, &namespace))??;
                // A few first creates warm both sides up and are not counted.
                self.create(network, access, kind, clients, &namespace, "warm", 200)?;
                let before = samples(processes);
                let started = Instant::now();
                let operations = self.operations;
                let mut latencies = self.create(
                    network, access, kind, clients, &namespace, "object", operations,
                )?;
                let seconds = started.elapsed().as_secs_f64();
                let after = samples(processes);
                latencies.sort_by(f64::total_cmp);
                let count = latencies.len() as f64;
                let used = || before.iter().zip(&after);
                let written =
                    used().map(|(before, after)| after.written_bytes - before.written_bytes);
                measured.push(Measured {
                    server,
                    kind,
                    clients,
                    per_second: count / seconds,
                    cpu_us: used()
                        .map(|(before, after)| after.cpu_seconds - before.cpu_seconds)
                        .map(|seconds| seconds * 1e6 / count)
                        .collect(),
                    p50_ms: percentile(&latencies, 0.5),
                    p99_ms: percentile(&latencies, 0.99),
                    written_kib_per_1000: written.sum::<u64>() as f64 / 1.024 / count,
                    resident_mib: after.iter().map(|one| one.resident_kib).sum::<u64>() as f64
                        / 1024.0,
                });
            }
        }
        Ok(())
    }

    /// Creates `count` objects over `clients` connections; each one's latency in milliseconds.
    fn create(
        &self,
        network: &NetworkNamespace,
        access: &ApiAccess,
        kind: Kind,
        clients: usize,
        namespace: &str,
        prefix: &str,
        count: usize,
    ) -> Result<Vec<f64>> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..clients)
                .map(|_| {
                    let next = &next;
                    scope.spawn(move || -> Result<Vec<f64>> {
                        pin(LOAD)?;
                        let mut client = network.enter(|| access.connect())??;
                        let path = format!("/api/v1/namespaces/{namespace}/{}", kind.plural());
                        let mut latencies = Vec::new();
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= count {
                                return Ok(latencies);
                            }
                            let body = kind.body(&format!("{prefix}-{number}"));
                            let started = Instant::now();
                            let answer = client.request("POST", &path, body.as_bytes())?;
                            latencies.push(started.elapsed().as_secs_f64() * 1000.0);
                            if answer.status != 201 {
                                let said = String::from_utf8_lossy(&answer.body).into_owned();
                                bail!("create answered {}: {said}", answer.status);
                            }
                        }
                    })
                })
                .collect();
            let mut all = Vec::with_capacity(count);
            for worker in workers {
                match worker.join() {
                    Ok(latencies) => all.extend(latencies?),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            Ok(all)
        })
    }
}

fn samples(processes: &[u32]) -> Vec<Sample> {
    let one = |process: &u32| Sample::of(&[*process]);
    processes.iter().map(one).collect()
}

/// A namespace and the service account that admission looks for; no controller runs to make it.
fn prepare(access: &ApiAccess, namespace: &str) -> Result<()> {
    let mut client = access.connect()?;
    let make = |kind: &str, name: &str| {
        format!(r#"{{"apiVersion":"v1","kind":"{kind}","metadata":{{"name":"{name}"}}}}"#)
    };
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    for (path, body) in [
        (
            "/api/v1/namespaces".to_string(),
            make("Namespace", namespace),
        ),
        (accounts, make("ServiceAccount", "default")),
    ] {
        let answer = client.request("POST", &path, body.as_bytes())?;
        if !matches!(answer.status, 201 | 409) {
            bail!(
                "POST {path}: {}: {}",
                answer.status,
                String::from_utf8_lossy(&answer.body)
            );
        }
    }
    Ok(())
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmaps",
            Kind::Pod => "pods",
        }
    }

    fn body(self, name: &str) -> String {
        match self {
            Kind::ConfigMap => json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": { "name": name, "labels": { "app": "bench" } },
                "data": { "key": "value", "another": "x".repeat(200) },
            }),
            Kind::Pod => json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": name, "labels": { "app": "bench", "tier": "front" } },
                "spec": {
                    "containers": [{
                        "name": "main",
                        "image": "example.com/app:1",
                        "env": [{ "name": "A", "value": "1" }, { "name": "B", "value": "2" }],
                        "ports": [{ "containerPort": 8080 }],
                        "resources": { "requests": { "cpu": "10m", "memory": "16Mi" } },
                    }],
                },
            }),
        }
        .to_string()
    }
}

fn header() -> Vec<String> {
    [
        "server",
        "kind",
        "clients",
        "per s",
        "CPU ms each",
        "p50 ms",
        "p99 ms",
        "written KiB each",
        "RSS MiB",
    ]
    .map(str::to_string)
    .to_vec()
}

impl Measured {
    /// What was created.
    pub fn kind(&self) -> &'static str {
        self.kind.plural()
    }

    fn cpu_seconds_per_1000(&self) -> f64 {
        self.cpu_us.iter().sum::<f64>() / 1000.0
    }

    fn row(&self) -> Vec<String> {
        vec![
            self.server.to_string(),
            self.kind.plural().to_string(),
            self.clients.to_string(),
            format!("{:.0}", self.per_second),
            // Seconds for a thousand are milliseconds for one.
            format!("{:.3}", self.cpu_seconds_per_1000()),
            format!("{:.2}", self.p50_ms),
            format!("{:.2}", self.p99_ms),
            format!("{:.2}", self.written_kib_per_1000 / 1000.0),
            format!("{:.1}", self.resident_mib),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "server": self.server,
            "kind": self.kind.plural(),
            "clients": self.clients,
            "per_second": round(self.per_second, 0),
            "cpu_seconds_per_1000": round(self.cpu_seconds_per_1000(), 3),
            "p50_ms": round(self.p50_ms, 2),
            "p99_ms": round(self.p99_ms, 2),
            "written_kib_per_1000": round(self.written_kib_per_1000, 0),
            "resident_mib": round(self.resident_mib, 1),
        })
    }
}
