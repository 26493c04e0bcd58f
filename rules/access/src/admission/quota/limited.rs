//! What the cluster's configuration lets nobody use without a quota for it. Invariant: a request that adds nothing is never
//! refused here.

use super::super::{Denial, Operation, Review};
use super::amounts::{without, without_zeros};
use super::scopes::selectors;
use super::usage::Evaluator;
use corten_api::Object;
use corten_api::core::v1::{ResourceQuota, ScopedResourceSelectorRequirement};
use std::collections::BTreeSet;

/// Refuses what no quota covers; `all` are the namespace's quotas, `matching` those about the object.
pub(super) fn check(
    review: &Review,
    object: &Object,
    evaluator: &Evaluator,
    (all, matching): (&[&ResourceQuota], &[&ResourceQuota]),
) -> Result<(), Denial> {
    let usage = evaluator.usage(object, review.now);
    let old = review.old.filter(|old| {
        review.operation == Operation::Update && !old.meta().resource_version.is_empty()
    });
    let added = match old {
        Some(old) => without(&usage, &evaluator.usage(old, review.now)),
        None => usage.clone(),
    };
    if without_zeros(added).is_empty() {
        return Ok(());
    }
    let mut uncovered: BTreeSet<&str> = BTreeSet::new();
    let about = review.settings.limited.iter().filter(|limited| {
        limited.group == review.resource.group.as_str()
            && limited.resource == review.resource.resource.as_str()
    });
    for limited in about {
        for (name, amount) in usage.iter().filter(|(_, amount)| amount.sign() > 0) {
            let meant = limited.contains.iter().any(|part| name.contains(part));
            let covers = |quota: &&ResourceQuota| quota.status.hard.contains_key(name);
            if amount.sign() > 0 && meant && !matching.iter().any(covers) {
                uncovered.insert(name.as_str());
            }
        }
    }
    if !uncovered.is_empty() {
        let names: Vec<&str> = uncovered.into_iter().collect();
        return Err(Denial::forbidden(format!(
            "insufficient quota to consume: {}",
            names.join(",")
        )));
    }
    check_scopes(review, object, evaluator, all)
}

fn check_scopes(
    review: &Review,
    object: &Object,
    evaluator: &Evaluator,
    all: &[&ResourceQuota],
) -> Result<(), Denial> {
    let covered: Vec<ScopedResourceSelectorRequirement> = all
        .iter()
        .flat_map(|quota| evaluator.matching_scopes(object, &selectors(quota)))
        .collect();
    let limited = review.settings.limited.iter();
    let uncovered: Vec<String> = limited
        .flat_map(|limited| evaluator.matching_scopes(object, &limited.scopes))
        .filter(|scope| !covered.iter().any(|c| c.scope_name == scope.scope_name))
        .map(|scope| {
            let values: Vec<&str> = scope.values.iter().map(|v| v.as_str()).collect();
            format!(
                "{{{} {} [{}]}}",
                scope.scope_name,
                scope.operator,
                values.join(" ")
            )
        })
        .collect();
    match uncovered.is_empty() {
        true => Ok(()),
        false => Err(Denial::new(
            500,
            "",
            format!(
                "insufficient quota to match these scopes: [{}]",
                uncovered.join(" ")
            ),
        )),
    }
}
