//! Static pods: manifests in a directory, run whether or not there is an API server, shown there as mirror pods.
//!
//! Invariant: a static pod's UID is the hash of its manifest and the node's name, so a changed manifest is another pod.

use crate::directory::Watcher;
use crate::dispatch::{self, Found};
use crate::pod::context::Context;
use corten_api::Object;
use corten_api::core::v1::{Pod, Toleration};
use corten_api::meta::v1::OwnerReference;
use corten_client::{Options, Preconditions};
use corten_core::{Str, Value};
use corten_podplan::Input;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const HASH: &str = "kubernetes.io/config.hash";
const MIRROR: &str = "kubernetes.io/config.mirror";
const SEEN: &str = "kubernetes.io/config.seen";
const SOURCE: &str = "kubernetes.io/config.source";

/// Whether a pod comes from a manifest on this node.
pub(crate) fn is_static(pod: &Pod) -> bool {
    pod.metadata.annotation(SOURCE) == "file" && pod.metadata.annotation(MIRROR).is_empty()
}

/// Whether a pod in the API only shows a static one.
pub(crate) fn is_mirror(pod: &Pod) -> bool {
    !pod.metadata.annotation(MIRROR).is_empty()
}

/// FNV-1a with 128 bits, as 32 hexadecimal digits.
fn hash(parts: &[&[u8]]) -> String {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    format!("{hash:032x}")
}

fn read(context: &Context, path: &Path) -> Result<Pod, String> {
    let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
    let value: Value = corten_codec::yaml::decode_value(&bytes).map_err(|e| e.to_string())?;
    let object = Object::from_value(&value).map_err(|e| e.to_string())?;
    let mut pod = object
        .downcast_ref::<Pod>()
        .cloned()
        .ok_or("it is not a Pod")?;
    if pod.metadata.name.is_empty() {
        return Err("metadata.name is missing".to_owned());
    }
    let node = &context.options.node_name;
    let uid = hash(&[&bytes, node.as_bytes()]);
    let meta = &mut pod.metadata;
    meta.name = format!("{}-{}", meta.name, node.to_lowercase()).into();
    if meta.namespace.is_empty() {
        meta.namespace = "default".into();
    }
    meta.uid = uid.as_str().into();
    meta.annotations.insert(HASH, uid);
    meta.annotations.insert(SOURCE, "file");
    meta.annotations
        .insert(SEEN, crate::clock::now().time().to_string());
    pod.spec.node_name = node.as_str().into();
    pod.spec.tolerations.push(Toleration {
        operator: "Exists".into(),
        effect: "NoExecute".into(),
        ..Toleration::default()
    });
    Ok(pod)
}

fn read_all(context: &Context, directory: &Path) -> BTreeMap<Str, Pod> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    let hidden = |path: &PathBuf| {
        path.file_name()
            .is_none_or(|n| n.to_string_lossy().starts_with('.'))
    };
    let files = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && !hidden(path));
    let mut pods = BTreeMap::new();
    for file in files {
        match read(context, &file) {
            Ok(pod) => {
                pods.insert(pod.metadata.uid.clone(), pod);
            }
            Err(error) => tracing::warn!(file = %file.display(), %error, "a manifest is not run"),
        }
    }
    pods
}

/// Starts the static pods that have a manifest and ends those that have none any more.
pub(crate) fn bring_up(context: &Arc<Context>, found: &mut Found) {
    let Some(directory) = context.options.static_pods.clone() else {
        return;
    };
    let pods = read_all(context, &directory);
    let gone: Vec<Arc<Pod>> = {
        let running = context.pods.lock();
        let statics = running
            .values()
            .map(|h| h.pod.clone())
            .filter(|pod| is_static(pod));
        statics
            .filter(|pod| !pods.contains_key(&pod.metadata.uid))
            .collect()
    };
    for pod in gone {
        dispatch::send(context, &pod.metadata.uid, Input::Removed);
        tokio::spawn(remove_mirror(context.clone(), pod));
    }
    for (uid, pod) in pods {
        if !context.pods.lock().contains_key(&uid) {
            tokio::spawn(mirror(context.clone(), Arc::new(pod.clone())));
            dispatch::seen(context, &pod, found);
        }
    }
}

/// Follows the directory of manifests for ever.
pub(crate) async fn follow(context: Arc<Context>, directory: PathBuf) {
    let watcher = match Watcher::new(&directory) {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(directory = %directory.display(), %error, "manifests are not followed");
            return;
        }
    };
    loop {
        if let Err(error) = watcher.changed().await {
            tracing::warn!(directory = %directory.display(), %error, "manifests are not followed any more");
            return;
        }
        bring_up(&context, &mut Found::new());
    }
}

/// Shows a static pod in the API.
async fn mirror(context: Arc<Context>, pod: Arc<Pod>) {
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let mut shown = (*pod).clone();
    let hash = pod.metadata.annotation(HASH).to_owned();
    shown.metadata.annotations.insert(MIRROR, hash.as_str());
    shown.metadata.uid = Str::EMPTY;
    let snapshot = context.mirror.snapshot();
    if let Some(node) = snapshot.get::<corten_api::core::v1::Node>("", &context.options.node_name) {
        shown.metadata.owner_references = vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: node.metadata.name.clone(),
            uid: node.metadata.uid.clone(),
            controller: Some(true),
            ..OwnerReference::default()
        }]
        .into();
    }
    if let Ok(old) = context.client.get::<Pod>(namespace, name).await
        && old.metadata.annotation(MIRROR) != hash
    {
        remove_mirror(context.clone(), Arc::new(old)).await;
    }
    match context.client.create(shown).await {
        Ok(_) => {}
        Err(error) if error.is_already_exists() => {}
        Err(error) => {
            tracing::warn!(pod = %pod.metadata.full_name(), %error, "a mirror pod was not created")
        }
    }
}

/// A mirror pod was deleted: it comes back while its static pod is here.
pub(crate) fn mirror_gone(context: &Arc<Context>, shown: &Pod) {
    let hash = Str::from(shown.metadata.annotation(MIRROR));
    let Some(directory) = &context.options.static_pods else {
        return;
    };
    let handle = context.pods.lock().get(&hash).cloned();
    if let Some(handle) = handle
        && read_all(context, directory).contains_key(&hash)
    {
        tokio::spawn(mirror(context.clone(), handle.pod));
    }
}

async fn remove_mirror(context: Arc<Context>, pod: Arc<Pod>) {
    let meta = &pod.metadata;
    let uid = (!is_static(&pod)).then(|| meta.uid.to_string());
    let preconditions = Preconditions {
        uid,
        ..Preconditions::default()
    };
    let options = Options {
        grace_period_seconds: Some(0),
        preconditions,
        ..Options::default()
    };
    if let Err(error) = context
        .client
        .delete::<Pod>(&meta.namespace, &meta.name, options)
        .await
        && !error.is_not_found()
    {
        tracing::warn!(pod = %meta.full_name(), %error, "a mirror pod was not removed");
    }
}
