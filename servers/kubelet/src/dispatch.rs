//! Brings changes of pods and events of the runtime to the supervisors, and starts one for each new pod.

use crate::node::allocate;
use crate::pod::context::{Context, Message};
use crate::pod::instance::instance;
use crate::pod::{Known, supervise};
use crate::{labels, manifests};
use corten_api::core::v1::Pod;
use corten_core::Str;
use corten_meta::{GroupResource, GroupVersionResource};
use corten_podplan::Input;
use corten_runtime::{ContainerStatus, Event, SandboxStatus};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;

/// What the runtime had when the agent was started, by pod UID.
pub(crate) type Found = HashMap<String, (Vec<SandboxStatus>, Vec<ContainerStatus>)>;

/// Everything that the runtime knows, by pod UID.
pub(crate) async fn find(context: &Context) -> Result<Found, corten_runtime::Error> {
    let mut found = Found::new();
    let runtime = &context.engines.runtime;
    for sandbox in runtime.list_pod_sandboxes().await? {
        if let Some(uid) = sandbox.labels.get(labels::POD_UID).cloned() {
            found.entry(uid).or_default().0.push(sandbox);
        }
    }
    for container in runtime.list_containers().await? {
        if let Some(uid) = container.labels.get(labels::POD_UID).cloned() {
            found.entry(uid).or_default().1.push(container);
        }
    }
    Ok(found)
}

fn known(context: &Context, found: &mut Found, uid: &str) -> Known {
    let Some((mut sandboxes, mut containers)) = found.remove(uid) else {
        return Known::default();
    };
    sandboxes.sort_by_key(|s| s.attempt);
    containers.sort_by_key(|c| c.attempt);
    let sandbox = sandboxes.pop().map(|sandbox| {
        let network = context.engines.network.as_ref();
        let address = network.and_then(|network| network.address(sandbox.id.as_str()));
        let ips = address
            .map(|address| vec![address.ip.to_string()])
            .unwrap_or_default();
        (sandbox, ips)
    });
    Known {
        sandbox,
        instances: containers
            .iter()
            .filter_map(|c| instance(context, c))
            .collect(),
    }
}

/// Follows the pods of this node for ever. Pods that the runtime has and the API does not are handed to `orphan`.
pub(crate) async fn follow_pods(context: Arc<Context>, mut found: Found) {
    let mut changes = context.mirror.changes();
    manifests::bring_up(&context, &mut found);
    look_at_all(&context, &mut found);
    crate::start::remove_orphans(&context, std::mem::take(&mut found)).await;
    let pods = GroupVersionResource::of::<Pod>();
    loop {
        match changes.recv().await {
            Ok(change) if change.resource == pods => {
                let new = change.new.as_ref().and_then(|o| o.downcast_ref::<Pod>());
                let old = change.old.as_ref().and_then(|o| o.downcast_ref::<Pod>());
                if let Some(old) = old
                    && new.is_none_or(|new| new.metadata.uid != old.metadata.uid)
                {
                    retire(&context, &old.metadata.uid);
                }
                if let (Some(old), None) = (old, new)
                    && manifests::is_mirror(old)
                {
                    manifests::mirror_gone(&context, old);
                }
                if let Some(new) = new {
                    seen(&context, new, &mut found);
                }
                allocate::retry(&context);
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => look_at_all(&context, &mut found),
            Err(RecvError::Closed) => return,
        }
    }
}

fn look_at_all(context: &Arc<Context>, found: &mut Found) {
    let snapshot = context.mirror.snapshot();
    let mut present = std::collections::HashSet::new();
    let table = snapshot
        .table(&GroupResource::of::<Pod>())
        .cloned()
        .unwrap_or_default();
    for (_, object) in &table {
        if let Some(pod) = object.downcast_ref::<Pod>() {
            present.insert(pod.metadata.uid.clone());
            seen(context, pod, found);
        }
    }
    let gone: Vec<Str> = {
        let pods = context.pods.lock();
        let known = pods
            .iter()
            .filter(|(_, handle)| !manifests::is_static(&handle.pod));
        known
            .map(|(uid, _)| uid)
            .filter(|uid| !present.contains(*uid))
            .cloned()
            .collect()
    };
    for uid in gone {
        retire(context, &uid);
    }
    allocate::retry(context);
}

/// A pod is gone from the API.
fn retire(context: &Context, uid: &str) {
    allocate::forget(context, uid);
    if let Some(handle) = context.pods.lock().get(uid) {
        handle.work.retire();
        handle.send(Input::Removed);
    }
}

/// Tells a pod's supervisor what happened.
pub(crate) fn send(context: &Context, uid: &str, input: Input) {
    if let Some(handle) = context.pods.lock().get(uid) {
        let _ = handle.inbox.send(Message::Input(input));
    }
}

/// A pod is there, in this state.
pub(crate) fn seen(context: &Arc<Context>, pod: &Pod, found: &mut Found) {
    if manifests::is_mirror(pod) {
        return;
    }
    let uid = &pod.metadata.uid;
    let pod = Arc::new(pod.clone());
    let known_here = context.pods.lock().get(uid).cloned();
    if let Some(handle) = known_here {
        handle.work.set_pod(pod.clone());
        allocate::consider(context, &handle, &pod);
        // A verdict on what the pod asks for comes first, so that no status speaks of a generation without it.
        allocate::retry(context);
        handle.send(Input::Pod(pod));
        return;
    }
    let known = known(context, found, uid);
    let uid = uid.clone();
    let handle = supervise(context, pod.clone(), known);
    // A pod may be finished before it is entered here: what comes later finds no supervisor and changes nothing.
    context.pods.lock().insert(uid.clone(), handle.clone());
    allocate::consider(context, &handle, &pod);
    send(context, &uid, Input::Pod(pod));
}

/// Follows the runtime's events for ever.
pub(crate) async fn follow_runtime(context: Arc<Context>) {
    let mut events = context.engines.runtime.subscribe();
    while let Some(event) = events.next().await {
        match event {
            Event::ContainerExited { container, .. } => {
                if let Ok(status) = context.engines.runtime.container_status(&container).await {
                    observed(&context, &status);
                }
            }
            Event::SandboxStopped { sandbox } => died(&context, sandbox.as_str()),
            Event::Lost => {
                for status in context
                    .engines
                    .runtime
                    .list_containers()
                    .await
                    .unwrap_or_default()
                {
                    observed(&context, &status);
                }
            }
            _ => {}
        }
    }
}

fn observed(context: &Context, status: &ContainerStatus) {
    let Some(uid) = status.labels.get(labels::POD_UID) else {
        return;
    };
    if let Some((name, instance)) = instance(context, status) {
        send(context, uid, Input::Instance(name, instance));
    }
}

fn died(context: &Context, sandbox: &str) {
    let pods = context.pods.lock();
    for handle in pods.values() {
        if handle
            .work
            .sandbox()
            .is_some_and(|id| id.as_str() == sandbox)
        {
            let _ = handle
                .inbox
                .send(Message::Input(Input::SandboxDied(sandbox.into())));
        }
    }
}
