//! PodSecurity: pods keep to the standard that the labels of their namespace choose.
//!
//! Invariant: only pods are refused; templates of controllers, and pods that exist when a namespace gets stricter, are
//! warned about.

pub(super) mod audit;
mod baseline;
mod checks;
mod level;
mod restricted;
mod subject;

use super::{Cause, Denial, Operation, Review};
use checks::{detailed, reasons, violations};
use corten_api::Object;
use corten_api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use corten_api::batch::v1::{CronJob, Job};
use corten_api::core::v1::{Namespace, Pod, PodTemplate, PodTemplateSpec, ReplicationController};
use corten_meta::Found;
pub(super) use level::{Exemptions, Policy};
use level::{LabelError, Level, Standard};
use std::collections::{BTreeMap, BTreeSet};
use subject::Subject;

/// Subresources of pods that cannot change what the pod may do.
const HARMLESS: [&str; 8] = [
    "exec",
    "attach",
    "binding",
    "eviction",
    "log",
    "portforward",
    "proxy",
    "status",
];
/// How many existing pods are looked at when a namespace gets stricter.
const MOST_PODS: usize = 3000;

/// Refuses, or gives warnings.
pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<Vec<String>, Denial> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let Some(object) = object.filter(|_| written) else {
        return Ok(Vec::new());
    };
    if review.is("", "namespaces") {
        return match object.downcast_ref::<Namespace>() {
            Some(namespace) => validate_namespace(review, namespace),
            None => Ok(Vec::new()),
        };
    }
    let of_pod = review.resource.group.is_empty() && review.resource.resource == "pods";
    if of_pod && !HARMLESS.contains(&review.subresource) {
        return match object.downcast_ref::<Pod>() {
            Some(pod) => validate_pod(review, pod),
            None => Ok(Vec::new()),
        };
    }
    match template(object).filter(|_| review.subresource.is_empty() && !of_pod) {
        Some(template) => Ok(warn_template(review, template)),
        None => Ok(Vec::new()),
    }
}

fn validate_namespace(review: &Review, new: &Namespace) -> Result<Vec<String>, Denial> {
    let (policy, errors) = level::policy(&new.metadata.labels, &review.settings.pod_security);
    let old = review.old.and_then(|o| o.downcast_ref::<Namespace>());
    let Some(old) = old.filter(|_| review.operation == Operation::Update) else {
        return match errors.is_empty() {
            true => Ok(exempt_warning(review, &policy, new)),
            false => Err(invalid(&new.metadata.name, errors)),
        };
    };
    let (old_policy, old_errors) =
        level::policy(&old.metadata.labels, &review.settings.pod_security);
    if !errors.is_empty() && errors != old_errors {
        return Err(invalid(&new.metadata.name, errors));
    }
    let (strict, before) = (policy.enforce, old_policy.enforce);
    let relaxed = strict.version == before.version && strict.level <= before.level;
    if strict.level == Level::Privileged || relaxed {
        return Ok(Vec::new());
    }
    if review.settings.exemptions.namespace(&new.metadata.name) {
        return Ok(exempt_warning(review, &policy, new));
    }
    Ok(existing_pods(review, strict))
}

/// That labels of an exempt namespace have no effect.
fn exempt_warning(review: &Review, policy: &Policy, namespace: &Namespace) -> Vec<String> {
    let (name, labels) = (&namespace.metadata.name, &namespace.metadata.labels);
    let unsaid = policy.is_equivalent(&Policy::default())
        || policy.is_equivalent(&review.settings.pod_security);
    if unsaid || !review.settings.exemptions.namespace(name) {
        return Vec::new();
    }
    let modes = [
        ("enforce", policy.enforce),
        ("audit", policy.audit),
        ("warn", policy.warn),
    ];
    let said: Vec<String> = modes
        .into_iter()
        .filter(|(mode, standard)| {
            let has = |label: String| labels.contains_key(&label);
            let label = format!("pod-security.kubernetes.io/{mode}");
            standard.level != Level::Privileged && (has(label.clone()) || has(label + "-version"))
        })
        .map(|(mode, standard)| format!("{mode}={standard}"))
        .collect();
    vec![format!(
        "namespace {:?} is exempt from Pod Security, and the policy ({}) will be ignored",
        name.as_str(),
        said.join(", ")
    )]
}

/// Whether nothing is said about what this user does in this namespace.
fn is_exempt(review: &Review) -> bool {
    let exemptions = &review.settings.exemptions;
    exemptions.namespace(review.namespace) || exemptions.user(&review.user.name)
}

fn has_exempt_class(review: &Review, spec: &corten_api::core::v1::PodSpec) -> bool {
    let exemptions = &review.settings.exemptions;
    exemptions.runtime_class(spec.runtime_class_name.as_ref())
}

/// Errors as one text.
fn joined(errors: &[LabelError]) -> String {
    let texts: Vec<String> = errors
        .iter()
        .map(|e| format!("{}: {}", e.field, e.body))
        .collect();
    match texts.len() {
        1 => texts.join(""),
        _ => format!("[{}]", texts.join(", ")),
    }
}

fn invalid(name: &str, errors: Vec<LabelError>) -> Denial {
    let text = joined(&errors);
    let mut denial = Denial::new(
        422,
        "Invalid",
        format!("Namespace {name:?} is invalid: {text}"),
    );
    denial.causes = errors
        .into_iter()
        .map(|e| Cause {
            reason: "FieldValueInvalid",
            message: e.body,
            field: e.field,
        })
        .collect();
    denial
}

/// Warnings about pods that a stricter standard would refuse.
fn existing_pods(review: &Review, standard: Standard) -> Vec<String> {
    let pods: Vec<Found<Pod>> = review.snapshot.find_in::<Pod>(review.name).collect();
    // One pod of each controller first: the others are most likely the same.
    let (mut first, mut more) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for pod in pods {
        let mut owners = pod.metadata.owner_references.iter();
        let owner = owners.find(|o| o.controller == Some(true));
        match owner.is_none_or(|o| seen.insert(o.uid.clone())) {
            true => first.push(pod),
            false => more.push(pod),
        }
    }
    first.extend(more);
    let total = first.len();
    let mut found: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for pod in first.into_iter().take(MOST_PODS) {
        if has_exempt_class(review, &pod.spec) {
            continue;
        }
        let wrong = violations(standard, of_pod(&pod));
        if !wrong.is_empty() {
            let name = pod.metadata.name.to_string();
            let (least, count) = found.entry(reasons(&wrong)).or_insert((name.clone(), 0));
            *count += 1;
            if name < *least {
                *least = name;
            }
        }
    }
    let mut warnings = Vec::new();
    if total > MOST_PODS {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST_PODS} of {total} existing pods"
        ));
    }
    if !found.is_empty() {
        warnings.push(format!(
            "existing pods in namespace {:?} violate the new PodSecurity enforce level \"{standard}\"",
            review.name
        ));
    }
    let mut lines: Vec<String> = found
        .into_iter()
        .map(|(text, (name, count))| match count {
            1 => format!("{name}: {text}"),
            2 => format!("{name} (and 1 other pod): {text}"),
            _ => format!("{name} (and {} other pods): {text}", count - 1),
        })
        .collect();
    lines.sort();
    warnings.extend(lines);
    warnings
}

fn of_pod(pod: &Pod) -> Subject<'_> {
    Subject {
        annotations: &pod.metadata.annotations,
        spec: &pod.spec,
    }
}

fn of_template(template: &PodTemplateSpec) -> Subject<'_> {
    Subject {
        annotations: &template.metadata.annotations,
        spec: &template.spec,
    }
}

fn policy_of(review: &Review) -> Option<Policy> {
    let namespace = review.snapshot.get::<Namespace>("", review.namespace)?;
    Some(level::policy(&namespace.metadata.labels, &review.settings.pod_security).0)
}

fn validate_pod(review: &Review, pod: &Pod) -> Result<Vec<String>, Denial> {
    if is_exempt(review) {
        return Ok(Vec::new());
    }
    let Some(policy) = policy_of(review) else {
        let name = review.namespace;
        let message = format!("failed to lookup namespace {name:?}");
        return Err(Denial::new(
            500,
            "InternalError",
            format!("Internal error occurred: {message}"),
        ));
    };
    let old = review.old.and_then(|o| o.downcast_ref::<Pod>());
    if review.operation == Operation::Update && old.is_some_and(|old| !matters(pod, old)) {
        return Ok(Vec::new());
    }
    if has_exempt_class(review, &pod.spec) {
        return Ok(Vec::new());
    }
    let wrong = violations(policy.enforce, of_pod(pod));
    if !wrong.is_empty() {
        return Err(Denial::forbidden(format!(
            "violates PodSecurity \"{}\": {}",
            policy.enforce,
            detailed(&wrong)
        )));
    }
    Ok(warning(policy.warn, of_pod(pod)))
}

fn warning(standard: Standard, subject: Subject) -> Vec<String> {
    let wrong = violations(standard, subject);
    match wrong.is_empty() {
        true => Vec::new(),
        false => vec![format!(
            "would violate PodSecurity \"{standard}\": {}",
            detailed(&wrong)
        )],
    }
}

/// Whether an update adds a container or changes an image.
fn matters(new: &Pod, old: &Pod) -> bool {
    let (new, old) = (&new.spec, &old.spec);
    let images = |spec: &corten_api::core::v1::PodSpec| -> Vec<Vec<corten_core::Str>> {
        let of = |list: &[corten_api::core::v1::Container]| {
            list.iter().map(|c| c.image.clone()).collect()
        };
        vec![of(&spec.containers), of(&spec.init_containers)]
    };
    images(new) != images(old)
        || new.ephemeral_containers.iter().any(|c| {
            let c = &c.ephemeral_container_common;
            let mut before = old.ephemeral_containers.iter();
            let before = before.find(|o| o.ephemeral_container_common.name == c.name);
            before.is_none_or(|o| o.ephemeral_container_common.image != c.image)
        })
}

fn warn_template(review: &Review, template: &PodTemplateSpec) -> Vec<String> {
    if is_exempt(review) || has_exempt_class(review, &template.spec) {
        return Vec::new();
    }
    match policy_of(review) {
        Some(policy) => warning(policy.warn, of_template(template)),
        None => Vec::new(),
    }
}

/// The template from which a controller makes pods.
fn template(object: &Object) -> Option<&PodTemplateSpec> {
    if let Some(o) = object.downcast_ref::<Deployment>() {
        Some(&o.spec.template)
    } else if let Some(o) = object.downcast_ref::<ReplicaSet>() {
        Some(&o.spec.template)
    } else if let Some(o) = object.downcast_ref::<StatefulSet>() {
        Some(&o.spec.template)
    } else if let Some(o) = object.downcast_ref::<DaemonSet>() {
        Some(&o.spec.template)
    } else if let Some(o) = object.downcast_ref::<Job>() {
        Some(&o.spec.template)
    } else if let Some(o) = object.downcast_ref::<CronJob>() {
        Some(&o.spec.job_template.spec.template)
    } else if let Some(o) = object.downcast_ref::<PodTemplate>() {
        Some(&o.template)
    } else {
        let controller = object.downcast_ref::<ReplicationController>();
        controller.and_then(|o| o.spec.template.as_deref())
    }
}
