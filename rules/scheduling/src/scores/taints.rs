//! TaintToleration: the fewer `PreferNoSchedule` taints a pod does not tolerate, the better.

use crate::cluster::{Cluster, NodeInfo};
use crate::filters::tolerates;
use crate::pod::PodView;

pub(super) fn score(_: &Cluster, pod: &PodView, node: &NodeInfo) -> i64 {
    let Some(object) = node.node() else { return 0 };
    let soft = |effect: &str| effect.is_empty() || effect == "PreferNoSchedule";
    let tolerations: Vec<_> = pod
        .pod
        .spec
        .tolerations
        .iter()
        .filter(|t| soft(&t.effect))
        .collect();
    let taints = object
        .spec
        .taints
        .iter()
        .filter(|t| t.effect == "PreferNoSchedule");
    taints
        .filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint)))
        .count() as i64
}
