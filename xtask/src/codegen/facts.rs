//! Markers and struct tags of a field as a `Facts` expression: list types, keys, patch strategies, defaults, enums.

use super::go;
use super::packages::Source;

/// What the markers of one field (and of its type) say.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Facts {
    pub list_type: String,
    pub map_keys: Vec<String>,
    pub atomic: bool,
    pub patch_strategy: String,
    pub patch_merge_key: String,
    pub default: String,
    pub values: Vec<String>,
}

/// The value of `+name=value`.
pub fn marker<'a>(markers: &'a [String], name: &str) -> Option<&'a str> {
    markers
        .iter()
        .find_map(|m| m.strip_prefix('+')?.strip_prefix(name)?.strip_prefix('='))
        .map(str::trim)
}

/// Whether `+name` is there.
pub fn flag(markers: &[String], name: &str) -> bool {
    markers.iter().any(|m| {
        m.strip_prefix('+')
            .is_some_and(|m| m.split_whitespace().next() == Some(name))
    })
}

/// Whether markers make a struct or map atomic.
pub fn atomic(markers: &[String]) -> bool {
    marker(markers, "structType") == Some("atomic") || marker(markers, "mapType") == Some("atomic")
}

/// The facts of a field declared in `source`.
pub fn of(field: &go::Field, source: &Source) -> Facts {
    let m = &field.markers;
    let default = marker(m, "default").unwrap_or_default();
    let default = match default
        .strip_prefix("ref(")
        .and_then(|d| d.strip_suffix(')'))
    {
        Some(name) => source
            .go
            .consts
            .iter()
            .find(|c| c.name == name)
            .map(|c| format!("\"{}\"", c.value))
            .unwrap_or_default(),
        None => default.to_string(),
    };
    let map_keys = m
        .iter()
        .filter_map(|m| m.strip_prefix("+listMapKey="))
        .map(|k| k.trim().trim_matches('"').to_string());
    let tag = |name: &str| field.tags.get(name).cloned().unwrap_or_default();
    Facts {
        list_type: marker(m, "listType").unwrap_or_default().to_string(),
        map_keys: map_keys.collect(),
        atomic: atomic(m),
        patch_strategy: tag("patchStrategy"),
        patch_merge_key: tag("patchMergeKey"),
        default,
        values: values(&field.kind, source),
    }
}

/// The values of an `+enum` type, sorted as upstream's OpenAPI sorts them.
fn values(kind: &str, source: &Source) -> Vec<String> {
    let name = kind.trim_start_matches(['*', '[', ']']);
    let Some(named) = source.go.named.get(name) else {
        return Vec::new();
    };
    if !flag(&named.markers, "enum") {
        return Vec::new();
    }
    let mut values: Vec<String> = source
        .go
        .consts
        .iter()
        .filter(|c| c.of == name)
        .map(|c| c.value.clone())
        .collect();
    values.sort();
    values.dedup();
    values
}

impl Facts {
    /// The Rust expression, empty when nothing is said.
    pub fn expression(&self) -> String {
        if *self == Facts::default() {
            return String::new();
        }
        let mut out = String::from("Facts::NONE");
        let texts = |list: &[String]| {
            list.iter()
                .map(|t| format!("{t:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        match self.list_type.as_str() {
            "map" => out += &format!(".list_map(&[{}])", texts(&self.map_keys)),
            "set" => out += ".list_set()",
            "atomic" => out += ".list_atomic()",
            _ => {}
        }
        if self.atomic {
            out += ".atomic()";
        }
        if !self.patch_strategy.is_empty() || !self.patch_merge_key.is_empty() {
            out += &format!(
                ".patch({:?}, {:?})",
                self.patch_strategy, self.patch_merge_key
            );
        }
        if !self.default.is_empty() {
            out += &format!(".default({:?})", self.default);
        }
        if !self.values.is_empty() {
            out += &format!(".values(&[{}])", texts(&self.values));
        }
        out
    }
}
