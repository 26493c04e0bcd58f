//! Compares the resolved schema with upstream's published OpenAPI document: required fields, list types and keys,
//! patch strategies, atomic structs and maps, enum values. A difference is a mistake in the reading of markers.

use super::Options;
use super::schema::{Field, Message, Schema, Type};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Fails with all differences; returns how many definitions were compared.
pub fn run(options: &Options, schema: &Schema) -> Result<usize> {
    let path = format!(
        "kubernetes@{}/api/openapi-spec/swagger.json",
        options.kubernetes
    );
    let path = options.modules.join(path);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let document: Value =
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let definitions = document["definitions"]
        .as_object()
        .context("no definitions")?;
    let mut differences = Vec::new();
    let mut compared = 0;
    for (id, message) in &schema.messages {
        if let Some(definition) = definitions.get(&definition_name(&message.package, &id.1)) {
            compared += 1;
            compare(schema, message, definition, &mut |what| {
                differences.push(format!("{}.{}: {what}", id.0, id.1))
            });
        }
    }
    ensure!(
        differences.is_empty(),
        "differs from {}:\n{}",
        path.display(),
        differences.join("\n")
    );
    ensure!(
        compared > 700,
        "only {compared} definitions of {} were recognised",
        path.display()
    );
    Ok(compared)
}

/// `k8s.io.api.core.v1` and `Pod` are `io.k8s.api.core.v1.Pod` there.
fn definition_name(package: &str, name: &str) -> String {
    let package = package.replacen("k8s.io.", "io.k8s.", 1).replace('_', "-");
    format!("{package}.{name}")
}

fn fields<'a>(schema: &'a Schema, message: &'a Message, out: &mut BTreeMap<&'a str, &'a Field>) {
    for field in &message.fields {
        match &field.ty {
            Type::Message(id) if field.inline() => fields(schema, &schema.messages[id], out),
            _ => {
                out.insert(&field.key, field);
            }
        }
    }
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn compare(
    schema: &Schema,
    message: &Message,
    definition: &Value,
    differs: &mut dyn FnMut(String),
) {
    let Some(properties) = definition["properties"].as_object() else {
        return;
    };
    let mut ours = BTreeMap::new();
    fields(schema, message, &mut ours);
    let required: BTreeSet<&str> = texts(&definition["required"]).into_iter().collect();
    let marked = ours
        .values()
        .filter(|f| f.flags.contains(&"REQUIRED"))
        .map(|f| f.key.as_str())
        .collect();
    if required != marked {
        differs(format!("requires {required:?}, not {marked:?}"));
    }
    if message.atomic != (definition["x-kubernetes-map-type"] == "atomic") {
        differs(format!("atomic is not {}", message.atomic));
    }
    if !properties
        .keys()
        .map(String::as_str)
        .eq(ours.keys().copied())
    {
        differs(format!(
            "has the properties {:?}",
            properties.keys().collect::<Vec<_>>()
        ));
    }
    for (key, property) in properties {
        if let Some(field) = ours.get(key.as_str()) {
            compare_field(field, property, &mut |what| {
                differs(format!("{key}: {what}"))
            });
        }
    }
}

fn compare_field(field: &Field, property: &Value, differs: &mut dyn FnMut(String)) {
    let facts = &field.facts;
    for (name, ours) in [
        ("x-kubernetes-list-type", &facts.list_type),
        ("x-kubernetes-patch-strategy", &facts.patch_strategy),
        ("x-kubernetes-patch-merge-key", &facts.patch_merge_key),
    ] {
        if property[name].as_str().unwrap_or_default() != ours {
            differs(format!("{name} is {}, not {ours:?}", property[name]));
        }
    }
    let keys = texts(&property["x-kubernetes-list-map-keys"]);
    if keys != facts.map_keys {
        differs(format!("map keys are {keys:?}, not {:?}", facts.map_keys));
    }
    if facts.atomic != (property["x-kubernetes-map-type"] == "atomic") {
        differs(format!("atomic is not {}", facts.atomic));
    }
    let values = if property["enum"].is_array() {
        &property["enum"]
    } else {
        &property["items"]["enum"]
    };
    if values.is_array() && texts(values) != facts.values {
        differs(format!("values are {values}, not {:?}", facts.values));
    }
}
