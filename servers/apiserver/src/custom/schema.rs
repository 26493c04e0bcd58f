//! Structural schemas: pruning what they do not name, filling in defaults, validating. Messages are worded as
//! upstream's validator words them. Left out: CEL rules, formats other than those that decide a type.

use corten_core::{Value, ValueMap};
use corten_kinds::{ErrorKind, FieldError};

/// A custom resource's schema.
pub(crate) struct Structural {
    root: Value,
    preserve: bool,
}

impl Structural {
    pub(crate) fn new(root: Value, preserve: bool) -> Structural {
        let preserve = preserve || matches!(root, Value::Null);
        Structural { root, preserve }
    }

    /// The schema itself.
    pub(crate) fn value(&self) -> &Value {
        &self.root
    }

    /// Drops members that the schema does not name; answers their paths.
    pub(crate) fn prune(&self, value: &mut Value) -> Vec<String> {
        let mut dropped = Vec::new();
        if !self.preserve {
            let mut at = Pruner {
                dropped: &mut dropped,
            };
            at.prune(value, &self.root, "", true);
        }
        dropped
    }

    /// Fills in defaults of absent members.
    pub(crate) fn default(&self, value: &mut Value) {
        default(value, &self.root);
    }

    /// What is wrong with a value.
    pub(crate) fn validate(&self, value: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate(value, &self.root, "", &mut errors);
        errors
    }
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

fn flag(schema: &Value, name: &str) -> bool {
    matches!(schema.get(name), Some(Value::Bool(true)))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

struct Pruner<'a> {
    dropped: &'a mut Vec<String>,
}

impl Pruner<'_> {
    fn prune(&mut self, value: &mut Value, schema: &Value, path: &str, object: bool) {
        match value {
            Value::Map(map) => self.prune_map(map, schema, path, object || flag(schema, EMBEDDED)),
            Value::List(list) => {
                let Some(items) = schema.get("items") else {
                    return;
                };
                for (index, item) in list.iter_mut().enumerate() {
                    self.prune(item, items, &format!("{path}[{index}]"), false);
                }
            }
            _ => {}
        }
    }

    fn prune_map(&mut self, map: &mut ValueMap, schema: &Value, path: &str, object: bool) {
        let properties = schema.get("properties");
        let additional = schema.get("additionalProperties");
        let preserve = flag(schema, PRESERVE);
        let mut gone = Vec::new();
        for (key, member) in map.iter_mut() {
            if object && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                continue;
            }
            let at = join(path, key);
            match (properties.and_then(|p| p.get(key)), additional) {
                (Some(schema), _) => self.prune(member, schema, &at, false),
                (None, Some(schema @ Value::Map(_))) => self.prune(member, schema, &at, false),
                (None, Some(Value::Bool(true))) => {}
                _ if preserve => {}
                _ => gone.push(key.clone()),
            }
        }
        for key in gone {
            map.remove(&key);
            self.dropped.push(join(path, &key));
        }
    }
}

fn default(value: &mut Value, schema: &Value) {
    match value {
        Value::Map(map) => {
            for (key, schema) in schema
                .get("properties")
                .and_then(Value::as_map)
                .into_iter()
                .flat_map(ValueMap::iter)
            {
                let nulled = matches!(map.get(key), Some(Value::Null)) && !flag(schema, "nullable");
                if let Some(default) = schema.get("default")
                    && (nulled || map.get(key).is_none())
                {
                    map.insert(key.clone(), default.clone());
                }
                if let Some(member) = map.get_mut(key) {
                    self::default(member, schema);
                }
            }
            if let Some(schema @ Value::Map(_)) = schema.get("additionalProperties") {
                for (_, member) in map.iter_mut() {
                    self::default(member, schema);
                }
            }
        }
        Value::List(list) => {
            if let Some(items) = schema.get("items") {
                for item in list {
                    default(item, items);
                }
            }
        }
        _ => {}
    }
}

fn error(kind: ErrorKind, path: &str, bad: Value, detail: String) -> FieldError {
    let field = if path.is_empty() {
        "<nil>".to_owned()
    } else {
        path.to_owned()
    };
    FieldError {
        kind,
        field,
        bad_value: bad,
        detail,
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Int(_) => "integer",
        Value::Float(f) if f.fract() == 0.0 => "integer",
        Value::Float(_) => "number",
        Value::Str(_) => "string",
        Value::List(_) => "array",
        Value::Map(_) => "object",
    }
}

fn fits(value: &Value, schema: &Value) -> bool {
    let actual = type_of(value);
    if flag(schema, INT_OR_STRING) {
        return matches!(actual, "integer" | "string");
    }
    let wanted = schema.str_at(&["type"]);
    wanted.is_empty()
        || wanted == actual
        || (wanted == "number" && actual == "integer")
        || (actual == "null" && flag(schema, "nullable"))
}

fn validate(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !fits(value, schema) {
        let wanted = schema.str_at(&["type"]);
        let actual = type_of(value);
        let detail = format!("{path} in body must be of type {wanted}: {actual:?}");
        errors.push(error(
            ErrorKind::TypeInvalid,
            path,
            Value::from(actual),
            detail,
        ));
        return;
    }
    if matches!(value, Value::Null) {
        return;
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_list)
        && !allowed.contains(value)
    {
        let names: Vec<String> = allowed
            .iter()
            .map(|v| String::from_utf8_lossy(&corten_codec::json::encode_value(v)).into_owned())
            .collect();
        let detail = format!("supported values: {}", names.join(", "));
        errors.push(FieldError {
            kind: ErrorKind::NotSupported,
            field: path.to_owned(),
            bad_value: value.clone(),
            detail,
        });
    }
    match value {
        Value::Str(text) => validate_text(text, schema, path, errors),
        Value::Int(_) | Value::Float(_) => validate_number(value, schema, path, errors),
        Value::List(list) => validate_list(list, schema, path, errors),
        Value::Map(map) => validate_map(map, schema, path, errors),
        _ => {}
    }
    for part in schema
        .get("allOf")
        .and_then(Value::as_list)
        .unwrap_or_default()
    {
        validate(value, part, path, errors);
    }
    alternatives(value, schema, path, errors);
}

/// anyOf, oneOf and not.
fn alternatives(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let passing = |parts: &[Value]| {
        parts
            .iter()
            .filter(|part| {
                let mut found = Vec::new();
                validate(value, part, path, &mut found);
                found.is_empty()
            })
            .count()
    };
    let mut refuse =
        |text: String| errors.push(error(ErrorKind::Invalid, path, value.clone(), text));
    if let Some(parts) = schema.get("anyOf").and_then(Value::as_list)
        && passing(parts) == 0
    {
        refuse(format!(
            "{path:?} must validate at least one schema (anyOf)"
        ));
    }
    if let Some(parts) = schema.get("oneOf").and_then(Value::as_list) {
        match passing(parts) {
            1 => {}
            0 => refuse(format!(
                "{path:?} must validate one and only one schema (oneOf). Found none valid"
            )),
            many => refuse(format!(
                "{path:?} must validate one and only one schema (oneOf). Found {many} valid alternatives"
            )),
        }
    }
    if let Some(part) = schema.get("not")
        && passing(std::slice::from_ref(part)) == 1
    {
        refuse(format!("{path:?} must not validate the schema (not)"));
    }
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema
        .get(name)
        .and_then(Value::as_i64)
        .and_then(|n| usize::try_from(n).ok())
}

fn validate_text(text: &str, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let length = text.chars().count();
    let bad = || Value::from(text);
    if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
        errors.push(error(
            ErrorKind::TooLong,
            path,
            bad(),
            format!("may not be more than {max} bytes"),
        ));
    }
    if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
        let detail = format!("{path} in body should be at least {min} chars long");
        errors.push(error(ErrorKind::Invalid, path, bad(), detail));
    }
    let pattern = schema.str_at(&["pattern"]);
    if !pattern.is_empty() && regex::Regex::new(pattern).is_ok_and(|r| !r.is_match(text)) {
        let detail = format!("{path} in body should match '{pattern}'");
        errors.push(error(ErrorKind::Invalid, path, bad(), detail));
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Float(n) => Some(*n),
        _ => None,
    }
}

fn validate_number(value: &Value, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let Some(n) = number(value) else { return };
    let mut refuse =
        |text: String| errors.push(error(ErrorKind::Invalid, path, value.clone(), text));
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
    if let Some(step) = schema.get("multipleOf").and_then(number)
        && step != 0.0
        && (n / step).fract() != 0.0
    {
        refuse(format!("{path} in body should be a multiple of {step}"));
    }
}

fn validate_list(list: &[Value], schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let count = Value::Int(list.len() as i64);
    if let Some(max) = limit(schema, "maxItems").filter(|max| list.len() > *max) {
        let detail = format!("must have at most {max} items");
        errors.push(error(ErrorKind::TooMany, path, count.clone(), detail));
    }
    if let Some(min) = limit(schema, "minItems").filter(|min| list.len() < *min) {
        let detail = format!("{path} in body should have at least {min} items");
        errors.push(error(ErrorKind::Invalid, path, count, detail));
    }
    if let Some(items) = schema.get("items") {
        for (index, item) in list.iter().enumerate() {
            validate(item, items, &format!("{path}[{index}]"), errors);
        }
    }
}

fn validate_map(map: &ValueMap, schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for name in schema
        .get("required")
        .and_then(Value::as_list)
        .unwrap_or_default()
    {
        let Some(name) = name.as_str() else { continue };
        if map.get(name).is_none() {
            errors.push(error(
                ErrorKind::Required,
                &join(path, name),
                Value::Null,
                String::new(),
            ));
        }
    }
    let count = Value::Int(map.iter().len() as i64);
    if let Some(max) = limit(schema, "maxProperties").filter(|max| map.iter().len() > *max) {
        errors.push(error(
            ErrorKind::TooMany,
            path,
            count.clone(),
            format!("must have at most {max} items"),
        ));
    }
    if let Some(min) = limit(schema, "minProperties").filter(|min| map.iter().len() < *min) {
        let detail = format!("{path} in body should have at least {min} properties");
        errors.push(error(ErrorKind::Invalid, path, count, detail));
    }
    let properties = schema.get("properties");
    for (key, member) in map.iter() {
        let at = join(path, key);
        match (
            properties.and_then(|p| p.get(key)),
            schema.get("additionalProperties"),
        ) {
            (Some(schema), _) | (None, Some(schema @ Value::Map(_))) => {
                validate(member, schema, &at, errors)
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> Structural {
        Structural::new(
            corten_codec::yaml::decode_value(text.as_bytes()).unwrap(),
            false,
        )
    }

    fn value(text: &str) -> Value {
        corten_codec::yaml::decode_value(text.as_bytes()).unwrap()
    }

    const SCHEMA: &str = "
type: object
properties:
  spec:
    type: object
    required: [size]
    properties:
      size: {type: integer, minimum: 1}
      mode: {type: string, default: fast, enum: [fast, slow]}
      free: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

    #[test]
    fn unknown_members_go_and_are_named() {
        let mut v = value("{metadata: {a: b}, spec: {size: 1, other: 2, free: {x: 1}}, top: 1}");
        assert_eq!(schema(SCHEMA).prune(&mut v), ["spec.other", "top"]);
        assert_eq!(
            v,
            value("{metadata: {a: b}, spec: {size: 1, free: {x: 1}}}")
        );
    }

    #[test]
    fn defaults_fill_in() {
        let mut v = value("{spec: {size: 1}}");
        schema(SCHEMA).default(&mut v);
        assert_eq!(v.str_at(&["spec", "mode"]), "fast");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |text: &str| -> Vec<String> {
            schema(SCHEMA)
                .validate(&value(text))
                .iter()
                .map(|e| e.field.clone())
                .collect()
        };
        assert_eq!(check("{spec: {size: 1}}"), [""; 0]);
        assert_eq!(check("{spec: {}}"), ["spec.size"]);
        assert_eq!(
            check("{spec: {size: 0, mode: x}}"),
            ["spec.mode", "spec.size"]
        );
        assert_eq!(check("{spec: {size: a}}"), ["spec.size"]);
    }
}
