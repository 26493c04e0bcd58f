//! Checks that the workload kinds share: counts and percentages, selectors against templates, what never changes.

use crate::checks::{Errors, not_negative};
use crate::core::pod::validate_pod_template;
use crate::error::FieldError;
use crate::metadata::{SelectorValues, validate_selector, value_of};
use crate::names;
use corten_api::core::v1::PodTemplateSpec;
use corten_api::meta::v1::LabelSelector;
use corten_core::{IntOrString, Map, Path, Str, Value, semantic_eq};
use corten_meta::Selector;

/// Each number must be 0 or more; numbers that are absent are fine.
pub(crate) fn not_negative_all(errors: &mut Errors, path: &Path, numbers: &[(&str, Option<i64>)]) {
    for (name, number) in numbers {
        if let Some(number) = number {
            not_negative(errors, &path.f(name), *number);
        }
    }
}

/// A count or percentage as the bad value of an error.
pub(crate) fn count_value(value: &IntOrString) -> Value {
    match value {
        IntOrString::Int(number) => Value::from(*number),
        IntOrString::String(text) => Value::from(text),
    }
}

/// An error about a value that may be nil, which Go prints as `null`.
pub(crate) fn invalid_or_null(path: &Path, value: Option<Value>, detail: &str) -> FieldError {
    match value {
        Some(value) => FieldError::invalid(path, value, detail),
        None => FieldError::invalid(path, Value::Null, format!("null: {detail}")),
    }
}

/// Labels as the bad value of an error.
pub(crate) fn labels_value(labels: &Map<Str>) -> Option<Value> {
    let entries = labels.iter().map(|(k, v)| (k.clone(), Value::from(v)));
    (!labels.is_nil()).then(|| Value::Map(entries.collect()))
}

/// A count of 0 or more, or a percentage.
pub(crate) fn count_or_percent(errors: &mut Errors, path: &Path, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => not_negative(errors, path, i64::from(*number)),
        IntOrString::String(text) => {
            let wrong = names::percent(text).into_iter();
            errors.extend(wrong.map(|m| FieldError::invalid(path, text, m)));
        }
    }
}

fn percent(value: &IntOrString) -> Option<i64> {
    let text = value.as_str().filter(|t| names::percent(t).is_empty())?;
    Some(text.trim_end_matches('%').parse().unwrap_or(i64::MAX))
}

/// The count, or the number of percent.
pub(crate) fn count_of(value: &IntOrString) -> i64 {
    percent(value).unwrap_or_else(|| value.int_value())
}

/// Not more than 100%.
pub(crate) fn at_most_all(errors: &mut Errors, path: &Path, value: &IntOrString) {
    if percent(value).is_some_and(|p| p > 100) {
        errors.push(FieldError::invalid(
            path,
            count_value(value),
            "must not be greater than 100%",
        ));
    }
}

/// A selector that must be given and must select something; `kind` as upstream says it.
pub(crate) fn selector(
    errors: &mut Errors,
    path: &Path,
    selector: Option<&LabelSelector>,
    kind: &str,
) {
    let Some(selector) = selector else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    errors.extend(validate_selector(selector, SelectorValues::Checked, path));
    if crate::selectors::is_empty(selector) {
        let text = format!("empty selector is invalid for {kind}");
        errors.push(FieldError::invalid(path, value_of(selector), text));
    }
}

/// Says that the labels of a template are not those selected.
pub(crate) fn labels_do_not_match(path: &Path, labels: &Map<Str>) -> FieldError {
    let text = "`selector` does not match template `labels`";
    invalid_or_null(&path.f("metadata").f("labels"), labels_value(labels), text)
}

/// The template of Deployments and ReplicaSets against their selector.
pub(crate) fn replica_template(
    errors: &mut Errors,
    path: &Path,
    selector: Option<&LabelSelector>,
    template: &PodTemplateSpec,
) {
    let parsed = match Selector::from_label_selector(selector) {
        Ok(parsed) => parsed,
        Err(_) => {
            let bad = selector.map(value_of).unwrap_or_default();
            errors.push(FieldError::invalid(
                path.f("selector"),
                bad,
                "invalid label selector",
            ));
            return;
        }
    };
    let path = path.f("template");
    if !parsed.is_everything() && !parsed.matches(&template.metadata.labels) {
        errors.push(labels_do_not_match(&path, &template.metadata.labels));
    }
    errors.extend(validate_pod_template(template, &path));
    always_restarting(errors, &path, template, "ReplicaSet");
}

/// Pods of most workloads restart for ever.
pub(crate) fn always_restarting(
    errors: &mut Errors,
    path: &Path,
    template: &PodTemplateSpec,
    kind: &str,
) {
    let path = path.f("spec");
    let policy = &template.spec.restart_policy;
    if policy != "Always" {
        errors.push(FieldError::not_supported(
            path.f("restartPolicy"),
            policy,
            &["Always"],
        ));
    }
    if template.spec.active_deadline_seconds.is_some() {
        let text = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(path.f("activeDeadlineSeconds"), text));
    }
}

/// The selector cannot change.
pub(crate) fn selector_kept(
    errors: &mut Errors,
    path: &Path,
    new: Option<&LabelSelector>,
    old: Option<&LabelSelector>,
) {
    let same = match (new, old) {
        (Some(new), Some(old)) => semantic_eq(new, old),
        (None, None) => true,
        _ => false,
    };
    if !same {
        errors.push(invalid_or_null(
            path,
            new.map(value_of),
            crate::error::IMMUTABLE,
        ));
    }
}

/// Status numbers that cannot exceed another.
pub(crate) fn not_greater(
    errors: &mut Errors,
    path: &Path,
    numbers: &[(&str, i32)],
    limit: i32,
    text: &str,
) {
    for (name, number) in numbers {
        if *number > limit {
            errors.push(FieldError::invalid(path.f(name), *number, text));
        }
    }
}

/// Collisions are never counted down.
pub(crate) fn collisions(errors: &mut Errors, path: &Path, new: Option<i32>, old: Option<i32>) {
    if old.is_some_and(|old| new.is_none_or(|new| new < old)) {
        let text = "cannot be decremented";
        errors.push(FieldError::invalid(
            path.f("collisionCount"),
            new.unwrap_or(0),
            text,
        ));
    }
}

/// An error about a struct that Go prints with its own names, in their order.
pub(crate) fn invalid_struct(path: &Path, members: &[(&str, Value)], detail: &str) -> FieldError {
    let members: Vec<String> = members
        .iter()
        .map(|(k, v)| format!("\"{k}\":{}", corten_core::json_text::print(v)))
        .collect();
    FieldError::invalid(
        path,
        Value::Null,
        format!("{{{}}}: {detail}", members.join(",")),
    )
}
