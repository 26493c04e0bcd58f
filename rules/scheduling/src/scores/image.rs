//! ImageLocality: a node that has the pod's images already starts it sooner.

use super::SCORE_MAX;
use crate::cluster::{Cluster, NodeInfo};
use crate::pod::PodView;

const MIB: i64 = 1 << 20;
/// Less than this counts as nothing, per container.
const SIZE_MIN: i64 = 23 * MIB;
/// More than this counts as no more, per container.
const SIZE_MAX: i64 = 1000 * MIB;

/// The name under which nodes list an image: with the tag `latest` when it has none.
fn normalised(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    match last.contains(':') || image.contains('@') {
        true => image.to_owned(),
        false => format!("{image}:latest"),
    }
}

fn size_on(node: &NodeInfo, image: &str) -> Option<i64> {
    let images = node.node()?.status.images.iter();
    let mut found = images.filter(|i| i.names.iter().any(|n| n == image));
    found.next().map(|i| i.size_bytes)
}

pub(super) fn score(cluster: &Cluster, pod: &PodView, node: &NodeInfo) -> i64 {
    let containers = pod
        .pod
        .spec
        .init_containers
        .iter()
        .chain(pod.pod.spec.containers.iter());
    let images: Vec<String> = containers.map(|c| normalised(&c.image)).collect();
    let total = cluster.nodes().count().max(1) as i64;
    let sum: i64 = images
        .iter()
        .filter_map(|image| {
            let size = size_on(node, image)?;
            // An image that few nodes have draws less, so that its pods do not crowd together.
            let spread = cluster
                .nodes()
                .filter(|(_, n)| size_on(n, image).is_some())
                .count() as i64;
            Some(size.saturating_mul(spread) / total)
        })
        .sum();
    let count = images.len().max(1) as i64;
    let (least, most) = (SIZE_MIN, SIZE_MAX * count);
    (sum.clamp(least, most) - least) * SCORE_MAX / (most - least)
}
