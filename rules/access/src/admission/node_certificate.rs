//! NodeRestriction's rules about PodCertificateRequests: a node asks only for pods that run on it, and says of them what
//! is true.

use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::certificates::v1beta1::{PodCertificateRequest, PodCertificateRequestSpec};
use corten_api::core::v1::{Node, Pod, ServiceAccount};
use corten_meta::Feature;

const MIRROR: &str = "kubernetes.io/config.mirror";

fn refuse(message: String) -> Result<(), Denial> {
    Err(Denial::forbidden(message))
}

/// What may be true a moment later: not forbidden, so that the node tries again.
fn not_yet(message: String) -> Denial {
    Denial::new(
        500,
        "InternalError",
        format!("Internal error occurred: {message}"),
    )
}

/// Looks at a node's request about PodCertificateRequests.
pub(super) fn pod_certificate(
    review: &Review,
    object: Option<&Object>,
    node: &str,
) -> Result<(), Denial> {
    if !review.snapshot.has_feature(Feature::PodCertificateRequest) {
        return refuse("PodCertificateRequest feature gate is disabled".to_owned());
    }
    if review.operation != Operation::Create {
        return refuse(format!(
            "unexpected operation {}",
            review.operation.as_str()
        ));
    }
    if !review.subresource.is_empty() {
        return refuse(format!("unexpected subresource {}", review.subresource));
    }
    let Some(request) = object.and_then(|o| o.downcast_ref::<PodCertificateRequest>()) else {
        return Ok(());
    };
    let spec = &request.spec;
    if spec.node_name != node {
        return refuse(format!(
            "PodCertificateRequest.Spec.NodeName={:?}, which is not the requesting node {node:?}",
            spec.node_name.as_str()
        ));
    }
    let pod = format!("{:?}", format!("{}/{}", review.namespace, spec.pod_name));
    own_node(review, spec, &pod)?;
    own_pod(review, spec, &pod)?;
    account(review, spec, &pod)
}

fn own_node(review: &Review, spec: &PodCertificateRequestSpec, pod: &str) -> Result<(), Denial> {
    let name = spec.node_name.as_str();
    let Some(own) = review.snapshot.get::<Node>("", name) else {
        return Err(not_yet(format!(
            "while retrieving node {name:?} named in the PodCertificateRequest: node {name:?} not found"
        )));
    };
    match own.metadata.uid == spec.node_uid {
        true => Ok(()),
        false => Err(not_yet(format!(
            "PodCertificateRequest for pod {pod} names node UID {:?}, inconsistent with the running node ({:?})",
            spec.node_uid.as_str(),
            own.metadata.uid.as_str()
        ))),
    }
}

fn own_pod(review: &Review, spec: &PodCertificateRequestSpec, shown: &str) -> Result<(), Denial> {
    let found = review
        .snapshot
        .find::<Pod>(review.namespace, &spec.pod_name);
    let Some(pod) = found else {
        return Err(not_yet(format!(
            "while retrieving pod {shown} named in the PodCertificateRequest: pod {:?} not found",
            spec.pod_name.as_str()
        )));
    };
    if spec.pod_uid != pod.metadata.uid {
        return Err(not_yet(format!(
            "PodCertificateRequest for pod {shown} contains pod UID ({:?}) which differs from running pod {:?}",
            spec.pod_uid.as_str(),
            pod.metadata.uid.as_str()
        )));
    }
    if pod.spec.node_name != spec.node_name {
        return refuse(format!(
            "pod {shown} is not running on node {:?} named in the PodCertificateRequest",
            spec.node_name.as_str()
        ));
    }
    if pod.metadata.annotations.contains_key(MIRROR) {
        return refuse(format!("pod {shown} is a mirror pod"));
    }
    match spec.service_account_name == pod.spec.service_account_name {
        true => Ok(()),
        false => refuse(format!(
            "PodCertificateRequest for pod {shown} contains serviceAccountName ({:?}) that differs from running pod ({:?})",
            spec.service_account_name.as_str(),
            pod.spec.service_account_name.as_str()
        )),
    }
}

fn account(review: &Review, spec: &PodCertificateRequestSpec, pod: &str) -> Result<(), Denial> {
    let name = spec.service_account_name.as_str();
    let Some(found) = review
        .snapshot
        .get::<ServiceAccount>(review.namespace, name)
    else {
        return Err(not_yet(format!(
            "while retrieving service account {:?} named in the PodCertificateRequest: serviceaccount {name:?} not found",
            format!("{}/{name}", review.namespace)
        )));
    };
    match found.metadata.uid == spec.service_account_uid {
        true => Ok(()),
        false => Err(not_yet(format!(
            "PodCertificateRequest for pod {pod} names service account UID {:?}, which differs from the running service account ({:?})",
            spec.service_account_uid.as_str(),
            found.metadata.uid.as_str()
        ))),
    }
}
