//! Typed messages to and from `Value`, by the same rules as JSON: keys, omitted fields, nulls, embedded messages.
//! Invariant: `from_value(to_value(m)) == m` up to what JSON cannot tell (nil and empty of omitted fields, raw text's layout).
//! Leaves out text.

use crate::access::{MsgMut, MsgRef, Ref, Slot};
use crate::list::Bin;
use crate::many::{ListMut, ListRef, MapMut, MapRef};
use crate::path::Path;
use crate::raw::RawJson;
use crate::str::Str;
use crate::table::{Form, Message};
use crate::value::{Value, ValueMap};
use crate::{Duration, IntOrString, MicroTime, Quantity, Time};

/// Why a value does not fit a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConvertError {
    /// Where, as `spec.containers[0].image`; empty for the object itself.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl std::fmt::Display for ConvertError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}
impl std::error::Error for ConvertError {}

/// A typed message as a value. Fails only when raw JSON text inside is not JSON.
pub fn to_value<M: Message>(message: &M) -> Result<Value, ConvertError> {
    MsgRef::new(message).to_value()
}

/// A value as a typed message; fields that the type does not have are ignored.
pub fn from_value<M: Message>(value: &Value) -> Result<M, ConvertError> {
    let mut message = M::ZERO;
    MsgMut::new(&mut message).merge_value(value, &mut Vec::new())?;
    Ok(message)
}

fn fail<T>(path: &Path, message: impl Into<String>) -> Result<T, ConvertError> {
    Err(ConvertError {
        path: path.to_string(),
        message: message.into(),
    })
}

impl MsgRef<'_> {
    /// The message as a value. Fails only when raw JSON text inside is not JSON.
    pub fn to_value(self) -> Result<Value, ConvertError> {
        message_to(self, &Path::Root)
    }
}

fn message_to(message: MsgRef, path: &Path) -> Result<Value, ConvertError> {
    let json = |i| value_to(message.json(i), path);
    match message.msg().form {
        Form::Struct => {}
        Form::OrBool => {
            let schema = json(1)?;
            return if schema.is_null() {
                json(0)
            } else {
                Ok(schema)
            };
        }
        // The list wins when it has elements, as in Go.
        Form::OrArray | Form::OrStringArray => {
            let list = json(1)?;
            return if list.as_list().is_some_and(|l| !l.is_empty()) {
                Ok(list)
            } else {
                json(0)
            };
        }
    }
    let mut map = ValueMap::new();
    for (i, field) in message.msg().json.iter().enumerate() {
        let value = message.json(i);
        if !field.omits(value) {
            map.insert(
                Str::from_static(field.key),
                value_to(value, &path.f(field.key))?,
            );
        }
    }
    Ok(Value::Map(map))
}

impl Ref<'_> {
    /// The value that this part of a message is.
    ///
    /// # Errors
    /// When raw JSON in it is not JSON.
    pub fn to_value(self) -> Result<Value, ConvertError> {
        value_to(self, &Path::Root)
    }
}

fn value_to(value: Ref, path: &Path) -> Result<Value, ConvertError> {
    Ok(match value {
        Ref::Nil => Value::Null,
        Ref::Bool(v) => Value::Bool(v),
        Ref::I32(v) => Value::Int(v.into()),
        Ref::I64(v) => Value::Int(v),
        Ref::F64(v) => Value::from(v),
        Ref::Str(v) => Value::Str(v.clone()),
        Ref::Bin(v) if v.is_nil() => Value::Null,
        Ref::Bin(v) => Value::Str(base64_encode(v).into()),
        Ref::Time(v) if v.is_zero() => Value::Null,
        Ref::Time(v) => Value::Str(v.to_string().into()),
        Ref::MicroTime(v) if v.is_zero() => Value::Null,
        Ref::MicroTime(v) => Value::Str(v.to_string().into()),
        Ref::Duration(v) => Value::Str(v.to_string().into()),
        Ref::Quantity(v) => Value::Str(v.as_str().into()),
        Ref::IntOrString(IntOrString::Int(v)) => Value::Int((*v).into()),
        Ref::IntOrString(IntOrString::String(v)) => Value::Str(v.clone()),
        Ref::Raw(v) => match v.to_value() {
            Ok(value) => value,
            Err(error) => return fail(path, error.to_string()),
        },
        Ref::Msg(v) => message_to(v, path)?,
        Ref::List(v) => list_to(v, path)?,
        Ref::Map(v) => map_to(v, path)?,
    })
}

fn list_to(list: ListRef, path: &Path) -> Result<Value, ConvertError> {
    if list.is_nil() {
        return Ok(Value::Null);
    }
    let elements: Result<Vec<Value>, ConvertError> = list
        .iter()
        .enumerate()
        .map(|(i, v)| value_to(v, &path.i(i)))
        .collect();
    elements.map(Value::List)
}

fn map_to(map: MapRef, path: &Path) -> Result<Value, ConvertError> {
    if map.is_nil() {
        return Ok(Value::Null);
    }
    let mut out = ValueMap::new();
    for (key, value) in map.iter() {
        out.insert(key.clone(), value_to(value, &path.k(key))?);
    }
    Ok(Value::Map(out))
}

impl MsgMut<'_> {
    /// Sets the fields that `value` names: `null` makes a field nil or zero, lists and maps are replaced, messages merged.
    /// Paths of members that the type does not have are added to `unknown`.
    pub fn merge_value(
        &mut self,
        value: &Value,
        unknown: &mut Vec<String>,
    ) -> Result<(), ConvertError> {
        message_from(self.reborrow(), value, &Path::Root, unknown)
    }
}

fn message_from(
    mut at: MsgMut,
    value: &Value,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), ConvertError> {
    let msg = at.msg();
    if msg.form != Form::Struct {
        return form_from(at, value, path, unknown);
    }
    let map = match value {
        Value::Null => return Ok(()),
        Value::Map(map) => map,
        other => {
            return fail(
                path,
                format!(
                    "expected an object for {}, got {}",
                    msg.name,
                    other.type_name()
                ),
            );
        }
    };
    for (key, member) in map.iter() {
        let path = path.f(key);
        match msg.find(key.as_bytes()) {
            None => unknown.push(path.to_string()),
            Some(i) if member.is_null() => at.clear_json(i),
            Some(i) => slot_from(at.json(i), member, &path, unknown)?,
        }
    }
    Ok(())
}

/// The three schema-or-something messages.
fn form_from(
    mut at: MsgMut,
    value: &Value,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), ConvertError> {
    let form = at.msg().form;
    match (form, value) {
        (Form::OrBool, Value::Map(_)) => {
            slot_from(at.json(0), &Value::Bool(true), path, unknown)?;
            slot_from(at.json(1), value, path, unknown)
        }
        (Form::OrBool, Value::Bool(_)) | (Form::OrArray | Form::OrStringArray, Value::Map(_)) => {
            slot_from(at.json(0), value, path, unknown)
        }
        (Form::OrArray | Form::OrStringArray, Value::List(_)) => {
            slot_from(at.json(1), value, path, unknown)
        }
        (_, Value::Null) => Ok(()),
        (Form::OrBool, other) => fail(
            path,
            format!(
                "expected a boolean or a JSON schema, got {}",
                other.type_name()
            ),
        ),
        (_, other) => fail(
            path,
            format!(
                "expected an array or a JSON schema, got {}",
                other.type_name()
            ),
        ),
    }
}

fn slot_from(
    slot: Slot,
    value: &Value,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), ConvertError> {
    match slot {
        Slot::Bool(at) => {
            *at = value
                .as_bool()
                .map_or_else(|| mismatch(value, "a boolean", path), Ok)?
        }
        Slot::I32(at) => {
            let number = value
                .as_i64()
                .map_or_else(|| mismatch(value, "an integer", path), Ok)?;
            *at = i32::try_from(number)
                .or_else(|_| fail(path, format!("{number} does not fit into 32 bits")))?;
        }
        Slot::I64(at) => {
            *at = value
                .as_i64()
                .map_or_else(|| mismatch(value, "an integer", path), Ok)?
        }
        Slot::F64(at) => {
            *at = value
                .as_f64()
                .map_or_else(|| mismatch(value, "a number", path), Ok)?
        }
        Slot::Str(at) => match value {
            Value::Str(text) => *at = text.clone(),
            other => return mismatch(other, "a string", path),
        },
        Slot::Bin(at) => {
            *at = base64_decode(text(value, path)?)
                .map_or_else(|| fail(path, "illegal base64 data"), |b| Ok(Bin::from(b)))?
        }
        Slot::Time(at) => {
            *at = Time::parse(text(value, path)?).or_else(|e| fail(path, e.to_string()))?
        }
        Slot::MicroTime(at) => {
            *at = MicroTime::parse(text(value, path)?).or_else(|e| fail(path, e.to_string()))?
        }
        Slot::Duration(at) => {
            *at = Duration::parse(text(value, path)?).or_else(|e| fail(path, e.to_string()))?
        }
        Slot::Quantity(at) => *at = quantity(value, path)?,
        Slot::IntOrString(at) => {
            *at = match value {
                Value::Str(text) => IntOrString::String(text.clone()),
                Value::Int(v) if i32::try_from(*v).is_ok() => IntOrString::Int(*v as i32),
                other => return mismatch(other, "an integer or a string", path),
            }
        }
        Slot::Raw(at) => *at = RawJson::from_value(value),
        Slot::Msg(at) => message_from(at, value, path, unknown)?,
        Slot::List(at) => list_from(at, value, path, unknown)?,
        Slot::Map(at) => map_from(at, value, path, unknown)?,
    }
    Ok(())
}

/// A quantity may also be a bare number.
fn quantity(value: &Value, path: &Path) -> Result<Quantity, ConvertError> {
    let parsed = match value {
        Value::Int(_) | Value::Float(_) => Quantity::parse(&value.to_string()),
        value => Quantity::parse(text(value, path)?),
    };
    parsed.or_else(|e| fail(path, e.to_string()))
}

fn mismatch<T>(value: &Value, wanted: &str, path: &Path) -> Result<T, ConvertError> {
    fail(
        path,
        format!("expected {wanted}, got {}", value.type_name()),
    )
}

fn text<'a>(value: &'a Value, path: &Path) -> Result<&'a str, ConvertError> {
    value
        .as_str()
        .map_or_else(|| mismatch(value, "a string", path), Ok)
}

fn list_from(
    mut at: ListMut,
    value: &Value,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), ConvertError> {
    at.set_nil();
    let elements = match value {
        Value::Null => return Ok(()),
        Value::List(elements) => elements,
        other => return mismatch(other, "an array", path),
    };
    at.make();
    for (i, element) in elements.iter().enumerate() {
        let slot = at.push();
        // A null element stays the zero value.
        if !element.is_null() {
            slot_from(slot, element, &path.i(i), unknown)?;
        }
    }
    Ok(())
}

fn map_from(
    mut at: MapMut,
    value: &Value,
    path: &Path,
    unknown: &mut Vec<String>,
) -> Result<(), ConvertError> {
    at.set_nil();
    let members = match value {
        Value::Null => return Ok(()),
        Value::Map(members) => members,
        other => return mismatch(other, "an object", path),
    };
    at.make();
    for (key, member) in members.iter() {
        let slot = at.insert(key.clone());
        if !member.is_null() {
            slot_from(slot, member, &path.k(key), unknown)?;
        }
    }
    Ok(())
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Standard base64 with padding.
pub fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |n, &b| n << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

/// Standard base64 with padding; line breaks are skipped, as Go does. None when it is not that.
pub fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let text: Vec<u8> = text
        .bytes()
        .filter(|b| !matches!(b, b'\r' | b'\n'))
        .collect();
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let groups = text.len() / 4;
    for (i, group) in text.chunks_exact(4).enumerate() {
        let padding = group.iter().rev().take_while(|&&b| b == b'=').count();
        if padding > 2 || (padding > 0 && i + 1 < groups) {
            return None;
        }
        let mut word = 0u32;
        for &b in &group[..4 - padding] {
            word = word << 6 | digit(b)?;
        }
        word <<= 6 * padding;
        out.extend_from_slice(&word.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

fn digit(b: u8) -> Option<u32> {
    Some(u32::from(match b {
        b'A'..=b'Z' => b - b'A',
        b'a'..=b'z' => b - b'a' + 26,
        b'0'..=b'9' => b - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}
