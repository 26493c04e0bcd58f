//! NodeAffinity: labels and fields that a node must have.

use super::Refusal;
use crate::cluster::NodeInfo;
use crate::pod::PodView;
use corten_api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod};
use corten_meta::{Operator, Requirement};

fn meets(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let operator = match requirement.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return false,
    };
    let requirement = Requirement {
        key: requirement.key.clone(),
        operator,
        values: requirement.values.to_vec(),
    };
    requirement.accepts(value)
}

fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.get(key).map(|v| v.as_str());
    let field = |key: &str| (key == "metadata.name").then_some(node.metadata.name.as_str());
    // A term without conditions selects nothing.
    (!term.match_expressions.is_empty() || !term.match_fields.is_empty())
        && term
            .match_expressions
            .iter()
            .all(|r| meets(r, label(&r.key)))
        && term.match_fields.iter().all(|r| meets(r, field(&r.key)))
}

/// Whether one of the terms selects the node.
pub fn matches_terms(selector: &NodeSelector, node: &Node) -> bool {
    selector
        .node_selector_terms
        .iter()
        .any(|term| term_matches(term, node))
}

/// Whether a preferred term selects the node; an empty one selects every node.
pub(crate) fn prefers(term: &NodeSelectorTerm, node: &Node) -> bool {
    (term.match_expressions.is_empty() && term.match_fields.is_empty()) || term_matches(term, node)
}

/// Whether the pod's nodeSelector and required node affinity allow the node.
pub fn matches_node_selector(pod: &Pod, node: &Node) -> bool {
    let labels = &node.metadata.labels;
    if !pod
        .spec
        .node_selector
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
    {
        return false;
    }
    let required = pod
        .spec
        .affinity
        .as_deref()
        .and_then(|a| a.node_affinity.as_deref())
        .and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_deref()
        });
    required.is_none_or(|selector| matches_terms(selector, node))
}

pub(super) fn filter(pod: &PodView, node: &NodeInfo) -> Vec<Refusal> {
    match node
        .node()
        .is_some_and(|n| matches_node_selector(pod.pod, n))
    {
        true => Vec::new(),
        false => vec![Refusal::lasting(
            "node(s) didn't match Pod's node affinity/selector",
        )],
    }
}
