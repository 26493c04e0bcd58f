//! LimitRanges: for containers, the default limit is the maximum, the default request the default limit or the minimum.

use super::pod::default_resources;
use super::pod::validate::quantities;
use crate::checks::Errors;
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells};
use corten_api::core::v1::{LimitRange, LimitRangeItem};
use corten_core::{Map, Path, Quantity, Time, Value};
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
        }
    }
}

/// Minimum, default request, default limit and maximum must ascend.
fn amounts(errors: &mut Errors, path: &Path, item: &LimitRangeItem) {
    let lists = [
        ("min", "min value", &item.min),
        (
            "defaultRequest",
            "default request value",
            &item.default_request,
        ),
        ("default", "default limit value", &item.default),
        ("max", "max value", &item.max),
    ];
    let above = |a: &Quantity, b: &Quantity| a.amount().compare(&b.amount()) == Ordering::Greater;
    for (i, (low_key, low_word, low)) in lists.iter().enumerate() {
        for (high_key, high_word, high) in &lists[i + 1..] {
            for (name, value) in *low {
                let Some(limit) = high.get(name).filter(|l| above(value, l)) else {
                    continue;
                };
                // Upstream calls the default limit by its full name only beside the default request.
                let (low_word, high_word) = match (*low_key, *high_key) {
                    ("default", _) => ("default value", *high_word),
                    ("min", "default") => (*low_word, "default value"),
                    _ => (*low_word, *high_word),
                };
                let (key, shown) = match (*low_key, *high_key) {
                    ("min", "max") => ("min", value),
                    ("min", "defaultRequest") => ("defaultRequest", limit),
                    ("min", _) => ("default", value),
                    ("default", _) => ("default", limit),
                    _ => ("defaultRequest", value),
                };
                let text = format!("{low_word} {value} is greater than {high_word} {limit}");
                errors.push(FieldError::invalid(
                    path.f(key).k(name),
                    shown.to_string(),
                    text,
                ));
            }
        }
    }
    let one = Quantity::new(1, corten_core::QuantityFormat::DecimalSi);
    for (name, ratio) in item
        .max_limit_request_ratio
        .iter()
        .filter(|(_, r)| above(&one, r))
    {
        let text = format!("ratio {ratio} is less than 1");
        errors.push(FieldError::invalid(
            path.f("maxLimitRequestRatio").k(name),
            ratio.to_string(),
            text,
        ));
    }
}
