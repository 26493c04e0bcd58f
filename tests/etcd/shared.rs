//! Several API servers on one etcd: Corten's beside Corten's and beside upstream's, through everything that happens
//! to an etcd.

use crate::kube::{KubeApiserver, session};
use crate::ours::{Corten, MAPS, map, put, value};
use crate::process::{Upstream, client, free_port, ready};
use anyhow::{Context, Result, ensure};
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::eventually;
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

/// What one server acknowledged, the other one reads at once; of two writers of one version one wins.
pub fn servers_on_one_etcd_read_each_others_writes() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    let servers = [Corten::start(&upstream.url)?, Corten::start(&upstream.url)?];
    let mut apis = [servers[0].api()?, servers[1].api()?];
    for round in 0..60 {
        let name = format!("round-{round}");
        let (writer, reader) = (round % 2, 1 - round % 2);
        put(&mut apis[writer], &name, "1")?;
        ensure!(
            value(&mut apis[reader], &name)?.as_deref() == Some("1"),
            "{name} is not seen"
        );
        let listed = apis[reader].request("GET", MAPS, b"")?.json()?;
        let items = listed["items"].as_array().context("no items")?;
        ensure!(
            items.iter().any(|item| item["metadata"]["name"] == *name),
            "{name} is not listed"
        );
        // Both replace the same version.
        let mut object = apis[reader]
            .request("GET", &format!("{MAPS}/{name}"), b"")?
            .json()?;
        object["data"]["v"] = json!("2");
        let body = object.to_string().into_bytes();
        let path = format!("{MAPS}/{name}");
        let first = apis[reader].request("PUT", &path, &body)?.status;
        let second = apis[writer].request("PUT", &path, &body)?.status;
        ensure!(
            (first, second) == (200, 409),
            "round {round}: {first} and {second}"
        );
        // A patch without a revision goes through on what the other wrote.
        let patched = apis[writer].request_as(
            "PATCH",
            &path,
            "application/merge-patch+json",
            b"{\"data\":{\"v\":\"3\"}}",
        )?;
        ensure!(patched.status == 200, "patch: {}", patched.status);
        ensure!(value(&mut apis[reader], &name)?.as_deref() == Some("3"));
        ensure!(apis[writer].request("DELETE", &path, b"")?.status == 200);
        ensure!(
            value(&mut apis[reader], &name)?.is_none(),
            "{name} is still there"
        );
    }
    Ok(())
}

/// Corten's and upstream's API server at once, on the etcd behind this URL.
fn side_by_side(etcd: &str) -> Result<()> {
    let theirs = KubeApiserver::start(etcd)?;
    theirs.kubectl_with(
        "apply -f -",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: theirs}, data: {v: theirs}}",
    )?;
    let ours = Corten::start(etcd)?;
    // What was there before, and what is written while both run.
    ensure!(ours.kubectl("get configmap theirs -o jsonpath={.data.v}", "")? == "theirs");
    ours.kubectl("create configmap ours --from-literal=v=ours", "")?;
    ensure!(theirs.kubectl("get configmap ours -o jsonpath={.data.v}")? == "ours");
    theirs.kubectl("patch configmap ours -p {\"data\":{\"v\":\"patched\"}}")?;
    ensure!(ours.kubectl("get configmap ours -o jsonpath={.data.v}", "")? == "patched");
    ours.kubectl("label configmap theirs by=corten", "")?;
    ensure!(
        theirs
            .kubectl("get configmaps -l by=corten -o name")?
            .trim()
            == "configmap/theirs"
    );
    session(&|line, input| theirs.kubectl_with(line, input))?;
    session(&|line, input| ours.kubectl(line, input))?;
    // The session deleted every config map.
    ours.kubectl("create configmap ours --from-literal=v=again", "")?;
    // Each kind that one has stored, the other one lists, with as many objects.
    for kind in [
        "namespaces",
        "clusterroles",
        "clusterrolebindings",
        "services",
        "serviceaccounts",
        "configmaps",
        "priorityclasses",
    ] {
        let line = format!("get {kind} -A -o name");
        let count = |text: String| {
            text.lines()
                .map(str::to_owned)
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (wanted, seen) = (
            count(theirs.kubectl(&line)?),
            count(ours.kubectl(&line, "")?),
        );
        ensure!(
            wanted == seen,
            "{kind} differ: {:?}",
            wanted.symmetric_difference(&seen).collect::<Vec<_>>()
        );
    }
    theirs.kubectl("delete configmap ours")?;
    ensure!(ours.kubectl("get configmap ours", "").is_err());
    Ok(())
}

pub fn upstreams_server_runs_beside_ours_on_etcd() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    side_by_side(&upstream.url)
}

pub fn upstreams_server_runs_beside_ours_on_the_face() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let ours = runtime.block_on(crate::process::Ours::start())?;
    side_by_side(ours.url())?;
    runtime.block_on(ours.serving.stop());
    Ok(())
}

/// A server that slept through a compaction starts anew from what there is, and its watches end.
pub fn a_compaction_while_away_is_survived() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let upstream = runtime.block_on(Upstream::start())?;
    let (sleeper, other) = (Corten::start(&upstream.url)?, Corten::start(&upstream.url)?);
    put(&mut sleeper.api()?, "before", "1")?;
    sleeper.signal(Signal::STOP)?;
    let mut api = other.api()?;
    for number in 0..200 {
        put(&mut api, &format!("during-{number}"), &"x".repeat(20_000))?;
    }
    ensure!(
        api.request("DELETE", &format!("{MAPS}/before"), b"")?
            .status
            == 200
    );
    runtime.block_on(async {
        let client = client(&upstream.url)?;
        let now = client.status().await?.header.context("no header")?.revision;
        let request = pb::CompactionRequest {
            revision: now,
            physical: true,
        };
        client.compact(&request).await?;
        anyhow::Ok(())
    })?;
    sleeper.signal(Signal::CONT)?;
    let mut api = sleeper.api()?;
    ensure!(
        value(&mut api, "before")?.is_none(),
        "what was deleted meanwhile is still there"
    );
    ensure!(
        value(&mut api, "during-199")?.is_some(),
        "what was made meanwhile is missing"
    );
    put(&mut api, "after", "1")?;
    Ok(())
}

/// Reads and writes fail while etcd is away, and go on when it is back, without a restart.
pub fn a_lost_etcd_is_survived() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let directory = TempDir::new()?;
    let (port, peer) = (free_port()?, free_port()?);
    let url = format!("http://127.0.0.1:{port}");
    let start = || crate::process::etcd(directory.path(), port, peer);
    let process = start()?;
    let client = client(&url)?;
    runtime.block_on(ready(&client))?;
    let server = Corten::start(&url)?;
    let mut api = server.api()?;
    put(&mut api, "before", "1")?;
    drop(process);
    let lost = api.request("GET", &format!("{MAPS}/before"), b"")?.status;
    ensure!(
        (500..600).contains(&lost),
        "a consistent read without etcd answers {lost}"
    );
    let cached = api
        .request("GET", &format!("{MAPS}/before?resourceVersion=0"), b"")?
        .status;
    ensure!(cached == 200, "a read from memory answers {cached}");
    let refused = api.request("POST", MAPS, &map("meanwhile", "1"))?.status;
    ensure!(
        (500..600).contains(&refused),
        "a write without etcd answers {refused}"
    );
    let _process = start()?;
    runtime.block_on(ready(&client))?;
    eventually("writes go on", || put(&mut server.api()?, "after", "1"))?;
    let mut api = server.api()?;
    ensure!(value(&mut api, "before")?.as_deref() == Some("1"));
    Ok(())
}
