//! NodeName: a pod that names a node runs there or nowhere.

use super::Refusal;
use crate::cluster::NodeInfo;
use crate::pod::PodView;

pub(super) fn filter(pod: &PodView, node: &NodeInfo) -> Vec<Refusal> {
    let wanted = &pod.pod.spec.node_name;
    match wanted.is_empty() || node.node().is_some_and(|n| n.metadata.name == *wanted) {
        true => Vec::new(),
        false => vec![Refusal::lasting(
            "node(s) didn't match the requested node name",
        )],
    }
}
