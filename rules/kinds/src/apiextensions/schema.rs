//! Whether a version may have the schema it has: structural, with fitting defaults, list and map types, and rules.
//! Works on the schema as JSON; paths are upstream's.

use corten_cel::Env;
use corten_core::Value;

use super::evaluate::{SchemaRules, flag, members, object};
use super::rules::{self, Place, Total};
use super::value::{self, Pruning};
use super::{fieldpath, structural};
use crate::checks::Errors;
use crate::error::{ErrorKind, FieldError};

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

/// What a schema hands down to the schemas in it.
#[derive(Clone, Copy)]
struct Inherited<'a> {
    place: Place<'a>,
    /// Why there may be no defaults.
    no_defaults: Option<&'a str>,
    in_metadata: bool,
    /// Whether rules are compiled: only where values are, and only when the schema is structural.
    rules: bool,
}

struct Walk {
    env: Env,
    total: Total,
    schema: Errors,
    rules: Errors,
}

/// The schema of a version; `path` leads to it.
pub(super) fn root(errors: &mut Errors, path: &str, schema: &Value, with_status: bool) {
    if with_status {
        root_fields(errors, path, schema);
    }
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(
            format!("{path}.nullable"),
            "nullable cannot be true at the root",
        ));
    }
    let mut found = structural::check(path, schema);
    if found.is_empty() {
        defaults(&mut found, path, schema, true, false);
    }
    let sound = found.is_empty();
    errors.append(&mut found);
    let mut walk = Walk {
        env: Env::builder().build(),
        total: Total::default(),
        schema: Vec::new(),
        rules: Vec::new(),
    };
    let inherited = Inherited {
        place: Place {
            cardinality: Some(1),
            uncorrelatable: None,
            root: true,
        },
        no_defaults: None,
        in_metadata: false,
        rules: sound,
    };
    walk.visit(path, schema, inherited);
    errors.append(&mut walk.schema);
    errors.append(&mut walk.rules);
    walk.total.check(path, errors);
}

/// With a status subresource the root may say little.
fn root_fields(errors: &mut Errors, path: &str, schema: &Value) {
    const ALLOWED: [&str; 22] = [
        "Description",
        "Type",
        "Format",
        "Title",
        "Maximum",
        "ExclusiveMaximum",
        "Minimum",
        "ExclusiveMinimum",
        "MaxLength",
        "MinLength",
        "Pattern",
        "MaxItems",
        "MinItems",
        "UniqueItems",
        "MultipleOf",
        "Required",
        "Items",
        "Properties",
        "ExternalDocs",
        "Example",
        "XPreserveUnknownFields",
        "XValidations",
    ];
    let t = schema.str_at(&["type"]);
    if !t.is_empty() && t != "object" {
        let text = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(format!("{path}.type"), t, text));
        return;
    }
    let go_name = |name: &str| match name {
        "x-kubernetes-preserve-unknown-fields" => "XPreserveUnknownFields".to_owned(),
        "x-kubernetes-validations" => "XValidations".to_owned(),
        other => {
            let mut chars = other.chars();
            chars
                .next()
                .map(|c| c.to_uppercase().chain(chars).collect())
                .unwrap_or_default()
        }
    };
    let wrong = schema
        .as_map()
        .into_iter()
        .flat_map(corten_core::ValueMap::iter)
        .any(|(name, _)| !ALLOWED.contains(&go_name(name).as_str()));
    if wrong {
        let text = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            ALLOWED.join(" ")
        );
        errors.push(FieldError::invalid(path, schema.clone(), text));
    }
}

/// Checks defaults against the schema they stand in.
fn defaults(errors: &mut Errors, path: &str, schema: &Value, root: bool, in_metadata: bool) {
    let embedded = root || flag(schema, "x-kubernetes-embedded-resource");
    let in_metadata = in_metadata && !embedded;
    if let Some(default) = schema.get("default").filter(|d| !d.is_null()) {
        let at = format!("{path}.default");
        let mut pruned = default.clone();
        value::prune(&mut pruned, schema, Pruning::Value);
        if !in_metadata && pruned != *default {
            errors.push(FieldError::invalid(
                &at,
                default.clone(),
                "must not have unknown fields",
            ));
        }
        let mut wrong = value::validate_at(&at, default, schema);
        if wrong.is_empty()
            && let Some(rules) = SchemaRules::value(schema)
        {
            wrong = rules.check_default(&at, default);
        }
        errors.append(&mut wrong);
    }
    if let Some(items) = object(schema, "items") {
        defaults(errors, &format!("{path}.items"), items, false, in_metadata);
    }
    for (name, part) in members(schema, "properties") {
        let meta = embedded && matches!(name.as_str(), "metadata" | "apiVersion" | "kind");
        let at = format!("{path}.properties[{name}]");
        defaults(errors, &at, part, false, in_metadata || meta);
    }
}

impl Walk {
    fn visit(&mut self, path: &str, schema: &Value, inherited: Inherited<'_>) {
        let before = self.schema.len();
        self.standard(path, schema, inherited);
        self.properties(path, schema, inherited);
        self.combinations(path, schema, inherited);
        if let Some(items) = object(schema, "items") {
            let keyed = schema.str_at(&["x-kubernetes-list-type"]) == "map";
            let place = inherited.place.below(schema, (!keyed).then_some(path));
            self.visit(
                &format!("{path}.items"),
                items,
                Inherited { place, ..inherited },
            );
        }
        self.extensions(path, schema);
        self.rule_texts(path, schema);
        if inherited.rules && self.schema.len() == before {
            rules::check(
                &self.env,
                path,
                schema,
                inherited.place,
                &mut self.total,
                &mut self.rules,
            );
        }
    }

    fn forbid(&mut self, path: &str, name: &str, text: &str) {
        self.schema
            .push(FieldError::forbidden(format!("{path}.{name}"), text));
    }

    fn standard(&mut self, path: &str, schema: &Value, inherited: Inherited<'_>) {
        let t = schema.str_at(&["type"]);
        if !t.is_empty() && !TYPES.contains(&t) {
            self.schema
                .push(FieldError::not_supported(format!("{path}.type"), t, &TYPES));
        }
        if let Some(why) = inherited
            .no_defaults
            .filter(|_| schema.get("default").is_some())
        {
            self.forbid(path, "default", &format!("must not be set {why}"));
        }
        for name in [
            "id",
            "additionalItems",
            "patternProperties",
            "definitions",
            "dependencies",
            "$ref",
        ] {
            let set = match schema.get(name) {
                None | Some(Value::Null) => false,
                Some(Value::Str(text)) => !text.is_empty() || name == "$ref",
                Some(Value::Map(map)) => !map.is_empty() || name == "dependencies",
                Some(_) => true,
            };
            if set {
                self.forbid(path, name, &format!("{name} is not supported"));
            }
        }
        if t == "null" {
            self.forbid(
                path,
                "type",
                "type cannot be set to null, use nullable as an alternative",
            );
        }
        if schema.get("items").is_some_and(|i| i.as_list().is_some()) {
            self.forbid(
                path,
                "items",
                "items must be a schema object and not an array",
            );
        }
        let embedded = "x-kubernetes-embedded-resource";
        if inherited.in_metadata && flag(schema, embedded) {
            self.forbid(path, embedded, "must not be used inside of resource meta");
        }
        if flag(schema, "uniqueItems") {
            self.forbid(
                path,
                "uniqueItems",
                "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
            );
        }
    }

    fn properties(&mut self, path: &str, schema: &Value, inherited: Inherited<'_>) {
        let has_properties = members(schema, "properties").next().is_some();
        if let Some(more) = schema.get("additionalProperties") {
            if has_properties && more.as_bool() != Some(true) {
                self.forbid(
                    path,
                    "additionalProperties",
                    "additionalProperties and properties are mutual exclusive",
                );
            }
            if more.as_map().is_some() {
                let no_defaults = if inherited.in_metadata {
                    Some("inside additionalProperties applying to object metadata")
                } else {
                    inherited.no_defaults
                };
                let inner = Inherited {
                    place: inherited.place.below(schema, None),
                    no_defaults,
                    ..inherited
                };
                self.visit(&format!("{path}.additionalProperties"), more, inner);
            }
        }
        let root = inherited.place.root;
        let map_type = schema.str_at(&["x-kubernetes-map-type"]);
        let correlatable = matches!(map_type, "" | "granular" | "atomic");
        for (name, part) in members(schema, "properties") {
            let place = inherited
                .place
                .below(schema, (!correlatable).then_some(path));
            let mut inner = Inherited { place, ..inherited };
            let meta = matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
            let reason = format!("in top-level {name}");
            if meta && (root || flag(schema, "x-kubernetes-embedded-resource")) {
                inner.in_metadata = true;
                if root {
                    inner.no_defaults = Some(&reason);
                }
            }
            self.visit(&format!("{path}.properties[{name}]"), part, inner);
        }
    }

    fn combinations(&mut self, path: &str, schema: &Value, inherited: Inherited<'_>) {
        let inner = Inherited {
            rules: false,
            place: Place {
                root: false,
                ..inherited.place
            },
            ..inherited
        };
        if let Some(part) = object(schema, "not") {
            self.visit(&format!("{path}.not"), part, inner);
        }
        for name in ["allOf", "oneOf", "anyOf"] {
            let list = schema.get(name).and_then(Value::as_list);
            for (i, part) in list.unwrap_or_default().iter().enumerate() {
                self.visit(&format!("{path}.{name}[{i}]"), part, inner);
            }
        }
    }

    /// A type that an extension needs.
    fn needs_type(&mut self, path: &str, schema: &Value, wanted: &str, extension: &str) -> bool {
        let t = schema.str_at(&["type"]);
        if schema.get(extension).is_none() || t == wanted {
            return false;
        }
        let text = format!("must be {wanted} if {extension} is specified");
        let at = format!("{path}.type");
        self.schema.push(if t.is_empty() {
            FieldError::required(at, text)
        } else {
            FieldError::invalid(at, t, text)
        });
        true
    }

    fn extensions(&mut self, path: &str, schema: &Value) {
        let preserve = "x-kubernetes-preserve-unknown-fields";
        if schema.get(preserve).and_then(Value::as_bool) == Some(false) {
            self.schema.push(FieldError::invalid(
                format!("{path}.{preserve}"),
                false,
                "must be true or undefined",
            ));
        }
        let map = "x-kubernetes-map-type";
        self.needs_type(path, schema, "object", map);
        if let Some(found) = schema.get(map).and_then(Value::as_str)
            && !matches!(found, "atomic" | "granular")
        {
            self.schema.push(FieldError::not_supported(
                format!("{path}.{map}"),
                found,
                &["atomic", "granular"],
            ));
        }
        let list = "x-kubernetes-list-type";
        let list_type = schema.get(list).and_then(Value::as_str);
        let mistyped = self.needs_type(path, schema, "array", list);
        if !mistyped && list_type == Some("set") {
            self.set_items(path, schema);
        }
        if let Some(found) = list_type.filter(|t| !matches!(*t, "atomic" | "set" | "map")) {
            self.schema.push(FieldError::not_supported(
                format!("{path}.{list}"),
                found,
                &["atomic", "set", "map"],
            ));
        }
        self.list_keys(path, schema, list_type);
        if matches!(list_type, Some("set" | "map")) {
            self.not_nullable(path, schema, list_type.unwrap_or_default());
        }
    }

    fn set_items(&mut self, path: &str, schema: &Value) {
        let Some(items) = object(schema, "items") else {
            return;
        };
        let text = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let found = items
            .get("x-kubernetes-list-type")
            .cloned()
            .unwrap_or_default();
        match items.str_at(&["type"]) {
            "array" if !found.is_null() && found.as_str() != Some("atomic") => {
                let at = format!("{path}.items.x-kubernetes-list-type");
                self.schema.push(FieldError::invalid(at, found, text));
            }
            "object" if items.str_at(&["x-kubernetes-map-type"]) != "atomic" => {
                let at = format!("{path}.items.x-kubernetes-map-type");
                let bad = if found.is_null() {
                    crate::error::verbatim("null")
                } else {
                    found
                };
                self.schema.push(FieldError::invalid(at, bad, text));
            }
            _ => {}
        }
    }

    fn list_keys(&mut self, path: &str, schema: &Value, list_type: Option<&str>) {
        let keys: Vec<&str> = schema
            .get("x-kubernetes-list-map-keys")
            .and_then(Value::as_list)
            .unwrap_or_default()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let text = "must be map if x-kubernetes-list-map-keys is non-empty";
        let at = format!("{path}.x-kubernetes-list-type");
        match list_type {
            None if !keys.is_empty() => self.schema.push(FieldError::required(at, text)),
            Some(t) if !keys.is_empty() && t != "map" => {
                self.schema.push(FieldError::invalid(at, t, text));
            }
            _ => {}
        }
        if list_type != Some("map") {
            return;
        }
        let at = format!("{path}.x-kubernetes-list-map-keys");
        if keys.is_empty() {
            let text = "must not be empty if x-kubernetes-list-type is map";
            self.schema.push(FieldError::required(&at, text));
        }
        let Some(items) = object(schema, "items") else {
            let text = "must have a schema if x-kubernetes-list-type is map";
            self.schema
                .push(FieldError::required(format!("{path}.items"), text));
            return;
        };
        let t = items.str_at(&["type"]);
        if t != "object" {
            let text = "must be object if parent array's x-kubernetes-list-type is map";
            self.schema
                .push(FieldError::invalid(format!("{path}.items.type"), t, text));
            return;
        }
        let all = || Value::List(keys.iter().map(|k| Value::from(*k)).collect());
        for (i, key) in keys.iter().enumerate() {
            match items.get("properties").and_then(|p| p.get(key)) {
                Some(found) if matches!(found.str_at(&["type"]), "array" | "object") => {
                    self.schema.push(FieldError::invalid(
                        format!("{path}.items.properties[{key}].type"),
                        t,
                        "must be a scalar type if parent array's x-kubernetes-list-type is map",
                    ));
                }
                Some(_) => {}
                None => {
                    let text = "entries must all be names of item properties";
                    self.schema.push(FieldError::invalid(&at, all(), text));
                }
            }
            if keys[..i].contains(key) {
                let text = "must not contain duplicate entries";
                self.schema.push(FieldError::invalid(&at, all(), text));
            }
        }
    }

    /// Elements that are told apart must have what tells them apart.
    fn not_nullable(&mut self, path: &str, schema: &Value, list_type: &str) {
        let Some(items) = object(schema, "items") else {
            return;
        };
        if flag(items, "nullable") {
            let text = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
            self.forbid(path, "items.nullable", &text);
        }
        if list_type != "map" {
            return;
        }
        let required = items
            .get("required")
            .and_then(Value::as_list)
            .unwrap_or_default();
        for key in super::evaluate::list_keys(schema).unwrap_or_default() {
            let Some(found) = items.get("properties").and_then(|p| p.get(&key)) else {
                continue;
            };
            let at = format!("{path}.items.properties[{key}]");
            if found.get("default").is_none() && !required.iter().any(|r| r.as_str() == Some(&key))
            {
                self.schema.push(FieldError::required(
                    format!("{at}.default"),
                    "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
                ));
            }
            if flag(found, "nullable") {
                let text =
                    "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
                self.forbid(&at, "nullable", text);
            }
        }
    }

    /// What the texts of rules must be like.
    fn rule_texts(&mut self, path: &str, schema: &Value) {
        let list = schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_list)
            .unwrap_or_default();
        for (i, rule) in list.iter().enumerate() {
            let at = format!("{path}.x-kubernetes-validations[{i}]");
            self.rule_text(&at, rule);
            let reason = rule.get("reason").and_then(Value::as_str);
            if let Some(reason) = reason.filter(|r| !REASONS.contains(r)) {
                self.schema.push(FieldError::not_supported(
                    format!("{at}.reason"),
                    reason,
                    &REASONS,
                ));
            }
            let field = rule.str_at(&["fieldPath"]);
            let mut wrong = |text: &str| {
                self.schema
                    .push(FieldError::invalid(format!("{at}.fieldPath"), field, text));
            };
            if field.is_empty() {
                continue;
            }
            if field.trim().is_empty() {
                wrong("must be non-empty if specified");
            }
            if field.contains(['\n', '\r']) {
                wrong("must not contain line breaks");
            }
            if fieldpath::normalized(field, schema, true).is_err() {
                wrong("must be a valid path");
            }
        }
    }

    fn rule_text(&mut self, at: &str, rule: &Value) {
        let breaks = |text: &str| text.contains(['\n', '\r']);
        let text = rule.str_at(&["rule"]).trim();
        let message = rule.str_at(&["message"]);
        let error = if text.is_empty() {
            Some((ErrorKind::Required, "rule", "rule is not specified"))
        } else if !message.is_empty() && message.trim().is_empty() {
            Some((
                ErrorKind::Invalid,
                "message",
                "must be non-empty if specified",
            ))
        } else if breaks(message.trim()) {
            Some((
                ErrorKind::Invalid,
                "message",
                "must not contain line breaks",
            ))
        } else if breaks(text) && message.trim().is_empty() {
            Some((
                ErrorKind::Required,
                "message",
                "message must be specified if rule contains line breaks",
            ))
        } else {
            None
        };
        if let Some((kind, name, detail)) = error {
            self.schema.push(FieldError::new(
                kind,
                format!("{at}.{name}"),
                message,
                detail,
            ));
        }
        let expression = rule.str_at(&["messageExpression"]);
        if !expression.is_empty() && expression.trim().is_empty() {
            self.schema.push(FieldError::required(
                format!("{at}.messageExpression"),
                "messageExpression must be non-empty if specified",
            ));
        }
    }
}
