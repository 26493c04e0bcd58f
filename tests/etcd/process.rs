//! Upstream's etcd and the face, each on a free port of loopback and a directory of its own.

use anyhow::{Context, Result, ensure};
use corten_etcd::client::{Client, Config};
use corten_etcd::mvcc::StoreOptions;
use corten_etcd_server::{Serving, TlsFiles};
use corten_tests::{eventually, program};
use std::io::Write;
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

/// Runs openssl in a directory.
pub fn openssl(directory: &Path, line: &str) -> Result<()> {
    let output = Command::new("openssl")
        .current_dir(directory)
        .args(line.split_whitespace())
        .output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl {line}: {complaint}");
    Ok(())
}

/// Certificates of an etcd in a directory: `server.{crt,key}` for loopback, `ca.crt` and of it `client.{crt,key}`.
pub fn certificates(directory: &Path) -> Result<()> {
    let new = "req -x509 -newkey rsa:2048 -nodes -days 2";
    openssl(
        directory,
        &format!(
            "{new} -keyout server.key -out server.crt -subj /CN=server -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
        ),
    )?;
    openssl(
        directory,
        &format!("{new} -keyout ca.key -out ca.crt -subj /CN=ca"),
    )?;
    openssl(
        directory,
        &format!(
            "{new} -keyout client.key -out client.crt -subj /CN=client -CA ca.crt -CAkey ca.key -addext basicConstraints=critical,CA:FALSE"
        ),
    )
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
    etcd_with(directory, &format!("http://127.0.0.1:{port}"), peer, &[])
}

/// As [`etcd`], at a URL and with further flags.
pub fn etcd_with(directory: &Path, url: &str, peer: u16, flags: &[String]) -> Result<Killed> {
    let peer = format!("http://127.0.0.1:{peer}");
    let child = Command::new(program("etcd")?)
        .arg("--data-dir")
        .arg(directory.join("data"))
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
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
        .args(flags)
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

/// Runs kubectl with these flags and the words of `line`; answers what it says.
pub fn kubectl(home: &Path, flags: &[&str], line: &str, input: &str) -> Result<String> {
    let mut child = Command::new(program("kubectl")?)
        .env("HOME", home)
        .args(flags)
        .args(line.split_whitespace())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut to = child.stdin.take().context("no stdin")?;
    to.write_all(input.as_bytes())?;
    drop(to);
    let output = child.wait_with_output()?;
    ensure!(
        output.status.success(),
        "kubectl {line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
