//! A server under measurement: started on its core with an empty directory, started again on the same one, stopped
//! with the value that holds it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use corten_etcd::client::{Client, Config};
use corten_tests::Sample;
use rustix::process::{Pid, Signal, kill_process};

use crate::pinned::{SERVER, on_core};

/// What both may keep: more than any measurement writes.
const QUOTA: &str = "--quota-backend-bytes=34359738368";

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Server {
    /// Corten's etcd face.
    Corten,
    /// etcd.
    Etcd,
}

impl Server {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Server::Corten => "corten",
            Server::Etcd => "etcd",
        }
    }

    /// The command that serves a directory on a port.
    pub fn command(self, data: &Path, port: u16, peer: u16) -> Result<Command> {
        let url = format!("http://127.0.0.1:{port}");
        let peer = format!("http://127.0.0.1:{peer}");
        let mut command = match self {
            Server::Corten => {
                let mut command = Command::new(corten_tests::corten()?);
                command.args(["store", "serve"]);
                command
            }
            Server::Etcd => {
                let mut command = Command::new(corten_tests::program("etcd")?);
                command.arg(format!("--advertise-client-urls={url}"));
                command.arg(format!("--listen-peer-urls={peer}"));
                command.arg(format!("--initial-advertise-peer-urls={peer}"));
                command.arg(format!("--initial-cluster=default={peer}"));
                command.arg("--log-level=error");
                command
            }
        };
        command.arg(format!("--listen-client-urls={url}"));
        command.arg("--data-dir").arg(data).arg(QUOTA);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(command)
    }
}

/// A running server.
pub struct Running {
    /// Which one.
    pub server: Server,
    data: PathBuf,
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
    /// Starts it on an empty directory.
    pub fn start(server: Server, directory: &Path) -> Result<Running> {
        let data = directory.join(server.name());
        let _ = std::fs::remove_dir_all(&data);
        Running::on(server, data)
    }

    /// Ends it in order and starts it again on the same directory.
    pub fn restart(mut self) -> Result<Running> {
        let process = Pid::from_raw(self.child.id() as i32).context("a process has a number")?;
        kill_process(process, Signal::TERM)?;
        self.child.wait()?;
        Running::on(self.server, self.data.clone())
    }

    fn on(server: Server, data: PathBuf) -> Result<Running> {
        let free = || -> Result<u16> {
            let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
            Ok(listener.local_addr()?.port())
        };
        let (port, peer) = (free()?, free()?);
        let mut command = server.command(&data, port, peer)?;
        let child = on_core(SERVER, || command.spawn())?.context("starting the server")?;
        Ok(Running {
            server,
            data,
            child,
            url: format!("http://127.0.0.1:{port}"),
        })
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(&Config {
            endpoints: vec![self.url.clone()],
            ..Config::default()
        })?)
    }

    /// Waits until it answers, at most two minutes; answers how long that took.
    pub async fn ready(&self) -> Result<Duration> {
        let client = self.client()?;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(120) {
            if client.status().await.is_ok() {
                return Ok(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("{} does not answer", self.url)
    }

    /// What it has used so far.
    pub fn sample(&self) -> Sample {
        Sample::of(&[self.child.id()])
    }

    /// The most memory that it ever had, in KiB.
    pub fn resident_kib_max(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .context("/proc says no VmHWM")
    }

    /// The bytes that its files take on the disk.
    pub fn disk_bytes(&self) -> u64 {
        allocated(&self.data)
    }
}

/// Files come and go meanwhile: those that are gone count nothing.
fn allocated(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => allocated(&entry.path()),
            Ok(meta) => meta.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}
