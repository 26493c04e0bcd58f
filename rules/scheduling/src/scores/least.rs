//! LeastAllocated: the more of CPU and memory stays free, the better.

use super::SCORE_MAX;
use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodView;

pub(super) fn score(_: &Cluster, pod: &PodView, node: &NodeInfo) -> i64 {
    let (mut sum, mut count) = (0, 0);
    for name in ["cpu", "memory"] {
        let total = node.allocatable.get(name);
        if total == 0 {
            continue;
        }
        let used = node.assumed.get(name).saturating_add(pod.assumed.get(name));
        count += 1;
        sum += (total - used).max(0).saturating_mul(SCORE_MAX) / total;
    }
    if count == 0 { 0 } else { sum / count }
}
