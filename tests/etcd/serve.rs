//! `corten store serve` as a program: what it says, whom it lets in, how it ends.

use crate::process::{Killed, certificates, client};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use corten_etcd::client::{Client, Config, TlsFiles};
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::corten;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Starts it on a free port of its choice and waits until it says which.
pub fn start(data: &Path, scheme: &str, flags: &[String]) -> Result<(Killed, String)> {
    let mut child = Command::new(corten()?)
        .args(["store", "serve", "--data-dir"])
        .arg(data)
        .arg(format!("--listen-client-urls={scheme}://127.0.0.1:0"))
        .args(flags)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting corten store serve")?;
    let said = child.stdout.take().context("no stdout")?;
    let child = Killed(child);
    let mut line = String::new();
    BufReader::new(said).read_line(&mut line)?;
    let url = line
        .trim()
        .strip_prefix("serving etcd's API on ")
        .with_context(|| format!("it says {line:?}"))?;
    Ok((child, url.to_owned()))
}

fn read() -> pb::RangeRequest {
    pb::RangeRequest {
        key: "kept".into(),
        ..Default::default()
    }
}

pub fn a_stopped_store_is_served_again() -> Result<()> {
    let data = TempDir::new()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut first, url) = start(data.path(), "http", &[])?;
    let put = pb::PutRequest {
        key: "kept".into(),
        value: "value".into(),
        ..Default::default()
    };
    runtime.block_on(async { client(&url)?.put(&put).await.map_err(anyhow::Error::from) })?;
    let second = Command::new(corten()?)
        .args(["store", "serve", "--listen-client-urls=http://127.0.0.1:0"])
        .arg("--data-dir")
        .arg(data.path())
        .output()?;
    let complaint = String::from_utf8_lossy(&second.stderr).into_owned();
    let named = complaint.contains(&*data.path().to_string_lossy());
    ensure!(
        !second.status.success() && named && complaint.contains("in use by another process"),
        "a second server of the same directory says {complaint:?}"
    );
    kill_process(Pid::from_child(&first.0), Signal::TERM)?;
    let ended = first.0.wait()?;
    ensure!(ended.success(), "told to stop, it ended with {ended}");
    let (_third, url) = start(data.path(), "http", &[])?;
    let answer = runtime.block_on(async {
        let client = client(&url)?;
        client.range(&read()).await.map_err(anyhow::Error::from)
    })?;
    let value = answer.kvs.first().map(|kv| kv.value.clone());
    ensure!(value == Some(Bytes::from("value")), "it kept {value:?}");
    Ok(())
}

pub fn only_clients_of_named_authorities_come_in() -> Result<()> {
    let data = TempDir::new()?;
    let pki = TempDir::new()?;
    certificates(pki.path())?;
    let path = |name: &str| pki.path().join(name);
    let flag = |name: &str, file: &str| format!("--{name}={}", path(file).display());
    let flags = [
        flag("cert-file", "server.crt"),
        flag("key-file", "server.key"),
        flag("trusted-ca-file", "ca.crt"),
    ];
    let (_server, url) = start(data.path(), "https", &flags)?;
    let known = |certificate: &str, key: &str| TlsFiles {
        ca: Some(path("server.crt")),
        certificate: Some(path(certificate)),
        key: Some(path(key)),
    };
    let ask = |tls: TlsFiles| {
        let endpoints = vec![url.clone()];
        let client = Client::new(&Config { endpoints, tls })?;
        let runtime = tokio::runtime::Runtime::new()?;
        let asked = runtime.block_on(client.range(&read()));
        asked.map_err(anyhow::Error::from)
    };
    ask(known("client.crt", "client.key")).context("a client of the authority")?;
    let nobody = TlsFiles {
        certificate: None,
        key: None,
        ..known("client.crt", "client.key")
    };
    ensure!(ask(nobody).is_err(), "a client without certificate came in");
    let stranger = ask(known("server.crt", "server.key"));
    ensure!(stranger.is_err(), "a client of another authority came in");
    Ok(())
}
