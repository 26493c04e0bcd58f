//! What is wrong with FlowSchemas and PriorityLevelConfigurations. Leaves out what holds of the mandatory ones alone
//! beyond their type, and the odds of a shuffle sharding.

use crate::FieldError;
use crate::checks::{self, Errors};
use crate::metadata::value_of_texts;
use crate::{internal, names};
use corten_api::flowcontrol::v1::{
    FlowSchema, LimitedPriorityLevelConfiguration, NonResourcePolicyRule, PolicyRulesWithSubjects,
    PriorityLevelConfiguration, QueuingConfiguration, ResourcePolicyRule, Subject,
};
use corten_core::{Path, Str};

const PRECEDENCE_MAX: i32 = 10_000;
const QUEUES_MAX: i32 = 10_000_000;

/// A flow schema.
pub(super) fn schema(schema: &FlowSchema) -> Errors {
    let mut errors = Vec::new();
    let (spec, path) = (&schema.spec, Path::Root.f("spec"));
    let (at, precedence) = (path.f("matchingPrecedence"), spec.matching_precedence);
    if precedence <= 0 {
        errors.push(FieldError::invalid(
            at,
            precedence,
            "must be a positive value",
        ));
    }
    if precedence > PRECEDENCE_MAX {
        let text = format!("must not be greater than {PRECEDENCE_MAX}");
        errors.push(FieldError::invalid(at, precedence, text));
    }
    if precedence == 1 && schema.metadata.name != "exempt" {
        let text = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(FieldError::invalid(at, precedence, text));
    }
    if let Some(method) = &spec.distinguisher_method
        && !matches!(method.type_.as_str(), "ByNamespace" | "ByUser")
    {
        errors.push(FieldError::not_supported(
            path.f("distinguisherMethod").f("type"),
            internal::printed(&**method),
            &["ByNamespace", "ByUser"],
        ));
    }
    let at = path.f("priorityLevelConfiguration");
    let level = &spec.priority_level_configuration.name;
    if level.is_empty() {
        errors.push(FieldError::required(
            at.f("name"),
            "must reference a priority level",
        ));
    } else {
        checks::dns_subdomain(&mut errors, &at.f("name"), level);
    }
    let list = path.f("rules");
    for (i, one) in spec.rules.iter().enumerate() {
        rule(&mut errors, &list.i(i), one);
    }
    errors
}

fn rule(errors: &mut Errors, path: &Path, rule: &PolicyRulesWithSubjects) {
    let list = path.f("subjects");
    if rule.subjects.is_empty() {
        let text = "subjects must contain at least one value";
        errors.push(FieldError::required(&list, text));
    }
    for (i, one) in rule.subjects.iter().enumerate() {
        subject(errors, &list.i(i), one);
    }
    if rule.resource_rules.is_empty() && rule.non_resource_rules.is_empty() {
        let text = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, text));
    }
    let list = path.f("resourceRules");
    for (i, one) in rule.resource_rules.iter().enumerate() {
        resources(errors, &list.i(i), one);
    }
    let list = path.f("nonResourceRules");
    for (i, one) in rule.non_resource_rules.iter().enumerate() {
        others(errors, &list.i(i), one);
    }
}

fn subject(errors: &mut Errors, path: &Path, subject: &Subject) {
    let kind = subject.kind.as_str();
    let known = ["Group", "ServiceAccount", "User"];
    if !known.contains(&kind) {
        errors.push(FieldError::not_supported(path.f("kind"), kind, &known));
        return;
    }
    let given = [
        ("User", "user", subject.user.is_some()),
        ("Group", "group", subject.group.is_some()),
        (
            "ServiceAccount",
            "serviceAccount",
            subject.service_account.is_some(),
        ),
    ];
    for (owner, field, set) in given {
        if owner == kind && !set {
            let text = format!("{field} is required when subject kind is '{kind}'");
            errors.push(FieldError::required(path.f(field), text));
        }
        if owner != kind && set {
            let text = format!("{field} is forbidden when subject kind is not '{owner}'");
            errors.push(FieldError::forbidden(path.f(field), text));
        }
    }
    if let Some(user) = subject.user.as_ref().filter(|_| kind == "User") {
        checks::required(errors, &path.f("user").f("name"), &user.name);
    }
    if let Some(group) = subject.group.as_ref().filter(|_| kind == "Group") {
        checks::required(errors, &path.f("group").f("name"), &group.name);
    }
    let account = subject.service_account.as_ref();
    if let Some(account) = account.filter(|_| kind == "ServiceAccount") {
        let at = path.f("serviceAccount");
        if account.name.is_empty() {
            errors.push(FieldError::required(at.f("name"), ""));
        } else if account.name != "*" {
            checks::dns_subdomain(errors, &at.f("name"), &account.name);
        }
        if account.namespace.is_empty() {
            let text = "must specify namespace for service account";
            errors.push(FieldError::required(at.f("namespace"), text));
        } else {
            checks::dns_label(errors, &at.f("namespace"), &account.namespace);
        }
    }
}

fn alone(errors: &mut Errors, path: &Path, list: &[Str], what: &str) {
    if list.len() > 1 && list.iter().any(|v| v == "*") {
        let text = format!("if '*' is present, must not specify other {what}");
        errors.push(FieldError::invalid(path, value_of_texts(list), text));
    }
}

fn verbs(errors: &mut Errors, path: &Path, list: &[Str]) {
    const KNOWN: [&str; 10] = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "proxy",
        "update",
        "watch",
        "*",
    ];
    if list.is_empty() {
        errors.push(FieldError::required(
            path,
            "verbs must contain at least one value",
        ));
    } else if !list.iter().all(|v| KNOWN.contains(&v.as_str())) && !list.iter().any(|v| v == "*") {
        errors.push(FieldError::not_supported(
            path,
            value_of_texts(list),
            &KNOWN[..9],
        ));
    }
    alone(errors, path, list, "verbs");
}

fn resources(errors: &mut Errors, path: &Path, rule: &ResourcePolicyRule) {
    verbs(errors, &path.f("verbs"), &rule.verbs);
    for (field, list, text, what) in [
        (
            "apiGroups",
            &rule.api_groups,
            "resource rules must supply at least one api group",
            "api groups",
        ),
        (
            "resources",
            &rule.resources,
            "resource rules must supply at least one resource",
            "resources",
        ),
    ] {
        if list.is_empty() {
            errors.push(FieldError::required(path.f(field), text));
        }
        alone(errors, &path.f(field), list, what);
    }
    let at = path.f("namespaces");
    if rule.namespaces.is_empty() && !rule.cluster_scope {
        let text = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&at, text));
    }
    alone(errors, &at, &rule.namespaces, "namespaces");
    if !rule.namespaces.iter().any(|n| n == "*") {
        for (i, namespace) in rule.namespaces.iter().enumerate() {
            let wrong = names::dns_label(namespace).into_iter();
            errors.extend(wrong.map(|m| {
                FieldError::invalid(
                    at.i(i),
                    namespace,
                    format!("`{namespace}` is not a valid namespace name: {m}"),
                )
            }));
        }
    }
}

fn others(errors: &mut Errors, path: &Path, rule: &NonResourcePolicyRule) {
    verbs(errors, &path.f("verbs"), &rule.verbs);
    let at = path.f("nonResourceURLs");
    let urls = &rule.non_resource_urls;
    if urls.is_empty() {
        let text = "nonResourceURLs must contain at least one value";
        errors.push(FieldError::required(&at, text));
        return;
    }
    if urls.iter().any(|u| u == "*") {
        alone(errors, &at, urls, "non-resource URLs");
        return;
    }
    for (i, url) in urls.iter().enumerate() {
        let text = match url.as_str() {
            "" => "must not be empty",
            "/" => continue,
            u if !u.starts_with('/') => "must start with slash",
            u if u.contains(' ') => "must not contain white-space",
            u if u.contains("//") => "must not contain double slash",
            u if u.trim_end_matches("/*").contains('*') => "wildcard can only do suffix matching",
            _ => continue,
        };
        errors.push(FieldError::invalid(at.i(i), url, text));
    }
}

/// A priority level.
pub(super) fn level(level: &PriorityLevelConfiguration) -> Errors {
    let mut errors = Vec::new();
    let (spec, path) = (&level.spec, Path::Root.f("spec"));
    let (exempt, kind) = (level.metadata.name == "exempt", spec.type_.as_str());
    if exempt != (kind == "Exempt") {
        let text = "must be 'Exempt' if and only if `name` is 'exempt'";
        errors.push(FieldError::invalid(path.f("type"), kind, text));
    }
    match (kind, &spec.limited) {
        ("Exempt", Some(_)) => errors.push(FieldError::forbidden(
            path.f("limited"),
            "must be nil if the type is not Limited",
        )),
        ("Exempt", None) => {}
        ("Limited", None) => errors.push(FieldError::required(
            path.f("limited"),
            "must not be empty when type is Limited",
        )),
        ("Limited", Some(one)) => {
            if spec.exempt.is_some() {
                let text = "must be nil if the type is Limited";
                errors.push(FieldError::forbidden(path.f("exempt"), text));
            }
            limited(&mut errors, &path.f("limited"), one);
        }
        _ => {
            let known = ["Exempt", "Limited"];
            errors.push(FieldError::not_supported(path.f("type"), kind, &known));
        }
    }
    errors
}

fn limited(errors: &mut Errors, path: &Path, limited: &LimitedPriorityLevelConfiguration) {
    if let Some(shares) = limited.nominal_concurrency_shares.filter(|s| *s < 0) {
        let text = "must be a non-negative integer";
        let at = path.f("nominalConcurrencyShares");
        errors.push(FieldError::invalid(at, shares, text));
    }
    let response = path.f("limitResponse");
    let at = response.f("queuing");
    match (
        limited.limit_response.type_.as_str(),
        &limited.limit_response.queuing,
    ) {
        ("Reject", Some(_)) => errors.push(FieldError::forbidden(
            at,
            "must be nil if limited.limitResponse.type is not Limited",
        )),
        ("Reject", None) => {}
        ("Queue", None) => errors.push(FieldError::required(
            at,
            "must not be empty if limited.limitResponse.type is Limited",
        )),
        ("Queue", Some(queuing)) => queues(errors, &at, queuing),
        (other, _) => {
            let known = ["Queue", "Reject"];
            errors.push(FieldError::not_supported(response.f("type"), other, &known));
        }
    }
    if let Some(percent) = limited.lendable_percent.filter(|p| !(0..=100).contains(p)) {
        let text = names::range_error(0, 100);
        errors.push(FieldError::invalid(
            path.f("lendablePercent"),
            percent,
            text,
        ));
    }
    if let Some(percent) = limited.borrowing_limit_percent.filter(|p| *p < 0) {
        let text = "if specified, must be a non-negative integer";
        errors.push(FieldError::invalid(
            path.f("borrowingLimitPercent"),
            percent,
            text,
        ));
    }
}

fn queues(errors: &mut Errors, at: &Path, queuing: &QueuingConfiguration) {
    for (field, value) in [
        ("queueLengthLimit", queuing.queue_length_limit),
        ("queues", queuing.queues),
    ] {
        if value <= 0 {
            errors.push(FieldError::invalid(at.f(field), value, "must be positive"));
        }
    }
    if queuing.queues > QUEUES_MAX {
        let text = format!("must not be greater than {QUEUES_MAX}");
        errors.push(FieldError::invalid(at.f("queues"), queuing.queues, text));
    }
    if queuing.hand_size <= 0 {
        let text = "must be positive";
        errors.push(FieldError::invalid(
            at.f("handSize"),
            queuing.hand_size,
            text,
        ));
    } else if queuing.hand_size > queuing.queues {
        let text = format!("should not be greater than queues ({})", queuing.queues);
        errors.push(FieldError::invalid(
            at.f("handSize"),
            queuing.hand_size,
            text,
        ));
    }
}
