//! Filters: reasons why a pod cannot run on a node. One file each, in upstream's order.

pub(crate) mod affinity;
mod name;
mod ports;
mod resources;
mod taints;
mod unschedulable;

use crate::cluster::NodeInfo;
use crate::pod::PodView;

pub use affinity::{matches_node_selector, matches_terms};
pub use taints::{tolerates, untolerated};

/// Why a node is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// Upstream's words, as they appear after the number of nodes.
    pub reason: String,
    /// Whether the node could be had if less important pods went.
    pub preemptible: bool,
}

impl Refusal {
    fn lasting(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            preemptible: false,
        }
    }

    fn passing(reason: impl Into<String>) -> Refusal {
        Refusal {
            reason: reason.into(),
            preemptible: true,
        }
    }
}

/// One filter: empty when the pod may run on the node.
pub type Filter = fn(&PodView, &NodeInfo) -> Vec<Refusal>;

/// Every filter with upstream's plugin name, in the order in which they are asked.
pub const FILTERS: &[(&str, Filter)] = &[
    ("NodeUnschedulable", unschedulable::filter),
    ("NodeName", name::filter),
    ("TaintToleration", taints::filter),
    ("NodeAffinity", affinity::filter),
    ("NodePorts", ports::filter),
    ("NodeResourcesFit", resources::filter),
];

/// The refusals of the first filter that refuses; empty when the pod may run on the node.
pub fn refusals(pod: &PodView, node: &NodeInfo) -> Vec<Refusal> {
    FILTERS
        .iter()
        .map(|(_, filter)| filter(pod, node))
        .find(|refusals| !refusals.is_empty())
        .unwrap_or_default()
}
