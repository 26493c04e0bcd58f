//! Uses a cluster through kube-rs: `kube-rs NAMESPACE`, with the cluster of KUBECONFIG. Prints `ok`, or what went wrong.

mod controller;

use std::fmt::Debug;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{
    AttachParams, DeleteParams, ListParams, LogParams, Patch, PatchParams, PostParams,
};
use kube::runtime::reflector::{ObjectRef, store};
use kube::runtime::{WatchStreamExt, reflector, wait, watcher};
use kube::{Api, Client};
use serde_json::json;
use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let namespace = std::env::args().nth(1).context("which namespace?")?;
    tokio::time::timeout(LIMIT, everything(&namespace))
        .await
        .context("it did not end in time")??;
    println!("ok");
    Ok(())
}

/// After how long something is not going to happen any more.
const LIMIT: Duration = Duration::from_secs(180);

async fn everything(namespace: &str) -> Result<()> {
    let client = Client::try_default().await?;
    objects(Api::namespaced(client.clone(), namespace)).await?;
    apply(Api::namespaced(client.clone(), namespace)).await?;
    reflected(Api::namespaced(client.clone(), namespace)).await?;
    controller::run(client.clone(), namespace).await?;
    streams(Api::namespaced(client, namespace)).await
}

/// An error that names what differs.
pub fn check<T: PartialEq + Debug>(what: &str, got: T, want: T) -> Result<()> {
    ensure!(got == want, "{what}: got {got:?}, want {want:?}");
    Ok(())
}

/// The code of the server's refusal.
fn code<T: Debug>(outcome: kube::Result<T>) -> Result<u16> {
    match outcome {
        Err(kube::Error::Api(status)) => Ok(status.code),
        other => bail!("not refused: {other:?}"),
    }
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map.metadata.labels = Some([("by".to_owned(), "kube-rs".to_owned())].into());
    map.data = Some([("a".to_owned(), value.to_owned())].into());
    map
}

/// Create, read, replace with a conflict, list in pages, delete.
async fn objects(maps: Api<ConfigMap>) -> Result<()> {
    let options = PostParams::default();
    let made = maps.create(&options, &config_map("one", "1")).await?;
    ensure!(made.metadata.uid.is_some(), "no uid");
    check(
        "a second create",
        code(maps.create(&options, &config_map("one", "1")).await)?,
        409,
    )?;
    let mut newer = made.clone();
    newer.data = Some([("a".to_owned(), "2".to_owned())].into());
    let newer = maps.replace("one", &options, &newer).await?;
    check(
        "a stale replace",
        code(maps.replace("one", &options, &made).await)?,
        409,
    )?;
    check("read", maps.get("one").await?.data, newer.data)?;
    maps.create(&options, &config_map("two", "x")).await?;
    let page = ListParams::default().labels("by=kube-rs").limit(1);
    let first = maps.list(&page).await?;
    let next = first.metadata.continue_.context("no second page")?;
    let second = maps.list(&page.continue_token(&next)).await?;
    check("pages", (first.items.len(), second.items.len()), (1, 1))?;
    maps.delete_collection(
        &DeleteParams::default(),
        &ListParams::default().labels("by=kube-rs"),
    )
    .await?;
    check("after deletion", maps.get_opt("one").await?.is_none(), true)
}

/// Server-side apply with a conflict; merge, JSON and strategic patches.
async fn apply(maps: Api<ConfigMap>) -> Result<()> {
    let body = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"k": value}});
    let ours = PatchParams::apply("kube-rs");
    maps.patch("applied", &ours, &Patch::Apply(body("one")))
        .await?;
    let theirs = PatchParams::apply("other");
    let conflict = maps
        .patch("applied", &theirs, &Patch::Apply(body("two")))
        .await;
    check("a conflict", code(conflict)?, 409)?;
    maps.patch("applied", &theirs.force(), &Patch::Apply(body("two")))
        .await?;
    let plain = PatchParams::default();
    maps.patch(
        "applied",
        &plain,
        &Patch::Merge(json!({"data": {"m": "1"}})),
    )
    .await?;
    let strategic = json!({"metadata": {"labels": {"s": "1"}}});
    let last = maps
        .patch("applied", &plain, &Patch::Strategic(strategic))
        .await?;
    let data = [("k", "two"), ("m", "1")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    check("patched", last.data, Some(data.into()))?;
    maps.delete("applied", &DeleteParams::default()).await?;
    Ok(())
}

/// A reflector's store follows what happens, by lists that are streamed too.
async fn reflected(secrets: Api<Secret>) -> Result<()> {
    for settings in [
        watcher::Config::default().labels("seen=yes"),
        watcher::Config::default()
            .labels("seen=yes")
            .streaming_lists(),
    ] {
        let (reader, writer) = store::<Secret>();
        let stream = reflector(writer, watcher(secrets.clone(), settings))
            .default_backoff()
            .touched_objects();
        let mut stream = Box::pin(stream);
        // The store is what the first list says as soon as that is complete; nothing is shown of an empty one.
        tokio::select! {
            ready = reader.wait_until_ready() => ready?,
            early = stream.try_next() => bail!("something is there already: {early:?}"),
        }
        let mut secret = Secret::default();
        secret.metadata.name = Some("seen".to_owned());
        secret.metadata.labels = Some([("seen".to_owned(), "yes".to_owned())].into());
        let made = secrets.create(&PostParams::default(), &secret).await?;
        let first = stream.try_next().await?.context("the watch ended")?;
        check("made", first.metadata.uid.clone(), made.metadata.uid)?;
        let key = ObjectRef::from_obj(&first);
        check("in the store", reader.get(&key).is_some(), true)?;
        secrets.delete("seen", &DeleteParams::default()).await?;
        let _gone = stream.try_next().await?.context("the watch ended")?;
        check("out of the store", reader.get(&key).is_none(), true)?;
    }
    Ok(())
}

/// A pod's log, and a command in it over a WebSocket.
async fn streams(pods: Api<Pod>) -> Result<()> {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "talks"},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
            "name": "c", "image": "corten.test/busybox:1", "imagePullPolicy": "Never",
            "command": ["sh", "-c", "echo hello; exec sleep 1000"],
        }]},
    }))?;
    pods.create(&PostParams::default(), &pod).await?;
    wait::await_condition(pods.clone(), "talks", wait::conditions::is_pod_running()).await?;
    let log = LogParams {
        follow: true,
        ..LogParams::default()
    };
    let lines = pods.log_stream("talks", &log).await?;
    let mut lines = futures::AsyncBufReadExt::lines(lines);
    let first = lines.next().await.context("the log ended")??;
    check("logged", first.as_str(), "hello")?;
    let mut run = pods
        .exec("talks", ["cat", "/etc/hostname"], &AttachParams::default())
        .await?;
    let mut said = String::new();
    run.stdout()
        .context("no output")?
        .read_to_string(&mut said)
        .await?;
    check("said", said.trim(), "talks")?;
    run.join().await?;
    pods.delete("talks", &DeleteParams::default()).await?;
    Ok(())
}
