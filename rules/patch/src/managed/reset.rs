//! Fields that a write to a resource or subresource cannot change, so that it owns none of them either.

use crate::fields::{FieldSet, PathElement};
use std::collections::{BTreeMap, BTreeSet};

/// What to leave out of comparisons and sets.
pub(super) enum Filter {
    /// These fields and what is below them.
    Without(FieldSet),
    /// All but what begins like one of these; `*` is any step.
    Only(&'static [&'static [&'static str]]),
}

impl Filter {
    pub fn apply(&self, set: &FieldSet) -> FieldSet {
        match self {
            Filter::Without(fields) => set.difference_below(fields),
            Filter::Only(patterns) => only(set, patterns),
        }
    }
}

fn only(set: &FieldSet, patterns: &[&'static [&'static str]]) -> FieldSet {
    if patterns.iter().any(|pattern| pattern.is_empty()) {
        return set.clone();
    }
    let below = |element: &PathElement| -> Vec<&'static [&'static str]> {
        let fits = |name: &str| match element {
            PathElement::Field(field) => name == "*" || field.as_str() == name,
            _ => name == "*",
        };
        patterns
            .iter()
            .filter(|p| fits(p[0]))
            .map(|p| &p[1..])
            .collect()
    };
    let members: BTreeSet<_> = set
        .members
        .iter()
        .filter(|m| !below(m).is_empty())
        .cloned()
        .collect();
    let mut children = BTreeMap::new();
    for (element, child) in &set.children {
        let patterns = below(element);
        if !patterns.is_empty() {
            let kept = only(child, &patterns);
            if !kept.is_empty() {
                children.insert(element.clone(), kept);
            }
        }
    }
    FieldSet { members, children }
}

const SPEC: &[&[&str]] = &[&["spec"]];
const STATUS: &[&[&str]] = &[&["status"]];
const METADATA_AND_SPEC: &[&[&str]] = &[&["metadata"], &["spec"]];

/// The filter for a write to `subresource` (empty: the resource itself) of a kind; `custom` kinds keep status in their own
/// writes, because the schema does not say whether they have the subresource.
pub(super) fn filter(group: &str, kind: &str, subresource: &str, custom: bool) -> Filter {
    let without = |paths| Filter::Without(FieldSet::of(paths));
    match (group, kind, subresource) {
        ("", "Pod", "ephemeralcontainers") => Filter::Only(&[&["spec", "ephemeralContainers"]]),
        ("", "Pod", "resize") => Filter::Only(&[
            &["spec", "containers", "*", "resources"],
            &["spec", "containers", "*", "resizePolicy"],
            &["spec", "initContainers", "*", "resources"],
            &["spec", "initContainers", "*", "resizePolicy"],
        ]),
        ("", "Pod", "status") => without(&[
            &["spec"],
            &["metadata", "deletionTimestamp"],
            &["metadata", "ownerReferences"],
        ]),
        ("apps", "Deployment", "status") => without(&[&["spec"], &["metadata", "labels"]]),
        ("certificates.k8s.io", "CertificateSigningRequest", "") => {
            without(&[&["spec"], &["status"]])
        }
        ("certificates.k8s.io", "CertificateSigningRequest", "status") => {
            without(&[&["spec"], &["status", "conditions"]])
        }
        ("certificates.k8s.io", "CertificateSigningRequest", "approval") => {
            without(&[&["spec"], &["status", "certificate"]])
        }
        ("certificates.k8s.io", "PodCertificateRequest", "") => without(&[]),
        ("" | "apps" | "batch" | "autoscaling" | "policy", _, "status")
        | ("networking.k8s.io", "Ingress", "status")
        | ("certificates.k8s.io", "PodCertificateRequest", "status") => without(SPEC),
        (_, _, "status") => without(METADATA_AND_SPEC),
        (_, "Scale", _) => without(&[]),
        _ if custom => without(&[]),
        _ => without(STATUS),
    }
}
