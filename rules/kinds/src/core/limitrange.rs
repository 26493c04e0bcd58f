//! LimitRanges: for containers, the default limit is the maximum, the default request the default limit or the minimum.

use super::pod::default_resources;
use super::pod::validate::quantities;
use crate::checks::Errors;
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells};
use corten_api::core::v1::{LimitRange, LimitRangeItem};
use corten_core::{Map, Path, Quantity, Str, Time, Value};
use std::cmp::Ordering;

/// The strategy of LimitRanges.
pub struct LimitRanges;

static COLUMNS: [Column; 2] = [
    cells::NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        description: cells::CREATED,
        priority: 0,
    },
];

impl Rules for LimitRanges {
    type Of = LimitRange;

    fn default(&self, range: &mut LimitRange) {
        range.spec.limits.iter_mut().for_each(default_item);
    }
    fn validate_create(&self, _cx: &Context, new: &LimitRange) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &LimitRange,
        _old: &LimitRange,
    ) -> Vec<FieldError> {
        validate(new)
    }
    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn cells(&self, range: &LimitRange, _now: &Time) -> Vec<Value> {
        vec![
            Value::from(&range.metadata.name),
            Value::from(range.metadata.creation_timestamp.to_string()),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
}

fn add_missing(into: &mut Map<Quantity>, from: &Map<Quantity>) {
    for (name, amount) in from {
        if !into.contains_key(name) {
            into.insert(name.clone(), amount.clone());
        }
    }
}

fn default_item(item: &mut LimitRangeItem) {
    if item.type_ == "Container" {
        add_missing(&mut item.default, &item.max);
        add_missing(&mut item.default_request, &item.default);
        add_missing(&mut item.default_request, &item.min);
    }
    for list in [
        &mut item.max,
        &mut item.min,
        &mut item.default,
        &mut item.default_request,
        &mut item.max_limit_request_ratio,
    ] {
        default_resources(list);
    }
}

fn validate(range: &LimitRange) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let path = path.f("limits");
    for (i, item) in range.spec.limits.iter().enumerate() {
        let at = path.i(i);
        let wrong = corten_meta::labels::invalid_key(&item.type_);
        let standard = matches!(
            item.type_.as_str(),
            "Pod" | "Container" | "PersistentVolumeClaim"
        );
        if wrong.is_empty() && !item.type_.contains('/') && !standard {
            let text = "must be a standard limit type or fully qualified";
            errors.push(FieldError::invalid(at.f("type"), &item.type_, text));
        }
        errors.extend(
            wrong
                .into_iter()
                .map(|m| FieldError::invalid(at.f("type"), &item.type_, m)),
        );
        if range.spec.limits[..i].iter().any(|o| o.type_ == item.type_) {
            errors.push(FieldError::duplicate(at.f("type"), &item.type_));
        }
        names(&mut errors, &at, item);
        if item.type_ == "PersistentVolumeClaim"
            && !item.min.contains_key("storage")
            && !item.max.contains_key("storage")
        {
            let text =
                "either minimum or maximum storage value is required, but neither was provided";
            errors.push(FieldError::required(at.f("limits"), text));
        }
        amounts(&mut errors, &at, item);
    }
    errors
}

fn names(errors: &mut Errors, path: &Path, item: &LimitRangeItem) {
    for (key, list) in [
        ("max", &item.max),
        ("min", &item.min),
        ("default", &item.default),
        ("defaultRequest", &item.default_request),
        ("maxLimitRequestRatio", &item.max_limit_request_ratio),
    ] {
        let at = path.f(key);
        if item.type_ == "Pod" && key.starts_with("default") {
            if !list.is_empty() {
                errors.push(FieldError::forbidden(
                    &at,
                    "may not be specified when `type` is 'Pod'",
                ));
            }
            continue;
        }
        for name in list.keys() {
            quantities::resource_name(errors, &at.k(name), name);
            let container = item.type_ == "Container" && !name.contains('/');
            if container && !quantities::is_container_standard(name) {
                let text = "must be a standard resource for containers";
                errors.push(FieldError::invalid(at.k(name), name, text));
            }
        }
    }
}

/// Minimum, default request, default limit and maximum must ascend; each pair has its own words.
fn amounts(errors: &mut Errors, path: &Path, item: &LimitRangeItem) {
    let lists = [
        &item.min,
        &item.max,
        &item.default,
        &item.default_request,
        &item.max_limit_request_ratio,
    ];
    let names: std::collections::BTreeSet<&Str> =
        lists.iter().flat_map(|list| list.keys()).collect();
    for name in names {
        amounts_of(errors, path, item, name);
    }
}

fn amounts_of(errors: &mut Errors, path: &Path, item: &LimitRangeItem, name: &str) {
    let above = |a: &Quantity, b: &Quantity| a.amount().compare(&b.amount()) == Ordering::Greater;
    let (min, max) = (item.min.get(name), item.max.get(name));
    let (default, request) = (item.default.get(name), item.default_request.get(name));
    // The lower, the higher, where it is said, which of the two is shown, and both names.
    let pairs = [
        (min, max, "min", true, "min value", "max value"),
        (
            min,
            request,
            "defaultRequest",
            false,
            "min value",
            "default request value",
        ),
        (
            request,
            max,
            "defaultRequest",
            true,
            "default request value",
            "max value",
        ),
        (
            request,
            default,
            "defaultRequest",
            true,
            "default request value",
            "default limit value",
        ),
        (min, default, "default", true, "min value", "default value"),
        (default, max, "default", false, "default value", "max value"),
    ];
    for (low, high, key, shows_low, low_word, high_word) in pairs {
        let (Some(low), Some(high)) = (low, high) else {
            continue;
        };
        if above(low, high) {
            let shown = if shows_low { low } else { high };
            let text = format!("{low_word} {low} is greater than {high_word} {high}");
            errors.push(FieldError::invalid(
                path.f(key).k(name),
                shown.to_string(),
                text,
            ));
        }
    }
    ratio(errors, path, item, name);
    let overcommits =
        name.contains("kubernetes.io/") || !(name.contains('/') || name.starts_with("hugepages-"));
    if let (Some(default), Some(request), false) = (default, request, overcommits)
        && default.amount().compare(&request.amount()) != Ordering::Equal
    {
        let text = format!(
            "default value {default} must equal to defaultRequest value {request} in {name}"
        );
        errors.push(FieldError::invalid(
            path.f("defaultRequest").k(name),
            request.to_string(),
            text,
        ));
    }
}

/// A limit is at least the request, and at most as many times as much as the maximum is of the minimum.
fn ratio(errors: &mut Errors, path: &Path, item: &LimitRangeItem, name: &str) {
    let Some(ratio) = item.max_limit_request_ratio.get(name) else {
        return;
    };
    let at = path.f("maxLimitRequestRatio");
    if ratio.milli_value() < 1000 {
        let text = format!("ratio {ratio} is less than 1");
        errors.push(FieldError::invalid(at.k(name), ratio.to_string(), text));
    }
    if let (Some(min), Some(max)) = (item.min.get(name), item.max.get(name)) {
        let most = max.as_f64() / min.as_f64();
        if ratio.as_f64() > most {
            let text = format!("ratio {ratio} is greater than max/min = {most:.6}");
            errors.push(FieldError::invalid(at.k(name), ratio.to_string(), text));
        }
    }
}
