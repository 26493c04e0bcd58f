//! Approves kubelets' requests for client certificates, of nodes that join and of nodes that renew.
//!
//! Invariant: whoever asks must be allowed to, by the roles that upstream asks about; serving certificates are left to
//! people.

use super::{KUBELET_CLIENT, has, kubelet_client};
use crate::plan::{Context, Plan, Target, Write, merge_diff, value_of};
use crate::registry::{Controller, resource};
use corten_access::admission::Subject;
use corten_access::{Attributes, Decision, Rules, UserInfo, authorize};
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
    let is_self = request.spec.username == subject.common_name.as_str();
    let rules = Rules::build(snapshot);
    let allowed = PERMISSIONS
        .iter()
        .filter(|(part, _)| *part != "selfnodeclient" || is_self)
        .find(|(part, _)| may_create(&rules, snapshot, request, part));
    if let Some((_, message)) = allowed {
        plan.write_if(approval(request, message, context));
    }
    Some(plan)
}

fn may_create(
    rules: &Rules,
    snapshot: &Snapshot,
    request: &CertificateSigningRequest,
    part: &str,
) -> bool {
    let texts = |list: &corten_core::List<corten_core::Str>| -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    };
    let extra = request.spec.extra.iter();
    let user = UserInfo {
        name: request.spec.username.to_string(),
        uid: request.spec.uid.to_string(),
        groups: texts(&request.spec.groups),
        extra: extra.map(|(k, v)| (k.to_string(), texts(v))).collect(),
    };
    let asked = Attributes {
        user: &user,
        verb: "create",
        group: "certificates.k8s.io",
        version: "*",
        resource: "certificatesigningrequests",
        subresource: part,
        namespace: "",
        name: "",
        path: "",
        resource_request: true,
        field_selector: "",
        label_selector: "",
    };
    matches!(authorize(rules, snapshot, &asked), Decision::Allow(_))
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
