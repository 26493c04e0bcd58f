//! NodeRestriction: a node writes its own Node, Lease and CSINode, and the status of pods bound to it.

use super::certificate_request::Subject;
use super::node_certificate::pod_certificate;
use super::node_objects::{check_mirror_pod, check_node};
use super::{Denial, Operation, Review};
use crate::attributes::Attributes;
use crate::node::node_name;
use corten_api::Object;
use corten_api::authentication::v1::TokenRequest;
use corten_api::certificates::v1::CertificateSigningRequest;
use corten_api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use corten_api::resource::v1::ResourceSlice;
use corten_api::storage::v1::CSIDriver;

const MIRROR: &str = "kubernetes.io/config.mirror";
const KUBELET_SIGNERS: [&str; 2] = [
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/kube-apiserver-client-kubelet",
];
const NODE_LEASES: &str = "kube-node-lease";

pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let Some(node) = node_name(review.user) else {
        return Ok(());
    };
    if node.is_empty() {
        return refuse(format!(
            "could not determine node from user {:?}",
            review.user.name
        ));
    }
    if review.operation == Operation::Connect {
        return Ok(());
    }
    match (
        review.resource.group.as_str(),
        review.resource.resource.as_str(),
        review.subresource,
    ) {
        ("", "pods", "") => pod(review, object, node),
        ("", "pods", "status") => pod_status(review, object, node),
        ("", "pods", "eviction") => pod_eviction(review, object, node),
        ("", "pods", other) => refuse(format!(
            "unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"
        )),
        ("", "nodes", _) => own_node(review, object, node),
        ("", "persistentvolumeclaims", "status") => claim_status(review, object, node),
        ("", "persistentvolumeclaims", _) => refuse("may only update PVC status".to_owned()),
        ("", "serviceaccounts", "token") => token(review, object, node),
        ("coordination.k8s.io", "leases", _) => lease(review, object, node),
        ("storage.k8s.io", "csinodes", _) => named(review, object, node, "CSINode"),
        ("resource.k8s.io", "resourceslices", _) => resource_slice(review, object, node),
        ("certificates.k8s.io", "podcertificaterequests", _) => {
            pod_certificate(review, object, node)
        }
        ("certificates.k8s.io", "certificatesigningrequests", _) => {
            certificate(review, object, node)
        }
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
                return refuse(format!(
                    "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
                ));
            }
            match pod.spec.node_name == node {
                true => check_mirror_pod(review, pod, node),
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
            review.operation.as_str()
        )),
    }
}

fn pod_status(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    if review.operation != Operation::Update {
        return refuse(unexpected(review));
    }
    let old = review.old.and_then(|o| o.downcast_ref::<Pod>());
    if old.is_some_and(|pod| pod.spec.node_name != node) {
        return refuse(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let new = object.and_then(|o| o.downcast_ref::<Pod>());
    let (Some(old), Some(new)) = (old, new) else {
        return Ok(());
    };
    if !old.metadata.labels.iter().eq(new.metadata.labels.iter()) {
        return refuse(format!(
            "node {node:?} cannot update labels through pod status"
        ));
    }
    let claims = |pod: &Pod| pod.status.resource_claim_statuses.to_vec();
    if claims(old) != claims(new) {
        return refuse(format!(
            "node {node:?} cannot update resource claim statues"
        ));
    }
    if old.status.extended_resource_claim_status != new.status.extended_resource_claim_status {
        return refuse(format!(
            "node {node:?} cannot update extended resource claim status"
        ));
    }
    Ok(())
}

fn unexpected(review: &Review) -> String {
    format!("unexpected operation {:?}", review.operation.as_str())
}

fn pod_eviction(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    if review.operation != Operation::Create {
        return refuse(format!(
            "unexpected operation {}",
            review.operation.as_str()
        ));
    }
    let name = match review.name {
        "" => object.map_or("", |o| o.meta().name.as_str()),
        name => name,
    };
    if name.is_empty() {
        return refuse("could not determine pod from request data".to_owned());
    }
    match review.snapshot.find::<Pod>(review.namespace, name) {
        None => Err(Denial::not_found("", "pods", name)),
        Some(pod) if pod.spec.node_name != node => refuse(format!(
            "node {node} can only evict pods with spec.nodeName set to itself"
        )),
        Some(_) => Ok(()),
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
    match (review.operation, new) {
        (Operation::Create, Some(new)) => check_node(new, None, node),
        (Operation::Update, Some(new)) => check_node(new, old, node),
        _ => Ok(()),
    }
}

fn claim_status(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    if review.operation != Operation::Update {
        return refuse(unexpected(review));
    }
    // All that a node may change, taken away.
    let rest = |object: &Object| {
        let mut claim = object.downcast_ref::<PersistentVolumeClaim>()?.clone();
        claim.metadata.resource_version = Default::default();
        claim.metadata.managed_fields = Default::default();
        claim.status.capacity = Default::default();
        claim.status.conditions = Default::default();
        claim.status.allocated_resource_statuses = Default::default();
        claim.status.allocated_resources = Default::default();
        Some(Object::from(claim))
    };
    let (old, new) = (review.old.and_then(rest), object.and_then(rest));
    match old.zip(new).is_some_and(|(old, new)| old.semantic_eq(&new)) {
        true => Ok(()),
        false => refuse(format!(
            "node {node:?} is not allowed to update fields other than status.quantity and status.conditions"
        )),
    }
}

fn resource_slice(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    let (object, verb) = match review.operation {
        Operation::Create => (object, "create"),
        Operation::Delete => (review.old, "delete"),
        _ => return Ok(()),
    };
    let slice = object.and_then(|o| o.downcast_ref::<ResourceSlice>());
    match slice.is_some_and(|slice| slice.spec.node_name.as_deref() == Some(node)) {
        true => Ok(()),
        false => refuse(format!(
            "can only {verb} ResourceSlice with the same NodeName as the requesting node"
        )),
    }
}

fn certificate(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    let request = object.and_then(|o| o.downcast_ref::<CertificateSigningRequest>());
    let (Operation::Create, Some(request)) = (review.operation, request) else {
        return Ok(());
    };
    if !KUBELET_SIGNERS.contains(&request.spec.signer_name.as_str()) {
        return Ok(());
    }
    match Subject::of_pem(&request.spec.request) {
        Err(problem) => refuse(format!("unable to parse csr: {problem}")),
        Ok(subject) if subject.common_name != format!("system:node:{node}") => refuse(format!(
            "can only create a node CSR with CN=system:node:{node}"
        )),
        Ok(_) => Ok(()),
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
    let Some(pod) = review.snapshot.find::<Pod>(review.namespace, &bound.name) else {
        return Err(Denial::not_found("", "pods", &bound.name));
    };
    if bound.uid != pod.metadata.uid {
        return refuse(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            bound.uid
        ));
    }
    if pod.spec.node_name != node {
        return refuse(
            "node requested token bound to a pod scheduled on a different node".to_owned(),
        );
    }
    audience(review, request, &pod)
}

/// A node asks only for audiences that the pod's volumes name, unless it was given the right to more.
fn audience(review: &Review, request: &TokenRequest, pod: &Pod) -> Result<(), Denial> {
    let audience = match &*request.spec.audiences {
        [] => "",
        [one] => one.as_str(),
        _ => return refuse("node may only request 0 or 1 audiences".to_owned()),
    };
    if names_audience(review, pod, audience) {
        return Ok(());
    }
    let attributes = Attributes {
        verb: "request-serviceaccounts-token-audience",
        version: "v1",
        resource: audience,
        namespace: review.namespace,
        name: review.name,
        ..review.asks()
    };
    match review.may(&attributes) {
        true => Ok(()),
        false => refuse(format!(
            "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
            review.user.name
        )),
    }
}

fn names_audience(review: &Review, pod: &Pod, audience: &str) -> bool {
    let driver_of_claim = |name: &str| {
        let claim = review
            .snapshot
            .get::<PersistentVolumeClaim>(review.namespace, name)?;
        let volume = review
            .snapshot
            .get::<PersistentVolume>("", &claim.spec.volume_name)?;
        Some(&volume.spec.persistent_volume_source.csi.as_deref()?.driver)
    };
    pod.spec.volumes.iter().any(|volume| {
        let source = &volume.volume_source;
        let projected = source.projected.iter().flat_map(|p| p.sources.iter());
        let mut tokens = projected.filter_map(|s| s.service_account_token.as_deref());
        if tokens.any(|token| token.audience == audience) {
            return true;
        }
        let driver = if source.ephemeral.is_some() {
            driver_of_claim(&format!("{}-{}", pod.metadata.name, volume.name))
        } else if let Some(claim) = source.persistent_volume_claim.as_deref() {
            driver_of_claim(&claim.claim_name)
        } else {
            source.csi.as_deref().map(|csi| &csi.driver)
        };
        let driver = driver.and_then(|name| review.snapshot.get::<CSIDriver>("", name));
        let mut requests = driver
            .into_iter()
            .flat_map(|d| d.spec.token_requests.iter());
        requests.any(|request| request.audience == audience)
    })
}

fn lease(review: &Review, object: Option<&Object>, node: &str) -> Result<(), Denial> {
    if review.namespace != NODE_LEASES {
        return refuse(format!(
            "can only access leases in the {NODE_LEASES:?} system namespace"
        ));
    }
    named(review, object, node, "node lease")
}

fn named(review: &Review, object: Option<&Object>, node: &str, what: &str) -> Result<(), Denial> {
    let name = match object {
        Some(object) if review.operation == Operation::Create => object.meta().name.as_str(),
        _ => review.name,
    };
    match name == node {
        true => Ok(()),
        false => refuse(format!(
            "can only access {what} with the same name as the requesting node"
        )),
    }
}
