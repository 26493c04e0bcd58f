//! Quota scopes: which pods and claims a quota is about.

use super::super::pod_resources::asks_itself;
use corten_api::core::v1::{
    PersistentVolumeClaim, Pod, PodAffinityTerm, ResourceQuota, ScopedResourceSelectorRequirement,
};
use corten_core::Str;

/// The scopes of a quota, short forms spelled out.
pub(super) fn selectors(quota: &ResourceQuota) -> Vec<ScopedResourceSelectorRequirement> {
    let short = quota
        .spec
        .scopes
        .iter()
        .map(|scope| ScopedResourceSelectorRequirement {
            scope_name: scope.clone(),
            operator: "Exists".into(),
            ..Default::default()
        });
    let long = quota.spec.scope_selector.iter();
    short
        .chain(long.flat_map(|s| s.match_expressions.iter().cloned()))
        .collect()
}

/// Whether one of `values` (or their absence) satisfies the selector's operator.
fn accepts(selector: &ScopedResourceSelectorRequirement, value: Option<&Str>) -> bool {
    let listed = value.is_some_and(|v| selector.values.contains(v));
    match selector.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

pub(super) fn pod_matches(selector: &ScopedResourceSelectorRequirement, pod: &Pod) -> bool {
    match selector.scope_name.as_str() {
        "Terminating" => has_deadline(pod),
        "NotTerminating" => !has_deadline(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = &pod.spec.priority_class_name;
            accepts(selector, Some(class).filter(|c| !c.is_empty()))
        }
        "CrossNamespacePodAffinity" => looks_into_namespaces(pod),
        _ => false,
    }
}

/// Whether the pod ends by itself after some time.
pub(super) fn has_deadline(pod: &Pod) -> bool {
    pod.spec.active_deadline_seconds.is_some_and(|s| s >= 0)
}

fn is_best_effort(pod: &Pod) -> bool {
    if !pod.status.qos_class.is_empty() {
        return pod.status.qos_class == "BestEffort";
    }
    let asks = |resources: &corten_api::core::v1::ResourceRequirements| {
        let all = resources.requests.iter().chain(resources.limits.iter());
        all.into_iter()
            .any(|(name, amount)| (name == "cpu" || name == "memory") && amount.sign() > 0)
    };
    if asks_itself(pod) {
        return !pod.spec.resources.as_deref().is_some_and(asks);
    }
    let containers = pod.spec.containers.iter();
    !containers
        .chain(pod.spec.init_containers.iter())
        .any(|c| asks(&c.resources))
}

fn looks_into_namespaces(pod: &Pod) -> bool {
    let Some(affinity) = pod.spec.affinity.as_deref() else {
        return false;
    };
    let crosses =
        |term: &PodAffinityTerm| !term.namespaces.is_empty() || term.namespace_selector.is_some();
    let near = affinity.pod_affinity.as_deref().is_some_and(|a| {
        let preferred = &a.preferred_during_scheduling_ignored_during_execution;
        let required = &a.required_during_scheduling_ignored_during_execution;
        required.iter().any(crosses) || preferred.iter().any(|p| crosses(&p.pod_affinity_term))
    });
    let far = affinity.pod_anti_affinity.as_deref().is_some_and(|a| {
        let preferred = &a.preferred_during_scheduling_ignored_during_execution;
        let required = &a.required_during_scheduling_ignored_during_execution;
        required.iter().any(crosses) || preferred.iter().any(|p| crosses(&p.pod_affinity_term))
    });
    near || far
}

/// The volume attributes classes that a claim asks for, has or is changing to.
pub(super) fn classes(claim: &PersistentVolumeClaim) -> Vec<&Str> {
    let target = claim.status.modify_volume_status.as_deref();
    let asked = claim.spec.volume_attributes_class_name.as_ref();
    let current = claim.status.current_volume_attributes_class_name.as_ref();
    let all = [
        asked,
        current,
        target.map(|t| &t.target_volume_attributes_class_name),
    ];
    let mut found: Vec<&Str> = all
        .into_iter()
        .flatten()
        .filter(|c| !c.is_empty())
        .collect();
    found.sort();
    found.dedup();
    found
}

pub(super) fn claim_matches(
    selector: &ScopedResourceSelectorRequirement,
    claim: &PersistentVolumeClaim,
) -> bool {
    if selector.scope_name != "VolumeAttributesClass" {
        return false;
    }
    let classes = classes(claim);
    match classes.is_empty() {
        true => accepts(selector, None),
        false => classes.iter().any(|class| accepts(selector, Some(class))),
    }
}
