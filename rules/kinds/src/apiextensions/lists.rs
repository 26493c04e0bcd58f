//! Sets and maps among lists: no element twice. And embedded resources: they name what they are.

use corten_core::Value;

use super::evaluate::{flag, join, list_keys, object};
use crate::checks::Errors;
use crate::error::FieldError;
use crate::names::dns_1035_label;

/// Elements that are there twice.
pub(super) fn duplicates(value: &Value, schema: &Value) -> Errors {
    let mut errors = Vec::new();
    visit(value, schema, "", &mut errors);
    errors
}

fn visit(value: &Value, schema: &Value, path: &str, errors: &mut Errors) {
    match value {
        Value::Map(map) => {
            for (key, member) in map.iter() {
                if let Some(part) = schema.get("properties").and_then(|p| p.get(key)) {
                    visit(member, part, &join(path, key), errors);
                } else if let Some(part) = object(schema, "additionalProperties") {
                    visit(member, part, &format!("{path}[{key}]"), errors);
                }
            }
        }
        Value::List(list) => {
            match schema.str_at(&["x-kubernetes-list-type"]) {
                "set" => set(list, path, errors),
                "map" => keyed(list, &list_keys(schema).unwrap_or_default(), path, errors),
                _ => {}
            }
            if let Some(items) = object(schema, "items") {
                for (i, item) in list.iter().enumerate() {
                    visit(item, items, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

/// Which elements are there a second time; a third time is not said.
fn repeated(list: &[Value]) -> Vec<usize> {
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    let mut out = Vec::new();
    for (i, value) in list.iter().enumerate() {
        let times = seen
            .entry(corten_core::json_text::print(value))
            .or_default();
        *times += 1;
        if *times == 2 {
            out.push(i);
        }
    }
    out
}

fn set(list: &[Value], path: &str, errors: &mut Errors) {
    for i in repeated(list) {
        errors.push(FieldError::duplicate(
            format!("{path}[{i}]"),
            list[i].clone(),
        ));
    }
}

fn keyed(list: &[Value], keys: &[String], path: &str, errors: &mut Errors) {
    let wrong = |v: &&Value| !v.is_null() && v.as_map().is_none();
    if let Some(i) = list.iter().position(|v| wrong(&v)) {
        errors.push(FieldError::invalid(
            format!("{path}[{i}]"),
            list[i].clone(),
            "must be an object for an array of list-type map",
        ));
        return;
    }
    let named: Vec<Value> = list
        .iter()
        .map(|element| {
            let mut out = Value::map();
            for key in keys {
                if let Some(value) = element.get(key) {
                    out.set(&[key], value.clone());
                }
            }
            out
        })
        .collect();
    for i in repeated(&named) {
        errors.push(FieldError::duplicate(
            format!("{path}[{i}]"),
            named[i].clone(),
        ));
    }
}

/// What is wrong with the resources inside a resource.
pub(super) fn embedded(value: &Value, schema: &Value) -> Errors {
    let mut errors = Vec::new();
    resources(value, schema, "", &mut errors);
    errors
}

fn resources(value: &Value, schema: &Value, path: &str, errors: &mut Errors) {
    match value {
        Value::Map(map) => {
            if !path.is_empty() && flag(schema, "x-kubernetes-embedded-resource") {
                resource(value, path, errors);
            }
            for (key, member) in map.iter() {
                if let Some(part) = schema.get("properties").and_then(|p| p.get(key)) {
                    resources(member, part, &join(path, key), errors);
                } else if let Some(part) = object(schema, "additionalProperties") {
                    resources(member, part, &format!("{path}[{key}]"), errors);
                }
            }
        }
        Value::List(list) => {
            if let Some(items) = object(schema, "items") {
                for (i, item) in list.iter().enumerate() {
                    resources(item, items, &format!("{path}[{i}]"), errors);
                }
            }
        }
        _ => {}
    }
}

fn resource(value: &Value, path: &str, errors: &mut Errors) {
    for name in ["apiVersion", "kind"] {
        let at = format!("{path}.{name}");
        match value.get(name) {
            None => errors.push(FieldError::required(at, "")),
            Some(Value::Str(text)) if text.is_empty() => {
                errors.push(FieldError::invalid(at, "", "must not be empty"));
            }
            Some(Value::Str(text)) => {
                if name == "apiVersion" && text.matches('/').count() > 1 {
                    let detail = format!("unexpected GroupVersion string: {}", text.as_str());
                    errors.push(FieldError::invalid(at, text.as_str(), detail));
                    continue;
                }
                let wrong = dns_1035_label(&text.to_lowercase());
                if name == "kind" && !wrong.is_empty() {
                    let detail = format!(
                        "may have mixed case, but should otherwise match: {}",
                        wrong.join(",")
                    );
                    errors.push(FieldError::invalid(at, text.as_str(), detail));
                }
            }
            Some(other) => errors.push(FieldError::invalid(at, other.clone(), "must be a string")),
        }
    }
}
