//! PodTopologyLabels: a pod carries zone and region of the node that it is bound to.

use super::{Operation, Review};
use corten_api::Object;
use corten_api::core::v1::{Binding, Node, Pod};

const LABELS: [&str; 2] = [
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];

pub(super) fn mutate(review: &Review, object: &mut Object) {
    if review.operation != Operation::Create {
        return;
    }
    let node = if review.is("", "pods") {
        object
            .downcast_ref::<Pod>()
            .map(|pod| pod.spec.node_name.clone())
    } else if review.is_part("", "pods", "binding") {
        let binding = object.downcast_ref::<Binding>();
        binding
            .filter(|b| b.target.kind == "Node")
            .map(|b| b.target.name.clone())
    } else {
        None
    };
    let Some(node) = node.and_then(|name| review.snapshot.get::<Node>("", &name)) else {
        return;
    };
    for label in LABELS {
        if let Some(value) = node.metadata.labels.get(label) {
            object.meta_mut().labels.insert(label, value.clone());
        }
    }
}
