//! Messages of a `generated.proto`: the numbers and wire types that Go's struct tags are checked against.

use std::collections::BTreeMap;

/// A parsed protobuf file.
#[derive(Debug, Default)]
pub struct Proto {
    /// `k8s.io.api.core.v1`
    pub package: String,
    /// Message name to field number to type as written.
    pub messages: BTreeMap<String, BTreeMap<u16, String>>,
}

/// Parses the subset of proto2 that upstream generates.
pub fn parse(text: &str) -> Proto {
    let mut proto = Proto::default();
    let mut current: Option<(String, BTreeMap<u16, String>)> = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("package ") {
            proto.package = rest.trim_end_matches(';').to_string();
        } else if let Some(rest) = line.strip_prefix("message ") {
            current = Some((
                rest.trim_end_matches(['{', ' ']).to_string(),
                BTreeMap::new(),
            ));
        } else if line == "}" {
            if let Some((name, fields)) = current.take() {
                proto.messages.insert(name, fields);
            }
        } else if let Some((_, fields)) = current.as_mut()
            && !line.starts_with("//")
            && let Some((left, number)) = line.trim_end_matches(';').rsplit_once(" = ")
            && let (Ok(number), Some((kind, _))) = (number.parse(), left.rsplit_once(' '))
        {
            let kind = kind
                .trim_start_matches("optional ")
                .trim_start_matches("repeated ");
            fields.insert(number, kind.to_string());
        }
    }
    proto
}
