//! `etcd`: puts, gets and watch events on Corten's etcd face and on etcd itself, side by side: the same client, the
//! same disk, the server on one core and the load on another. Each client has a connection of its own and waits for
//! its answer. Beside them, what one `fdatasync` costs on that disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use corten_etcd::client::{Client, Config};
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::Sample;
use serde_json::{Value, json};

use crate::history::{percentile, record, round, table};
use crate::pinned::{LOAD, SERVER, on_core, pin};

/// Flags of `etcd`.
#[derive(Debug, Args)]
pub struct Etcd {
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
    /// Where the servers keep their data
    #[arg(long, default_value = "/var/tmp/corten-bench-etcd")]
    directory: PathBuf,
    /// Measure one server only
    #[arg(long)]
    only: Option<Server>,
}

/// A server to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Server {
    Corten,
    Etcd,
}

struct Running {
    child: Child,
    url: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(server: Server, directory: &Path) -> Result<Running> {
        let free = || -> Result<u16> {
            Ok(std::net::TcpListener::bind("127.0.0.1:0")?
                .local_addr()?
                .port())
        };
        let (port, peer) = (free()?, free()?);
        let url = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer}");
        let data = directory.join(format!("{server:?}").to_lowercase());
        let _ = std::fs::remove_dir_all(&data);
        let mut command = match server {
            Server::Corten => {
                let mut command = Command::new(corten_tests::corten()?);
                command.args(["store", "serve", "--listen-client-urls", &url]);
                command
            }
            Server::Etcd => {
                let mut command = Command::new(corten_tests::program("etcd")?);
                command
                    .args([
                        "--listen-client-urls",
                        &url,
                        "--advertise-client-urls",
                        &url,
                    ])
                    .args([
                        "--listen-peer-urls",
                        &peer,
                        "--initial-advertise-peer-urls",
                        &peer,
                    ])
                    .args([
                        "--initial-cluster",
                        &format!("default={peer}"),
                        "--log-level=error",
                    ]);
                command
            }
        };
        command.arg("--data-dir").arg(&data);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = on_core(SERVER, || command.spawn())?.context("starting the server")?;
        Ok(Running { child, url })
    }

    fn client(&self) -> Result<Client> {
        Ok(Client::new(&Config {
            endpoints: vec![self.url.clone()],
            ..Config::default()
        })?)
    }

    async fn ready(&self) -> Result<()> {
        let client = self.client()?;
        for _ in 0..200 {
            if client.status().await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} does not answer", self.url)
    }

    fn sample(&self) -> Sample {
        Sample::of(&[self.child.id()])
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Put,
    Get,
}

struct Measured {
    server: Server,
    what: &'static str,
    clients: usize,
    per_second: f64,
    cpu_us: f64,
    p50_us: f64,
    p99_us: f64,
    written: f64,
    resident_mib: f64,
}

impl Etcd {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        let floor = self.fdatasync_us()?;
        println!(
            "one write of {} bytes and fdatasync: {floor:.0} us\n",
            self.value_bytes
        );
        let mut measured = Vec::new();
        for server in [Server::Etcd, Server::Corten] {
            if self.only.is_none_or(|only| only == server) {
                self.server(server, &mut measured)?;
            }
        }
        let mut rows = vec![header()];
        rows.extend(measured.iter().map(Measured::row));
        table(&rows);
        let results: Vec<Value> = measured.iter().map(Measured::json).collect();
        record(
            "etcd",
            json!({"fdatasync_us": round(floor, 0), "rows": results}),
        )
    }

    fn server(&self, server: Server, measured: &mut Vec<Measured>) -> Result<()> {
        let running = Running::start(server, &self.directory)?;
        pin(LOAD)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            running.ready().await?;
            for what in [What::Put, What::Get] {
                for clients in &self.clients {
                    measured.push(self.requests(server, &running, what, *clients).await?);
                }
            }
            measured.push(self.fan_out(server, &running).await?);
            Ok(())
        })
    }

    async fn requests(
        &self,
        server: Server,
        running: &Running,
        what: What,
        clients: usize,
    ) -> Result<Measured> {
        let operations = if clients == 1 {
            self.operations / 10
        } else {
            self.operations
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
            tasks.push(tokio::spawn(one_client(
                client,
                what,
                next.clone(),
                operations,
                value.clone(),
            )));
        }
        let mut times = Vec::with_capacity(operations);
        for task in tasks {
            times.append(&mut task.await??);
        }
        let seconds = started.elapsed().as_secs_f64();
        let after = running.sample();
        times.sort_by(f64::total_cmp);
        let count = operations as f64;
        Ok(Measured {
            server,
            what: if what == What::Put { "put" } else { "get" },
            clients,
            per_second: count / seconds,
            cpu_us: (after.cpu_seconds - before.cpu_seconds) * 1e6 / count,
            p50_us: percentile(&times, 0.5),
            p99_us: percentile(&times, 0.99),
            written: (after.written_bytes - before.written_bytes) as f64 / count,
            resident_mib: after.resident_kib as f64 / 1024.0,
        })
    }

    /// Many watches on one prefix, over ten connections; every change reaches each.
    async fn fan_out(&self, server: Server, running: &Running) -> Result<Measured> {
        const CONNECTIONS: usize = 10;
        let mut listening = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut watch = running.client()?.watch().await?;
            let count = self.watches / CONNECTIONS;
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
            listening.push((watch, count));
        }
        let before = running.sample();
        let started = Instant::now();
        let wanted = self.changes;
        let mut tasks = Vec::new();
        for (mut watch, count) in listening {
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
        Ok(Measured {
            server,
            what: "watch event",
            clients: self.watches,
            per_second: events as f64 / seconds,
            cpu_us: (after.cpu_seconds - before.cpu_seconds) * 1e6 / events as f64,
            p50_us: 0.0,
            p99_us: 0.0,
            written: 0.0,
            resident_mib: after.resident_kib as f64 / 1024.0,
        })
    }

    /// The median of one write and its sync, into room that was taken before.
    fn fdatasync_us(&self) -> Result<f64> {
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
        let key: bytes::Bytes = format!("key/{:08}", number % 10_000).into();
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
                ensure!(
                    answer.kvs.len() <= 1,
                    "a get found {} keys",
                    answer.kvs.len()
                );
            }
        }
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
}

fn header() -> Vec<String> {
    [
        "server",
        "what",
        "clients",
        "per s",
        "CPU us",
        "p50 us",
        "p99 us",
        "written B",
        "MiB",
    ]
    .map(str::to_owned)
    .to_vec()
}

impl Measured {
    fn row(&self) -> Vec<String> {
        vec![
            format!("{:?}", self.server).to_lowercase(),
            self.what.to_owned(),
            self.clients.to_string(),
            format!("{:.0}", self.per_second),
            format!("{:.1}", self.cpu_us),
            format!("{:.0}", self.p50_us),
            format!("{:.0}", self.p99_us),
            format!("{:.0}", self.written),
            format!("{:.0}", self.resident_mib),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "server": format!("{:?}", self.server).to_lowercase(),
            "what": self.what,
            "clients": self.clients,
            "per_second": round(self.per_second, 0),
            "cpu_us": round(self.cpu_us, 1),
            "p50_us": round(self.p50_us, 0),
            "p99_us": round(self.p99_us, 0),
            "written_bytes": round(self.written, 0),
            "resident_mib": round(self.resident_mib, 0),
        })
    }
}
