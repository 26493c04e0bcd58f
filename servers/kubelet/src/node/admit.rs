//! Which pods a node refuses although they were assigned to it.

use crate::pod::context::Context;
use corten_api::core::v1::Pod;
use corten_core::Str;
use corten_podplan::resources::{Side, pod_total};
use corten_podplan::{Allocation, Rejection, host_ports_collide};
use std::sync::Arc;

/// Why the pod cannot run here, if it cannot.
pub(crate) fn refusal(context: &Context, pod: &Pod) -> Option<Rejection> {
    if crate::manifests::is_static(pod) {
        return None;
    }
    if pod.metadata.deletion_timestamp.is_some()
        || matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
    {
        return None;
    }
    // A pod that ran before the agent was restarted stays.
    if pod
        .status
        .container_statuses
        .iter()
        .any(|s| s.state.running.is_some())
    {
        return None;
    }
    let others = others(context, pod);
    if let Some((reason, message)) = lacks(context, pod, &others) {
        return Some(Rejection {
            reason,
            message: format!("Pod was rejected: {message}"),
        });
    }
    if others
        .iter()
        .any(|other| host_ports_collide(&pod.spec, &other.spec))
    {
        return Some(Rejection {
            reason: "NodePorts".into(),
            message: "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
                .to_owned(),
        });
    }
    selector(context, pod)
}

/// What the node lacks for the pod to have what it asks for, as a reason such as `OutOfcpu` and a text.
pub(crate) fn shortage(context: &Context, pod: &Pod) -> Option<(Str, String)> {
    lacks(context, pod, &others(context, pod))
}

/// The other pods of the node, each with what it was granted, or still has if that is more.
fn others(context: &Context, pod: &Pod) -> Vec<Arc<Pod>> {
    let pods = context.pods.lock();
    let living = pods.values().filter(|handle| !handle.work.retired());
    let others = living.map(|handle| handle.work.pod());
    others
        .filter(|other| other.metadata.uid != pod.metadata.uid && counts(other))
        .collect()
}

fn lacks(context: &Context, pod: &Pod, others: &[Arc<Pod>]) -> Option<(Str, String)> {
    let has: Vec<Arc<Pod>> = others.iter().map(reported).collect();
    for (name, quantity) in context.facts.allocatable.iter() {
        if name.as_str() == "pods" {
            let most = quantity.value();
            let used = others.len() as i64;
            if used + 1 > most {
                return Some(out_of(name, 1, used, most));
            }
            continue;
        }
        let measure = |pod: &Pod| {
            pod_total(&pod.spec, Side::Requests, name).map_or(0, |q| match name.as_str() {
                "cpu" => q.milli_value(),
                _ => q.value(),
            })
        };
        let most = if name.as_str() == "cpu" {
            quantity.milli_value()
        } else {
            quantity.value()
        };
        let asked = measure(pod);
        let held = |(other, has): (&Arc<Pod>, &Arc<Pod>)| measure(other).max(measure(has));
        let used: i64 = others.iter().zip(&has).map(held).sum();
        if asked > 0 && used + asked > most {
            return Some(out_of(name, asked, used, most));
        }
    }
    None
}

/// A pod with what its containers are said to have: a resize to less is not carried out yet.
fn reported(pod: &Arc<Pod>) -> Arc<Pod> {
    let mut reported = Allocation::reported(&pod.status);
    reported.pod = pod.spec.resources.clone();
    reported.overlay(pod)
}

fn counts(pod: &Pod) -> bool {
    !matches!(pod.status.phase.as_str(), "Failed" | "Succeeded")
}

fn out_of(name: &str, asked: i64, used: i64, capacity: i64) -> (Str, String) {
    (
        format!("OutOf{name}").into(),
        format!(
            "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
        ),
    )
}

fn selector(context: &Context, pod: &Pod) -> Option<Rejection> {
    let snapshot = context.mirror.snapshot();
    let node = snapshot.get::<corten_api::core::v1::Node>("", &context.options.node_name)?;
    let fits = pod
        .spec
        .node_selector
        .iter()
        .all(|(key, value)| node.metadata.labels.get(key) == Some(value));
    (!fits).then(|| Rejection {
        reason: "NodeAffinity".into(),
        message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
            .to_owned(),
    })
}
