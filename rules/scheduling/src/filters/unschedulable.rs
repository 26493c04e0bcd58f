//! NodeUnschedulable: a cordoned node takes only pods that tolerate the taint of the same name.

use super::Refusal;
use super::taints::tolerates;
use crate::cluster::NodeInfo;
use crate::pod::PodView;
use corten_api::core::v1::Taint;

pub(super) fn filter(pod: &PodView, node: &NodeInfo) -> Vec<Refusal> {
    let cordoned = node.node().is_none_or(|n| n.spec.unschedulable);
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Default::default()
    };
    if !cordoned
        || pod
            .pod
            .spec
            .tolerations
            .iter()
            .any(|t| tolerates(t, &taint))
    {
        return Vec::new();
    }
    vec![Refusal::lasting("node(s) were unschedulable")]
}
