//! Merge patch (RFC 7386) with the habits of the library that upstream uses: nulls inside what is added are pruned,
//! also inside arrays; an array that replaces an object keeps them.

use crate::PatchError;
use crate::error::bad;
use crate::go_text::json_word;
use corten_core::{Value, ValueMap};

/// Applies a merge patch.
///
/// # Errors
/// `Bad` when the patch is not an object.
pub fn merge(doc: Value, patch: &Value) -> Result<Value, PatchError> {
    let patch = match patch {
        Value::Map(patch) => patch,
        Value::Null => return bad("Invalid JSON Patch"),
        other => {
            return bad(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                json_word(other)
            ));
        }
    };
    match doc {
        Value::Map(mut doc) => {
            merge_map(&mut doc, patch);
            Ok(Value::Map(doc))
        }
        _ => Ok(pruned(&Value::Map(patch.clone()))),
    }
}

fn merge_map(doc: &mut ValueMap, patch: &ValueMap) {
    for (key, value) in patch.iter() {
        if value.is_null() {
            doc.remove(key);
            continue;
        }
        match (doc.get_mut(key), value) {
            (Some(Value::Map(inner)), Value::Map(patch)) => merge_map(inner, patch),
            (Some(old @ Value::Map(_)), value) => *old = value.clone(),
            (_, value) => {
                doc.insert(key.clone(), pruned(value));
            }
        }
    }
}

/// Without members that are null; elements that are null stay.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let kept = map.iter().filter(|(_, v)| !v.is_null());
            Value::Map(kept.map(|(k, v)| (k.clone(), pruned(v))).collect())
        }
        Value::List(list) => Value::List(list.iter().map(pruned).collect()),
        other => other.clone(),
    }
}
