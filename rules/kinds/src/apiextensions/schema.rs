//! Structural schemas: every value has a type, and what says more about values says nothing about their type.
//! Leaves out defaults against the schema and CEL rules.

use crate::checks::Errors;
use crate::error::FieldError;
use corten_api::apiextensions::v1::JSONSchemaProps;
use corten_core::Path;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// The schema of a version.
pub(super) fn root(errors: &mut Errors, path: &Path, schema: &JSONSchemaProps) {
    let mut structural_errors = Vec::new();
    openapi(errors, path, schema);
    structural(&mut structural_errors, path, schema, Level::Root);
    errors.append(&mut structural_errors);
}

fn openapi(errors: &mut Errors, path: &Path, schema: &JSONSchemaProps) {
    if !schema.type_.is_empty() && !TYPES.contains(&schema.type_.as_str()) {
        errors.push(FieldError::not_supported(
            path.f("type"),
            &schema.type_,
            &TYPES,
        ));
    }
    if schema.unique_items {
        let text =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(path.f("uniqueItems"), text));
    }
    let forbidden = [
        (
            "definitions",
            !schema.definitions.is_empty(),
            "definitions is not supported",
        ),
        (
            "dependencies",
            !schema.dependencies.is_empty(),
            "dependencies is not supported",
        ),
        ("id", !schema.id.is_empty(), "id is not supported"),
        (
            "additionalItems",
            schema.additional_items.is_some(),
            "additionalItems is not supported",
        ),
        (
            "patternProperties",
            !schema.pattern_properties.is_empty(),
            "patternProperties is not supported",
        ),
        ("$ref", schema.ref_.is_some(), "$ref is not supported"),
    ];
    for (name, set, text) in forbidden {
        if set {
            errors.push(FieldError::forbidden(path.f(name), text));
        }
    }
    let more = schema.additional_properties.as_ref();
    if more.is_some_and(|a| !schema.properties.is_empty() && (a.schema.is_some() || a.allows)) {
        let text = "additionalProperties and properties are mutual exclusive";
        errors.push(FieldError::forbidden(path.f("additionalProperties"), text));
    }
    let properties = path.f("properties");
    for (name, schema) in &schema.properties {
        openapi(errors, &properties.k(name), schema);
    }
    if let Some(schema) = more.and_then(|a| a.schema.as_ref()) {
        openapi(errors, &path.f("additionalProperties"), schema);
    }
    if let Some(items) = &schema.items {
        if !items.json_schemas.is_empty() {
            let text = "items must be a schema object and not an array";
            errors.push(FieldError::forbidden(path.f("items"), text));
        }
        if let Some(schema) = &items.schema {
            openapi(errors, &path.f("items"), schema);
        }
    }
}

fn structural(errors: &mut Errors, path: &Path, schema: &JSONSchemaProps, level: Level) {
    let items = schema.items.as_ref().and_then(|i| i.schema.as_ref());
    if schema.type_ == "array" && items.is_none() {
        errors.push(FieldError::required(path.f("items"), "must be specified"));
    }
    if let Some(items) = items {
        structural(errors, &path.f("items"), items, Level::Item);
    }
    let properties = path.f("properties");
    for (name, schema) in &schema.properties {
        structural(errors, &properties.k(name), schema, Level::Field);
    }
    if let Some(more) = &schema.additional_properties {
        let path = path.f("additionalProperties");
        if level == Level::Root {
            errors.push(FieldError::forbidden(&path, "must not be used at the root"));
        }
        if let Some(schema) = &more.schema {
            structural(errors, &path, schema, Level::Field);
        }
    }
    if level == Level::Root && schema.nullable {
        errors.push(FieldError::forbidden(
            path.f("nullable"),
            "nullable cannot be true at the root",
        ));
    }
    types(errors, path, schema, level);
    metadata(errors, path, schema, level);
}

fn types(errors: &mut Errors, path: &Path, schema: &JSONSchemaProps, level: Level) {
    let at = path.f("type");
    let preserves = schema.x_preserve_unknown_fields == Some(true);
    if schema.x_embedded_resource && schema.type_ != "object" {
        let text = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if schema.type_.is_empty() {
            FieldError::required(&at, text)
        } else {
            FieldError::invalid(&at, &schema.type_, text)
        });
    } else if schema.type_.is_empty() && !schema.x_int_or_string && !preserves {
        let text = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at, text));
    }
    if level == Level::Root && !schema.type_.is_empty() && schema.type_ != "object" {
        errors.push(FieldError::invalid(
            at,
            &schema.type_,
            "must be object at the root",
        ));
    }
}

fn metadata(errors: &mut Errors, path: &Path, schema: &JSONSchemaProps, level: Level) {
    if level != Level::Root && !schema.x_embedded_resource {
        return;
    }
    let properties = path.f("properties");
    for (name, wanted) in [
        ("kind", "string"),
        ("apiVersion", "string"),
        ("metadata", "object"),
    ] {
        if let Some(found) = schema.properties.get(name).filter(|s| s.type_ != wanted) {
            let text = format!("must be {wanted}");
            errors.push(FieldError::invalid(
                properties.k(name).f("type"),
                &found.type_,
                text,
            ));
        }
    }
}
