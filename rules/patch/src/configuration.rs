//! Merging a configuration into an object without keeping track of who owns what: how admission policies mutate.

use crate::Schema;
use crate::schema::Type;
use crate::typed::{Duplicates, merge, validate};
use corten_core::Value;

/// The object with a configuration merged into it as a server-side apply would, but nothing is removed and
/// managedFields stay as they are.
///
/// # Errors
/// When either does not fit the schema, or the configuration sets part of what only can be set as a whole: lists, maps
/// and structs that are atomic. Texts are upstream's.
pub fn merge_configuration(
    object: &Value,
    configuration: &Value,
    schema: Schema,
) -> Result<Value, String> {
    let root = Type::root(schema);
    validate(root, configuration, Duplicates::Refused)
        .map_err(|e| format!("failed to convert patch object to typed object: {e}"))?;
    let mut atomics = Vec::new();
    find_atomics(root, configuration, "", &mut atomics);
    if !atomics.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            atomics.join(", ")
        ));
    }
    validate(root, object, Duplicates::Allowed)
        .map_err(|e| format!("failed to convert original object to typed object: {e}"))?;
    let merged = merge(root, Some(object), Some(configuration))
        .map_err(|e| format!("failed to merge patch: {e}"))?;
    Ok(merged.unwrap_or_else(Value::map))
}

/// The paths of atomic lists, maps and structs that a configuration sets, as `.spec.volumes[0].x`.
fn find_atomics(of: Type, value: &Value, path: &str, atomics: &mut Vec<String>) {
    let atom = of.atom();
    match value {
        Value::Map(members) => {
            let Some(map) = &atom.map else { return };
            if map.atomic {
                atomics.push(path.to_owned());
            }
            for (name, member) in members.iter() {
                if let Some(of) = map.fields.get(name) {
                    find_atomics(of, member, &format!("{path}.{name}"), atomics);
                }
            }
        }
        Value::List(items) => {
            let Some(list) = &atom.list else { return };
            if !list.associative {
                atomics.push(path.to_owned());
            }
            for (i, item) in items.iter().enumerate() {
                find_atomics(list.element, item, &format!("{path}[{i}]"), atomics);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        corten_core::json_text::parse(text.as_bytes()).expect("a fixture is JSON")
    }

    #[test]
    fn nothing_is_removed_and_atomics_are_refused() {
        let schema = value(
            r#"{"type": "object", "properties": {
                "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                    "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}}},
                "atomic": {"type": "array", "items": {"type": "string"}}}}"#,
        );
        let object = value(r#"{"keyed": [{"name": "a", "v": 1}, {"name": "b", "v": 1}]}"#);
        let wanted = value(r#"{"keyed": [{"name": "b", "v": 2}, {"name": "c"}]}"#);
        let merged = merge_configuration(&object, &wanted, Schema::OpenApi(&schema));
        let expected =
            r#"{"keyed": [{"name": "a", "v": 1}, {"name": "b", "v": 2}, {"name": "c"}]}"#;
        assert_eq!(merged, Ok(value(expected)));
        let wanted = value(r#"{"atomic": ["x"]}"#);
        let refused = merge_configuration(&object, &wanted, Schema::OpenApi(&schema));
        let text =
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .atomic";
        assert_eq!(refused, Err(text.to_owned()));
    }
}
