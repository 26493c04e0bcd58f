//! ResourceQuotas. Counting against them is admission's.

use super::columns;
use super::pod::default_resources;
use super::pod::validate::quantities;
use crate::checks::Errors;
use crate::metadata::value_of_texts;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, cells, internal};
use corten_api::core::v1::ResourceQuota;
use corten_core::{Map, Path, Quantity, Time, Value};
use std::cmp::Ordering;

/// The strategy of ResourceQuotas.
pub struct ResourceQuotas;

impl Rules for ResourceQuotas {
    type Of = ResourceQuota;
    with_status!();

    fn default(&self, quota: &mut ResourceQuota) {
        default_resources(&mut quota.spec.hard);
        default_resources(&mut quota.status.hard);
        default_resources(&mut quota.status.used);
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &ResourceQuota,
        old: Option<&ResourceQuota>,
    ) -> Vec<String> {
        if old.is_some() {
            return vec![];
        }
        let hard = &new.spec.hard;
        let mut warnings = Vec::new();
        for name in ["cpu", "memory", "storage", "ephemeral-storage"] {
            let mut asked = format!("requests.{name}");
            if !hard.contains_key(&asked) && matches!(name, "cpu" | "memory") {
                asked = name.to_owned();
            }
            let allowed = format!("limits.{name}");
            if let (Some(request), Some(limit)) = (hard.get(&asked), hard.get(&allowed))
                && request.amount().compare(&limit.amount()) == Ordering::Greater
            {
                warnings.push(format!(
                    "ResourceQuota {asked} ({request}) should be less than {allowed} ({limit})"
                ));
            }
        }
        warnings
    }
    fn validate_create(&self, _cx: &Context, new: &ResourceQuota) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &ResourceQuota,
        old: &ResourceQuota,
    ) -> Vec<FieldError> {
        if part == "status" {
            let mut errors = Vec::new();
            let path = Path::Root.f("status");
            amounts(&mut errors, &path.f("hard"), &new.status.hard);
            amounts(&mut errors, &path.f("used"), &new.status.used);
            return errors;
        }
        let mut errors = validate(new);
        let within = |a: &ResourceQuota, b: &ResourceQuota| {
            a.spec.scopes.iter().all(|s| b.spec.scopes.contains(s))
        };
        if !within(new, old) || !within(old, new) {
            errors.push(FieldError::immutable(
                "spec.scopes",
                value_of_texts(&new.spec.scopes),
            ));
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::RESOURCE_QUOTA
    }
    fn cells(&self, quota: &ResourceQuota, now: &Time) -> Vec<Value> {
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (name, hard) in &quota.status.hard {
            let used = quota
                .status
                .used
                .get(name)
                .map_or_else(|| "0".to_owned(), |q| q.to_string());
            let list = if name.starts_with("limits.") {
                &mut limits
            } else {
                &mut requests
            };
            list.push(format!("{name}: {used}/{hard}"));
        }
        vec![
            Value::from(&quota.metadata.name),
            Value::from(requests.join(", ")),
            Value::from(limits.join(", ")),
            cells::age(&quota.metadata.creation_timestamp, now),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}

fn validate(quota: &ResourceQuota) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    amounts(&mut errors, &path.f("hard"), &quota.spec.hard);
    scopes(&mut errors, &path.f("scopes"), quota);
    scope_selector(&mut errors, &path.f("scopeSelector"), quota);
    errors
}

fn amounts(errors: &mut Errors, path: &Path, all: &Map<Quantity>) {
    for (name, amount) in all {
        let at = path.k(name);
        quantities::resource_name(errors, &at, name);
        if !name.contains('/') && (!quantities::is_standard(name) || name == "storage") {
            errors.push(FieldError::invalid(
                &at,
                name,
                "must be a standard resource for quota",
            ));
        }
        quantities::amount(errors, &at, name, amount);
    }
}

/// Resources that quotas know by themselves.
fn is_counted(name: &str) -> bool {
    let objects = [
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    let amounts = ["cpu", "memory", "ephemeral-storage"];
    let amount = name
        .strip_prefix("requests.")
        .or_else(|| name.strip_prefix("limits."))
        .unwrap_or(name);
    objects.contains(&name) || amounts.contains(&amount) || name == "requests.storage"
}

fn is_scope(name: &str) -> bool {
    matches!(
        name,
        "Terminating"
            | "NotTerminating"
            | "BestEffort"
            | "NotBestEffort"
            | "PriorityClass"
            | "VolumeAttributesClass"
            | "CrossNamespacePodAffinity"
    )
}

fn scope_selector(errors: &mut Errors, path: &Path, quota: &ResourceQuota) {
    let Some(selector) = &quota.spec.scope_selector else {
        return;
    };
    let at = path.f("matchExpressions");
    let all = &selector.match_expressions;
    for one in all.iter() {
        let scope = one.scope_name.as_str();
        if !is_scope(scope) {
            errors.push(FieldError::invalid(
                at.f("scopeName"),
                scope,
                "unsupported scope",
            ));
        }
        for _ in quota
            .spec
            .hard
            .keys()
            .filter(|name| is_counted(name) && !counts(scope, name))
        {
            let text = "unsupported scope applied to resource";
            errors.push(FieldError::invalid(
                &at,
                internal::printed(&**selector),
                text,
            ));
        }
        let exists_only =
            is_scope(scope) && !matches!(scope, "PriorityClass" | "VolumeAttributesClass");
        if exists_only && one.operator != "Exists" {
            let text = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                        ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort \
                        or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(FieldError::invalid(at.f("operator"), &one.operator, text));
        }
        match one.operator.as_str() {
            "In" | "NotIn" if one.values.is_empty() => {
                let text = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(at.f("values"), text));
            }
            "Exists" | "DoesNotExist" if !one.values.is_empty() => {
                let text = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(
                    at.f("values"),
                    value_of_texts(&one.values),
                    text,
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let text = "not a valid selector operator";
                errors.push(FieldError::invalid(at.f("operator"), other, text));
            }
        }
    }
    let has = |name: &str| all.iter().any(|s| s.scope_name == name);
    for (one, other) in [
        ("BestEffort", "NotBestEffort"),
        ("Terminating", "NotTerminating"),
    ] {
        if has(one) && has(other) {
            let shown = value_of_texts(&quota.spec.scopes);
            errors.push(FieldError::invalid(&at, shown, "conflicting scopes"));
        }
    }
}

/// Whether a quota of that scope can count the resource.
fn counts(scope: &str, resource: &str) -> bool {
    let computed = [
        "cpu",
        "memory",
        "limits.cpu",
        "limits.memory",
        "requests.cpu",
        "requests.memory",
    ]
    .contains(&resource);
    match scope {
        "Terminating"
        | "NotTerminating"
        | "NotBestEffort"
        | "PriorityClass"
        | "CrossNamespacePodAffinity" => resource == "pods" || computed,
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

fn scopes(errors: &mut Errors, path: &Path, quota: &ResourceQuota) {
    let scopes = &quota.spec.scopes;
    let mut wrong =
        |text: &str| errors.push(FieldError::invalid(path, value_of_texts(scopes), text));
    for scope in scopes.iter() {
        if !is_scope(scope) {
            wrong("unsupported scope");
        }
        for name in quota.spec.hard.keys() {
            if is_counted(name) && !counts(scope, name) {
                wrong("unsupported scope applied to resource");
            }
        }
    }
    let has = |name: &str| scopes.iter().any(|s| s == name);
    for (one, other) in [
        ("BestEffort", "NotBestEffort"),
        ("Terminating", "NotTerminating"),
    ] {
        if has(one) && has(other) {
            wrong("conflicting scopes");
        }
    }
}
