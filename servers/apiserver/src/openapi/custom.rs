//! What is published of a custom resource's schema: its own words, with the standard fields of every object. Invariant:
//! in version 2, where unknown fields are kept no fields are listed, because kubectl would refuse all others.

use serde_json::{Map, Value, json};

use super::schema::{Dialect, describe};

const KEEPS: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const CONVENTIONS: &str =
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md";

/// The schema as published. `metadata` refers to the one of object metadata.
pub(super) fn published(
    schema: Option<&Value>,
    keeps_unknown: bool,
    metadata: &Value,
    dialect: Dialect,
) -> Value {
    let bare = json!({"type": "object"});
    let Some(Value::Object(schema)) = schema else {
        return bare;
    };
    if dialect == Dialect::V2 && (keeps_unknown || is_true(schema, KEEPS)) {
        return bare;
    }
    let mut schema = schema.clone();
    if dialect == Dialect::V2 {
        lower(&mut schema);
    }
    let metadata = described(
        metadata,
        "Standard object's metadata.",
        "#metadata",
        dialect,
    );
    embed(&mut schema, &metadata, dialect);
    let text = json!({"type": "string"});
    let version = "APIVersion defines the versioned schema of this representation of an object. Servers should \
                   convert recognized schemas to the latest internal value, and may reject unrecognized values.";
    let kind = "Kind is a string value representing the REST resource this object represents. Servers may infer this \
                from the endpoint the client submits requests to. Cannot be updated. In CamelCase.";
    let properties = properties(&mut schema);
    properties.insert(
        "apiVersion".into(),
        described(&text, version, "#resources", dialect),
    );
    properties.insert(
        "kind".into(),
        described(&text, kind, "#types-kinds", dialect),
    );
    properties.insert("metadata".into(), metadata);
    Value::Object(schema)
}

fn described(schema: &Value, text: &str, section: &str, dialect: Dialect) -> Value {
    let mut schema = schema.clone();
    let text = format!("{text} More info: {CONVENTIONS}{section}");
    describe(&mut schema, &text, dialect);
    schema
}

fn is_true(schema: &Map<String, Value>, mark: &str) -> bool {
    schema.get(mark) == Some(&Value::Bool(true))
}

/// The properties of a schema, made if it has none.
fn properties(schema: &mut Map<String, Value>) -> &mut Map<String, Value> {
    let properties = schema.entry("properties").or_insert(Value::Null);
    if !properties.is_object() {
        *properties = Value::Object(Map::new());
    }
    properties.as_object_mut().expect("it was made an object")
}

/// Does something to every schema directly inside another.
fn each_inner(schema: &mut Map<String, Value>, mut act: impl FnMut(&mut Map<String, Value>)) {
    for place in ["items", "additionalProperties"] {
        if let Some(Value::Object(inner)) = schema.get_mut(place) {
            act(inner);
        }
    }
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for inner in properties.values_mut().filter_map(Value::as_object_mut) {
            act(inner);
        }
    }
}

/// Takes away what version 2, or kubectl reading it, does not understand.
fn lower(schema: &mut Map<String, Value>) {
    for junctor in ["allOf", "oneOf", "anyOf", "not"] {
        schema.remove(junctor);
    }
    let nullable = schema.remove("nullable") == Some(Value::Bool(true));
    let keeps = is_true(schema, KEEPS);
    let is = |schema: &Map<String, Value>, kind: &str| {
        schema.get("type").and_then(Value::as_str) == Some(kind)
    };
    if nullable || keeps {
        schema.remove("items");
        schema.remove("properties");
    }
    let itemless = is(schema, "array") && !schema.contains_key("items");
    if nullable || itemless || (keeps && is(schema, "object")) {
        schema.remove("type");
    }
    require_no_nullable(schema);
    each_inner(schema, lower);
}

/// What may be null cannot be required in a language without null.
fn require_no_nullable(schema: &mut Map<String, Value>) {
    let is_nullable = |inner: Option<&Value>| inner.is_some_and(|s| s["nullable"] == true);
    if is_nullable(schema.get("additionalProperties")) {
        schema.remove("required");
    }
    let Some(Value::Array(mut required)) = schema.remove("required") else {
        return;
    };
    let fields = schema.get("properties");
    required.retain(|name| {
        let name = name.as_str().unwrap_or_default();
        !is_nullable(fields.and_then(|f| f.get(name)))
    });
    if !required.is_empty() {
        schema.insert("required".into(), required.into());
    }
}

/// Gives embedded objects the standard fields.
fn embed(schema: &mut Map<String, Value>, metadata: &Value, dialect: Dialect) {
    each_inner(schema, |inner| embed(inner, metadata, dialect));
    let open = dialect == Dialect::V2 && is_true(schema, KEEPS);
    if open || !is_true(schema, EMBEDDED) {
        return;
    }
    let text = json!({"type": "string"});
    let version = "apiVersion defines the versioned schema of this representation of an object.";
    let kind = "kind is a string value representing the type of this object. In CamelCase.";
    let fields = properties(schema);
    fields.insert(
        "apiVersion".into(),
        described(&text, version, "#resources", dialect),
    );
    fields.insert(
        "kind".into(),
        described(&text, kind, "#types-kinds", dialect),
    );
    fields.insert("metadata".into(), metadata.clone());
    let required = schema.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        for name in ["kind", "apiVersion"] {
            if !required.iter().any(|r| r == name) {
                required.push(name.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Value {
        json!({"$ref": "#/m"})
    }

    #[test]
    fn what_keeps_unknown_fields_lists_none_in_version_2() {
        let open = json!({"type": "object", KEEPS: true, "properties": {"a": {"type": "string"}}});
        let bare = json!({"type": "object"});
        let v2 = |schema: Option<&Value>, keeps| published(schema, keeps, &metadata(), Dialect::V2);
        assert_eq!(v2(Some(&open), false), bare);
        assert_eq!(v2(None, false), bare);
        assert_eq!(
            v2(Some(&json!({"type": "object", "properties": {}})), true),
            bare
        );
        let v3 = published(Some(&open), false, &metadata(), Dialect::V3);
        assert_eq!(v3["properties"]["a"]["type"], "string");
        assert_eq!(
            v3["properties"]["metadata"]["allOf"],
            json!([{"$ref": "#/m"}])
        );
    }

    #[test]
    fn version_2_has_no_null_and_no_junctors() {
        let schema = json!({"type": "object", "required": ["a"], "properties": {
            "a": {"type": "object", "nullable": true, "properties": {"x": {"type": "string"}}},
            "b": {"type": "object", KEEPS: true, EMBEDDED: true},
            "c": {"type": "object", EMBEDDED: true, "anyOf": [{}]}}});
        let v2 = published(Some(&schema), false, &metadata(), Dialect::V2);
        assert_eq!(v2["properties"]["a"], json!({}));
        assert_eq!(v2.get("required"), None);
        assert_eq!(v2["properties"]["b"], json!({KEEPS: true, EMBEDDED: true}));
        let c = &v2["properties"]["c"];
        assert_eq!(c["required"], json!(["kind", "apiVersion"]));
        assert_eq!(c.get("anyOf"), None);
        let said = v2["properties"]["apiVersion"]["description"].as_str();
        assert!(said.is_some_and(|s| s.starts_with("APIVersion defines")));
    }
}
