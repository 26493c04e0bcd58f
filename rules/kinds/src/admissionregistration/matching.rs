//! What webhooks and policies match: its defaults and its validation.

use crate::checks::{Errors, dns_subdomain, invalid_each, known};
use crate::error::FieldError;
use crate::metadata::{SelectorValues, validate_selector, value_of_texts};
use crate::names;
use corten_api::admissionregistration::v1::{
    MatchResources, NamedRuleWithOperations, ParamKind, ParamRef, Rule, RuleWithOperations,
};
use corten_core::{Path, Str};

/// Rules hold for objects of all scopes.
pub(super) fn default_rule(rule: &mut Rule) {
    rule.scope.get_or_insert_with(|| "*".into());
}

/// Everything equivalent, everywhere.
pub(super) fn default_match(resources: &mut MatchResources) {
    resources
        .match_policy
        .get_or_insert_with(|| "Equivalent".into());
    resources.namespace_selector.get_or_insert_default();
    resources.object_selector.get_or_insert_default();
    let excluded = resources.exclude_resource_rules.iter_mut();
    for rule in resources.resource_rules.iter_mut().chain(excluded) {
        default_rule(&mut rule.rule_with_operations.rule);
    }
}

pub(super) const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
pub(super) const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
pub(super) const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];

fn has_star(texts: &[Str]) -> bool {
    texts.iter().any(|t| t == "*")
}

/// A list that must say something, and nothing beside `*`.
fn starred(errors: &mut Errors, path: &Path, texts: &[Str], others: &str) {
    if texts.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if texts.len() > 1 && has_star(texts) {
        let text = format!("if '*' is present, must not specify other {others}");
        errors.push(FieldError::invalid(path, value_of_texts(texts), text));
    }
}

/// Operations and what they are done to.
pub(super) fn validate_rule(errors: &mut Errors, path: &Path, rule: &RuleWithOperations) {
    starred(
        errors,
        &path.f("operations"),
        &rule.operations,
        "operations",
    );
    for (i, operation) in rule.operations.iter().enumerate() {
        known(errors, &path.f("operations").i(i), operation, &OPERATIONS);
    }
    let rule = &rule.rule;
    starred(errors, &path.f("apiGroups"), &rule.api_groups, "API groups");
    let versions = path.f("apiVersions");
    starred(errors, &versions, &rule.api_versions, "API versions");
    for (i, version) in rule.api_versions.iter().enumerate() {
        if version.is_empty() {
            errors.push(FieldError::required(versions.i(i), ""));
        }
    }
    validate_resources(errors, &path.f("resources"), &rule.resources);
    if let Some(scope) = &rule.scope {
        known(errors, &path.f("scope"), scope, &SCOPES);
    }
}

/// `pods`, `pods/*`, `*/status`: none may cover another.
fn validate_resources(errors: &mut Errors, path: &Path, resources: &[Str]) {
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut whole, mut everywhere) = (Vec::new(), Vec::new());
    let (mut all, mut star, mut plain) = (false, false, false);
    for (i, resource) in resources.iter().enumerate() {
        let path = path.i(i);
        if resource.is_empty() {
            errors.push(FieldError::required(path, ""));
            continue;
        }
        all |= resource == "*/*";
        star |= resource == "*";
        let Some((name, part)) = resource.split_once('/') else {
            plain = resource != "*";
            continue;
        };
        if whole.contains(&name) {
            let text = format!("if '{name}/*' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, resource, text));
        }
        if everywhere.contains(&part) {
            let text = format!("if '*/{part}' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, resource, text));
        }
        if part == "*" {
            whole.push(name);
        }
        if name == "*" {
            everywhere.push(part);
        }
    }
    if resources.len() > 1 && all {
        let text = "if '*/*' is present, must not specify other resources";
        errors.push(FieldError::invalid(path, value_of_texts(resources), text));
    }
    if star && plain {
        let text = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(path, value_of_texts(resources), text));
    }
}

/// What a policy or a binding matches.
pub(super) fn validate_match(errors: &mut Errors, path: &Path, resources: &MatchResources) {
    match &resources.match_policy {
        None => errors.push(FieldError::required(path.f("matchPolicy"), "")),
        Some(policy) => known(errors, &path.f("matchPolicy"), policy, &MATCH_POLICIES),
    }
    for (name, selector) in [
        ("namespaceSelector", &resources.namespace_selector),
        ("objectSelector", &resources.object_selector),
    ] {
        let path = path.f(name);
        match selector {
            None => errors.push(FieldError::required(path, "")),
            Some(selector) => {
                errors.extend(validate_selector(selector, SelectorValues::Checked, &path));
            }
        }
    }
    for (i, rule) in resources.resource_rules.iter().enumerate() {
        validate_named_rule(errors, &path.f("resourceRules").i(i), rule);
    }
    for (i, rule) in resources.exclude_resource_rules.iter().enumerate() {
        validate_named_rule(errors, &path.f("excludeResourceRules").i(i), rule);
    }
}

fn validate_named_rule(errors: &mut Errors, path: &Path, rule: &NamedRuleWithOperations) {
    let mut seen: Vec<&Str> = Vec::new();
    for (i, name) in rule.resource_names.iter().enumerate() {
        let base = path.f("resourceNames");
        let path = base.i(i);
        invalid_each(errors, &path, name, names::path_segment(name, false));
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        seen.push(name);
    }
    validate_rule(errors, path, &rule.rule_with_operations);
}

/// The kind of a policy's parameters.
pub(super) fn validate_param_kind(errors: &mut Errors, path: &Path, kind: &ParamKind) {
    let version_path = path.f("apiVersion");
    let text = kind.api_version.as_str();
    match text.matches('/').count() {
        _ if text.is_empty() => errors.push(FieldError::required(version_path, "")),
        0 | 1 => {
            let (group, version) = text.split_once('/').unwrap_or(("", text));
            if !group.is_empty() {
                let found = names::dns_subdomain(group);
                if !found.is_empty() {
                    errors.push(FieldError::invalid(&version_path, group, found.join(",")));
                }
            }
            let found = names::dns_1035_label(version);
            if version.is_empty() {
                let why = "version must be specified";
                errors.push(FieldError::invalid(&version_path, text, why));
            } else if !found.is_empty() {
                errors.push(FieldError::invalid(&version_path, version, found.join(",")));
            }
        }
        _ => {
            let why = format!("unexpected GroupVersion string: {text}");
            errors.push(FieldError::invalid(version_path, text, why));
        }
    }
    let found = names::dns_1035_label(&kind.kind.to_lowercase());
    if kind.kind.is_empty() {
        errors.push(FieldError::required(path.f("kind"), ""));
    } else if !found.is_empty() {
        let why = format!(
            "may have mixed case, but should otherwise match: {}",
            found.join(",")
        );
        errors.push(FieldError::invalid(path.f("kind"), &kind.kind, why));
    }
}

/// Which parameters a binding takes.
pub(super) fn validate_param_ref(errors: &mut Errors, path: &Path, parameter: &ParamRef) {
    let exclusive = "name and selector are mutually exclusive";
    if !parameter.name.is_empty() {
        let path = path.f("name");
        let name = &parameter.name;
        invalid_each(errors, &path, name, names::path_segment(name, false));
        if parameter.selector.is_some() {
            errors.push(FieldError::forbidden(path, exclusive));
        }
    }
    if let Some(selector) = &parameter.selector {
        let path = path.f("selector");
        errors.extend(validate_selector(selector, SelectorValues::Checked, &path));
        if !parameter.name.is_empty() {
            errors.push(FieldError::forbidden(path, exclusive));
        }
    }
    if parameter.name.is_empty() && parameter.selector.is_none() {
        let text = "one of name or selector must be specified";
        errors.push(FieldError::required(path, text));
    }
    let path = path.f("parameterNotFoundAction");
    match parameter.parameter_not_found_action.as_deref() {
        None | Some("") => errors.push(FieldError::required(path, "")),
        Some(action) => known(errors, &path, action, &["Deny", "Allow"]),
    }
}

/// The name of the policy that a binding is for.
pub(super) fn validate_policy_name(errors: &mut Errors, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        dns_subdomain(errors, path, name);
    }
}

/// The ending of names that upstream keeps for webhooks and policies read from files.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// A warning about such a name.
pub(super) fn static_name_warnings(name: &str) -> Vec<String> {
    if !name.ends_with(STATIC_SUFFIX) {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and \
         cannot be managed via the API"
    )]
}
