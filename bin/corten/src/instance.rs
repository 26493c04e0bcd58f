//! One running cluster on one data directory: its lock, how it is found and how it is stopped.
//!
//! Invariant: the lock file is held for as long as the process lives and names its pid, so that a process that died
//! never looks alive and another's pid is never signalled.

use anyhow::{Context, Result, bail};
use corten_api::core::v1::{Node, Pod};
use corten_client::{Client, HttpTransport, Kubeconfig};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a cluster may take to stop.
const STOP_MAX: Duration = Duration::from_secs(30);

/// A held data directory; it is let go when this is dropped or the process ends.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

fn lock_path(data: &Path) -> PathBuf {
    data.join("corten.lock")
}

/// The kubeconfig of the cluster's administrator.
pub fn kubeconfig_path(data: &Path) -> PathBuf {
    data.join("kubeconfig")
}

impl Instance {
    /// Takes the data directory, which is made if need be. Fails when a living process has it.
    pub fn take(data: &Path) -> Result<Instance> {
        std::fs::create_dir_all(data)
            .with_context(|| format!("cannot make the data directory {}", data.display()))?;
        let path = lock_path(data);
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).ok();
            bail!(
                "the data directory {} is in use by process {}; stop it with 'corten down --data-dir {}' or choose \
                 another --data-dir",
                data.display(),
                holder.trim(),
                data.display()
            );
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id()).with_context(|| {
            format!(
                "cannot write {}; is the disk full or read-only?",
                path.display()
            )
        })?;
        Ok(Instance { _lock: lock })
    }
}

/// The pid of the process that has the data directory; nothing when none has.
pub fn running(data: &Path) -> Option<Pid> {
    let mut lock = File::open(lock_path(data)).ok()?;
    if flock(&lock, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let mut holder = String::new();
    lock.read_to_string(&mut holder).ok()?;
    Pid::from_raw(holder.trim().parse().ok()?)
}

/// Stops the cluster that runs on `data`; workloads keep running.
pub async fn stop(data: &Path) -> Result<()> {
    let Some(pid) = running(data) else {
        println!("no cluster runs on {}", data.display());
        return Ok(());
    };
    kill_process(pid, Signal::TERM)
        .with_context(|| format!("cannot signal process {}", pid.as_raw_nonzero()))?;
    // The kernel lets the lock go when the process ends; taking it waits for just that.
    let lock = File::open(lock_path(data))?;
    let ended = tokio::task::spawn_blocking(move || flock(&lock, FlockOperation::LockShared));
    match tokio::time::timeout(STOP_MAX, ended).await {
        Ok(_) => {
            println!("stopped; workloads keep running");
            Ok(())
        }
        Err(_) => bail!(
            "process {} did not stop within {} s",
            pid.as_raw_nonzero(),
            STOP_MAX.as_secs()
        ),
    }
}

/// How long the API server may take to tell what it has.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Tells whether a cluster runs on `data`, and how its nodes and pods are.
pub async fn status(data: &Path) -> Result<()> {
    match running(data) {
        Some(pid) => {
            println!("running: process {}", pid.as_raw_nonzero());
            println!("export KUBECONFIG={}", kubeconfig_path(data).display());
            let told = tokio::time::timeout(ANSWER_MAX, tell_objects(data)).await;
            told.context("the API server does not answer")?
        }
        None => bail!(
            "no cluster runs on {}; start one with 'corten up'",
            data.display()
        ),
    }
}

/// One line for each node and one for all pods.
async fn tell_objects(data: &Path) -> Result<()> {
    let config = Kubeconfig::read(&kubeconfig_path(data))?;
    let client = Client::new(Arc::new(HttpTransport::new(&config, "corten")?), "corten");
    let nodes = client.list::<Node>("").await.context("cannot list nodes")?;
    for node in nodes.items.iter().filter_map(|o| o.downcast_ref::<Node>()) {
        let conditions = &node.status.conditions;
        let ready = conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True");
        let state = if ready { "Ready" } else { "NotReady" };
        println!("node {}: {state}", node.metadata.name);
    }
    let pods = client.list::<Pod>("").await.context("cannot list pods")?;
    let mut phases: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods.items.iter().filter_map(|o| o.downcast_ref::<Pod>()) {
        *phases.entry(&pod.status.phase).or_default() += 1;
    }
    let counts: Vec<String> = phases
        .iter()
        .map(|(phase, n)| format!("{n} {phase}"))
        .collect();
    let counts = if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    };
    println!("pods: {counts}");
    Ok(())
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_requested() -> Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
