//! Both API servers on loopback, each with an empty store in a directory of its own, ended when dropped.
//! Both know the caller under the same name and groups.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use tempfile::TempDir;

use super::corpus::Request;
use super::http::{Connection, tls};

/// One API server and how to speak to it.
pub struct Server {
    /// On loopback.
    pub port: u16,
    /// Sent as bearer token.
    pub token: Option<String>,
    /// With the client's certificate, where it has one.
    pub tls: Arc<ClientConfig>,
}

/// Both.
pub struct Servers {
    /// Corten.
    pub ours: Server,
    /// kube-apiserver.
    pub theirs: Server,
    children: Vec<Child>,
    _directory: TempDir,
}

/// Flags that the caller adds.
pub struct Flags<'a> {
    /// For Corten.
    pub ours: &'a [String],
    /// For kube-apiserver.
    pub theirs: &'a [String],
}

const TOKEN: &str = "diff-api";
const READY_SECONDS_MAX: u64 = 120;

impl Servers {
    /// Starts both and waits until they are ready.
    pub fn start(programs: &Path, corten: &Path, extra: &Flags<'_>) -> Result<Servers> {
        let directory = TempDir::new().context("a directory for the servers")?;
        let at = directory.path();
        let ports = free_ports()?;
        let mut servers = Servers {
            ours: Server {
                port: ports[0],
                token: None,
                tls: tls(None)?,
            },
            theirs: Server {
                port: ports[1],
                token: Some(TOKEN.into()),
                tls: tls(None)?,
            },
            children: Vec::new(),
            _directory: TempDir::new().context("a directory for the servers")?,
        };
        servers.start_ours(at, corten, extra.ours)?;
        servers.start_theirs(at, programs, extra.theirs, (ports[2], ports[3]))?;
        servers._directory = directory;
        for server in [&servers.ours, &servers.theirs] {
            wait_ready(server)?;
        }
        Ok(servers)
    }

    /// Starts Corten alone; the other one is not there.
    pub fn start_corten(corten: &Path, extra: &[String]) -> Result<Servers> {
        let directory = TempDir::new().context("a directory for the server")?;
        let ports = free_ports()?;
        let server = |port| -> Result<Server> {
            Ok(Server {
                port,
                token: None,
                tls: tls(None)?,
            })
        };
        let mut servers = Servers {
            ours: server(ports[0])?,
            theirs: server(ports[1])?,
            children: Vec::new(),
            _directory: TempDir::new().context("a directory for the server")?,
        };
        servers.start_ours(directory.path(), corten, extra)?;
        servers._directory = directory;
        wait_ready(&servers.ours)?;
        Ok(servers)
    }

    fn start_ours(&mut self, at: &Path, corten: &Path, extra: &[String]) -> Result<()> {
        let data = at.join("corten");
        let kubeconfig = at.join("corten.kubeconfig");
        let mut command = Command::new(corten);
        command.args(["apiserver", "--data-dir"]).arg(&data);
        command.args(["--api-port", &self.ours.port.to_string()]);
        command
            .arg("--write-kubeconfig")
            .arg(&kubeconfig)
            .args(extra);
        self.spawn(command, &at.join("corten.log"))?;
        let started = Instant::now();
        while !kubeconfig.exists() {
            if started.elapsed().as_secs() > READY_SECONDS_MAX {
                bail!(
                    "corten wrote no kubeconfig; see its log: {}",
                    tail(&at.join("corten.log"))
                );
            }
            sleep(Duration::from_millis(50));
        }
        let text = fs::read_to_string(&kubeconfig)?;
        let value = |name: &str| -> Result<Vec<u8>> {
            let mut lines = text.lines().map(|l| l.trim().trim_start_matches("- "));
            let found = lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
            let found = found.with_context(|| format!("the kubeconfig has no {name}"))?;
            STANDARD
                .decode(found.trim().trim_matches('"'))
                .context("base64")
        };
        let (chain, key) = (value("client-certificate-data")?, value("client-key-data")?);
        self.ours.tls = tls(Some((&chain, &key)))?;
        Ok(())
    }

    fn start_theirs(
        &mut self,
        at: &Path,
        programs: &Path,
        extra: &[String],
        (client, peer): (u16, u16),
    ) -> Result<()> {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let mut etcd = Command::new(programs.join("etcd"));
        etcd.arg("--data-dir").arg(at.join("etcd")).args([
            "--listen-client-urls",
            &url(client),
            "--advertise-client-urls",
            &url(client),
            "--listen-peer-urls",
            &url(peer),
            "--initial-advertise-peer-urls",
            &url(peer),
            "--initial-cluster",
            &format!("default={}", url(peer)),
        ]);
        self.spawn(etcd, &at.join("etcd.log"))?;
        let tokens = at.join("tokens.csv");
        fs::write(
            &tokens,
            format!("{TOKEN},kubernetes-admin,admin,\"system:masters\"\n"),
        )?;
        let key = at.join("sa.key");
        let made = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(&key)
            .arg("2048")
            .stderr(Stdio::null())
            .status();
        if !made
            .context("openssl makes upstream's signing key")?
            .success()
        {
            bail!("openssl could not make a key");
        }
        let mut server = Command::new(programs.join("kube-apiserver"));
        server.args(["--etcd-servers", &url(client)]);
        server.args(["--secure-port", &self.theirs.port.to_string()]);
        server.args([
            "--bind-address",
            "127.0.0.1",
            "--authorization-mode",
            "Node,RBAC",
        ]);
        server.args([
            "--service-account-issuer",
            "https://kubernetes.default.svc.cluster.local",
        ]);
        server.args(["--enable-admission-plugins", "NodeRestriction"]);
        server.arg("--allow-privileged=true");
        server.args(["--service-cluster-ip-range", "10.96.0.0/16"]);
        server.arg("--service-account-key-file").arg(&key);
        server.arg("--service-account-signing-key-file").arg(&key);
        server.arg("--cert-dir").arg(at.join("certs"));
        server.arg("--token-auth-file").arg(&tokens).args(extra);
        self.spawn(server, &at.join("kube-apiserver.log"))
    }

    fn spawn(&mut self, mut command: Command, log: &Path) -> Result<()> {
        let log = File::create(log)?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("starting {command:?}"))?;
        self.children.push(child);
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_ports() -> Result<[u16; 4]> {
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpListener::bind("127.0.0.1:0").context("a free port")?);
    }
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn wait_ready(server: &Server) -> Result<()> {
    let started = Instant::now();
    let mut connection = Connection::new(server);
    loop {
        let answer = connection.send(&Request::get("/readyz"));
        if answer.is_ok_and(|a| a.status == 200) {
            return Ok(());
        }
        if started.elapsed().as_secs() > READY_SECONDS_MAX {
            bail!("the server on port {} does not get ready", server.port);
        }
        sleep(Duration::from_millis(200));
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
