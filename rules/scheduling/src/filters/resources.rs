//! NodeResourcesFit: what a pod asks for must be free.

use super::Refusal;
use crate::cluster::NodeInfo;
use crate::pod::PodView;

pub(super) fn filter(pod: &PodView, node: &NodeInfo) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    let room = node.allocatable.get("pods");
    if node.pods.len() as i64 + 1 > room {
        refusals.push(Refusal {
            reason: "Too many pods".to_owned(),
            preemptible: room > 0,
        });
    }
    for (name, wanted) in pod.requests.iter().filter(|(_, wanted)| *wanted > 0) {
        let total = node.allocatable.get(name);
        if wanted > total.saturating_sub(node.requested.get(name)) {
            // Nothing that goes could make room for more than the node has.
            refusals.push(Refusal {
                reason: format!("Insufficient {name}"),
                preemptible: wanted <= total,
            });
        }
    }
    refusals
}
