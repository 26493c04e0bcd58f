//! Trust bundles and certificates as files of projected volumes.
//!
//! Invariant: a key never leaves the node, and a certificate is shown only together with its own key. What the API server
//! or a signer has not given yet fails the mount, which is tried again. A certificate that is due for renewal stays in
//! place until there is another.

use crate::pod::context::Work;
use corten_api::certificates::v1beta1::{ClusterTrustBundle, PodCertificateRequest};
use corten_api::core::v1::{
    ClusterTrustBundleProjection, Node, Pod, PodCertificateProjection, ServiceAccount,
};
use corten_api::meta::v1::OwnerReference;
use corten_core::{Str, Time};
use corten_meta::Selector;
use rcgen::{CertificateParams, KeyPair, RsaKeySize};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often bundles are read again: as often as upstream looks at a pod's volumes.
const BUNDLES_AGE: Duration = Duration::from_secs(60);
/// A request that nobody answers is given up after so long, when its time is over anyway.
const REQUEST_AGE: Duration = Duration::from_secs(15 * 60);

/// A certificate with its key, PEM.
#[derive(Clone)]
pub(crate) struct Credential {
    pub(crate) key: String,
    pub(crate) chain: String,
    pub(crate) refresh_at: Instant,
}

/// A request that waits for its certificate.
#[derive(Clone)]
pub(crate) struct Pending {
    key: String,
    name: Str,
    made: Instant,
}

/// What one source of one volume of a pod has.
#[derive(Clone, Default)]
pub(crate) struct Held {
    current: Option<Credential>,
    pending: Option<Pending>,
}

/// Files with the trust anchors that the source selects, and when to look again.
pub(super) async fn trust_bundle(
    work: &Work,
    wanted: &ClusterTrustBundleProjection,
) -> Result<(String, Instant), String> {
    let client = &work.context.client;
    let is_optional = wanted.optional == Some(true);
    let mut bundles = Vec::new();
    if let Some(name) = &wanted.name {
        match client.get::<ClusterTrustBundle>("", name).await {
            Ok(bundle) => bundles.push(bundle),
            Err(error) if error.is_not_found() && is_optional => {}
            Err(error) => return Err(format!("while getting ClusterTrustBundle: {error}")),
        }
    } else if let Some(signer) = &wanted.signer_name {
        let listed = client.list::<ClusterTrustBundle>("").await;
        let listed =
            listed.map_err(|error| format!("while listing ClusterTrustBundles: {error}"))?;
        let selector = Selector::from_label_selector(wanted.label_selector.as_deref());
        let selector = selector.map_err(|error| error.to_string())?;
        let all = listed
            .items
            .iter()
            .filter_map(|o| o.downcast_ref::<ClusterTrustBundle>());
        bundles.extend(
            all.filter(|b| b.spec.signer_name == *signer)
                .filter(|b| selector.matches(&b.metadata.labels))
                .cloned(),
        );
        if bundles.is_empty() && !is_optional {
            let text =
                "combination of signerName and labelSelector matched zero ClusterTrustBundles";
            return Err(text.to_owned());
        }
    } else {
        let text = "ClusterTrustBundle projection requires either name or signerName to be set";
        return Err(text.to_owned());
    }
    let texts = bundles.iter().map(|b| b.spec.trust_bundle.as_str());
    Ok((anchors(texts), Instant::now() + BUNDLES_AGE))
}

/// Each certificate of the bundles once, without anything between them.
fn anchors<'a>(bundles: impl Iterator<Item = &'a str>) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut found = BTreeSet::new();
    for bundle in bundles {
        let blocks = bundle.split(BEGIN).skip(1);
        for body in blocks.filter_map(|b| b.split_once(END)) {
            let lines = body.0.lines().map(str::trim);
            found.insert(lines.collect::<String>());
        }
    }
    let mut out = String::new();
    for body in found {
        let _ = writeln!(out, "{BEGIN}");
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            let _ = writeln!(out, "{line}");
            rest = more;
        }
        let _ = writeln!(out, "{END}");
    }
    out
}

/// The pod's certificate for a source, asked for when there is none and when it is due for renewal.
pub(super) async fn certificate(
    work: &Work,
    pod: &Pod,
    place: (&str, usize),
    wanted: &PodCertificateProjection,
) -> Result<Credential, String> {
    let mut held = work.credential(place);
    let fresh = held
        .current
        .clone()
        .filter(|c| c.refresh_at > Instant::now());
    if let Some(current) = fresh {
        return Ok(current);
    }
    let old = held
        .pending
        .as_ref()
        .is_some_and(|p| p.made.elapsed() > REQUEST_AGE);
    if old {
        held.pending = None;
    }
    let outcome = renew(work, pod, &mut held, wanted).await;
    work.set_credential(place, held.clone());
    match (outcome, held.current) {
        (Ok(new), _) => Ok(new),
        // It is still good for a while; the next look is soon.
        (Err(error), Some(current)) => {
            tracing::info!(pod = %pod.metadata.full_name(), %error, "a certificate could not be renewed yet");
            Ok(Credential {
                refresh_at: Instant::now() + BUNDLES_AGE,
                ..current
            })
        }
        (Err(error), None) => Err(error),
    }
}

/// Takes the answer to the request that waits, or makes one.
async fn renew(
    work: &Work,
    pod: &Pod,
    held: &mut Held,
    wanted: &PodCertificateProjection,
) -> Result<Credential, String> {
    let namespace = &pod.metadata.namespace;
    let Some(pending) = held.pending.clone() else {
        let made = ask(work, pod, wanted).await?;
        let text = format!(
            "waiting for PodCertificateRequest {}/{}",
            namespace, made.name
        );
        held.pending = Some(made);
        return Err(text);
    };
    let client = &work.context.client;
    let request = client
        .get::<PodCertificateRequest>(namespace, &pending.name)
        .await;
    let request = match request {
        Err(error) if error.is_not_found() => {
            held.pending = None;
            return Err(format!("PodCertificateRequest {} is gone", pending.name));
        }
        other => {
            other.map_err(|error| format!("while getting a PodCertificateRequest: {error}"))?
        }
    };
    let settled = request
        .status
        .conditions
        .iter()
        .find(|c| c.status == "True");
    match settled.map(|c| (c.type_.as_str(), c)) {
        Some(("Issued", _)) => {
            let new = Credential {
                key: pending.key,
                chain: request.status.certificate_chain.to_string(),
                refresh_at: Instant::now() + until(request.status.begin_refresh_at),
            };
            held.pending = None;
            held.current = Some(new.clone());
            Ok(new)
        }
        Some((kind @ ("Denied" | "Failed"), condition)) => {
            held.pending = None;
            Err(format!(
                "PodCertificateRequest {} is {kind}: {}: {}",
                pending.name, condition.reason, condition.message
            ))
        }
        _ => Err(format!(
            "waiting for PodCertificateRequest {namespace}/{}",
            pending.name
        )),
    }
}

fn until(time: Option<Time>) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs() as i64;
    let seconds = time.map_or(0, |t| t.unix() - now).max(10);
    Duration::from_secs(seconds as u64)
}

fn key(kind: &str) -> Result<KeyPair, String> {
    let made = match kind {
        "RSA3072" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_3072),
        "RSA4096" => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
        "ECDSAP256" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        "ECDSAP384" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        "ECDSAP521" => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        "ED25519" => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        other => return Err(format!("unknown key type {other:?}")),
    };
    made.map_err(|error| format!("while making a key: {error}"))
}

async fn ask(work: &Work, pod: &Pod, wanted: &PodCertificateProjection) -> Result<Pending, String> {
    let kind = wanted.key_type.to_string();
    // RSA keys take a while.
    let (key, stub) = super::blocking(move || {
        let key = key(&kind)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let stub = params.serialize_request(&key).map_err(|e| e.to_string())?;
        Ok((key.serialize_pem(), stub.der().to_vec()))
    })
    .await?;
    let client = &work.context.client;
    let (namespace, account) = (&pod.metadata.namespace, &pod.spec.service_account_name);
    let node = &work.context.options.node_name;
    let node = client
        .get::<Node>("", node)
        .await
        .map_err(|e| e.to_string())?;
    let account = client.get::<ServiceAccount>(namespace, account).await;
    let account = account.map_err(|e| format!("while getting the service account: {e}"))?;
    let mut request = PodCertificateRequest::default();
    request.metadata.namespace = namespace.clone();
    request.metadata.generate_name = "req-".into();
    request.metadata.owner_references.push(OwnerReference {
        api_version: "v1".into(),
        kind: "Pod".into(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..OwnerReference::default()
    });
    let spec = &mut request.spec;
    spec.signer_name = wanted.signer_name.clone();
    spec.pod_name = pod.metadata.name.clone();
    spec.pod_uid = pod.metadata.uid.clone();
    spec.service_account_name = account.metadata.name.clone();
    spec.service_account_uid = account.metadata.uid.clone();
    spec.node_name = node.metadata.name.clone();
    spec.node_uid = node.metadata.uid.clone();
    spec.max_expiration_seconds = wanted.max_expiration_seconds;
    spec.stub_pkcs10_request = stub.as_slice().into();
    spec.unverified_user_annotations = wanted.user_annotations.clone();
    let made = client.create(request).await;
    let made = made.map_err(|error| format!("while creating on API: {error}"))?;
    Ok(Pending {
        key,
        name: made.metadata.name,
        made: Instant::now(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_written_once_and_alone() {
        let one = "# first\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let both =
            format!("{one}-----BEGIN CERTIFICATE-----\nBB\nBB\n-----END CERTIFICATE-----\n{one}");
        let text = anchors([one, both.as_str()].into_iter());
        assert_eq!(text.matches("BEGIN").count(), 2);
        assert!(text.contains("\nAAAA\n") && text.contains("\nBBBB\n") && !text.contains('#'));
        assert_eq!(anchors([].into_iter()), "");
    }

    #[test]
    fn every_kind_of_key_can_be_made() {
        for kind in ["ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"] {
            assert!(key(kind).is_ok(), "{kind}");
        }
        assert!(key("DSA").is_err());
    }
}
