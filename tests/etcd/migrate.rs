//! `corten store migrate`: to an etcd and back, with the same revisions, and killed on the way.

use crate::kube::KubeApiserver;
use crate::ours::{Corten, MAPS, put, value};
use crate::process::{Killed, Upstream, client};
use anyhow::{Context, Result, ensure};
use corten_etcd::proto::etcdserverpb as pb;
use corten_tests::{LoneServer, corten, eventually, run_corten};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Every key under `/registry/`, with its value and revisions.
type Everything = Vec<(Vec<u8>, Vec<u8>, i64, i64, i64)>;

fn everything(runtime: &Runtime, url: &str) -> Result<(i64, Everything)> {
    let range = pb::RangeRequest {
        key: "/registry/".into(),
        range_end: "/registry0".into(),
        ..Default::default()
    };
    let found = runtime.block_on(async {
        client(url)?
            .range(&range)
            .await
            .map_err(anyhow::Error::from)
    })?;
    let keys = found.kvs.iter().map(|kv| {
        let (key, value) = (kv.key.to_vec(), kv.value.to_vec());
        (key, value, kv.create_revision, kv.mod_revision, kv.version)
    });
    Ok((found.header.map_or(0, |h| h.revision), keys.collect()))
}

fn migrate(from: &str, to: &str, more: &[&str]) -> Result<String> {
    run_corten(&[&["store", "migrate", "--from", from, "--to", to], more].concat())
}

fn path(directory: &Path) -> String {
    directory.to_string_lossy().into_owned()
}

/// A stopped server's data directory with some history in it.
fn embedded(data: &Path) -> Result<String> {
    let server = LoneServer::start(data, &[])?;
    let mut api = server.access().connect()?;
    for number in 0..40 {
        put(&mut api, &format!("map-{number}"), "1")?;
    }
    for round in 0..5 {
        for number in (0..30).step_by(round + 1) {
            let body = format!("{{\"data\":{{\"v\":\"{round}\"}}}}");
            let path = format!("{MAPS}/map-{number}");
            let kind = "application/merge-patch+json";
            let done = api.request_as("PATCH", &path, kind, body.as_bytes())?;
            ensure!(done.status == 200, "patch: {}", done.status);
        }
        let gone = api.request("DELETE", &format!("{MAPS}/map-{}", 30 + round), b"")?;
        ensure!(gone.status == 200, "delete: {}", gone.status);
    }
    let event = r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e","namespace":"default"},"involvedObject":{"namespace":"default"},"reason":"Made"}"#;
    let made = api.request(
        "POST",
        "/api/v1/namespaces/default/events",
        event.as_bytes(),
    )?;
    ensure!(made.status == 201, "event: {}", made.status);
    let list = api.request("GET", MAPS, b"")?.json()?;
    drop(api);
    server.stop()?;
    list["metadata"]["resourceVersion"]
        .as_str()
        .map(str::to_owned)
        .context("no revision")
}

/// From an embedded store to an etcd, on which upstream's server then runs, and back, with all revisions.
pub fn states_are_copied_there_and_back() -> Result<()> {
    let runtime = Runtime::new()?;
    let data = TempDir::new()?;
    let revision: i64 = embedded(data.path())?.parse()?;
    let there = runtime.block_on(Upstream::start())?;
    let said = migrate(&path(data.path()), &there.url, &[])?;
    ensure!(!said.contains("new"), "revisions were not kept: {said}");
    let (at, copied) = everything(&runtime, &there.url)?;
    ensure!(
        at >= revision,
        "etcd is at {at}, the store was at {revision}"
    );
    // What expires still does.
    let event = pb::RangeRequest {
        key: "/registry/events/default/e".into(),
        ..Default::default()
    };
    let event = runtime.block_on(async {
        client(&there.url)?
            .range(&event)
            .await
            .map_err(anyhow::Error::from)
    })?;
    ensure!(
        event.kvs.first().is_some_and(|kv| kv.lease != 0),
        "the event has no lease"
    );
    // Back into a directory, and into one for `corten store serve`: everything is the same.
    let (back, served) = (TempDir::new()?, TempDir::new()?);
    let target = served.path().join("state");
    migrate(&there.url, &path(back.path()), &[])?;
    migrate(&path(back.path()), &path(&target), &["--to-served"])?;
    let (_face, url) = crate::serve::start(&target, "http", &[])?;
    let (again_at, again) = everything(&runtime, &url)?;
    ensure!(again == copied, "the copy of the copy differs");
    ensure!(again_at == at, "revision {again_at}, not {at}");
    // A second copy onto it is refused.
    let refused = migrate(&path(data.path()), &there.url, &[]);
    let why = refused
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    ensure!(why.contains("already holds keys"), "{why:?}");
    ensure!(migrate(&there.url, &path(back.path()), &[]).is_err());
    servers_go_on(back.path(), &there.url, at)?;
    new_revisions(&runtime, &url, &copied)
}

/// Both kinds of servers go on with a copy that was at this revision.
fn servers_go_on(back: &Path, there: &str, at: i64) -> Result<()> {
    let ours = LoneServer::start(back, &[])?;
    let mut api = ours.access().connect()?;
    ensure!(value(&mut api, "map-12")?.as_deref() == Some("3"));
    let made = put(&mut api, "afterwards", "1")?;
    let later: i64 = made["metadata"]["resourceVersion"]
        .as_str()
        .context("no revision")?
        .parse()?;
    ensure!(later > at, "revision {later} follows {at}");
    let theirs = KubeApiserver::start(there)?;
    ensure!(theirs.kubectl("get configmap map-12 -o jsonpath={.data.v}")? == "3");
    ensure!(
        theirs
            .kubectl("get configmaps -o name")?
            .matches("map-")
            .count()
            == 35
    );
    Ok(())
}

/// New revisions where the etcd has a history of its own.
fn new_revisions(runtime: &Runtime, url: &str, copied: &Everything) -> Result<()> {
    let other = runtime.block_on(Upstream::start())?;
    let used = pb::PutRequest {
        key: "used".into(),
        ..Default::default()
    };
    for _ in 0..9 {
        runtime.block_on(async {
            client(&other.url)?
                .put(&used)
                .await
                .map_err(anyhow::Error::from)
        })?;
    }
    ensure!(migrate(url, &other.url, &["--revisions=keep"]).is_err());
    let said = migrate(url, &other.url, &[])?;
    ensure!(said.contains("revisions are new"), "{said}");
    let values =
        |all: &Everything| -> Vec<_> { all.iter().map(|k| (k.0.clone(), k.1.clone())).collect() };
    ensure!(values(&everything(runtime, &other.url)?.1) == values(copied));
    Ok(())
}

/// Killed at several points, a copy is begun again and is whole; no server takes half a copy for a state.
pub fn a_killed_copy_is_begun_again() -> Result<()> {
    let runtime = Runtime::new()?;
    let source = runtime.block_on(Upstream::start())?;
    let server = Corten::start(&source.url)?;
    let mut api = server.api()?;
    for number in 0..300 {
        put(&mut api, &format!("map-{number:03}"), &"x".repeat(20_000))?;
    }
    drop(server);
    let (_, wanted) = everything(&runtime, &source.url)?;
    let target = runtime.block_on(Upstream::start())?;
    let directory = TempDir::new()?;
    let data = directory.path().join("data");
    let start = |to: &str| -> Result<Killed> {
        let child = Command::new(corten()?)
            .args(["store", "migrate", "--from", &source.url, "--to", to])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Killed(child))
    };
    for keys in [1, 40, 150] {
        let mut copy = start(&target.url)?;
        let reached = eventually("some keys are copied", || {
            let ended = copy.0.try_wait()?.is_some();
            let there = everything(&runtime, &target.url)?.1.len();
            ensure!(ended || there >= keys, "{there} keys");
            Ok(ended)
        })?;
        drop(copy);
        if reached {
            break;
        }
        let half = migrate(&target.url, &path(&directory.path().join("half")), &[]);
        ensure!(half.is_err(), "half a copy was read");
        ensure!(
            run_on(&target.url)?.contains("interrupted"),
            "a server ran on half a copy"
        );
    }
    // It may have been quicker than the last kill.
    let again = migrate(&source.url, &target.url, &["--revisions=auto"]);
    let whole = match again {
        Ok(_) => true,
        Err(error) => error.to_string().contains("already holds keys"),
    };
    ensure!(whole, "the copy was not begun again");
    let (_, copied) = everything(&runtime, &target.url)?;
    let values =
        |all: &Everything| -> Vec<_> { all.iter().map(|k| (k.0.clone(), k.1.clone())).collect() };
    ensure!(values(&copied) == values(&wanted), "the copy differs");
    // Into a directory: what is there before the end is not a store.
    let unfinished = data.join("store.unfinished");
    let mut copy = start(&path(&data))?;
    eventually("the directory is begun", || {
        ensure!(unfinished.exists() || copy.0.try_wait()?.is_some());
        Ok(())
    })?;
    drop(copy);
    if !data.join("store").exists() {
        migrate(&source.url, &path(&data), &[])?;
    }
    ensure!(!unfinished.exists(), "the unfinished store is still there");
    let ours = LoneServer::start(&data, &[])?;
    let kept = value(&mut ours.access().connect()?, "map-299")?;
    ensure!(kept.is_some_and(|text| text.len() == 20_000));
    Ok(())
}

/// What an API server says that cannot start on an etcd.
fn run_on(etcd: &str) -> Result<String> {
    let server = Corten::spawn(etcd, &[])?;
    eventually("it says why it does not start", || {
        let said = server.log();
        ensure!(said.contains("corten: "), "{said}");
        Ok(said)
    })
}
