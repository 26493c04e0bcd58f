//! What the server decides about a pod before it is checked: its first status, and what each subresource can touch.

use super::resources::qos_class;
use super::validate::system::APPARMOR;
use crate::metadata::reset_for_status;
use corten_api::core::v1::{Container, Pod, PodAffinityTerm, PodCondition, PodSpec, PodStatus};
use corten_api::meta::v1::{LabelSelector, LabelSelectorRequirement};
use corten_core::{List, Map, Str};

pub(super) fn create(pod: &mut Pod) {
    drop_gated(&mut pod.spec);
    pod.status = PodStatus {
        phase: "Pending".into(),
        qos_class: qos_class(&pod.spec).into(),
        ..PodStatus::default()
    };
    if !pod.spec.scheduling_gates.is_empty() {
        pod.status.conditions.push(PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: "SchedulingGated".into(),
            message: "Scheduling is blocked due to non-empty scheduling gates".into(),
            ..PodCondition::default()
        });
    }
    merge_label_keys(pod);
    adopt_profiles(pod);
}

/// Fields whose feature is off in this version, whatever gates are open, are dropped without a word.
pub(crate) fn drop_gated(spec: &mut PodSpec) {
    spec.scheduling_group = None;
    let own = spec
        .init_containers
        .iter_mut()
        .chain(spec.containers.iter_mut());
    for container in own {
        if let Some(lifecycle) = &mut container.lifecycle {
            let signalled = lifecycle.stop_signal.take().is_some();
            if signalled && lifecycle.pre_stop.is_none() && lifecycle.post_start.is_none() {
                container.lifecycle = None;
            }
        }
    }
}

/// AppArmor profiles in annotations of old become fields.
fn adopt_profiles(pod: &mut Pod) {
    let annotations = pod.metadata.annotations.clone();
    let spec = &mut pod.spec;
    for container in spec
        .init_containers
        .iter_mut()
        .chain(spec.containers.iter_mut())
    {
        let Some(named) = annotations.get(&format!("{APPARMOR}{}", container.name)) else {
            continue;
        };
        let (kind, file) = match named.as_str() {
            "runtime/default" => ("RuntimeDefault", None),
            "unconfined" => ("Unconfined", None),
            other => match other.strip_prefix("localhost/") {
                Some(file) => ("Localhost", Some(Str::from(file))),
                None => continue,
            },
        };
        let context = container.security_context.get_or_insert_default();
        if context.app_armor_profile.is_none() {
            let profile = context.app_armor_profile.get_or_insert_default();
            profile.type_ = kind.into();
            profile.localhost_profile = file;
        }
    }
}

/// matchLabelKeys and mismatchLabelKeys become requirements with the pod's own values.
fn merge_label_keys(pod: &mut Pod) {
    let labels = &pod.metadata.labels;
    if let Some(affinity) = &mut pod.spec.affinity {
        if let Some(near) = &mut affinity.pod_affinity {
            let weighted = near
                .preferred_during_scheduling_ignored_during_execution
                .iter_mut();
            let terms = weighted.map(|w| &mut w.pod_affinity_term);
            terms
                .chain(
                    near.required_during_scheduling_ignored_during_execution
                        .iter_mut(),
                )
                .for_each(|t| merge_term(t, labels));
        }
        if let Some(far) = &mut affinity.pod_anti_affinity {
            let weighted = far
                .preferred_during_scheduling_ignored_during_execution
                .iter_mut();
            let terms = weighted.map(|w| &mut w.pod_affinity_term);
            terms
                .chain(
                    far.required_during_scheduling_ignored_during_execution
                        .iter_mut(),
                )
                .for_each(|t| merge_term(t, labels));
        }
    }
    for constraint in pod.spec.topology_spread_constraints.iter_mut() {
        if let Some(selector) = &mut constraint.label_selector {
            merge_keys(selector, &constraint.match_label_keys, "In", labels);
        }
    }
}

fn merge_term(term: &mut PodAffinityTerm, labels: &Map<Str>) {
    if let Some(selector) = &mut term.label_selector {
        merge_keys(selector, &term.match_label_keys, "In", labels);
        merge_keys(selector, &term.mismatch_label_keys, "NotIn", labels);
    }
}

fn merge_keys(
    selector: &mut LabelSelector,
    keys: &[Str],
    operator: &'static str,
    labels: &Map<Str>,
) {
    for (key, value) in keys.iter().filter_map(|k| Some((k, labels.get(k)?))) {
        selector.match_expressions.push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.into(),
            values: List::from([value.clone()]),
        });
    }
}

pub(super) fn update(part: &str, new: &mut Pod, old: &Pod) {
    match part {
        "status" => status(new, old),
        "ephemeralcontainers" => {
            let containers = std::mem::take(&mut new.spec.ephemeral_containers);
            new.spec = old.spec.clone();
            new.spec.ephemeral_containers = containers;
            keep_rest(new, old);
        }
        "resize" => resize(new, old),
        _ => drop_gated(&mut new.spec),
    }
}

fn keep_rest(new: &mut Pod, old: &Pod) {
    new.status = old.status.clone();
    reset_for_status(&mut new.metadata, &old.metadata);
}

fn status(new: &mut Pod, old: &Pod) {
    // A status update never deletes; upstream drops the time before the stored one is put back.
    new.metadata.deletion_timestamp = old.metadata.deletion_timestamp;
    new.metadata.owner_references = old.metadata.owner_references.clone();
    if new.status.qos_class.is_empty() {
        new.status.qos_class = old.status.qos_class.clone();
    }
    if new.status.observed_generation == 0 {
        new.status.observed_generation = old.status.observed_generation;
    }
    let mut before: Vec<(&Str, i64)> = old
        .status
        .conditions
        .iter()
        .map(|c| (&c.type_, c.observed_generation))
        .collect();
    for condition in new.status.conditions.iter_mut() {
        let found = before
            .iter()
            .position(|(kind, _)| **kind == condition.type_);
        let generation = found.map_or(0, |i| before.remove(i).1);
        if condition.observed_generation == 0 {
            condition.observed_generation = generation;
        }
    }
}

/// Keeps of an update only resources and resize policies; containers that do not line up are left for validation.
fn resize(new: &mut Pod, old: &Pod) {
    let (spec, before) = (&mut new.spec, &old.spec);
    if spec.containers.len() != before.containers.len()
        || spec.init_containers.len() != before.init_containers.len()
    {
        return;
    }
    let containers = resized(&spec.containers, &before.containers);
    let init = resized(&spec.init_containers, &before.init_containers);
    let resources = spec.resources.take();
    new.spec = before.clone();
    new.spec.containers = containers;
    new.spec.init_containers = init;
    new.spec.resources = resources;
    keep_rest(new, old);
}

fn resized(new: &List<Container>, old: &List<Container>) -> List<Container> {
    if new.iter().zip(old.iter()).any(|(n, o)| n.name != o.name) {
        return new.clone();
    }
    let mut merged = old.clone();
    for (place, container) in merged.iter_mut().zip(new.iter()) {
        place.resources = container.resources.clone();
        place.resize_policy = container.resize_policy.clone();
    }
    merged
}
