//! Certificate requests: kubelets' are approved, approved ones are signed with the cluster's CA, and old ones go; the
//! CA of the API server is published.
//!
//! Invariant: only upstream's kubernetes.io signers are served, each with its own demands on names and usages; nothing
//! is signed that nobody approved. Leaves out: the signature itself, which is the driver's.

mod approve;
mod clean;
mod clean_pod;
mod publish;
mod sign;
#[cfg(test)]
mod tests;

use corten_access::admission::{Alternatives, Subject};
use corten_api::certificates::v1::CertificateSigningRequest;

pub use approve::CONTROLLER as APPROVER;
pub use clean::CONTROLLER as CLEANER;
pub use clean_pod::CONTROLLER as POD_CLEANER;
pub use publish::CONTROLLER as PUBLISHER;
pub use sign::CONTROLLER as SIGNER;

const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";

/// Whether the request has the condition, with status True.
fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    let mut conditions = request.status.conditions.iter();
    conditions.any(|c| c.type_ == kind && c.status == "True")
}

/// Usages equal these, with or without `key encipherment`, which only RSA keys need.
fn usages_are(
    request: &CertificateSigningRequest,
    wanted: [&'static str; 2],
) -> Result<(), String> {
    let optional = "key encipherment";
    let usages = &request.spec.usages;
    let all = wanted.iter().all(|w| usages.iter().any(|u| u == *w));
    let none_else = usages
        .iter()
        .all(|u| u == optional || wanted.contains(&u.as_str()));
    match all && none_else {
        true => Ok(()),
        false => {
            let mut list = [wanted[0], wanted[1], optional];
            list.sort_unstable();
            Err(format!("usages did not match [{}]", list.join(" ")))
        }
    }
}

fn is_node(subject: &Subject) -> Result<(), String> {
    match subject.common_name.starts_with(NODE_PREFIX) {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".to_owned()),
    }
}

fn of_nodes(subject: &Subject) -> Result<(), String> {
    match subject.organizations == [NODES] {
        true => Ok(()),
        false => Err("subject organization is not system:nodes".to_owned()),
    }
}

/// What a kubelet's client certificate must be.
fn kubelet_client(request: &CertificateSigningRequest, subject: &Subject) -> Result<(), String> {
    of_nodes(subject)?;
    let Alternatives {
        dns,
        addresses,
        emails,
        uris,
    } = subject.alternatives;
    for (count, name) in [
        (dns, "DNS"),
        (emails, "Email"),
        (addresses, "IP"),
        (uris, "URI"),
    ] {
        if count > 0 {
            return Err(format!("{name} subjectAltNames are not allowed"));
        }
    }
    is_node(subject)?;
    usages_are(request, ["digital signature", "client auth"])
}

/// What a kubelet's serving certificate must be.
fn kubelet_serving(request: &CertificateSigningRequest, subject: &Subject) -> Result<(), String> {
    of_nodes(subject)?;
    let names = subject.alternatives;
    if names.dns == 0 && names.addresses == 0 {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    if names.emails > 0 {
        return Err("Email subjectAltNames are not allowed".to_owned());
    }
    if names.uris > 0 {
        return Err("URI subjectAltNames are not allowed".to_owned());
    }
    usages_are(request, ["digital signature", "server auth"])?;
    is_node(subject)
}

/// What a certificate of any other client must be.
fn client(request: &CertificateSigningRequest) -> Result<(), String> {
    let optional = ["digital signature", "key encipherment"];
    let mut found = false;
    for usage in request.spec.usages.iter() {
        if usage == "client auth" {
            found = true;
        } else if !optional.contains(&usage.as_str()) {
            return Err(format!("invalid usage for client certificate: {usage}"));
        }
    }
    match found {
        true => Ok(()),
        false => Err("missing required usage for client certificate: client auth".to_owned()),
    }
}
