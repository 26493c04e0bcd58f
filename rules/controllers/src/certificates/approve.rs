//! Approves kubelets' requests for client certificates, of nodes that join and of nodes that renew.
//!
//! Invariant: whoever asks must be allowed to, as the server decides with all its authorizers; serving certificates are
//! left to people.

use super::{KUBELET_CLIENT, has, kubelet_client};
use crate::plan::{Context, Fact, Plan, Target, Write, merge_diff, value_of};
use crate::registry::{Controller, resource};
use corten_access::admission::Subject;
use corten_api::authorization::v1::{ResourceAttributes, SubjectAccessReviewSpec};
use corten_api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "certificatesigningrequest-approving",
    service_account: "certificate-controller",
    primary: resource::<CertificateSigningRequest>,
    wakes: &[],
    reconcile: plan,
};

/// Subresources whose creation stands for the permission, and what the condition says, the narrower one first.
const PERMISSIONS: [(&str, &str); 2] = [
    (
        "selfnodeclient",
        "Auto approving self kubelet client certificate after SubjectAccessReview.",
    ),
    (
        "nodeclient",
        "Auto approving kubelet client certificate after SubjectAccessReview.",
    ),
];

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let request = snapshot.get::<CertificateSigningRequest>("", &key.name)?;
    let mut plan = Plan::default();
    let decided = has(request, "Approved") || has(request, "Denied");
    if decided
        || !request.status.certificate.is_empty()
        || request.spec.signer_name != KUBELET_CLIENT
    {
        return Some(plan);
    }
    let subject = Subject::of_pem(&request.spec.request).ok()?;
    if kubelet_client(request, &subject).is_err() {
        return Some(plan);
    }
    // The narrower permission is asked about first, and the wider one when that was refused.
    let is_self = request.spec.username == subject.common_name.as_str();
    let refused = context.failure.as_ref();
    let refused = refused.is_some_and(|f| f.message.contains(PERMISSIONS[0].0));
    let (part, message) = PERMISSIONS[usize::from(!is_self || refused)];
    if let Some(write) = approval(request, message, context) {
        plan.write_given(write, vec![Fact::Allowed(Box::new(asked(request, part)))]);
    }
    Some(plan)
}

/// Whether whoever made the request may create the subresource that stands for the permission.
fn asked(request: &CertificateSigningRequest, part: &str) -> SubjectAccessReviewSpec {
    let spec = &request.spec;
    SubjectAccessReviewSpec {
        resource_attributes: Some(Box::new(ResourceAttributes {
            verb: "create".into(),
            group: "certificates.k8s.io".into(),
            version: "*".into(),
            resource: "certificatesigningrequests".into(),
            subresource: part.into(),
            ..ResourceAttributes::default()
        })),
        user: spec.username.clone(),
        groups: spec.groups.clone(),
        extra: spec.extra.clone(),
        uid: spec.uid.clone(),
        ..SubjectAccessReviewSpec::default()
    }
}

fn approval(
    request: &CertificateSigningRequest,
    message: &str,
    context: &Context,
) -> Option<Write> {
    let mut new = request.clone();
    new.status
        .conditions
        .push(CertificateSigningRequestCondition {
            type_: "Approved".into(),
            status: "True".into(),
            reason: "AutoApproved".into(),
            message: message.into(),
            last_update_time: context.now,
            last_transition_time: context.now,
        });
    Some(Write::Patch {
        target: Target::unchanged(request),
        subresource: "approval",
        patch: merge_diff(&value_of(request), &value_of(&new))?,
        because: "a kubelet may have its client certificate".to_owned(),
    })
}
