//! JSON patch (RFC 6902) with the habits of the library that upstream uses: `replace` adds missing members,
//! a missing `value` is null, negative indexes count from the end, and what precedes the first `/` is ignored.

use crate::PatchError;
use crate::error::{bad, invalid};
use crate::go_text::json_word;
use corten_core::{Value, ValueMap};

/// Operations that one patch may have.
const OPERATIONS_MAX: usize = 10_000;
/// Bytes of JSON that the copies of one patch may add: each copy can double what is there.
const COPIED_MAX: usize = 3 << 20;

/// Applies a JSON patch.
///
/// # Errors
/// `Bad` when it is not a list of operations or has too many; `Invalid` when an operation cannot be carried out.
pub fn json(mut doc: Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = match patch {
        Value::Null => return Ok(doc),
        Value::List(list) => list,
        other => {
            return bad(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
                json_word(other)
            ));
        }
    };
    for operation in operations {
        check(operation)?;
    }
    if operations.len() > OPERATIONS_MAX {
        return bad(format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.len()
        ));
    }
    let mut copied = 0;
    for operation in operations {
        execute(&mut doc, operation, &mut copied).or_else(invalid)?;
    }
    Ok(doc)
}

fn check(operation: &Value) -> Result<(), PatchError> {
    let map = match operation {
        Value::Null => return Ok(()),
        Value::Map(map) => map,
        other => {
            return bad(format!(
                "error decoding patch: json: cannot unmarshal {} into Go value of type handlers.jsonPatchOp",
                json_word(other)
            ));
        }
    };
    for key in ["op", "path", "from"] {
        match map.get(key) {
            None | Some(Value::Null | Value::Str(_)) => {}
            Some(other) => {
                return bad(format!(
                    "error decoding patch: json: cannot unmarshal {} into Go struct field jsonPatchOp.{key} of type string",
                    json_word(other)
                ));
            }
        }
    }
    Ok(())
}

fn execute(doc: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), String> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let value = operation.get("value");
    let kind = text("op").unwrap_or("unknown");
    let path = || text("path").ok_or("operation missing path field: missing value");
    let from = || text("from").ok_or("operation, missing from field: missing value");
    match kind {
        "add" => {
            let path = path().map_err(|_| "add operation failed to decode path: missing value")?;
            let (at, key) = find(doc, path).ok_or_else(|| {
                format!(
                    "add operation does not apply: doc is missing path: \"{path}\": missing value"
                )
            })?;
            add(at, &key, value.cloned().unwrap_or_default())
                .map_err(|e| format!("error in add for path: '{path}': {e}"))
        }
        "remove" => {
            let path =
                path().map_err(|_| "remove operation failed to decode path: missing value")?;
            let (at, key) = find(doc, path).ok_or_else(|| {
                format!(
                    "remove operation does not apply: doc is missing path: \"{path}\": missing value"
                )
            })?;
            remove(at, &key).map_err(|e| format!("error in remove for path: '{path}': {e}"))?;
            Ok(())
        }
        "replace" => {
            let path =
                path().map_err(|e| format!("replace operation failed to decode path: {e}"))?;
            replace(doc, path, value)
        }
        "move" => {
            let from = from().map_err(|e| format!("move operation failed to decode from: {e}"))?;
            let moved = take(doc, from)?;
            let path = path().map_err(|e| format!("move operation failed to decode path: {e}"))?;
            let (at, key) = find(doc, path).ok_or_else(|| {
                format!(
                    "move operation does not apply: doc is missing destination path: {path}: missing value"
                )
            })?;
            add(at, &key, moved).map_err(|e| format!("error in move for path: '{path}': {e}"))
        }
        "test" => {
            let path = path().map_err(|e| format!("test operation failed to decode path: {e}"))?;
            test(doc, path, value)
        }
        "copy" => {
            let from = from().map_err(|e| format!("copy operation failed to decode from: {e}"))?;
            let path = path().map_err(|_| "copy operation failed to decode path: missing value");
            copy(doc, from, path, copied)
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

fn copy(
    doc: &mut Value,
    from: &str,
    path: Result<&str, &str>,
    copied: &mut usize,
) -> Result<(), String> {
    let (at, key) = find(doc, from).ok_or_else(|| {
        format!("copy operation does not apply: doc is missing from path: {from}: missing value")
    })?;
    let copy = get(&at, &key)
        .map_err(|e| format!("error in copy for from: '{from}': {e}"))?
        .cloned()
        .unwrap_or_default();
    let path = path?;
    *copied += json_len(&copy);
    if *copied > COPIED_MAX {
        return Err(format!(
            "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPIED_MAX}"
        ));
    }
    let (at, key) = find(doc, path).ok_or_else(|| {
        format!(
            "copy operation does not apply: doc is missing destination path: {path}: missing value"
        )
    })?;
    add(at, &key, copy).map_err(|e| format!("error while adding value during copy: {e}"))
}

/// About how long the JSON of a value is: what must be escaped counts once.
fn json_len(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Int(n) => n.checked_ilog10().unwrap_or(0) as usize + 1,
        Value::Float(_) => 8,
        Value::Str(s) => s.len() + 2,
        Value::List(list) => 2 + list.iter().map(|v| json_len(v) + 1).sum::<usize>(),
        Value::Map(map) => {
            let member = |(k, v): (&corten_core::Str, &Value)| k.len() + 4 + json_len(v);
            2 + map.iter().map(member).sum::<usize>()
        }
    }
}

fn replace(doc: &mut Value, path: &str, value: Option<&Value>) -> Result<(), String> {
    if path.is_empty() {
        return match value {
            Some(value @ (Value::Map(_) | Value::List(_))) => {
                *doc = value.clone();
                Ok(())
            }
            _ => Err("replace operation value must be object or array: %!w(<nil>)".into()),
        };
    }
    let (at, key) = find(doc, path).ok_or_else(|| {
        format!("replace operation does not apply: doc is missing path: {path}: missing value")
    })?;
    if get(&at, &key).is_err() {
        return Err(format!(
            "replace operation does not apply: doc is missing key: {path}: missing value"
        ));
    }
    let value = value.cloned().unwrap_or_default();
    match at {
        Place::Map(map) => {
            map.insert(key, value);
        }
        Place::List(list) => {
            let index = index(&key, list.len())?;
            list[index] = value;
        }
    }
    Ok(())
}

fn test(doc: &mut Value, path: &str, value: Option<&Value>) -> Result<(), String> {
    let failed = || Err(format!("testing value {path} failed: test failed"));
    if path.is_empty() {
        return if value == Some(doc) { Ok(()) } else { failed() };
    }
    let (at, key) = find(doc, path).ok_or_else(|| {
        format!("test operation does not apply: is missing path: {path}: missing value")
    })?;
    let found = get(&at, &key).map_err(|e| format!("error in test for path: '{path}': {e}"))?;
    let same = match (found, value) {
        (None | Some(Value::Null), None | Some(Value::Null)) => true,
        (found, value) => found == value,
    };
    if same { Ok(()) } else { failed() }
}

fn take(doc: &mut Value, from: &str) -> Result<Value, String> {
    let (at, key) = find(doc, from).ok_or_else(|| {
        format!("move operation does not apply: doc is missing from path: {from}: missing value")
    })?;
    get(&at, &key).map_err(|e| format!("error in move for path: '{key}': {e}"))?;
    remove(at, &key).map_err(|e| format!("error in move for path: '{key}': {e}"))
}

/// What holds the last segment of a path.
enum Place<'a> {
    Map(&'a mut ValueMap),
    List(&'a mut Vec<Value>),
}

fn place(value: &mut Value) -> Option<Place<'_>> {
    match value {
        Value::Map(map) => Some(Place::Map(map)),
        Value::List(list) => Some(Place::List(list)),
        _ => None,
    }
}

fn find<'a>(doc: &'a mut Value, path: &str) -> Option<(Place<'a>, String)> {
    let mut segments = path.split('/').skip(1).map(unescape);
    let mut key = segments.next()?;
    let mut at = place(doc)?;
    for next in segments {
        let inner = match at {
            Place::Map(map) => map.get_mut(&key)?,
            Place::List(list) => {
                let index = index(&key, list.len()).ok()?;
                &mut list[index]
            }
        };
        at = place(inner)?;
        key = next;
    }
    Some((at, key))
}

/// `~1` is a slash and `~0` a tilde, replaced in one pass.
fn unescape(segment: &str) -> String {
    let mut out = String::with_capacity(segment.len());
    let mut rest = segment;
    while let Some(at) = rest.find('~') {
        out.push_str(&rest[..at]);
        let (with, skip) = match rest.as_bytes().get(at + 1) {
            Some(b'1') => ('/', 2),
            Some(b'0') => ('~', 2),
            _ => ('~', 1),
        };
        out.push(with);
        rest = &rest[at + skip..];
    }
    out.push_str(rest);
    out
}

fn number(key: &str) -> Result<i64, String> {
    key.parse().map_err(|e: std::num::ParseIntError| {
        let why = match e.kind() {
            std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                "value out of range"
            }
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {key:?}: {why}")
    })
}

fn bounded(index: i64, len: usize) -> Result<usize, String> {
    let len = len as i64;
    let from_start = if index < 0 { index + len } else { index };
    if (0..len).contains(&from_start) {
        Ok(from_start as usize)
    } else {
        Err(format!(
            "Unable to access invalid index: {index}: invalid index referenced"
        ))
    }
}

fn index(key: &str, len: usize) -> Result<usize, String> {
    bounded(number(key)?, len)
}

fn get<'a>(at: &'a Place, key: &str) -> Result<Option<&'a Value>, String> {
    match at {
        Place::Map(map) => Ok(map.get(key)),
        Place::List(list) => {
            let index = index(key, list.len())?;
            Ok(Some(&list[index]))
        }
    }
}

fn add(at: Place, key: &str, value: Value) -> Result<(), String> {
    match at {
        Place::Map(map) => {
            map.insert(key, value);
        }
        Place::List(list) if key == "-" => list.push(value),
        Place::List(list) => {
            let index = number(key)
                .map_err(|e| format!("value was not a proper array index: '{key}': {e}"))?;
            let index = bounded(index, list.len() + 1)?;
            list.insert(index, value);
        }
    }
    Ok(())
}

fn remove(at: Place, key: &str) -> Result<Value, String> {
    match at {
        Place::Map(map) => map
            .remove(key)
            .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value")),
        Place::List(list) => {
            let index = index(key, list.len())?;
            Ok(list.remove(index))
        }
    }
}
