//! Patches as they are sent, and what becomes of an object when one is applied: a value that must be an object again.
//! Refusals are worded as upstream's patchers do. Leaves out the application itself (corten_patch).

use bytes::Bytes;
use corten_api::Object;
use corten_api::meta::v1::ManagedFieldsEntry;
use corten_client::{Cause, Status, Target};
use corten_codec::json::{self, JsonError, Report};
use corten_codec::yaml;
use corten_core::{List, Value};

use crate::catalog::Served;
use crate::options::FieldValidation;
use crate::patching::PatchKind;
use crate::{audit, decode};

/// A patch's document.
pub(crate) struct Document {
    /// Of repeated keys the last one counts.
    pub value: Value,
    /// What strict validation finds wrong with the document itself.
    problems: Vec<String>,
}

impl Document {
    /// Reads a patch.
    pub(crate) fn read(kind: PatchKind, body: &Bytes) -> Result<Document, Status> {
        audit::sent_text(body);
        if kind == PatchKind::Apply {
            let wrong = |e: yaml::YamlError| {
                Status::bad_request(format!(
                    "error decoding YAML: error converting YAML to JSON: {e}"
                ))
            };
            let (mut value, problems) = yaml::decode_value_strict(body).map_err(wrong)?;
            if !problems.is_empty() {
                value = yaml::decode_value(body).map_err(wrong)?;
            }
            return Ok(Document { value, problems });
        }
        let wrong = |e: JsonError| Status::bad_request(format!("error decoding patch: {e}"));
        let mut report = Report::default();
        let value = json::decode_value_strict(body, &mut report).map_err(wrong)?;
        let mut problems = report.problems;
        if kind == PatchKind::Json {
            problems.extend(unknown_members(&value));
            for problem in &mut problems {
                problem.insert_str(0, "json patch ");
            }
        }
        Ok(Document { value, problems })
    }

    /// Whether strict validation finds nothing wrong with it.
    pub(crate) fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    /// The warnings about an apply's document, once it was applied.
    pub(crate) fn settle_apply(&self, validation: FieldValidation) -> Result<Vec<String>, Status> {
        match validation {
            FieldValidation::Strict if !self.problems.is_empty() => {
                Err(Status::bad_request(format!(
                    "error strict decoding YAML: error converting YAML to JSON: {}",
                    decode::yaml_problems(&self.problems)
                )))
            }
            FieldValidation::Warn => Ok(self.problems.clone()),
            _ => Ok(Vec::new()),
        }
    }
}

/// Members of the operations of a JSON patch that mean nothing.
fn unknown_members(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (i, operation) in value.as_list().unwrap_or_default().iter().enumerate() {
        let keys = operation.as_map().into_iter().flat_map(|m| m.keys());
        for key in keys.filter(|k| !matches!(k.as_str(), "op" | "path" | "from" | "value")) {
            found.push(format!("unknown field \"[{i}].{key}\""));
        }
    }
    found
}

/// A value that a patch made of an object.
pub(crate) struct Patched<'a> {
    pub served: &'a Served,
    pub kind: PatchKind,
    pub document: &'a Document,
    /// The object that was patched, in the served version; none when there was none.
    pub live: Option<&'a Object>,
    /// Its managedFields, when they were put aside.
    pub managers: Option<&'a List<ManagedFieldsEntry>>,
    pub validation: FieldValidation,
}

impl Patched<'_> {
    /// The object that the value is, and its warnings. What does not fit is the patch's fault: 422.
    pub(crate) fn object(&self, value: &Value) -> Result<(Object, Vec<String>), Status> {
        let expected = self.served.group_version_kind_ref();
        if matches!(self.kind, PatchKind::Json | PatchKind::Merge) && !self.served.is_custom() {
            let (version, kind) = (value.str_at(&["apiVersion"]), value.str_at(&["kind"]));
            let text = || Bytes::from(json::encode_value(value));
            if let Some(why) = decode::kind_problem(expected, version, kind, text) {
                return Err(self.refused(value, &why));
            }
        }
        let kind = value.str_at(&["kind"]);
        if self.served.is_custom() && self.kind != PatchKind::Apply && kind != expected.kind {
            let name = value.str_at(&["metadata", "name"]);
            return Err(decode::other_kind(expected, kind, name));
        }
        let read = decode::value_object(self.served, value);
        let (object, found) = read.map_err(|why| self.refused(value, &self.worded(&why)))?;
        let mut problems = match self.kind {
            PatchKind::Apply => Vec::new(),
            _ => self.document.problems.clone(),
        };
        problems.extend(found);
        match self.validation {
            FieldValidation::Strict if !problems.is_empty() => {
                let why = format!("strict decoding error: {}", problems.join(", "));
                Err(self.refused(value, &why))
            }
            FieldValidation::Warn => Ok((object, problems)),
            _ => Ok((object, Vec::new())),
        }
    }

    /// Strategic patches are applied to values of Go, whose conversion has words of its own.
    fn worded(&self, why: &str) -> String {
        match self.kind {
            PatchKind::Strategic => go_conversion(why).unwrap_or_else(|| why.to_owned()),
            _ => why.to_owned(),
        }
    }

    fn refused(&self, value: &Value, why: &str) -> Status {
        let shown = match self.kind {
            PatchKind::Strategic => go_text(&self.document.value),
            _ => self.text(value),
        };
        refused(&shown, why)
    }

    /// The patched object as upstream's patcher writes it: what was not touched keeps the order of its fields.
    fn text(&self, value: &Value) -> String {
        let (mut live, mut value) = (self.live.cloned(), value.clone());
        let managers = self.managers.filter(|m| !m.is_empty());
        if let (Some(live), Some(managers)) = (&mut live, managers) {
            live.meta_mut().managed_fields = managers.clone();
            let full = live.to_value().unwrap_or_default();
            let shown = full["metadata"]["managedFields"].clone();
            value.set(&["metadata", "managedFields"], shown);
        }
        let live = live.as_ref().map(json::encode).unwrap_or_default();
        let mut out = String::new();
        merged_text(&mut out, &value, &live);
        out
    }
}

/// 422 about a patch.
fn refused(shown: &str, why: &str) -> Status {
    let message = format!("Invalid value: {shown:?}: {why}");
    let text = format!("patch: {message}");
    let cause = Cause {
        reason: "FieldValueInvalid".into(),
        message,
        field: "patch".into(),
    };
    let nothing = Target {
        group: "",
        resource: "",
        name: "",
    };
    let mut status = Status::invalid(nothing, vec![cause], &text);
    status.message = format!(" \"\" is invalid: {text}");
    status
}

fn merged_text(out: &mut String, value: &Value, live: &[u8]) {
    if json::decode_value(live).is_ok_and(|live| live == *value) {
        out.push_str(&String::from_utf8_lossy(live));
        return;
    }
    let Some(map) = value.as_map() else {
        out.push_str(&String::from_utf8_lossy(&json::encode_value(value)));
        return;
    };
    let members = members(live);
    out.push('{');
    for (i, (key, inner)) in map.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        let name = json::encode_value(&Value::from(key));
        out.push_str(&String::from_utf8_lossy(&name));
        out.push(':');
        let before = members.iter().find(|(k, _)| *k == name);
        let text: &[u8] = before.map_or(&[], |(_, text)| *text);
        merged_text(out, inner, text);
    }
    out.push('}');
}

/// The members of an object in compact JSON: quoted key and text of the value.
fn members(text: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut found = Vec::new();
    let Some(inner) = text.strip_prefix(b"{").and_then(|t| t.strip_suffix(b"}")) else {
        return found;
    };
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let (mut start, mut colon) = (0, None);
    for (i, byte) in inner.iter().enumerate() {
        if quoted {
            quoted = escaped || *byte != b'"';
            escaped = *byte == b'\\' && !escaped;
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' if depth == 0 && colon.is_none() => colon = Some(i),
            b',' if depth == 0 => {
                found.extend(colon.map(|c| (&inner[start..c], &inner[c + 1..i])));
                (start, colon) = (i + 1, None);
            }
            _ => {}
        }
    }
    found.extend(colon.map(|c| (&inner[start..c], &inner[c + 1..])));
    found
}

/// A value as Go's `%v` prints it.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Str(text) => text.to_string(),
        Value::List(list) => {
            let all: Vec<String> = list.iter().map(go_text).collect();
            format!("[{}]", all.join(" "))
        }
        Value::Map(map) => {
            let all = map.iter().map(|(k, v)| format!("{k}:{}", go_text(v)));
            format!("map[{}]", all.collect::<Vec<_>>().join(" "))
        }
        other => String::from_utf8_lossy(&json::encode_value(other)).into_owned(),
    }
}

/// `json: cannot unmarshal array into Go struct field X.y of type map[string]string` in the words of Go's converter
/// between values and structs.
fn go_conversion(why: &str) -> Option<String> {
    let (_, rest) = why.split_once("cannot unmarshal ")?;
    let (given, rest) = rest.split_once(' ')?;
    let (_, wanted) = rest.rsplit_once("of type ")?;
    let given = match given {
        "array" => "slice",
        "object" => "map",
        "number" => "int64",
        other => other,
    };
    Some(if wanted.starts_with("map[") {
        format!("cannot restore map from {given}")
    } else if wanted.starts_with("[]") {
        format!("cannot restore slice from {given}")
    } else if wanted.contains('.') {
        format!("cannot restore struct from: {given}")
    } else {
        format!("cannot convert {given} to {wanted}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_patch_leaves_alone_keeps_its_order() {
        let live = br#"{"kind":"A","metadata":{"name":"x","annotations":{"b":"1","a":"2"}},"data":{"k":"v"}}"#;
        let mut value = json::decode_value(live).unwrap();
        value.set(&["data", "k"], Value::from("w"));
        let mut out = String::new();
        merged_text(&mut out, &value, live);
        assert_eq!(
            out,
            r#"{"data":{"k":"w"},"kind":"A","metadata":{"name":"x","annotations":{"b":"1","a":"2"}}}"#
        );
    }

    #[test]
    fn wrong_types_read_as_go_says_them() {
        let say = |given: &str, wanted: &str| {
            let text =
                format!("json: cannot unmarshal {given} into Go struct field A.b of type {wanted}");
            go_conversion(&text).unwrap()
        };
        assert_eq!(
            say("array", "map[string]string"),
            "cannot restore map from slice"
        );
        assert_eq!(
            say("object", "[]v1.Container"),
            "cannot restore slice from map"
        );
        assert_eq!(say("number", "string"), "cannot convert int64 to string");
        assert_eq!(
            say("string", "v1.PodSpec"),
            "cannot restore struct from: string"
        );
    }

    #[test]
    fn repeated_keys_of_an_apply_are_named_by_line() {
        let body = Bytes::from_static(b"kind: A\nspec:\n  a: 1\n  a: 2\n");
        let read = Document::read(PatchKind::Apply, &body).unwrap();
        assert_eq!(
            read.settle_apply(FieldValidation::Warn).unwrap(),
            ["line 4: key \"a\" already set in map"]
        );
        assert_eq!(
            read.settle_apply(FieldValidation::Strict)
                .unwrap_err()
                .message,
            "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  line 4: key \"a\" already set in map"
        );
        assert!(
            read.settle_apply(FieldValidation::Ignore)
                .unwrap()
                .is_empty()
        );
        let body = Bytes::from_static(br#"[{"op":"add","op":"add","path":"/a","odd":1}]"#);
        assert_eq!(
            Document::read(PatchKind::Json, &body).unwrap().problems,
            [
                "json patch duplicate field \"[0].op\"",
                "json patch unknown field \"[0].odd\""
            ]
        );
    }
}
