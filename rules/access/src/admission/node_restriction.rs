//! NodeRestriction: a node writes its own Node, Lease and CSINode, and the status of pods bound to it.

use super::{Denial, Operation, Review};
use crate::node::node_name;
use corten_api::Object;
use corten_api::authentication::v1::TokenRequest;
use corten_api::core::v1::{Node, Pod};

const MIRROR: &str = "kubernetes.io/config.mirror";
const NODE_LEASES: &str = "kube-node-lease";

pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let Some(node) = node_name(review.user) else {
        return Ok(());
    };
    match (
        review.resource.group.as_str(),
        review.resource.resource.as_str(),
        review.subresource,
    ) {
        ("", "pods", "") => pod(review, object, node),
        ("", "pods", "status") => pod_status(review, object, node),
        ("", "pods", "eviction") => pod_eviction(review, node),
        ("", "nodes", _) => own_node(review, object, node),
        ("", "serviceaccounts", "token") => token(review, object, node),
        ("coordination.k8s.io", "leases", _) => lease(review, object, node),
        ("storage.k8s.io", "csinodes", _) => named(review, object, node),
        _ => Ok(()),
    }
}

fn refuse(message: String) -> Result<(), Denial> {
    Err(Denial::forbidden(message))
}

fn pod(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    match review.operation {
        Operation::Create => {
            let Some(pod) = object.and_then(|o| o.downcast_ref::<Pod>()) else {
                return Ok(());
            };
            if !pod.metadata.annotations.contains_key(MIRROR) {
                let name = &pod.metadata.name;
                return refuse(format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods: {name}"
                ));
            }
            match pod.spec.node_name == node {
                true => Ok(()),
                false => refuse(format!(
                    "node {node:?} can only create pods with spec.nodeName set to itself"
                )),
            }
        }
        Operation::Delete => match review.old.and_then(|o| o.downcast_ref::<Pod>()) {
            Some(pod) if pod.spec.node_name != node => refuse(format!(
                "node {node:?} can only delete pods with spec.nodeName set to itself"
            )),
            _ => Ok(()),
        },
        _ => refuse(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
            review.operation
        )),
    }
}

fn pod_status(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    if review.operation != Operation::Update {
        return refuse(format!("unexpected operation {:?}", review.operation));
    }
    let old = review.old.and_then(|o| o.downcast_ref::<Pod>());
    if old.is_some_and(|pod| pod.spec.node_name != node) {
        return refuse(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let new = object.and_then(|o| o.downcast_ref::<Pod>());
    match (old, new) {
        (Some(old), Some(new)) if !old.metadata.labels.iter().eq(new.metadata.labels.iter()) => {
            refuse(format!(
                "node {node:?} cannot update labels through pod status"
            ))
        }
        _ => Ok(()),
    }
}

fn pod_eviction(review: &Review, node: &str) -> Result<(), Denial> {
    let pod = review.snapshot.get::<Pod>(review.namespace, review.name);
    match pod {
        Some(pod) if pod.spec.node_name != node => refuse(format!(
            "node {node:?} can only evict pods with spec.nodeName set to itself"
        )),
        _ => Ok(()),
    }
}

fn own_node(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    let requested = match object {
        Some(object) if review.name.is_empty() => object.meta().name.as_str(),
        _ => review.name,
    };
    if requested != node {
        return refuse(format!(
            "node {node:?} is not allowed to modify node {requested:?}"
        ));
    }
    let new = object.and_then(|o| o.downcast_ref::<Node>());
    let old = review.old.and_then(|o| o.downcast_ref::<Node>());
    match (review.operation, old, new) {
        (Operation::Update, Some(old), Some(new))
            if old.spec.taints != new.spec.taints && review.subresource.is_empty() =>
        {
            refuse(format!("node {node:?} is not allowed to modify taints"))
        }
        _ => Ok(()),
    }
}

fn token(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    let Some(request) = object.and_then(|o| o.downcast_ref::<TokenRequest>()) else {
        return Ok(());
    };
    let Some(bound) = request.spec.bound_object_ref.as_deref() else {
        return refuse("node requested token not bound to a pod".to_owned());
    };
    if bound.api_version != "v1" || bound.kind != "Pod" || bound.name.is_empty() {
        return refuse("node requested token not bound to a pod".to_owned());
    }
    if bound.uid.is_empty() {
        return refuse("node requested token with a pod binding without a uid".to_owned());
    }
    let Some(pod) = review.snapshot.get::<Pod>(review.namespace, &bound.name) else {
        return Err(Denial::not_found("", "pods", &bound.name));
    };
    if bound.uid != pod.metadata.uid {
        return refuse(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            bound.uid
        ));
    }
    match pod.spec.node_name == node {
        true => Ok(()),
        false => {
            refuse("node requested token bound to a pod scheduled on a different node".to_owned())
        }
    }
}

fn lease(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    if review.namespace != NODE_LEASES {
        return refuse(format!(
            "can only access leases in the {NODE_LEASES:?} system namespace"
        ));
    }
    named(review, object, node)
}

fn named(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    let name = match object {
        Some(object) if review.operation == Operation::Create => object.meta().name.as_str(),
        _ => review.name,
    };
    match name == node {
        true => Ok(()),
        false => refuse(format!(
            "can only access {} with the same name as the requesting node",
            review.resource.resource
        )),
    }
}
