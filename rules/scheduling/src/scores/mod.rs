//! Scores: how well a node suits a pod. One file each; 0 to 100 after normalisation, times upstream's weight.

mod affinity;
mod balanced;
mod image;
mod least;
mod taints;

use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodView;

/// The best score.
pub const SCORE_MAX: i64 = 100;

/// How raw scores of all nodes become 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Normalise {
    /// They are already.
    Not,
    /// The highest becomes 100.
    HighestIsBest,
    /// The highest becomes 0.
    HighestIsWorst,
}

/// One score.
pub struct Score {
    /// Upstream's plugin name.
    pub name: &'static str,
    /// Upstream's default weight.
    pub weight: i64,
    /// The raw score of a node.
    pub score: fn(&Cluster, &PodView, &NodeInfo) -> i64,
    /// How raw scores are compared.
    pub normalise: Normalise,
}

/// Every score.
pub const SCORES: &[Score] = &[
    Score {
        name: "TaintToleration",
        weight: 3,
        score: taints::score,
        normalise: Normalise::HighestIsWorst,
    },
    Score {
        name: "NodeAffinity",
        weight: 2,
        score: affinity::score,
        normalise: Normalise::HighestIsBest,
    },
    Score {
        name: "NodeResourcesFit",
        weight: 1,
        score: least::score,
        normalise: Normalise::Not,
    },
    Score {
        name: "NodeResourcesBalancedAllocation",
        weight: 1,
        score: balanced::score,
        normalise: Normalise::Not,
    },
    Score {
        name: "ImageLocality",
        weight: 1,
        score: image::score,
        normalise: Normalise::Not,
    },
];

/// The weighted sums, in the order of `nodes`.
pub fn totals(cluster: &Cluster, pod: &PodView, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    for score in SCORES {
        let raw: Vec<i64> = nodes
            .iter()
            .map(|node| (score.score)(cluster, pod, node))
            .collect();
        let highest = raw.iter().copied().max().unwrap_or(0);
        for (sum, raw) in sums.iter_mut().zip(raw) {
            *sum += score.weight * normalise(score.normalise, raw, highest);
        }
    }
    sums
}

fn normalise(how: Normalise, raw: i64, highest: i64) -> i64 {
    match (how, highest) {
        (Normalise::Not, _) => raw,
        (Normalise::HighestIsBest, 0) => 0,
        (Normalise::HighestIsWorst, 0) => SCORE_MAX,
        (Normalise::HighestIsBest, _) => raw * SCORE_MAX / highest,
        (Normalise::HighestIsWorst, _) => SCORE_MAX - raw * SCORE_MAX / highest,
    }
}
