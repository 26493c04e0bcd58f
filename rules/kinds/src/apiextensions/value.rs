//! Values under a schema: pruned, defaulted, validated. Messages are worded as upstream's validator words them; on
//! update, what was wrong before and has not changed is not held against the write. Leaves out rules (`evaluate`).

use corten_core::{Value, ValueMap};

use super::evaluate::{flag, join, members, object};
use crate::checks::Errors;
use crate::error::{ErrorKind, FieldError};

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// What is pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pruning {
    /// A whole resource: it keeps apiVersion, kind and metadata.
    Resource,
    /// Any value.
    Value,
}

/// Drops members that the schema does not name; answers their paths.
pub(super) fn prune(value: &mut Value, schema: &Value, what: Pruning) -> Vec<String> {
    let mut dropped = Vec::new();
    prune_at(value, schema, "", what == Pruning::Resource, &mut dropped);
    dropped
}

fn prune_at(
    value: &mut Value,
    schema: &Value,
    path: &str,
    resource: bool,
    dropped: &mut Vec<String>,
) {
    match value {
        Value::Map(map) => {
            let resource = resource || flag(schema, EMBEDDED);
            prune_map(map, schema, path, resource, dropped);
        }
        Value::List(list) => {
            let Some(items) = object(schema, "items") else {
                return;
            };
            for (i, item) in list.iter_mut().enumerate() {
                prune_at(item, items, &format!("{path}[{i}]"), false, dropped);
            }
        }
        _ => {}
    }
}

fn prune_map(
    map: &mut ValueMap,
    schema: &Value,
    path: &str,
    resource: bool,
    dropped: &mut Vec<String>,
) {
    let properties = schema.get("properties");
    let additional = schema.get("additionalProperties");
    let preserve = flag(schema, PRESERVE);
    let mut gone = Vec::new();
    for (key, member) in map.iter_mut() {
        if resource && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        let at = || join(path, key);
        match (properties.and_then(|p| p.get(key)), additional) {
            (Some(schema), _) => prune_at(member, schema, &at(), false, dropped),
            (None, Some(schema @ Value::Map(_))) => prune_at(member, schema, &at(), false, dropped),
            (None, Some(Value::Bool(true))) => {}
            _ if preserve => {}
            _ => gone.push(key.clone()),
        }
    }
    for key in gone {
        map.remove(&key);
        dropped.push(join(path, &key));
    }
}

/// A null where none may be.
fn wrong_null(value: Option<&Value>, schema: &Value) -> bool {
    matches!(value, Some(Value::Null)) && !flag(schema, "nullable")
}

/// Fills in defaults of absent members, and of nulls that may not be.
pub(super) fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Map(map) => {
            for (key, schema) in members(schema, "properties") {
                if let Some(default) = schema.get("default")
                    && (map.get(key).is_none() || wrong_null(map.get(key), schema))
                {
                    map.insert(key.clone(), default.clone());
                }
                if let Some(member) = map.get_mut(key) {
                    self::default(member, schema);
                }
            }
            let Some(more) = object(schema, "additionalProperties") else {
                return;
            };
            let named = schema.get("properties");
            for (key, member) in map.iter_mut() {
                if named.is_some_and(|p| p.get(key).is_some()) {
                    continue;
                }
                if let Some(default) = more.get("default")
                    && wrong_null(Some(member), more)
                {
                    *member = default.clone();
                }
                self::default(member, more);
            }
        }
        Value::List(list) => {
            let Some(items) = object(schema, "items") else {
                return;
            };
            for item in list {
                if let Some(default) = items.get("default")
                    && wrong_null(Some(item), items)
                {
                    *item = default.clone();
                }
                default(item, items);
            }
        }
        _ => {}
    }
}

/// Drops nulls where none may be and no default stands in.
pub(super) fn drop_nulls(value: &mut Value, schema: &Value) {
    match value {
        Value::Map(map) => {
            let more = object(schema, "additionalProperties");
            let named = schema.get("properties");
            let mut gone = Vec::new();
            for (key, member) in map.iter_mut() {
                let Some(part) = named.and_then(|p| p.get(key)).or(more) else {
                    continue;
                };
                if wrong_null(Some(member), part) {
                    gone.push(key.clone());
                } else {
                    drop_nulls(member, part);
                }
            }
            for key in gone {
                map.remove(&key);
            }
        }
        Value::List(list) => {
            if let Some(items) = object(schema, "items") {
                for item in list {
                    drop_nulls(item, items);
                }
            }
        }
        _ => {}
    }
}

/// What a value was before: nothing on create.
#[derive(Clone, Copy)]
pub(super) enum Before<'a> {
    Create,
    Update(Option<&'a Value>),
}

impl<'a> Before<'a> {
    fn member(self, key: &str) -> Before<'a> {
        match self {
            Before::Update(Some(old)) => Before::Update(old.get(key)),
            other => other,
        }
    }
    fn element(self, element: &Value, schema: &Value) -> Before<'a> {
        let Before::Update(Some(old)) = self else {
            return self;
        };
        let list = old.as_list().unwrap_or_default();
        Before::Update(match schema.str_at(&["x-kubernetes-list-type"]) {
            "set" => list.iter().find(|o| *o == element),
            "map" => {
                let keys = super::evaluate::list_keys(schema).unwrap_or_default();
                list.iter()
                    .find(|o| keys.iter().all(|k| o.get(k) == element.get(k)))
            }
            _ => None,
        })
    }
}

/// What is wrong with a resource, or its status alone.
pub(super) fn validate(value: &Value, schema: &Value, before: Before<'_>) -> Errors {
    let mut errors = Vec::new();
    check(value, schema, "", before, &mut errors);
    errors
}

/// What is wrong with a value that stands at a path which messages do not repeat.
pub(super) fn validate_at(path: &str, value: &Value, schema: &Value) -> Errors {
    let mut errors = validate(value, schema, Before::Create);
    for error in &mut errors {
        error.field = match error.field.as_str() {
            "<nil>" => path.to_owned(),
            inner => format!("{path}.{inner}"),
        };
    }
    errors
}

fn push(errors: &mut Errors, error: FieldError) {
    if !errors.contains(&error) {
        errors.push(error);
    }
}

fn error(kind: ErrorKind, path: &str, bad: Value, detail: String) -> FieldError {
    let field = if path.is_empty() { "<nil>" } else { path };
    FieldError::new(kind, field, bad, detail)
}

fn check(value: &Value, schema: &Value, path: &str, before: Before<'_>, errors: &mut Errors) {
    let mut found = Vec::new();
    check_type(value, schema, path, &mut found);
    if !value.is_null() {
        combinations(value, schema, path, before, &mut found);
        match value {
            Value::Str(text) => check_text(text, schema, path, &mut found),
            Value::Int(_) | Value::Float(_) => check_number(value, schema, path, &mut found),
            Value::List(list) => check_list(list, schema, path, before, &mut found),
            _ => {}
        }
    }
    check_enum(value, schema, path, &mut found);
    if let Value::Map(map) = value {
        check_map(map, schema, path, before, &mut found);
    }
    if matches!(before, Before::Update(Some(old)) if old == value) {
        return;
    }
    for error in found {
        push(errors, error);
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(_) => "number",
        Value::Str(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}

/// The format, when it is one that means something for the type.
fn format_of<'a>(schema: &'a Value, t: &str) -> &'a str {
    let format = schema.str_at(&["format"]);
    let known = match t {
        "" | "string" => super::formats::is_known(format),
        "integer" => matches!(format, "int32" | "int64"),
        "number" => matches!(format, "float" | "double"),
        _ => false,
    };
    if known { format } else { "" }
}

fn check_type(value: &Value, schema: &Value, path: &str, errors: &mut Errors) {
    let actual = type_of(value);
    let mut refuse = |wanted: &str, actual: &str| {
        let detail = format!("{path} in body must be of type {wanted}: {actual:?}");
        push(
            errors,
            error(ErrorKind::TypeInvalid, path, Value::from(actual), detail),
        );
    };
    let t = schema.str_at(&["type"]);
    let int_or_string = flag(schema, INT_OR_STRING);
    let wanted = if int_or_string { "integer,string" } else { t };
    let format = format_of(schema, if int_or_string { "," } else { t });
    if value.is_null() {
        if !wanted.is_empty() && !flag(schema, "nullable") {
            refuse(wanted, "null");
        }
        return;
    }
    if wanted.is_empty() && format.is_empty() {
        return;
    }
    let whole = matches!(value, Value::Float(f) if f.fract() == 0.0);
    let fits = if int_or_string {
        matches!(actual, "integer" | "string") || whole
    } else {
        wanted == actual
            || (wanted == "number" && actual == "integer")
            || (wanted == "integer" && whole)
    };
    let textual = matches!(value, Value::Str(_) | Value::List(_));
    if !textual && !format.is_empty() && !fits {
        let own = match value {
            Value::Int(_) => "int64",
            Value::Float(_) => "float64",
            _ => "",
        };
        return refuse(format, own);
    }
    if textual && !format.is_empty() && !matches!(wanted, "number" | "integer") {
        return;
    }
    if !fits {
        refuse(wanted, actual);
    }
}

fn check_enum(value: &Value, schema: &Value, path: &str, errors: &mut Errors) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_list) else {
        return;
    };
    let same = |a: &Value| match (a, value) {
        (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => *a as f64 == *b,
        (a, b) => a == b,
    };
    if allowed.is_empty() || allowed.iter().any(same) {
        return;
    }
    let texts: Vec<String> = allowed
        .iter()
        .map(|v| match v {
            Value::Str(text) => text.to_string(),
            other => corten_core::json_text::print(other),
        })
        .collect();
    let field = if path.is_empty() { "<nil>" } else { path };
    push(
        errors,
        FieldError::not_supported(field, value.clone(), &texts),
    );
}

/// allOf, anyOf, oneOf and not.
fn combinations(
    value: &Value,
    schema: &Value,
    path: &str,
    before: Before<'_>,
    errors: &mut Errors,
) {
    let results = |name: &str| -> Option<Vec<Errors>> {
        let parts = schema.get(name)?.as_list().filter(|l| !l.is_empty())?;
        let run = |part: &Value| {
            let mut found = Vec::new();
            check(value, part, path, before, &mut found);
            found
        };
        Some(parts.iter().map(run).collect())
    };
    let refuse = |errors: &mut Errors, text: String| {
        push(errors, error(ErrorKind::Invalid, "", Value::from(""), text));
    };
    let first_failure = |errors: &mut Errors, all: &[Errors]| {
        for error in all.first().into_iter().flatten() {
            push(errors, error.clone());
        }
    };
    if let Some(all) = results("anyOf")
        && all.iter().all(|e| !e.is_empty())
    {
        let text = format!("{path:?} must validate at least one schema (anyOf)");
        refuse(errors, text);
        first_failure(errors, &all);
    }
    if let Some(all) = results("oneOf") {
        let valid = all.iter().filter(|e| e.is_empty()).count();
        let text = format!("{path:?} must validate one and only one schema (oneOf). ");
        if valid == 0 {
            refuse(errors, text + "Found none valid");
            first_failure(errors, &all);
        } else if valid > 1 {
            refuse(errors, text + &format!("Found {valid} valid alternatives"));
        }
    }
    if let Some(all) = results("allOf") {
        let valid = all.iter().filter(|e| e.is_empty()).count();
        for error in all.iter().flatten() {
            push(errors, error.clone());
        }
        if valid < all.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            let text = format!("{path:?} must validate all the schemas (allOf){none}");
            refuse(errors, text);
        }
    }
    if let Some(part) = object(schema, "not") {
        let mut found = Vec::new();
        check(value, part, path, before, &mut found);
        if found.is_empty() {
            let text = format!("{path:?} must not validate the schema (not)");
            refuse(errors, text);
        }
    }
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    let n = schema.get(name).and_then(Value::as_i64)?;
    Some(usize::try_from(n).unwrap_or(0))
}

fn field_of(path: &str) -> &str {
    if path.is_empty() { "<nil>" } else { path }
}

/// Only the first thing wrong with a text is said, and whether it has its format.
fn check_text(text: &str, schema: &Value, path: &str, errors: &mut Errors) {
    let length = text.chars().count();
    let bad = || Value::from(text);
    let pattern = schema.str_at(&["pattern"]);
    if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
        push(errors, FieldError::too_long(field_of(path), max));
    } else if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        push(errors, error(ErrorKind::Invalid, path, bad(), detail));
    } else if !pattern.is_empty()
        && corten_cel::regular_expression(pattern).is_ok_and(|r| !r.is_match(text))
    {
        let detail = format!("{path} in body should match '{pattern}'");
        push(errors, error(ErrorKind::Invalid, path, bad(), detail));
    }
    let format = format_of(schema, schema.str_at(&["type"]));
    if !format.is_empty() && !super::formats::matches(format, text) {
        let detail = format!("{path} in body must be of type {format}: {text:?}");
        push(errors, error(ErrorKind::TypeInvalid, path, bad(), detail));
    }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

fn check_number(value: &Value, schema: &Value, path: &str, errors: &mut Errors) {
    let Some(n) = number(value) else { return };
    let mut refuse = |text: String| {
        push(errors, error(ErrorKind::Invalid, path, value.clone(), text));
    };
    let step = schema.get("multipleOf").and_then(number);
    if let (Some(step), Value::Int(n)) = (step, value) {
        // Upstream compares integers with the factor's integer part.
        let step = step as i64;
        if step <= 0 {
            refuse(format!(
                "factor MultipleOf declared for {path} must be positive: {step}"
            ));
        } else if n % step != 0 {
            refuse(format!("{path} in body should be a multiple of {step}"));
        }
    } else if let Some(step) = step {
        let times = if step < 1.0 { 1.0 / step * n } else { n / step };
        if step > 0.0 && times.fract() != 0.0 {
            refuse(format!("{path} in body should be a multiple of {step}"));
        }
    }
    if let Some(max) = schema.get("maximum").and_then(number) {
        let exclusive = flag(schema, "exclusiveMaximum");
        if n > max || (exclusive && n == max) {
            let word = if exclusive {
                "less than"
            } else {
                "less than or equal to"
            };
            refuse(format!("{path} in body should be {word} {max}"));
        }
    }
    if let Some(min) = schema.get("minimum").and_then(number) {
        let exclusive = flag(schema, "exclusiveMinimum");
        if n < min || (exclusive && n == min) {
            let word = if exclusive {
                "greater than"
            } else {
                "greater than or equal to"
            };
            refuse(format!("{path} in body should be {word} {min}"));
        }
    }
    if schema.str_at(&["type"]) == "integer" && n.fract() != 0.0 {
        let text = format!("Checked value must be of type integer (default format) in {path}");
        push(errors, error(ErrorKind::Invalid, "", Value::from(""), text));
    }
    let range = match format_of(schema, schema.str_at(&["type"])) {
        "int32" => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        _ => None,
    };
    if let Some((low, high)) = range
        && (n < low || n > high)
    {
        let text = format!("Checked value must be of type integer with format int32 in {path}");
        push(errors, error(ErrorKind::Invalid, "", Value::from(""), text));
    }
}

fn check_list(list: &[Value], schema: &Value, path: &str, before: Before<'_>, errors: &mut Errors) {
    if let Some(items) = object(schema, "items") {
        for (i, item) in list.iter().enumerate() {
            let before = before.element(item, schema);
            check(item, items, &format!("{path}[{i}]"), before, errors);
        }
    }
    if let Some(min) = limit(schema, "minItems").filter(|min| list.len() < *min) {
        let detail = format!("{path} in body should have at least {min} items");
        let count = Value::Int(list.len() as i64);
        push(errors, error(ErrorKind::Invalid, path, count, detail));
    }
    if let Some(max) = limit(schema, "maxItems").filter(|max| list.len() > *max) {
        push(
            errors,
            FieldError::too_many(field_of(path), list.len(), max),
        );
    }
}

fn check_map(map: &ValueMap, schema: &Value, path: &str, before: Before<'_>, errors: &mut Errors) {
    let count = map.len();
    if let Some(min) = limit(schema, "minProperties").filter(|min| count < *min) {
        let detail = format!("{path} in body should have at least {min} properties");
        let bad = Value::Int(count as i64);
        push(errors, error(ErrorKind::Invalid, path, bad, detail));
        return;
    }
    if let Some(max) = limit(schema, "maxProperties").filter(|max| count > *max) {
        push(errors, FieldError::too_many(field_of(path), count, max));
        return;
    }
    let required = schema.get("required").and_then(Value::as_list);
    for name in required.unwrap_or_default() {
        let Some(name) = name.as_str() else { continue };
        if map.get(name).is_none() {
            push(errors, FieldError::required(join(path, name), ""));
        }
    }
    let properties = schema.get("properties");
    let more = schema.get("additionalProperties");
    for (key, member) in map.iter() {
        let at = join(path, key);
        let named = properties.and_then(|p| p.get(key));
        if let Some(schema) = named.or_else(|| more.filter(|m| m.as_map().is_some())) {
            let top = path.is_empty() && matches!(key.as_str(), "apiVersion" | "kind");
            let before = if top {
                Before::Create
            } else {
                before.member(key)
            };
            check(member, schema, &at, before, errors);
        }
    }
}
