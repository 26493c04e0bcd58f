//! `corten apiserver` in front of an etcd, and what tests do with it.

use crate::process::{Killed, free_port, kubectl};
use anyhow::{Context, Result, bail, ensure};
use corten_tests::{ApiAccess, ApiClient, corten, eventually, program};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Lines};
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// An open watch.
pub struct Watching {
    _process: Killed,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watching {
    /// The next event: its type, and the object's name.
    pub fn event(&mut self) -> Result<(String, String)> {
        let line = self.lines.next().context("the watch ended")??;
        let event: Value = serde_json::from_str(&line)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok((
            text(&event["type"]),
            text(&event["object"]["metadata"]["name"]),
        ))
    }
}

/// `corten apiserver --etcd-servers`.
pub struct Corten {
    pub process: Killed,
    pub directory: TempDir,
}

impl Corten {
    pub fn start(etcd: &str) -> Result<Corten> {
        Corten::start_with(etcd, &[])
    }

    pub fn start_with(etcd: &str, flags: &[String]) -> Result<Corten> {
        let server = Corten::spawn(etcd, flags)?;
        server.ready()?;
        Ok(server)
    }

    /// Starts it and does not wait.
    pub fn spawn(etcd: &str, flags: &[String]) -> Result<Corten> {
        let directory = TempDir::new()?;
        let log = std::fs::File::create(directory.path().join("log"))?;
        let port = match flags.iter().any(|flag| flag.starts_with("--api-port")) {
            true => None,
            false => Some(format!("--api-port={}", free_port()?)),
        };
        let child = Command::new(corten()?)
            .arg("apiserver")
            .arg("--data-dir")
            .arg(directory.path().join("data"))
            .args(port)
            .arg(format!("--etcd-servers={etcd}"))
            .args(flags)
            .arg("--write-kubeconfig")
            .arg(directory.path().join("kubeconfig"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting corten apiserver")?;
        Ok(Corten {
            process: Killed(child),
            directory,
        })
    }

    pub fn ready(&self) -> Result<()> {
        eventually("corten apiserver is ready", || {
            let mut api = self.api().with_context(|| self.log())?;
            match api.request("GET", "/readyz", b"")?.status {
                200 => Ok(()),
                status => bail!("readyz: {status}: {}", self.log()),
            }
        })
    }

    /// The changes of a path (with its query) from a revision on, line by line.
    pub fn watch(&self, path: &str, revision: &str) -> Result<Watching> {
        let join = if path.contains('?') { '&' } else { '?' };
        let mut child = Command::new(program("kubectl")?)
            .arg("--kubeconfig")
            .arg(self.kubeconfig())
            .args(["get", "--raw"])
            .arg(format!("{path}{join}watch=1&resourceVersion={revision}"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("no stdout")?).lines();
        Ok(Watching {
            _process: Killed(child),
            lines,
        })
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    pub fn api(&self) -> Result<ApiClient> {
        ApiAccess::from_file(&self.kubeconfig())?.connect()
    }

    pub fn kubectl(&self, line: &str, input: &str) -> Result<String> {
        let kubeconfig = format!("--kubeconfig={}", self.kubeconfig().display());
        kubectl(self.directory.path(), &[&kubeconfig], line, input)
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.process.0);
        Ok(kill_process(pid, signal)?)
    }
}

pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";

pub fn map(name: &str, value: &str) -> Vec<u8> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value}});
    object.to_string().into_bytes()
}

pub fn put(api: &mut ApiClient, name: &str, value: &str) -> Result<Value> {
    let answer = api.request("POST", MAPS, &map(name, value))?;
    ensure!(
        answer.status == 201,
        "create {name}: {} {:?}",
        answer.status,
        answer.json()
    );
    answer.json()
}

pub fn value(api: &mut ApiClient, name: &str) -> Result<Option<String>> {
    let answer = api.request("GET", &format!("{MAPS}/{name}"), b"")?;
    match answer.status {
        200 => Ok(answer.json()?["data"]["v"].as_str().map(str::to_owned)),
        404 => Ok(None),
        status => bail!("get {name}: {status}"),
    }
}
