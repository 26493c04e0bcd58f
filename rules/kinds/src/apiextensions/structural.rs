//! Structural schemas: every value has a type, what says more about values says nothing about their type, and the
//! standard fields keep their meaning. Works on the schema as JSON.

use corten_core::Value;

use super::evaluate::{flag, members, object};
use crate::checks::Errors;
use crate::error::FieldError;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// What keeps a schema from being structural, in the order of the messages.
pub(super) fn check(path: &str, schema: &Value) -> Errors {
    let mut errors = Vec::new();
    invariants(&mut errors, path, schema, Level::Root);
    complete(&mut errors, path, schema);
    errors.sort_by_key(ToString::to_string);
    errors
}

fn is_set(schema: &Value, name: &str) -> bool {
    match schema.get(name) {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Str(text)) => !text.is_empty(),
        Some(Value::List(list)) => !list.is_empty(),
        Some(_) => true,
    }
}

fn parts<'a>(schema: &'a Value, name: &str) -> &'a [Value] {
    schema
        .get(name)
        .and_then(Value::as_list)
        .unwrap_or_default()
}

fn invariants(errors: &mut Errors, path: &str, schema: &Value, level: Level) {
    let t = schema.str_at(&["type"]);
    let items = object(schema, "items");
    if t == "array" && items.is_none() {
        errors.push(FieldError::required(
            format!("{path}.items"),
            "must be specified",
        ));
    }
    if let Some(items) = items {
        invariants(errors, &format!("{path}.items"), items, Level::Item);
    }
    for (name, part) in members(schema, "properties") {
        invariants(
            errors,
            &format!("{path}.properties[{name}]"),
            part,
            Level::Field,
        );
    }
    if let Some(more) = schema.get("additionalProperties") {
        let at = format!("{path}.additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&at, "must not be used at the root"));
        }
        if more.as_map().is_some() {
            invariants(errors, &at, more, Level::Field);
        }
    }
    extensions(errors, path, schema);
    let skip = int_or_string(parts(schema, "anyOf"));
    let skip_first = parts(schema, "allOf")
        .first()
        .is_some_and(|first| int_or_string(parts(first, "anyOf")));
    values(errors, path, schema, skip, skip_first);
    types(errors, path, schema, level);
    metadata(errors, path, schema, level);
}

fn extensions(errors: &mut Errors, path: &str, schema: &Value) {
    if !flag(schema, INT_OR_STRING) {
        return;
    }
    for name in [PRESERVE, EMBEDDED] {
        if flag(schema, name) {
            let text = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(format!("{path}.{name}"), true, text));
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`
fn int_or_string(parts: &[Value]) -> bool {
    let only = |part: &Value, t: &str| {
        part.as_map().is_some_and(|m| m.len() == 1) && part.str_at(&["type"]) == t
    };
    matches!(parts, [a, b] if only(a, "integer") && only(b, "string"))
}

/// What is said about values.
fn values(errors: &mut Errors, path: &str, schema: &Value, skip_any: bool, skip_first_all: bool) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip_any {
            continue;
        }
        for (i, part) in parts(schema, name).iter().enumerate() {
            let skip = name == "allOf" && skip_first_all && i == 0;
            nested(errors, &format!("{path}.{name}[{i}]"), part, skip);
        }
    }
    if let Some(part) = object(schema, "not") {
        nested(errors, &format!("{path}.not"), part, false);
    }
    let pattern = schema.str_at(&["pattern"]);
    if !pattern.is_empty()
        && let Err(why) = corten_cel::regular_expression(pattern)
    {
        let text = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid(
            format!("{path}.pattern"),
            pattern,
            text,
        ));
    }
}

const EMPTY: [(&str, &str); 13] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    (PRESERVE, "must be false to be structural"),
    (EMBEDDED, "must be false to be structural"),
    (INT_OR_STRING, "must be false to be structural"),
    (
        "x-kubernetes-list-map-keys",
        "must be empty to be structural",
    ),
    (
        "x-kubernetes-list-type",
        "must be undefined to be structural",
    ),
    (
        "x-kubernetes-map-type",
        "must be undefined to be structural",
    ),
    ("x-kubernetes-validations", "must be empty to be structural"),
];

fn nested(errors: &mut Errors, path: &str, schema: &Value, skip_any: bool) {
    values(errors, path, schema, skip_any, false);
    if let Some(items) = object(schema, "items") {
        nested(errors, &format!("{path}.items"), items, false);
    }
    for (name, part) in members(schema, "properties") {
        nested(errors, &format!("{path}.properties[{name}]"), part, false);
    }
    for (name, text) in EMPTY {
        let set = match name {
            "additionalProperties" | "default" => schema.get(name).is_some(),
            _ => is_set(schema, name),
        };
        if set {
            errors.push(FieldError::forbidden(format!("{path}.{name}"), text));
        }
    }
    if schema
        .get("properties")
        .is_some_and(|p| p.get("metadata").is_some())
    {
        errors.push(FieldError::forbidden(
            format!("{path}.properties[metadata]"),
            "must not be specified in a nested context",
        ));
    }
}

fn types(errors: &mut Errors, path: &str, schema: &Value, level: Level) {
    let at = format!("{path}.type");
    let t = schema.str_at(&["type"]);
    let embedded = flag(schema, EMBEDDED);
    if embedded && t != "object" {
        let text = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if t.is_empty() {
            FieldError::required(&at, text)
        } else {
            FieldError::invalid(&at, t, text)
        });
    } else if t.is_empty() && !flag(schema, INT_OR_STRING) && !flag(schema, PRESERVE) {
        let text = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at, text));
    }
    if embedded && schema.get("additionalProperties").is_some() {
        errors.push(FieldError::forbidden(
            format!("{path}.additionalProperties"),
            "must not be used if x-kubernetes-embedded-resource is set",
        ));
    }
    if level == Level::Root && !t.is_empty() && t != "object" {
        errors.push(FieldError::invalid(&at, t, "must be object at the root"));
    }
}

fn metadata(errors: &mut Errors, path: &str, schema: &Value, level: Level) {
    let checked = level == Level::Root || flag(schema, EMBEDDED);
    let property = |name: &str| schema.get("properties").and_then(|p| p.get(name));
    let mut wanted = |name: &str, t: &str| {
        if let Some(found) = property(name).filter(|_| checked)
            && found.str_at(&["type"]) != t
        {
            errors.push(FieldError::invalid(
                format!("{path}.properties[{name}].type"),
                found.str_at(&["type"]),
                format!("must be {t}"),
            ));
        }
    };
    wanted("kind", "string");
    wanted("apiVersion", "string");
    wanted("metadata", "object");
    if let Some(found) = property("metadata").filter(|_| level == Level::Root) {
        let names = |m: &corten_core::ValueMap| {
            m.iter()
                .all(|(k, _)| matches!(k.as_str(), "name" | "generateName"))
        };
        let fine = found.as_map().is_some_and(|m| {
            m.iter().all(|(k, v)| match k.as_str() {
                "type" | "default" => true,
                "properties" => v.as_map().is_some_and(names),
                _ => false,
            })
        });
        if !fine {
            errors.push(FieldError::forbidden(
                format!("{path}.properties[metadata]"),
                "must not specify anything other than name and generateName, but metadata is implicitly specified",
            ));
        }
    }
    let preserve = flag(schema, PRESERVE);
    if flag(schema, EMBEDDED) && !preserve && members(schema, "properties").next().is_none() {
        errors.push(FieldError::required(
            format!("{path}.properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        ));
    }
}

/// Whatever is said about values names only what the schema itself specifies.
fn complete(errors: &mut Errors, path: &str, schema: &Value) {
    for name in ["anyOf", "allOf", "oneOf"] {
        for (i, part) in parts(schema, name).iter().enumerate() {
            covered(errors, path, schema, &format!("{path}.{name}[{i}]"), part);
        }
    }
    if let Some(part) = object(schema, "not") {
        covered(errors, path, schema, &format!("{path}.not"), part);
    }
}

fn covered(errors: &mut Errors, path: &str, schema: &Value, at: &str, part: &Value) {
    for name in ["anyOf", "allOf", "oneOf"] {
        for (i, inner) in parts(part, name).iter().enumerate() {
            covered(errors, path, schema, &format!("{at}.{name}[{i}]"), inner);
        }
    }
    if let Some(inner) = object(part, "not") {
        covered(errors, path, schema, &format!("{at}.not"), inner);
    }
    let because = |what: &str| format!("because it is defined in {what}");
    if let Some(inner) = object(part, "items") {
        let own = format!("{path}.items");
        match object(schema, "items") {
            Some(items) => covered(errors, &own, items, &format!("{at}.items"), inner),
            None => errors.push(FieldError::required(own, because(&format!("{at}.items")))),
        }
    }
    for (name, inner) in members(part, "properties") {
        let own = format!("{path}.properties[{name}]");
        let at = format!("{at}.properties[{name}]");
        let found = schema.get("properties").and_then(|p| p.get(name));
        match found {
            Some(found) => covered(errors, &own, found, &at, inner),
            None => errors.push(FieldError::required(own, because(&at))),
        }
    }
}
