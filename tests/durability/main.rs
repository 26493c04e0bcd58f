//! What survives: every acknowledged write through kill -9, running containers through a dead or
//! stopped control plane, and traffic while it is away. Each test starts a cluster of its own.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result, bail};
use corten_tests::{
    ApiAccess, Cluster, Options, eventually, expect_equal, expect_parts, find_by_data, get,
    manifests, run_each,
};
use rustix::process::Signal;
use serde_json::Value;

/// Kills of the control plane.
const ROUNDS: usize = 20;
/// Objects that each round sets out to create.
const CREATES: usize = 2_000;
/// Connections that create at the same time.
const CLIENTS: usize = 8;

fn main() -> ExitCode {
    run_each(vec![
        (
            "kill_9_loses_no_acknowledged_object",
            kill_9_loses_no_acknowledged_object,
        ),
        (
            "containers_are_adopted_after_kill_9",
            containers_are_adopted_after_kill_9,
        ),
        (
            "containers_are_adopted_after_a_stop",
            containers_are_adopted_after_a_stop,
        ),
    ])
}

fn kill_9_loses_no_acknowledged_object() -> Result<()> {
    let cluster = Cluster::start(Options {
        name: "kill",
        images: &[],
    })?;
    let outcome = (0..ROUNDS).try_for_each(|round| {
        kill_in_the_middle(&cluster, round).with_context(|| format!("round {round}"))
    });
    finish(cluster, outcome)
}

/// Creates until enough are acknowledged, kills, starts again and looks for all of them.
fn kill_in_the_middle(cluster: &Cluster, round: usize) -> Result<()> {
    let namespace = format!("round-{round}");
    cluster
        .kubectl()
        .run(&format!("create namespace {namespace}"))?;
    let access = ApiAccess::from_kubeconfig(cluster.kubectl())?;
    // Another moment each round: from the first objects to the last.
    let kill_at = (CREATES / ROUNDS) * round + 50;
    let next = AtomicUsize::new(0);
    let (sender, acknowledged) = channel();
    let kept = std::thread::scope(|scope| -> Result<BTreeSet<String>> {
        for _ in 0..CLIENTS {
            let (sender, access, next, namespace) = (sender.clone(), &access, &next, &namespace);
            scope.spawn(move || {
                let inside = || create_until_cut_off(access, namespace, next, &sender);
                // A lost connection is what this test is about.
                let _ = cluster.kubectl().inside(inside);
            });
        }
        drop(sender);
        collect_and_kill(cluster, &acknowledged, kill_at)
    })?;
    cluster.launch()?;
    cluster.wait_ready()?;
    let list = cluster.kubectl().run(&format!(
        "get --raw /api/v1/namespaces/{namespace}/configmaps"
    ))?;
    let list: Value = serde_json::from_str(&list).context("a list is JSON")?;
    let found: BTreeSet<&str> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["metadata"]["name"].as_str())
        .collect();
    let lost: Vec<&String> = kept
        .iter()
        .filter(|name| !found.contains(name.as_str()))
        .collect();
    if !lost.is_empty() {
        bail!(
            "{} of {} acknowledged objects are gone: {lost:?}",
            lost.len(),
            kept.len()
        );
    }
    Ok(())
}

fn collect_and_kill(
    cluster: &Cluster,
    acknowledged: &Receiver<String>,
    kill_at: usize,
) -> Result<BTreeSet<String>> {
    let mut kept = BTreeSet::new();
    while kept.len() < kill_at {
        match acknowledged.recv() {
            Ok(name) => kept.insert(name),
            Err(_) => bail!(
                "clients stopped after {} creates: {}",
                kept.len(),
                cluster.log_tail()
            ),
        };
    }
    cluster.signal(Signal::KILL)?;
    // What was acknowledged between the decision and the kill counts as well.
    kept.extend(acknowledged.iter());
    Ok(kept)
}

fn create_until_cut_off(
    access: &ApiAccess,
    namespace: &str,
    next: &AtomicUsize,
    acknowledged: &Sender<String>,
) -> Result<()> {
    let mut client = access.connect()?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CREATES {
            return Ok(());
        }
        let name = format!("object-{number}");
        let body = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"n":"{number}"}}}}"#
        );
        let answer = client.request("POST", &path, body.as_bytes())?;
        if answer.status != 201 {
            bail!("create answered {}", answer.status);
        }
        acknowledged.send(name)?;
    }
}

fn containers_are_adopted_after_kill_9() -> Result<()> {
    adoption("adopt", Signal::KILL)
}

fn containers_are_adopted_after_a_stop() -> Result<()> {
    adoption("stop", Signal::TERM)
}

fn adoption(name: &'static str, signal: Signal) -> Result<()> {
    let cluster = Cluster::start(Options {
        name,
        images: &["busybox", "agnhost"],
    })?;
    let outcome = adopt(&cluster, signal);
    finish(cluster, outcome)
}

/// The same processes, restart counts and answers before, during and after an absence.
fn adopt(cluster: &Cluster, signal: Signal) -> Result<()> {
    let kubectl = cluster.namespace("adopt")?;
    kubectl.apply(&manifests::server_deployment("web", 2).to_string())?;
    kubectl.apply(&manifests::service("web", "NodePort").to_string())?;
    let script = "n=0; while read -r -t 0.1 x <> /tmp/fifo; [ $n -lt 100000 ]; do n=$((n+1)); echo line $n; done";
    let script = format!("mkfifo /tmp/fifo; {script}");
    kubectl.apply(&manifests::shell_pod("talker", &script).to_string())?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.wait("condition=Ready", "pod/talker")?;
    let port = kubectl.run("get service web -o 'jsonpath={.spec.ports[0].nodePort}'")?;
    let authority = format!("{}:{port}", cluster.node_address()?);
    let visit = || -> Result<()> {
        let page = cluster
            .kubectl()
            .inside(|| get(&authority, "/hostname"))??;
        expect_parts(&page.body, &["web-"])
    };
    eventually("the Service answers", visit)?;
    let path = "{range .items[*]}{.metadata.name}{\" \"}{.status.containerStatuses[*].containerID}{\" \"}{.status.containerStatuses[*].restartCount}{\"\\n\"}{end}";
    let identities = || kubectl.run(&format!("get pods -o 'jsonpath={path}'"));
    let (before, processes) = (identities()?, container_processes(cluster)?);

    cluster.signal(signal)?;
    expect_equal(container_processes(cluster)?, processes.clone())?;
    visit().context("while the control plane is away")?;
    cluster.launch()?;
    cluster.wait_ready()?;
    expect_equal(container_processes(cluster)?, processes)?;
    kubectl.wait("condition=Ready", "pods --all")?;
    expect_equal(identities()?, before)?;
    visit().context("after the control plane is back")?;
    let log = kubectl.run("logs talker")?;
    let numbers = log
        .lines()
        .enumerate()
        .all(|(at, line)| line == format!("line {}", at + 1));
    expect_equal(numbers, true).context("no log line is missing or doubled")?;
    // The pods are not only left alone but still looked after.
    kubectl.run("exec talker -- true")?;
    kubectl.run("scale deployment web --replicas=1")?;
    kubectl.wait("jsonpath={.status.replicas}=1", "deployment/web")
}

/// Processes of this cluster's pods: children of its supervisors, which have the data directory among their arguments.
fn container_processes(cluster: &Cluster) -> Result<BTreeSet<u32>> {
    let supervisors = find_by_data(&cluster.data())?;
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        if parent.is_some_and(|parent| supervisors.contains(&parent))
            && !supervisors.contains(&process)
        {
            found.insert(process);
        }
    }
    if found.is_empty() {
        bail!("no container process was found below {supervisors:?}");
    }
    Ok(found)
}

/// Ends the cluster whatever the outcome, and reports the outcome first.
fn finish(cluster: Cluster, outcome: Result<()>) -> Result<()> {
    let tail = cluster.log_tail();
    let finished = cluster.finish();
    outcome.context(tail)?;
    finished
}
