//! Upstream's etcd and the face, each on a free port of loopback and a directory of its own.

use anyhow::{Context, Result};
use corten_etcd::client::{Client, Config};
use corten_etcd::mvcc::StoreOptions;
use corten_etcd_server::{Serving, TlsFiles};
use corten_tests::{eventually, program};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A process that ends with this value.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

pub fn client(url: &str) -> Result<Client> {
    Ok(Client::new(&Config {
        endpoints: vec![url.to_owned()],
        ..Config::default()
    })?)
}

/// Waits until an etcd answers.
pub async fn ready(client: &Client) -> Result<()> {
    let (client, runtime) = (client.clone(), tokio::runtime::Handle::current());
    let look = move || {
        let asked = runtime.block_on(client.status());
        asked.map(drop).map_err(anyhow::Error::from)
    };
    tokio::task::spawn_blocking(move || eventually("etcd answers", look)).await?
}

/// Upstream's etcd.
pub struct Upstream {
    pub url: String,
    _process: Killed,
    _directory: TempDir,
}

/// Starts upstream's etcd on a directory.
pub fn etcd(directory: &Path, port: u16, peer: u16) -> Result<Killed> {
    let url = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{peer}");
    let child = Command::new(program("etcd")?)
        .arg("--data-dir")
        .arg(directory.join("data"))
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
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting etcd")?;
    Ok(Killed(child))
}

impl Upstream {
    pub async fn start() -> Result<Upstream> {
        let directory = TempDir::new()?;
        let (port, peer) = (free_port()?, free_port()?);
        let upstream = Upstream {
            url: format!("http://127.0.0.1:{port}"),
            _process: etcd(directory.path(), port, peer)?,
            _directory: directory,
        };
        ready(&client(&upstream.url)?).await?;
        Ok(upstream)
    }
}

/// The face, in this process.
pub struct Ours {
    pub serving: Serving,
    _directory: TempDir,
}

impl Ours {
    pub async fn start() -> Result<Ours> {
        let directory = TempDir::new()?;
        let serving = Serving::start(corten_etcd_server::Config {
            store: StoreOptions::new(directory.path().join("data")),
            listen: vec!["http://127.0.0.1:0".to_owned()],
            advertise: Vec::new(),
            name: "default".to_owned(),
            tls: TlsFiles::default(),
            progress_notify: Duration::from_secs(600),
        })
        .await?;
        Ok(Ours {
            serving,
            _directory: directory,
        })
    }

    pub fn url(&self) -> &str {
        &self.serving.urls()[0]
    }
}
