//! Whether a pod may be on a node at all: taints, node selector and required node affinity.
//!
//! Leaves out everything that depends on other pods, which is the scheduler's.

use corten_api::core::v1::{
    Affinity, Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};
use corten_core::Str;

/// Whether `toleration` covers `taint`.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        _ => false,
    }
}

/// Whether all of the node's taints with one of `effects` are tolerated.
pub fn taints_fit(spec: &PodSpec, node: &Node, effects: &[&str]) -> bool {
    let mut taints = node
        .spec
        .taints
        .iter()
        .filter(|t| effects.contains(&t.effect.as_str()));
    taints.all(|taint| spec.tolerations.iter().any(|t| tolerates(t, taint)))
}

/// Whether the node's labels and name meet the pod's node selector and required node affinity.
pub fn labels_fit(spec: &PodSpec, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let selected = spec
        .node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    let required = required_terms(spec.affinity.as_deref());
    selected && required.is_none_or(|terms| terms.iter().any(|term| term_fits(term, node)))
}

fn required_terms(affinity: Option<&Affinity>) -> Option<&[NodeSelectorTerm]> {
    let node_affinity = affinity?.node_affinity.as_deref()?;
    let required = node_affinity
        .required_during_scheduling_ignored_during_execution
        .as_deref()?;
    Some(&required.node_selector_terms)
}

fn term_fits(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    let name = |key: &str| (key == "metadata.name").then_some(&node.metadata.name);
    let empty = term.match_expressions.is_empty() && term.match_fields.is_empty();
    !empty
        && term
            .match_expressions
            .iter()
            .all(|r| meets(r, labels.get(&r.key)))
        && term.match_fields.iter().all(|r| meets(r, name(&r.key)))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&Str>) -> bool {
    let listed = value.is_some_and(|v| requirement.values.contains(v));
    let numbers = || {
        let left: i64 = value?.parse().ok()?;
        let right: i64 = requirement.values.first()?.parse().ok()?;
        Some((left, right))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(left, right)| left > right),
        "Lt" => numbers().is_some_and(|(left, right)| left < right),
        _ => false,
    }
}

/// The one node that a pod's affinity names, as a daemon set writes it.
pub fn pinned_node(spec: &PodSpec) -> Option<&Str> {
    if !spec.node_name.is_empty() {
        return Some(&spec.node_name);
    }
    let fields = required_terms(spec.affinity.as_deref())?
        .iter()
        .flat_map(|t| t.match_fields.iter());
    let mut names = fields.filter(|r| r.key == "metadata.name" && r.operator == "In");
    names.find_map(|r| r.values.first())
}
