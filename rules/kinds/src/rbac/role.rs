//! Roles and ClusterRoles: names, table.

use crate::checks::Errors;
use crate::error::verbatim;
use crate::metadata::{SelectorValues, validate_selector, value_of_texts};
use crate::rules::Rules;
use crate::selectors;
use crate::{Column, Context, FieldError, names, plain_table};
use corten_api::rbac::v1::{ClusterRole, PolicyRule, Role};
use corten_core::{Path, Time, Value};
use corten_meta::Selector;

/// The strategy of Roles.
pub struct Roles;
/// The strategy of ClusterRoles.
pub struct ClusterRoles;

impl Rules for Roles {
    type Of = Role;

    fn validate_create(&self, _cx: &Context, new: &Role) -> Vec<FieldError> {
        validate_rules(&new.rules, Scope::Namespace)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &Role,
        _old: &Role,
    ) -> Vec<FieldError> {
        validate_rules(&new.rules, Scope::Namespace)
    }
    fn columns(&self) -> &'static [Column] {
        &plain_table::COLUMNS
    }
    fn cells(&self, obj: &Role, _now: &Time) -> Vec<Value> {
        plain_table::cells(&obj.metadata)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}

impl Rules for ClusterRoles {
    type Of = ClusterRole;

    fn validate_create(&self, _cx: &Context, new: &ClusterRole) -> Vec<FieldError> {
        validate_cluster_role(new, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ClusterRole,
        old: &ClusterRole,
    ) -> Vec<FieldError> {
        validate_cluster_role(new, Some(old))
    }
    fn columns(&self) -> &'static [Column] {
        &plain_table::COLUMNS
    }
    fn cells(&self, obj: &ClusterRole, _now: &Time) -> Vec<Value> {
        plain_table::cells(&obj.metadata)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}

/// Where rules hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Namespace,
    Cluster,
}

fn validate_rules(rules: &[PolicyRule], scope: Scope) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("rules");
    for (i, rule) in rules.iter().enumerate() {
        validate_rule(&mut errors, &path.i(i), rule, scope);
    }
    errors
}

fn validate_rule(errors: &mut Errors, path: &Path, rule: &PolicyRule, scope: Scope) {
    if rule.verbs.is_empty() {
        let text = "verbs must contain at least one value";
        errors.push(FieldError::required(path.f("verbs"), text));
    }
    if !rule.non_resource_urls.is_empty() {
        let mut wrong = |text: &str| {
            let bad = value_of_texts(&rule.non_resource_urls);
            errors.push(FieldError::invalid(path.f("nonResourceURLs"), bad, text));
        };
        if scope == Scope::Namespace {
            wrong("namespaced rules cannot apply to non-resource URLs");
        }
        if rule.api_groups.len() + rule.resources.len() + rule.resource_names.len() > 0 {
            wrong("rules cannot apply to both regular resources and non-resource URLs");
        }
        return;
    }
    if rule.api_groups.is_empty() {
        let text = "resource rules must supply at least one api group";
        errors.push(FieldError::required(path.f("apiGroups"), text));
    }
    if rule.resources.is_empty() {
        let text = "resource rules must supply at least one resource";
        errors.push(FieldError::required(path.f("resources"), text));
    }
}

fn validate_cluster_role(new: &ClusterRole, old: Option<&ClusterRole>) -> Errors {
    let mut errors = validate_rules(&new.rules, Scope::Cluster);
    let Some(aggregation) = &new.aggregation_rule else {
        return errors;
    };
    let before = old.and_then(|o| o.aggregation_rule.as_ref());
    let strict = match before {
        Some(b) if b.cluster_role_selectors.iter().any(selectors::is_wrong) => {
            SelectorValues::Unchecked
        }
        _ => SelectorValues::Checked,
    };
    let path = Path::Root.f("aggregationRule");
    let path = path.f("clusterRoleSelectors");
    if aggregation.cluster_role_selectors.is_empty() {
        let text = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        errors.push(FieldError::required(path, text));
    }
    for (i, selector) in aggregation.cluster_role_selectors.iter().enumerate() {
        errors.extend(validate_selector(selector, strict, &path.i(i)));
        if Selector::from_label_selector(Some(selector)).is_err() {
            let text = "invalid label selector.";
            errors.push(FieldError::invalid(path.i(i), verbatim("null"), text));
        }
    }
    errors
}
