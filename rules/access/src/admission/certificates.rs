//! CertificateApproval, CertificateSigning, CertificateSubjectRestriction and ClusterTrustBundleAttest: only who may act
//! for a signer approves or signs its requests, also those of pods, or writes its trust bundles, and nobody asks for a certificate of `system:masters`.

use super::certificate_request::Subject;
use super::{About, Cause, Denial, Operation, Review};
use crate::attributes::Attributes;
use corten_api::Object;
use corten_api::certificates::v1::CertificateSigningRequest;
use corten_api::certificates::v1beta1::{ClusterTrustBundle, PodCertificateRequest};

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";
const BUNDLES: &str = "clustertrustbundles";
const POD_REQUESTS: &str = "podcertificaterequests";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    if review.resource.group != GROUP {
        return Ok(());
    }
    if review.resource.resource == BUNDLES {
        return attests(review, object);
    }
    if review.resource.resource == POD_REQUESTS {
        return signs_pod(review, object);
    }
    if review.resource.resource != RESOURCE {
        return Ok(());
    }
    let new = object.and_then(|o| o.downcast_ref::<CertificateSigningRequest>());
    let old = review
        .old
        .and_then(|o| o.downcast_ref::<CertificateSigningRequest>());
    match (review.operation, review.subresource, old, new) {
        (Operation::Update, "approval", Some(old), _) => may_act(review, "approve", old),
        (Operation::Update, "status", Some(old), Some(new)) => {
            let (old_status, new_status) = (&old.status, &new.status);
            match old_status.certificate == new_status.certificate
                && old_status.conditions == new_status.conditions
            {
                true => Ok(()),
                false => may_act(review, "sign", old),
            }
        }
        (Operation::Create, "", _, Some(new)) => check_subject(new),
        _ => Ok(()),
    }
}

/// Who writes a trust bundle of a signer must be allowed to vouch for it.
fn attests(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let bundle = |o: &Object| {
        o.downcast_ref::<ClusterTrustBundle>()
            .map(|b| b.spec.clone())
    };
    let Some(new) = object
        .and_then(bundle)
        .filter(|spec| !spec.signer_name.is_empty())
    else {
        return Ok(());
    };
    let same = review.old.and_then(bundle).is_some_and(|old| old == new);
    let kept = |o: &Object| (o.meta().labels.clone(), o.meta().annotations.clone());
    if same && review.old.map(kept) == object.map(kept) {
        return Ok(());
    }
    let signer = new.signer_name.as_str();
    match is_allowed(review, "attest", signer) {
        true => Ok(()),
        false => Err(Denial::forbidden(format!(
            "user not permitted to attest for signerName {signer:?}"
        ))),
    }
}

/// Who changes the status of a pod's request must be allowed to sign for its signer; upstream finds that with what else
/// is wrong with the status, and so the answer is that of an invalid object.
fn signs_pod(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let request = |o| Object::downcast_ref::<PodCertificateRequest>(o);
    let (old, new) = (review.old.and_then(request), object.and_then(request));
    let ("status", Some(old), Some(new)) = (review.subresource, old, new) else {
        return Ok(());
    };
    let signer = old.spec.signer_name.as_str();
    if old.status == new.status || is_allowed(review, "sign", signer) {
        return Ok(());
    }
    let (name, field) = (review.name, "spec.signerName");
    let problem = format!(
        "Forbidden: User {:?} is not permitted to \"sign\" for signer {signer:?}",
        review.user.name
    );
    let message = format!("PodCertificateRequest.{GROUP} {name:?} is invalid: {field}: {problem}");
    let mut denial = Denial::new(422, "Invalid", message);
    denial.about = Some(About {
        group: GROUP.to_owned(),
        resource: "PodCertificateRequest".to_owned(),
        name: name.to_owned(),
    });
    denial.causes.push(Cause {
        reason: "FieldValueForbidden",
        message: problem,
        field: field.to_owned(),
    });
    Err(denial)
}

fn may_act(review: &Review, verb: &str, request: &CertificateSigningRequest) -> Result<(), Denial> {
    let signer = request.spec.signer_name.as_str();
    match is_allowed(review, verb, signer) {
        true => Ok(()),
        false => Err(Denial::forbidden(format!(
            "user not permitted to {verb} requests with signerName {signer:?}"
        ))),
    }
}

/// Asks for the right on the signer by name, then on all signers of its domain.
fn is_allowed(review: &Review, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")]
        .iter()
        .any(|name| {
            let attributes = Attributes {
                verb,
                group: GROUP,
                resource: "signers",
                name,
                ..review.asks()
            };
            review.may(&attributes)
        })
}

fn check_subject(request: &CertificateSigningRequest) -> Result<(), Denial> {
    if request.spec.signer_name != CLIENT_SIGNER {
        return Ok(());
    }
    let subject = Subject::of_pem(&request.spec.request)
        .map_err(|problem| Denial::forbidden(format!("failed to parse CSR: {problem}")))?;
    match subject.organizations.iter().any(|o| o == crate::MASTERS) {
        true => Err(Denial::forbidden(format!(
            "use of {CLIENT_SIGNER} signer with system:masters group is not allowed"
        ))),
        false => Ok(()),
    }
}
