//! Which nodes a daemon set's pods belong on, and how a pod for one node looks.

use crate::node_fit;
use crate::revisions::HASH;
use crate::template;
use corten_api::apps::v1::DaemonSet;
use corten_api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Toleration,
};
use corten_core::{List, Str};

/// The label with the generation of the template, from times before revisions.
pub(super) const GENERATION: &str = "pod-template-generation";
const GENERATION_OF_SET: &str = "deprecated.daemonset.template.generation";

/// What every daemon pod tolerates.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// And those on the host's network besides.
const TOLERATED_ON_HOST: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// The template's generation as the set's annotation has it.
pub(super) fn generation(set: &DaemonSet) -> Option<&str> {
    let text = set.metadata.annotations.get(GENERATION_OF_SET)?;
    text.parse::<i64>().ok().map(|_| text.as_str())
}

/// Whether a pod shall be started on the node, and whether one that is there may stay.
pub(super) fn should_run(set: &DaemonSet, node: &Node) -> (bool, bool) {
    let mut spec = set.spec.template.spec.clone();
    if !spec.node_name.is_empty() && spec.node_name != node.metadata.name {
        return (false, false);
    }
    add_tolerations(&mut spec);
    if !node_fit::labels_fit(&spec, node) {
        return (false, false);
    }
    if node_fit::taints_fit(&spec, node, &["NoExecute", "NoSchedule"]) {
        return (true, true);
    }
    (false, node_fit::taints_fit(&spec, node, &["NoExecute"]))
}

fn add_tolerations(spec: &mut PodSpec) {
    let on_host = spec.host_network.then_some(TOLERATED_ON_HOST);
    for (key, effect) in TOLERATED.into_iter().chain(on_host) {
        let toleration = Toleration {
            key: key.into(),
            operator: "Exists".into(),
            effect: effect.into(),
            ..Default::default()
        };
        if !spec.tolerations.contains(&toleration) {
            spec.tolerations.push(toleration);
        }
    }
}

/// A pod of the set for `node`.
pub(super) fn new_pod(set: &DaemonSet, node: &Str, hash: &Str) -> Pod {
    let mut pod = template::pod_from(set, &set.spec.template);
    if let Some(generation) = generation(set) {
        pod.metadata.labels.insert(GENERATION, generation);
    }
    if !hash.is_empty() {
        pod.metadata.labels.insert(HASH, hash.clone());
    }
    add_tolerations(&mut pod.spec);
    let affinity = pod.spec.affinity.get_or_insert_default();
    let required = affinity
        .node_affinity
        .get_or_insert_default()
        .required_during_scheduling_ignored_during_execution
        .get_or_insert_default();
    let name = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: List::from_iter([node.clone()]),
    };
    required.node_selector_terms = List::from_iter([NodeSelectorTerm {
        match_fields: List::from_iter([name]),
        ..Default::default()
    }]);
    pod
}
