//! ResourceQuota: what a namespace may hold in total. Runs last, so that only requests which nothing else refuses are
//! charged.
//!
//! Invariant: a request is charged to every quota that matches it, or refused and charged to none; the new usage is
//! what the API server commits, on condition that the quota has not changed since.

mod amounts;
mod limited;
mod scopes;
mod total;
mod usage;

pub use total::quota_usage;

use super::pod_resources::{Amounts, add};
use super::{Denial, Operation, Review};
use amounts::{listed, masked, names, same, without, without_zeros};
use corten_api::Object;
use corten_api::core::v1::ResourceQuota;
use corten_core::Str;
use usage::Evaluator;

/// Resources that are not stored, or never were limited.
const IGNORED: [(&str, &str); 10] = [
    ("", "bindings"),
    ("", "componentstatuses"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authentication.k8s.io", "selfsubjectreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectaccessreviews"),
    ("authorization.k8s.io", "localsubjectaccessreviews"),
    ("authorization.k8s.io", "selfsubjectrulesreviews"),
    ("", "events"),
    ("events.k8s.io", "events"),
];

/// The quotas with the usage that the request adds.
pub(super) fn charge(review: &Review, object: Option<&Object>) -> Result<Vec<Object>, Denial> {
    let resource = (
        review.resource.group.as_str(),
        review.resource.resource.as_str(),
    );
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let of_namespace = review.namespace.is_empty() || resource == ("", "namespaces");
    let (Some(object), true) = (object, written && !of_namespace) else {
        return Ok(Vec::new());
    };
    if IGNORED.contains(&resource) {
        return Ok(Vec::new());
    }
    let evaluator = Evaluator::of(resource.0, resource.1);
    if !evaluator.handles(review, object) {
        return Ok(Vec::new());
    }
    let quotas = || review.snapshot.list_in::<ResourceQuota>(review.namespace);
    let matching: Vec<&ResourceQuota> = quotas()
        .filter(|quota| evaluator.matches(quota, object))
        .collect();
    for quota in &matching {
        check_constraints(quota, &evaluator, object)?;
    }
    if !review.settings.limited.is_empty() {
        let all: Vec<&ResourceQuota> = quotas().collect();
        limited::check(review, object, &evaluator, (&all, &matching))?;
    }
    if matching.is_empty() {
        return Ok(Vec::new());
    }
    let usage = evaluator.usage(object, review.now);
    let below = usage.iter().filter(|(_, v)| v.sign() < 0);
    let negative: Vec<&Str> = below.map(|(k, _)| k).collect();
    if !negative.is_empty() {
        return Err(Denial::forbidden(format!(
            "quota usage is negative for resource(s): {}",
            names(negative.into_iter())
        )));
    }
    let before = match review.operation {
        // Nothing is charged yet for an object that the update makes.
        Operation::Update => review
            .old
            .filter(|old| !old.meta().resource_version.is_empty()),
        _ => None,
    };
    let mut charges = Vec::new();
    for quota in matching {
        let delta = match before.filter(|old| evaluator.matches(quota, old)) {
            Some(old) => without(&usage, &evaluator.usage(old, review.now)),
            None => usage.clone(),
        };
        let delta = without_zeros(delta);
        if let Some(used) = fit(review, quota, &delta)? {
            let mut quota = quota.clone();
            quota.status.used = used;
            charges.push(Object::from(quota));
        }
    }
    match review.dry_run {
        true => Ok(Vec::new()),
        false => Ok(charges),
    }
}

fn check_constraints(
    quota: &ResourceQuota,
    evaluator: &Evaluator,
    object: &Object,
) -> Result<(), Denial> {
    let name = &quota.metadata.name;
    let limited: Vec<&Str> = quota
        .status
        .hard
        .keys()
        .filter(|k| evaluator.tracks(k))
        .collect();
    if let Some(missing) = evaluator.missing(&limited, object) {
        return Err(Denial::forbidden(format!(
            "failed quota: {name}: {missing}"
        )));
    }
    if limited.iter().any(|k| !quota.status.used.contains_key(k)) {
        return Err(Denial::forbidden(format!(
            "status unknown for quota: {name}, resources: {}",
            names(limited.into_iter())
        )));
    }
    Ok(())
}

/// The usage after adding `delta`; nothing when that changes nothing.
fn fit(review: &Review, quota: &ResourceQuota, delta: &Amounts) -> Result<Option<Amounts>, Denial> {
    if delta.is_empty() {
        return Ok(None);
    }
    let status = &quota.status;
    let requested = masked(delta, |name| status.hard.contains_key(name));
    let mut used = status.used.clone();
    add(&mut used, &requested);
    if review.subresource != "status" {
        let exceeded = |name: &str| {
            let (new, hard) = (used.get(name), status.hard.get(name));
            requested.contains_key(name) && new.zip(hard).is_some_and(|(new, hard)| new > hard)
        };
        if requested.keys().any(|name| exceeded(name)) {
            return Err(Denial::forbidden(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                quota.metadata.name,
                listed(&masked(&requested, exceeded)),
                listed(&masked(&status.used, exceeded)),
                listed(&masked(&status.hard, exceeded)),
            )));
        }
    }
    Ok((!same(&used, &status.used)).then_some(used))
}
