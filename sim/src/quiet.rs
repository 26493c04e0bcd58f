//! What must hold once everything has come to rest.

use crate::audit::Audit;
use crate::workloads;
use corten_api::Object;
use corten_api::apps::v1::{Deployment, ReplicaSet};
use corten_api::core::v1::{Namespace, Node, Pod};
use corten_scheduling::{Amounts, PodView};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the deployment wanted when a set was last scaled.
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";

fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !pod.metadata.deleting()
}

fn is_finished(pod: &Pod) -> bool {
    pod.status.phase == "Succeeded" || pod.status.phase == "Failed"
}

/// What does not hold. `is_exact` when nothing in the run makes counts inexact.
pub fn check(audit: &Audit, is_exact: bool) -> Vec<String> {
    let objects: Vec<Arc<Object>> = audit.state().collect();
    let mut found = Vec::new();
    for object in &objects {
        if let Some(deployment) = object.downcast_ref::<Deployment>() {
            found.extend(check_deployment(deployment, &objects));
        }
        if let Some(set) = object.downcast_ref::<ReplicaSet>() {
            found.extend(check_set(set, &objects));
        }
        if let Some(pod) = object.downcast_ref::<Pod>()
            && is_active(pod)
            && (pod.spec.node_name.is_empty() || pod.status.phase != "Running")
        {
            let (name, node) = (pod.metadata.full_name(), &pod.spec.node_name);
            let phase = &pod.status.phase;
            found.push(format!("pod {name} is {phase} on node {node:?}"));
        }
        if let Some(node) = object.downcast_ref::<Node>() {
            found.extend(check_node(node, &objects));
        }
        found.extend(check_meta(object, audit, &objects));
        found.extend(workloads::check(object, &objects, is_exact));
    }
    found
}

fn check_meta(object: &Object, audit: &Audit, objects: &[Arc<Object>]) -> Option<String> {
    let meta = object.meta();
    let name = format!("{} {}", object.kind(), meta.full_name());
    if meta.deleting() {
        let finalizers: Vec<&str> = meta.finalizers.iter().map(|f| f.as_str()).collect();
        return Some(format!("{name} is still being deleted, {finalizers:?}"));
    }
    if !meta.namespace.is_empty() && !audit.has_namespace(&meta.namespace) {
        return Some(format!("{name} is in a namespace that does not exist"));
    }
    if let Some(namespace) = object.downcast_ref::<Namespace>()
        && namespace.status.phase != "Active"
    {
        return Some(format!("{name} is {}", namespace.status.phase));
    }
    let uids: BTreeSet<&str> = objects.iter().map(|o| o.meta().uid.as_str()).collect();
    let mut owners = meta.owner_references.iter();
    let dangling = owners.find(|o| !uids.contains(o.uid.as_str()));
    dangling.map(|owner| {
        format!(
            "{name} is left with an owner that is gone: {} {} {}",
            owner.kind, owner.name, owner.uid
        )
    })
}

fn check_deployment(deployment: &Deployment, objects: &[Arc<Object>]) -> Option<String> {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let status = &deployment.status;
    let uid = &deployment.metadata.uid;
    let own: Vec<&ReplicaSet> = objects
        .iter()
        .filter_map(|o| o.downcast_ref::<ReplicaSet>())
        .filter(|s| s.metadata.controlled_by(uid))
        .collect();
    if waits_for_a_resize(deployment, &own) {
        return None;
    }
    let image = |template: &corten_api::core::v1::PodTemplateSpec| {
        template
            .spec
            .containers
            .iter()
            .map(|c| c.image.to_string())
            .collect::<Vec<_>>()
    };
    let current: i32 = own
        .iter()
        .filter(|s| image(&s.spec.template) == image(&deployment.spec.template))
        .map(|s| s.status.available_replicas)
        .sum();
    let sets: Vec<String> = own.iter().map(|s| describe(s)).collect();
    let reached = status.observed_generation == deployment.metadata.generation
        && status.replicas == wanted
        && status.updated_replicas == wanted
        && status.available_replicas == wanted
        && current == wanted;
    (!reached).then(|| {
        format!(
            "deployment {} wants {wanted} at generation {}, has {current} current, {} in all, {} updated, {} available, \
             observed {}; {} of {sets:?}",
            deployment.metadata.full_name(),
            deployment.metadata.generation,
            status.replicas,
            status.updated_replicas,
            status.available_replicas,
            status.observed_generation,
            deployment.spec.strategy.type_,
        )
    })
}

/// A size that was given to the deployment before its sets have taken the last one in: as upstream's, the deployment
/// does nothing else before they have, and they never do when the one active set has the size by chance, or when
/// several are active and the strategy is not a rolling update.
fn waits_for_a_resize(deployment: &Deployment, sets: &[&ReplicaSet]) -> bool {
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let active: Vec<&&ReplicaSet> = sets
        .iter()
        .filter(|s| s.spec.replicas.unwrap_or(1) > 0)
        .collect();
    let resized = active
        .iter()
        .any(|s| s.metadata.annotation(DESIRED) != wanted.to_string());
    let stuck = match active.as_slice() {
        [only] => only.spec.replicas.unwrap_or(1) == wanted,
        _ => deployment.spec.strategy.type_ == "Recreate",
    };
    resized && stuck
}

fn describe(set: &ReplicaSet) -> String {
    format!(
        "{} ({} wanted, desired {}, {} available)",
        set.metadata.name,
        set.spec.replicas.unwrap_or(1),
        set.metadata.annotation(DESIRED),
        set.status.available_replicas
    )
}

fn check_set(set: &ReplicaSet, objects: &[Arc<Object>]) -> Option<String> {
    let wanted = set.spec.replicas.unwrap_or(1);
    let pods = objects.iter().filter_map(|o| o.downcast_ref::<Pod>());
    let active = pods
        .filter(|p| p.metadata.controlled_by(&set.metadata.uid) && is_active(p))
        .count() as i32;
    let reached = active == wanted
        && set.status.replicas == wanted
        && set.status.observed_generation == set.metadata.generation;
    (!reached).then(|| {
        format!(
            "replica set {} wants {wanted} pods, has {active} and says {}",
            set.metadata.full_name(),
            set.status.replicas
        )
    })
}

fn check_node(node: &Node, objects: &[Arc<Object>]) -> Option<String> {
    let room = Amounts::of(&node.status.allocatable);
    let mut wanted = Amounts::default();
    let pods = objects.iter().filter_map(|o| o.downcast_ref::<Pod>());
    for pod in pods.filter(|p| p.spec.node_name == node.metadata.name && !is_finished(p)) {
        wanted.add(&PodView::new(pod).requests);
    }
    let over = wanted.iter().find(|(name, n)| *n > room.get(name));
    over.map(|(name, amount)| {
        format!(
            "node {} is overcommitted: {amount} of {} {name}",
            node.metadata.name,
            room.get(name)
        )
    })
}
