//! What aggregated servers say in OpenAPI v2, merged into the own document: their paths, and the definitions these use.
//! Invariant: a definition of ours keeps its name; one of theirs that differs under the same name gets another.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";
/// Types of the machinery every server shares; their own copies of them are not taken.
const SHARED: &str = "io.k8s.apimachinery.";

/// The part of a server's document that tells of one group version, and all it refers to.
pub(crate) fn part(theirs: &Value, group: &str, version: &str) -> Value {
    let own = format!("/apis/{group}/{version}/");
    let mut paths = Map::new();
    for (path, item) in theirs["paths"].as_object().into_iter().flatten() {
        if path.starts_with(&own) {
            let mut item = item.clone();
            inline(&mut item, &theirs["parameters"]);
            paths.insert(path.clone(), item);
        }
    }
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    references(&Value::Object(paths.clone()), &mut open);
    let mut definitions = Map::new();
    while let Some(name) = open.pop() {
        if found.insert(name.clone())
            && let Some(schema) = theirs["definitions"].get(&name)
        {
            references(schema, &mut open);
            definitions.insert(name, schema.clone());
        }
    }
    serde_json::json!({"paths": paths, "definitions": definitions})
}

/// Adds such a part to a document.
pub(super) fn add(document: &mut Value, mut part: Value) {
    let mut renamed = BTreeMap::new();
    let known = &document["definitions"];
    let theirs = part["definitions"].as_object().cloned().unwrap_or_default();
    for (name, schema) in &theirs {
        let taken = known.get(name);
        if taken.is_some_and(|ours| ours != schema) && !name.starts_with(SHARED) {
            let free = (2..).map(|n| format!("{name}_v{n}"));
            let mut free = free.filter(|name| known.get(name).is_none());
            renamed.insert(name.clone(), free.next().unwrap_or_default());
        }
    }
    rename(&mut part, &renamed);
    let paths = part["paths"].as_object_mut().map(std::mem::take);
    let definitions = part["definitions"].as_object_mut().map(std::mem::take);
    for (place, taken) in [("paths", paths), ("definitions", definitions)] {
        let Some(ours) = document[place].as_object_mut() else {
            continue;
        };
        for (name, value) in taken.into_iter().flatten() {
            let name = match place {
                "definitions" => renamed.get(&name).cloned().unwrap_or(name),
                _ => name,
            };
            ours.entry(name).or_insert(value);
        }
    }
}

/// Puts parameters that stand elsewhere where they are referred to.
fn inline(value: &mut Value, parameters: &Value) {
    let place = value.get("$ref").and_then(Value::as_str);
    let name = place.and_then(|place| place.strip_prefix(PARAMETERS));
    if let Some(parameter) = name.and_then(|name| parameters.get(name)) {
        *value = parameter.clone();
    }
    match value {
        Value::Object(all) => all.values_mut().for_each(|one| inline(one, parameters)),
        Value::Array(all) => all.iter_mut().for_each(|one| inline(one, parameters)),
        _ => {}
    }
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(all) => {
            let place = all.get("$ref").and_then(Value::as_str);
            found.extend(
                place
                    .and_then(|p| p.strip_prefix(DEFINITIONS))
                    .map(str::to_owned),
            );
            all.values().for_each(|one| references(one, found));
        }
        Value::Array(all) => all.iter().for_each(|one| references(one, found)),
        _ => {}
    }
}

fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(all) => {
            let place = all.get("$ref").and_then(Value::as_str);
            let old = place.and_then(|p| p.strip_prefix(DEFINITIONS));
            if let Some(new) = old.and_then(|old| names.get(old)) {
                all.insert("$ref".into(), format!("{DEFINITIONS}{new}").into());
            }
            all.values_mut().for_each(|one| rename(one, names));
        }
        Value::Array(all) => all.iter_mut().for_each(|one| rename(one, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_group_versions_paths_and_what_they_use_are_taken() {
        let theirs = json!({
            "paths": {
                "/apis/g/v1/things": {"get": {"parameters": [{"$ref": "#/parameters/p-1"}], "schema": {"$ref": "#/definitions/A"}}},
                "/apis/g/v2/things": {"get": {"schema": {"$ref": "#/definitions/D"}}},
            },
            "parameters": {"p-1": {"name": "p", "in": "query"}},
            "definitions": {"A": {"properties": {"b": {"$ref": "#/definitions/B"}}}, "B": {"type": "string"}, "D": {}},
        });
        let part = part(&theirs, "g", "v1");
        assert_eq!(
            part["paths"]["/apis/g/v1/things"]["get"]["parameters"][0]["name"],
            "p"
        );
        assert!(part["paths"].get("/apis/g/v2/things").is_none());
        assert!(part["definitions"].get("D").is_none());
        let mut ours = json!({"paths": {}, "definitions": {"B": {"type": "integer"}}});
        add(&mut ours, part);
        assert_eq!(ours["definitions"]["B"]["type"], "integer");
        assert_eq!(ours["definitions"]["B_v2"]["type"], "string");
        let b = &ours["definitions"]["A"]["properties"]["b"]["$ref"];
        assert_eq!(b, "#/definitions/B_v2");
    }
}
