//! The scheduler's writes: bindings, conditions, evictions and the events that tell of them.

use corten_api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use corten_api::{Kind, Object};
use corten_client::{Client, Options, PatchKind, Preconditions};
use corten_core::{Str, Time, Value};
use corten_driver::{Occurrence, Recorder, reference_to};
use std::future::Future;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Records an event about `pod`.
pub(crate) fn tell(recorder: &Recorder, pod: &Pod, reason: &'static str, message: &str) {
    let event_type = if reason == "Scheduled" {
        "Normal"
    } else {
        "Warning"
    };
    let about = reference_to(pod);
    recorder.record(Occurrence {
        about,
        event_type,
        reason: reason.into(),
        message: message.to_owned(),
    });
}

/// Binds the pod to `node`.
pub(crate) async fn bind(
    client: Client,
    recorder: Recorder,
    object: Arc<Object>,
    node: Str,
) -> Result<(), String> {
    let Some(pod) = object.downcast_ref::<Pod>() else {
        return Ok(());
    };
    let (namespace, name) = (&pod.metadata.namespace, &pod.metadata.name);
    let mut binding = Binding::namespaced(namespace, name);
    binding.metadata.uid = pod.metadata.uid.clone();
    binding.target = ObjectReference {
        kind: "Node".into(),
        name: node.clone(),
        ..Default::default()
    };
    match client
        .post::<Pod>(namespace, name, "binding", binding)
        .await
    {
        Ok(_) => {
            tell(
                &recorder,
                pod,
                "Scheduled",
                &format!("Successfully assigned {namespace}/{name} to {node}"),
            );
            Ok(())
        }
        // The pod is gone: there is nothing to place.
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn now() -> Time {
    Time::from_unix(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs() as i64,
    )
}

/// Writes why the pod has no node into its PodScheduled condition, and the node on which room is being made.
pub(crate) fn refuse(
    client: &Client,
    pod: &Pod,
    reason: &'static str,
    message: String,
    nominated: Option<Str>,
) -> impl Future<Output = ()> + Send + use<> {
    let condition = PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: reason.into(),
        message: message.as_str().into(),
        last_transition_time: now(),
        ..Default::default()
    };
    let patch = refusal_patch(pod, condition, nominated);
    let (client, namespace, name) = (
        client.clone(),
        pod.metadata.namespace.clone(),
        pod.metadata.name.clone(),
    );
    async move {
        let Some(patch) = patch else { return };
        let patch = patch.to_string();
        let written = client
            .patch::<Pod>(&namespace, &name, "status", PatchKind::Strategic, patch)
            .await;
        if let Err(error) = written {
            tracing::debug!(%namespace, %name, %error, "the PodScheduled condition could not be written");
        }
    }
}

/// Nothing when the pod says so already.
fn refusal_patch(pod: &Pod, mut condition: PodCondition, nominated: Option<Str>) -> Option<Value> {
    let known = pod
        .status
        .conditions
        .iter()
        .find(|c| c.type_ == condition.type_);
    if let Some(known) = known.filter(|k| k.status == condition.status) {
        condition.last_transition_time = known.last_transition_time;
        let same = known.reason == condition.reason && known.message == condition.message;
        if same
            && nominated
                .as_ref()
                .is_none_or(|node| *node == pod.status.nominated_node_name)
        {
            return None;
        }
    }
    let condition = corten_core::to_value(&condition).ok()?;
    let mut patch = Value::Map(Default::default());
    patch.set(&["metadata", "uid"], pod.metadata.uid.clone());
    patch.set(&["status", "conditions"], Value::List(vec![condition]));
    if let Some(node) = nominated {
        patch.set(&["status", "nominatedNodeName"], node);
    }
    Some(patch)
}

/// Deletes a pod that makes room for `preemptor`.
pub(crate) async fn evict(
    client: Client,
    recorder: Recorder,
    victim: Pod,
    preemptor: Pod,
    node: Str,
) {
    let (namespace, name) = (&victim.metadata.namespace, &victim.metadata.name);
    if victim.metadata.deletion_timestamp.is_some() {
        return;
    }
    let text = format!(
        "default-scheduler: preempting to accommodate a higher priority pod, pod {}",
        preemptor.metadata.uid
    );
    let condition = PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: "PreemptionByScheduler".into(),
        message: text.into(),
        last_transition_time: now(),
        ..Default::default()
    };
    if let Ok(condition) = corten_core::to_value(&condition) {
        let mut patch = Value::Map(Default::default());
        patch.set(&["status", "conditions"], Value::List(vec![condition]));
        // The deletion matters; without the condition it is only told less well.
        let _ = client
            .patch::<Pod>(
                namespace,
                name,
                "status",
                PatchKind::Strategic,
                patch.to_string(),
            )
            .await;
    }
    let preconditions = Preconditions {
        uid: Some(victim.metadata.uid.to_string()),
        resource_version: None,
    };
    let options = Options {
        preconditions,
        ..Options::default()
    };
    match client.delete::<Pod>(namespace, name, options).await {
        Ok(()) => {
            let message = format!("Preempted by pod {} on node {node}", preemptor.metadata.uid);
            tell(&recorder, &victim, "Preempted", &message);
        }
        Err(error) => tracing::warn!(%namespace, %name, %error, "a victim could not be deleted"),
    }
}
