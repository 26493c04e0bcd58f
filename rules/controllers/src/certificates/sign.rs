//! Has approved requests signed, or says what is wrong with them.
//!
//! Invariant: a request is signed at most once, and only after it met the demands of the signer that it names.

use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY};
use super::{client, has, kubelet_client, kubelet_serving};
use crate::plan::{Context, Plan, Target, Write};
use crate::registry::{Controller, resource};
use corten_access::admission::Subject;
use corten_api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "certificatesigningrequest-signing",
    service_account: "certificate-controller",
    primary: resource::<CertificateSigningRequest>,
    wakes: &[],
    reconcile: plan,
};

/// A certificate lives for so long unless less is asked for, seconds: a year.
const LIFETIME: i64 = 365 * 24 * 3600;
/// The shortest life, seconds.
const LIFETIME_MIN: i64 = 600;

fn plan(snapshot: &Snapshot, key: &ObjectKey, context: &Context) -> Option<Plan> {
    let request = snapshot.get::<CertificateSigningRequest>("", &key.name)?;
    let mut plan = Plan::default();
    if !request.status.certificate.is_empty()
        || !has(request, "Approved")
        || has(request, "Denied")
        || has(request, "Failed")
    {
        return Some(plan);
    }
    let subject = Subject::of_pem(&request.spec.request).ok()?;
    let verdict = match request.spec.signer_name.as_str() {
        KUBELET_CLIENT => kubelet_client(request, &subject),
        KUBELET_SERVING => kubelet_serving(request, &subject),
        CLIENT => client(request),
        LEGACY => Ok(()),
        _ => return Some(plan),
    };
    if let Err(why) = verdict {
        let mut new = request.clone();
        new.status
            .conditions
            .push(CertificateSigningRequestCondition {
                type_: "Failed".into(),
                status: "True".into(),
                reason: "SignerValidationFailure".into(),
                message: why.into(),
                last_update_time: context.now,
                last_transition_time: context.now,
            });
        let write = Write::patch_status(request, &new, "the signer refuses it");
        plan.write_if(write.map(|w| w.only_if_unchanged(request)));
        return Some(plan);
    }
    let asked = request.spec.expiration_seconds.map(i64::from);
    plan.write(Write::Sign {
        target: Target::unchanged(request),
        request: request.spec.request.clone(),
        usages: request.spec.usages.iter().cloned().collect(),
        seconds: asked.unwrap_or(LIFETIME).clamp(LIFETIME_MIN, LIFETIME),
        because: "it was approved".to_owned(),
    });
    Some(plan)
}
