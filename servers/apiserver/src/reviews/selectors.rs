//! The selectors that an access review may bear, either as text or as requirements. Invariant: what cannot be
//! understood is left out and said, which only ever widens the question.

use corten_api::authorization::v1::ResourceAttributes;
use corten_api::meta::v1::{FieldSelectorRequirement, LabelSelectorRequirement};
use corten_core::{Str, Value};
use corten_kinds::FieldError;
use corten_meta::{FieldSelector, Selector};

/// Selectors as texts, and what was left out of them.
#[derive(Debug, Default)]
pub(super) struct Selected {
    pub fields: String,
    pub labels: String,
    pub problems: Vec<String>,
}

const PATH: &str = "spec.resourceAttributes";

/// What is wrong with the selectors of a question.
pub(super) fn check(resource: &ResourceAttributes) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if let Some(selector) = resource.field_selector.as_deref() {
        let path = format!("{PATH}.fieldSelector");
        either(
            &path,
            &selector.raw_selector,
            selector.requirements.len(),
            &mut errors,
        );
        for (i, r) in selector.requirements.iter().enumerate() {
            let path = format!("{path}.requirements[{i}]");
            if r.key.is_empty() {
                errors.push(FieldError::required(
                    format!("{path}.key"),
                    "must be specified",
                ));
            }
            operator(&path, &r.operator, r.values.len(), &mut errors);
        }
    }
    if let Some(selector) = resource.label_selector.as_deref() {
        let path = format!("{PATH}.labelSelector");
        either(
            &path,
            &selector.raw_selector,
            selector.requirements.len(),
            &mut errors,
        );
        for (i, r) in selector.requirements.iter().enumerate() {
            let path = format!("{path}.requirements[{i}]");
            operator(&path, &r.operator, r.values.len(), &mut errors);
            errors.extend(label_name(&path, &r.key));
        }
    }
    errors
}

fn either(path: &str, raw: &Str, requirements: usize, errors: &mut Vec<FieldError>) {
    if !raw.is_empty() && requirements > 0 {
        let why = "may not specified at the same time as requirements";
        let value = Value::Str(raw.clone());
        errors.push(FieldError::invalid(
            format!("{path}.rawSelector"),
            value,
            why,
        ));
    }
    if raw.is_empty() && requirements == 0 {
        let why = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(format!("{path}.requirements"), why));
    }
}

fn operator(path: &str, operator: &str, values: usize, errors: &mut Vec<FieldError>) {
    let path = format!("{path}.values");
    match operator {
        "In" | "NotIn" if values == 0 => errors.push(FieldError::required(
            path,
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if values > 0 => errors.push(FieldError::forbidden(
            path,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        _ => {}
    }
}

fn label_name(path: &str, key: &Str) -> Vec<FieldError> {
    corten_meta::labels::invalid_key(key)
        .into_iter()
        .map(|why| FieldError::invalid(format!("{path}.key"), Value::Str(key.clone()), why))
        .collect()
}

/// The selectors as authorizers take them.
pub(super) fn read(resource: &ResourceAttributes) -> Selected {
    let mut selected = Selected::default();
    if let Some(selector) = resource.field_selector.as_deref() {
        let (text, bad) = match selector.requirements.is_empty() {
            true => {
                let good = FieldSelector::parse(&selector.raw_selector).is_ok();
                (good.then(|| selector.raw_selector.to_string()), !good)
            }
            false => joined(selector.requirements.iter().map(field)),
        };
        selected.note("fieldSelector", text.is_some(), bad);
        selected.fields = text.unwrap_or_default();
    }
    if let Some(selector) = resource.label_selector.as_deref() {
        let (text, bad) = match selector.requirements.is_empty() {
            true => {
                let good = Selector::parse(&selector.raw_selector).is_ok();
                (good.then(|| selector.raw_selector.to_string()), !good)
            }
            false => joined(selector.requirements.iter().map(label)),
        };
        selected.note("labelSelector", text.is_some(), bad);
        selected.labels = text.unwrap_or_default();
    }
    selected
}

impl Selected {
    fn note(&mut self, name: &str, anything: bool, bad: bool) {
        if bad {
            let partially = if anything { "partially " } else { "" };
            self.problems.push(format!(
                "{PATH}.{name} {partially}ignored due to parse error"
            ));
        }
    }
}

/// The understood terms, if any, and whether there were others.
fn joined(terms: impl Iterator<Item = Option<String>>) -> (Option<String>, bool) {
    let all: Vec<Option<String>> = terms.collect();
    let bad = all.iter().any(Option::is_none);
    let good: Vec<String> = all.into_iter().flatten().collect();
    ((!good.is_empty()).then(|| good.join(",")), bad)
}

fn field(requirement: &FieldSelectorRequirement) -> Option<String> {
    let escaped = |value: &str| {
        let mut out = String::with_capacity(value.len());
        for c in value.chars() {
            if matches!(c, ',' | '=' | '\\') {
                out.push('\\');
            }
            out.push(c);
        }
        out
    };
    let [value] = &requirement.values[..] else {
        return None;
    };
    match requirement.operator.as_str() {
        "In" => Some(format!("{}={}", requirement.key, escaped(value))),
        "NotIn" => Some(format!("{}!={}", requirement.key, escaped(value))),
        _ => None,
    }
}

fn label(requirement: &LabelSelectorRequirement) -> Option<String> {
    let key = &requirement.key;
    let values: Vec<&str> = requirement.values.iter().map(|v| v.as_str()).collect();
    let text = match requirement.operator.as_str() {
        "In" => format!("{key} in ({})", values.join(",")),
        "NotIn" => format!("{key} notin ({})", values.join(",")),
        "Exists" => key.to_string(),
        "DoesNotExist" => format!("!{key}"),
        _ => return None,
    };
    Selector::parse(&text).is_ok().then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_core::List;

    fn fields(operator: &str, values: &[&str]) -> Option<String> {
        field(&FieldSelectorRequirement {
            key: "spec.nodeName".into(),
            operator: operator.into(),
            values: List::from_iter(values.iter().copied()),
        })
    }

    #[test]
    fn requirements_become_text() {
        assert_eq!(fields("In", &["a,b"]).unwrap(), "spec.nodeName=a\\,b");
        assert_eq!(fields("NotIn", &["a"]).unwrap(), "spec.nodeName!=a");
        assert_eq!(fields("In", &["a", "b"]), None);
        assert_eq!(fields("Exists", &[]), None);
        let (text, bad) = joined([Some("a".to_owned()), None].into_iter());
        assert_eq!((text.as_deref(), bad), (Some("a"), true));
    }
}
