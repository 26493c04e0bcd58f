//! PodResizeValidator: a pod is resized only on a Linux node that is known and has that much to give.

use super::{Cause, Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::{Node, Pod};
use corten_core::Quantity;

pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    if review.operation != Operation::Update || !review.is_part("", "pods", "resize") {
        return Ok(());
    }
    let Some(pod) = object.and_then(|o| o.downcast_ref::<Pod>()) else {
        return Ok(());
    };
    let same = review
        .old
        .is_some_and(|old| old.meta().generation == pod.metadata.generation);
    if pod.spec.node_name.is_empty() || same {
        return Ok(());
    }
    let name = pod.spec.node_name.as_str();
    let Some(node) = review.snapshot.get::<Node>("", name) else {
        return Err(Denial::forbidden(format!("node {name:?} not found")));
    };
    let system = node.metadata.labels.get("kubernetes.io/os");
    if let Some(system) = system.filter(|s| *s != "linux") {
        let text = format!(
            "pod resize is only supported on linux nodes, node {name:?} is {:?}",
            system.as_str()
        );
        return Err(refused(text, "UnsupportedPlatform"));
    }
    let mut missing = Vec::new();
    for resource in ["cpu", "memory"] {
        let asked = requested(pod, resource);
        let there = node
            .status
            .allocatable
            .get(resource)
            .cloned()
            .unwrap_or_default();
        if asked.amount().compare(&there.amount()).is_gt() {
            let shown = |q: &Quantity| {
                if resource == "cpu" {
                    q.milli_value()
                } else {
                    q.value()
                }
            };
            missing.push(format!(
                "{resource}, requested: {}, allocatable: {}",
                shown(&asked),
                shown(&there)
            ));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let text = format!(
        "node didn't have enough allocatable resources: {}",
        missing.join("; ")
    );
    Err(refused(text, "NodeCapacity"))
}

fn refused(text: String, reason: &'static str) -> Denial {
    let mut denial = Denial::forbidden(text);
    denial.causes.push(Cause {
        reason,
        message: String::new(),
        field: String::new(),
    });
    denial
}

/// What a pod asks for: of its own, or of its containers together.
fn requested(pod: &Pod, resource: &str) -> Quantity {
    let own = pod
        .spec
        .resources
        .as_ref()
        .and_then(|r| r.requests.get(resource));
    if let Some(own) = own {
        return own.clone();
    }
    let mut sum = Quantity::default();
    for container in pod.spec.containers.iter() {
        if let Some(amount) = container.resources.requests.get(resource) {
            sum.add(amount);
        }
    }
    sum
}
