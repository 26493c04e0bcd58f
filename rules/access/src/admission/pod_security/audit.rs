//! What PodSecurity tells of a request in its audit event: the standard that was enforced, what breaks the audited one,
//! or why neither was looked at.
//!
//! Invariant: says of the same request what refusing and warning go by. Asked only where an audit event is written, since
//! the standards are gone through once more.

use super::level::{Level, Policy};
use super::{
    HARMLESS, Review, Standard, Subject, has_exempt_class, joined, level, matters, of_pod,
    of_template, template, violations,
};
use crate::admission::Operation;
use crate::admission::pod_security::checks::detailed;
use corten_api::Object;
use corten_api::core::v1::{Namespace, Pod, PodSpec};

/// What keys begin with.
const PREFIX: &str = "pod-security.kubernetes.io/";

type Note = (String, String);

/// Keys and values for the audit event of a request.
pub(in crate::admission) fn notes(review: &Review, object: Option<&Object>) -> Vec<Note> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let Some(object) = object.filter(|_| written) else {
        return Vec::new();
    };
    let pods = review.is("", "pods");
    if pods && !HARMLESS.contains(&review.subresource) {
        return match object.downcast_ref::<Pod>() {
            Some(pod) => of_pods(review, pod),
            None => Vec::new(),
        };
    }
    match template(object).filter(|_| review.subresource.is_empty() && !pods) {
        Some(template) => exempt(review).unwrap_or_else(|| {
            let Some((policy, error)) = policy(review) else {
                return Vec::new();
            };
            let open = |standard: Standard| standard.level == Level::Privileged;
            match error.is_none() && open(policy.warn) && open(policy.audit) {
                true => Vec::new(),
                false => judged(
                    review,
                    None,
                    (&policy, error),
                    &template.spec,
                    of_template(template),
                ),
            }
        }),
        None => Vec::new(),
    }
}

fn of_pods(review: &Review, pod: &Pod) -> Vec<Note> {
    if let Some(exempt) = exempt(review) {
        return exempt;
    }
    let Some((policy, error)) = policy(review) else {
        let text = format!("failed to lookup namespace {:?}", review.namespace);
        return vec![note("error", format!("Internal error occurred: {text}"))];
    };
    let standards = [policy.enforce, policy.audit, policy.warn];
    if error.is_none() && standards.iter().all(|s| s.level == Level::Privileged) {
        return vec![note("enforce-policy", "privileged:latest")];
    }
    let old = review.old.and_then(|o| o.downcast_ref::<Pod>());
    if review.operation == Operation::Update && old.is_some_and(|old| !matters(pod, old)) {
        return Vec::new();
    }
    let enforced = Some(policy.enforce);
    judged(review, enforced, (&policy, error), &pod.spec, of_pod(pod))
}

fn judged(
    review: &Review,
    enforced: Option<Standard>,
    (policy, error): (&Policy, Option<String>),
    spec: &PodSpec,
    subject: Subject,
) -> Vec<Note> {
    if has_exempt_class(review, spec) {
        return vec![note("exempt", "runtimeClass")];
    }
    let mut notes = Vec::new();
    notes.extend(error.map(|e| note("error", format!("Failed to parse policy: {e}"))));
    notes.extend(enforced.map(|standard| note("enforce-policy", standard.to_string())));
    let wrong = violations(policy.audit, subject);
    if !wrong.is_empty() {
        let text = format!(
            "would violate PodSecurity \"{}\": {}",
            policy.audit,
            detailed(&wrong)
        );
        notes.push(note("audit-violations", text));
    }
    notes
}

fn exempt(review: &Review) -> Option<Vec<Note>> {
    let exemptions = &review.settings.exemptions;
    if exemptions.namespace(review.namespace) {
        return Some(vec![note("exempt", "namespace")]);
    }
    exemptions
        .user(&review.user.name)
        .then(|| vec![note("exempt", "user")])
}

/// The namespace's policy, and what of its labels cannot be read.
fn policy(review: &Review) -> Option<(Policy, Option<String>)> {
    let namespace = review.snapshot.get::<Namespace>("", review.namespace)?;
    let (policy, errors) = level::policy(&namespace.metadata.labels, &review.settings.pod_security);
    Some((policy, (!errors.is_empty()).then(|| joined(&errors))))
}

fn note(key: &str, value: impl Into<String>) -> Note {
    (format!("{PREFIX}{key}"), value.into())
}
