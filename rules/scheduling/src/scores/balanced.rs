//! BalancedAllocation: CPU and memory are best used in the same proportion.

use super::SCORE_MAX;
use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodView;

pub(super) fn score(_: &Cluster, pod: &PodView, node: &NodeInfo) -> i64 {
    let fraction = |name: &str| {
        let total = node.allocatable.get(name);
        let used = node
            .requested
            .get(name)
            .saturating_add(pod.requests.get(name));
        (total > 0).then(|| (used as f64 / total as f64).min(1.0))
    };
    let deviation = match (fraction("cpu"), fraction("memory")) {
        // The standard deviation of two numbers is half their distance.
        (Some(cpu), Some(memory)) => (cpu - memory).abs() / 2.0,
        _ => 0.0,
    };
    ((1.0 - deviation) * SCORE_MAX as f64) as i64
}
