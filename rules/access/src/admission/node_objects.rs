//! NodeRestriction's rules about what a mirror pod and a Node may contain.

use super::{Denial, Review};
use crate::node_references::{names_config_map, names_secret};
use corten_api::core::v1::{Node, Pod, VolumeProjection, VolumeSource};
use std::collections::BTreeSet;

/// Labels of Kubernetes' own namespaces that a node may set on itself.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];

/// Refuses a mirror pod that does not belong to its node, or that refers to anything in the API.
pub(super) fn check_mirror_pod(review: &Review, pod: &Pod, node: &str) -> Result<(), Denial> {
    let refuse = |text: &str| Err(Denial::forbidden(format!("node {node:?} {text}")));
    let owner = match &*pod.metadata.owner_references {
        [owner] => owner,
        [] => return refuse("can only create pods with an owner reference set to itself"),
        _ => return refuse("can only create pods with a single owner reference set to itself"),
    };
    if owner.api_version != "v1" || owner.kind != "Node" || owner.name != node {
        return refuse("can only create pods with an owner reference set to itself");
    }
    if owner.controller != Some(true) {
        return refuse("can only create pods with a controller owner reference set to itself");
    }
    if owner.block_owner_deletion == Some(true) {
        return refuse("must not set blockOwnerDeletion on an owner reference");
    }
    let Some(own) = review.snapshot.get::<Node>("", node) else {
        return Err(Denial::not_found("", "nodes", node));
    };
    if own.metadata.uid != owner.uid {
        return Err(Denial::forbidden(format!(
            "node {node} UID mismatch: expected {} got {}",
            owner.uid, own.metadata.uid
        )));
    }
    match api_reference(pod) {
        Some(what) => refuse(&format!("can not create pods that reference {what}")),
        None => Ok(()),
    }
}

/// Something in the API that the pod needs.
fn api_reference(pod: &Pod) -> Option<&'static str> {
    if !pod.spec.service_account_name.is_empty() {
        return Some("serviceaccounts");
    }
    if names_secret(pod) {
        return Some("secrets");
    }
    if names_config_map(pod) {
        return Some("configmaps");
    }
    if !pod.spec.resource_claims.is_empty() {
        return Some("resourceclaims");
    }
    let volumes = pod.spec.volumes.iter();
    volumes.map(|v| &v.volume_source).find_map(volume_reference)
}

fn volume_reference(v: &VolumeSource) -> Option<&'static str> {
    let kinds = [
        (v.csi.is_some(), "csidrivers (via CSI volumes)"),
        (v.glusterfs.is_some(), "endpoints (via glusterFS volumes)"),
        (
            v.persistent_volume_claim.is_some(),
            "persistentvolumeclaims",
        ),
        (
            v.ephemeral.is_some(),
            "persistentvolumeclaims (via ephemeral volumes)",
        ),
        (v.azure_file.is_some(), "secrets (via azureFile volumes)"),
    ];
    let found = kinds.into_iter().find(|(is, _)| *is).map(|(_, text)| text);
    found.or_else(|| {
        let projected = v.projected.as_deref()?;
        projected.sources.iter().find_map(projected_reference)
    })
}

fn projected_reference(source: &VolumeProjection) -> Option<&'static str> {
    if source.service_account_token.is_some() {
        Some("serviceaccounts (via projected volumes)")
    } else if source.cluster_trust_bundle.is_some() {
        Some("clustertrustbundles")
    } else if source.pod_certificate.is_some() {
        Some("podcertificates")
    } else {
        None
    }
}

/// Refuses what a node must not say about itself; `old` is missing when it registers.
pub(super) fn check_node(new: &Node, old: Option<&Node>, name: &str) -> Result<(), Denial> {
    let refuse = |text: String| Err(Denial::forbidden(text));
    let Some(old) = old else {
        if new.spec.config_source.is_some() {
            return refuse(format!(
                "node {name:?} is not allowed to create pods with a non-nil configSource"
            ));
        }
        let labels = forbidden_labels(new, None);
        return match labels.is_empty() {
            true => Ok(()),
            false => refuse(format!(
                "node {name:?} is not allowed to set the following labels: {labels}"
            )),
        };
    };
    if new.spec.config_source.is_some() && new.spec.config_source != old.spec.config_source {
        return refuse(format!(
            "node {name:?} is not allowed to update configSource to a new non-nil configSource"
        ));
    }
    if !new.spec.taints.iter().eq(old.spec.taints.iter()) {
        return refuse(format!("node {name:?} is not allowed to modify taints"));
    }
    let owners = |node: &Node| node.metadata.owner_references.to_vec();
    if owners(new) != owners(old) {
        return refuse(format!(
            "node {name:?} is not allowed to modify ownerReferences"
        ));
    }
    let labels = forbidden_labels(new, Some(old));
    match labels.is_empty() {
        true => Ok(()),
        false => refuse(format!("is not allowed to modify labels: {labels}")),
    }
}

/// Changed labels that are not the node's to change, separated by commas.
fn forbidden_labels(new: &Node, old: Option<&Node>) -> String {
    let new = &new.metadata.labels;
    let none = Default::default();
    let old = old.map_or(&none, |old| &old.metadata.labels);
    let keys = new.keys().chain(old.keys()).map(|k| k.as_str());
    let changed = keys.filter(|key| new.get(key) != old.get(key));
    let bad: BTreeSet<&str> = changed.filter(|key| is_forbidden(key)).collect();
    bad.into_iter().collect::<Vec<_>>().join(", ")
}

fn is_forbidden(key: &str) -> bool {
    let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
    let within = |domain: &str| {
        let rest = namespace.strip_suffix(domain);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return true;
    }
    let of_kubernetes = within("kubernetes.io") || within("k8s.io");
    let own = OWN_LABELS.contains(&key)
        || within("kubelet.kubernetes.io")
        || within("node.kubernetes.io");
    of_kubernetes && !own
}
