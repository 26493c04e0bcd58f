//! RBAC escalation and bind checks: nobody grants what they do not hold, unless `escalate` or `bind` lets them.
//!
//! Invariant: a role or binding is refused unless its writer is in `system:masters`, may escalate or bind by name, or
//! holds every right in it within the same namespace.

use super::{Denial, Operation, Review};
use crate::attributes::Attributes;
use crate::rbac::Rules;
use crate::rules_cover::{compact, describe, missing};
use corten_api::Object;
use corten_api::rbac::v1::{
    ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding, RoleRef,
};
use corten_core::List;
use std::collections::BTreeSet;

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let (Some(object), true) = (object, written && review.resource.group == GROUP) else {
        return Ok(());
    };
    if !review.subresource.is_empty() || review.user.in_group(crate::MASTERS) {
        return Ok(());
    }
    if let Some(role) = object.downcast_ref::<ClusterRole>() {
        cluster_role(review, role, object)
    } else if let Some(role) = object.downcast_ref::<Role>() {
        if may_escalate(review) || only_collected(review, object) {
            return Ok(());
        }
        holds(review, &role.rules)
    } else if let Some(binding) = object.downcast_ref::<RoleBinding>() {
        binding_to(review, &binding.role_ref, review.namespace, object)
    } else if let Some(binding) = object.downcast_ref::<ClusterRoleBinding>() {
        binding_to(review, &binding.role_ref, "", object)
    } else {
        Ok(())
    }
}

fn cluster_role(review: &Review, role: &ClusterRole, object: &Object) -> Result<(), Denial> {
    if may_escalate(review) || only_collected(review, object) {
        return Ok(());
    }
    holds(review, &role.rules)?;
    let old = review.old.and_then(|o| o.downcast_ref::<ClusterRole>());
    if !(aggregates(role) || old.is_some_and(aggregates)) {
        return Ok(());
    }
    // What is aggregated is decided later by anybody's labels, so only who may do everything may ask for it.
    holds(review, &everything()).map_err(|_| {
        Denial::forbidden("must have cluster-admin privileges to use the aggregationRule")
    })
}

fn aggregates(role: &ClusterRole) -> bool {
    let rule = role.aggregation_rule.as_deref();
    rule.is_some_and(|rule| !rule.cluster_role_selectors.is_empty())
}

fn everything() -> [PolicyRule; 2] {
    let all = || List::from_iter(["*"]);
    [
        PolicyRule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Default::default()
        },
        PolicyRule {
            verbs: all(),
            non_resource_urls: all(),
            ..Default::default()
        },
    ]
}

/// Whether an update changes only what the garbage collector changes.
fn only_collected(review: &Review, object: &Object) -> bool {
    let (Operation::Update, Some(old)) = (review.operation, review.old) else {
        return false;
    };
    let mut copy = object.clone();
    let meta = copy.meta_mut();
    meta.owner_references = old.meta().owner_references.clone();
    meta.finalizers = old.meta().finalizers.clone();
    meta.managed_fields = old.meta().managed_fields.clone();
    meta.resource_version = old.meta().resource_version.clone();
    copy.semantic_eq(old)
}

fn may_escalate(review: &Review) -> bool {
    let attributes = Attributes {
        verb: "escalate",
        resource: &review.resource.resource,
        name: review.name,
        namespace: review.namespace,
        group: GROUP,
        ..review.asks()
    };
    review.may(&attributes)
}

fn binding_to(
    review: &Review,
    role: &RoleRef,
    namespace: &str,
    object: &Object,
) -> Result<(), Denial> {
    if only_collected(review, object) {
        return Ok(());
    }
    let resource = match role.kind.as_str() {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        // Validation has refused any other kind.
        _ => return Ok(()),
    };
    let attributes = Attributes {
        verb: "bind",
        group: &role.api_group,
        resource,
        name: &role.name,
        namespace,
        ..review.asks()
    };
    if review.may(&attributes) {
        return Ok(());
    }
    let rules = match resource {
        "clusterroles" => {
            let found = review.snapshot.get::<ClusterRole>("", &role.name);
            found.map(|r| &r.rules)
        }
        _ => {
            let found = review.snapshot.get::<Role>(namespace, &role.name);
            found.map(|r| &r.rules)
        }
    };
    match rules {
        Some(rules) => holds(review, rules),
        // Upstream names the resource of the request, not that of the role.
        None => Err(Denial::not_found(
            GROUP,
            &review.resource.resource,
            &role.name,
        )),
    }
}

/// Refuses `rules` that contain a right which the user does not hold in the namespace of the request.
fn holds(review: &Review, rules: &[PolicyRule]) -> Result<(), Denial> {
    let held = held(review.rules, review);
    let missing = missing(&held, rules);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: BTreeSet<String> = compact(missing).iter().map(describe).collect();
    let groups: Vec<String> = review
        .user
        .groups
        .iter()
        .map(|g| format!("{g:?}"))
        .collect();
    let lines: Vec<String> = lines.into_iter().collect();
    Err(Denial::forbidden(format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        review.user.name,
        groups.join(" "),
        lines.join("\n")
    )))
}

fn held<'a>(rules: &'a Rules, review: &'a Review) -> Vec<&'a PolicyRule> {
    let applying = rules.applying(review.user, review.namespace);
    applying.map(|applied| applied.rule).collect()
}
