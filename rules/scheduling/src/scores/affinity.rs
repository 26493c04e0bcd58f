//! NodeAffinity: the sum of the weights of the preferred terms that select the node.

use crate::cluster::{Cluster, NodeInfo};
use crate::filters::affinity::prefers;
use crate::pod::PodView;

pub(super) fn score(_: &Cluster, pod: &PodView, node: &NodeInfo) -> i64 {
    let Some(object) = node.node() else { return 0 };
    let affinity = pod
        .pod
        .spec
        .affinity
        .as_deref()
        .and_then(|a| a.node_affinity.as_deref());
    let preferred = affinity.into_iter().flat_map(|a| {
        a.preferred_during_scheduling_ignored_during_execution
            .iter()
    });
    preferred
        .filter(|term| prefers(&term.preference, object))
        .map(|term| i64::from(term.weight))
        .sum()
}
