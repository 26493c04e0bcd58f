//! Messages as JSON, the way upstream's gateway shows them: 64-bit numbers as strings, bytes as base64, enums by
//! name, names as in the protobuf file, what is zero left out. Works on the wire form, by the table of fields.

use crate::mvcc::varint;
use crate::table::{ENUMS, Field, Kind, MESSAGES, Message};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// How deep messages may be nested in each other.
const DEPTH_MAX: usize = 64;

/// The JSON form of an encoded message; `message` is an index into [`MESSAGES`].
pub fn from_wire(message: usize, wire: &[u8]) -> Result<Value, String> {
    decode(message, wire, 0)
}

/// The encoded form of a message in JSON. Unknown names are passed over, as upstream does.
pub fn to_wire(message: usize, value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    encode(message, value, &mut out, 0)?;
    Ok(out)
}

fn shape(message: usize) -> Result<&'static Message, String> {
    MESSAGES
        .get(message)
        .ok_or_else(|| format!("there is no message {message}"))
}

fn decode(message: usize, mut wire: &[u8], depth: usize) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err("messages are nested too deeply".to_owned());
    }
    let cut = || "the message is cut off".to_owned();
    let shape = shape(message)?;
    let mut out = Map::new();
    while !wire.is_empty() {
        let tag = varint::read_varint(&mut wire).ok_or_else(cut)?;
        let field = shape
            .fields
            .iter()
            .find(|field| u64::from(field.number) == tag >> 3);
        match tag & 7 {
            0 => {
                let number = varint::read_varint(&mut wire).ok_or_else(cut)?;
                if let Some(field) = field {
                    put(&mut out, field, scalar(field, number));
                }
            }
            2 => {
                let length = varint::read_varint(&mut wire).ok_or_else(cut)? as usize;
                let bytes = wire.get(..length).ok_or_else(cut)?;
                wire = &wire[length..];
                if let Some(field) = field {
                    delimited(&mut out, field, bytes, depth)?;
                }
            }
            1 => wire = wire.get(8..).ok_or_else(cut)?,
            5 => wire = wire.get(4..).ok_or_else(cut)?,
            other => return Err(format!("wire type {other} is not known")),
        }
    }
    Ok(Value::Object(out))
}

fn put(out: &mut Map<String, Value>, field: &Field, value: Value) {
    if !field.repeated {
        out.insert(field.name.to_owned(), value);
        return;
    }
    let list = out
        .entry(field.name)
        .or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(list) = list {
        list.push(value);
    }
}

fn scalar(field: &Field, number: u64) -> Value {
    match field.kind {
        Kind::Bool => Value::Bool(number != 0),
        Kind::Int64 => Value::String((number as i64).to_string()),
        Kind::Uint64 => Value::String(number.to_string()),
        Kind::Int32 => Value::from(number as i32),
        Kind::Uint32 => Value::from(number as u32),
        Kind::Enum(index) => {
            let names = ENUMS.get(index).copied().unwrap_or_default();
            match names.iter().find(|(_, value)| *value == number as i32) {
                Some((name, _)) => Value::from(*name),
                None => Value::from(number as i32),
            }
        }
        Kind::Bytes | Kind::Text | Kind::Message(_) => Value::Null,
    }
}

fn delimited(
    out: &mut Map<String, Value>,
    field: &Field,
    mut bytes: &[u8],
    depth: usize,
) -> Result<(), String> {
    let value = match field.kind {
        Kind::Bytes => Value::String(STANDARD.encode(bytes)),
        Kind::Text => Value::String(String::from_utf8_lossy(bytes).into_owned()),
        Kind::Message(message) => decode(message, bytes, depth + 1)?,
        _ => {
            // A packed list of numbers.
            while !bytes.is_empty() {
                let number = varint::read_varint(&mut bytes).ok_or("a list is cut off")?;
                put(out, field, scalar(field, number));
            }
            return Ok(());
        }
    };
    put(out, field, value);
    Ok(())
}

fn encode(message: usize, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), String> {
    if depth > DEPTH_MAX {
        return Err("messages are nested too deeply".to_owned());
    }
    let shape = shape(message)?;
    let Value::Object(members) = value else {
        return Err(format!("{} has to be an object", shape.name));
    };
    for (name, value) in members {
        let field = shape
            .fields
            .iter()
            .find(|f| f.name == name || camel(f.name) == *name);
        let Some(field) = field else { continue };
        match value {
            Value::Null => {}
            Value::Array(list) if field.repeated => {
                for one in list {
                    encode_field(field, one, out, depth)?;
                }
            }
            value => encode_field(field, value, out, depth)?,
        }
    }
    Ok(())
}

fn encode_field(
    field: &Field,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), String> {
    let wrong = || format!("invalid value for field {}: {value}", field.name);
    let tag =
        |out: &mut Vec<u8>, wire: u64| varint::varint(out, u64::from(field.number) << 3 | wire);
    let mut bytes = Vec::new();
    match field.kind {
        Kind::Bool => {
            let set = value.as_bool().ok_or_else(wrong)?;
            tag(out, 0);
            varint::varint(out, u64::from(set));
            return Ok(());
        }
        Kind::Int64 | Kind::Uint64 | Kind::Int32 | Kind::Uint32 => {
            let number = number(value).ok_or_else(wrong)?;
            tag(out, 0);
            varint::varint(out, number);
            return Ok(());
        }
        Kind::Enum(index) => {
            let names = ENUMS.get(index).copied().unwrap_or_default();
            let number = match value {
                Value::String(name) => names
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| *value as u64)
                    .ok_or_else(wrong)?,
                other => number(other).ok_or_else(wrong)?,
            };
            tag(out, 0);
            varint::varint(out, number);
            return Ok(());
        }
        Kind::Bytes => bytes = unbase64(value.as_str().ok_or_else(wrong)?).ok_or_else(wrong)?,
        Kind::Text => bytes.extend_from_slice(value.as_str().ok_or_else(wrong)?.as_bytes()),
        Kind::Message(message) => encode(message, value, &mut bytes, depth + 1)?,
    }
    tag(out, 2);
    varint::varint(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
    Ok(())
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => match text.parse::<i64>() {
            Ok(number) => Some(number as u64),
            Err(_) => text.parse().ok(),
        },
        Value::Number(number) => number.as_i64().map(|n| n as u64).or(number.as_u64()),
        _ => None,
    }
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let engines = [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD];
    engines.iter().find_map(|engine| engine.decode(text).ok())
}

fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut raise = false;
    for c in name.chars() {
        if c == '_' {
            raise = true;
        } else if raise {
            out.extend(c.to_uppercase());
            raise = false;
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::etcdserverpb::{RangeRequest, TxnRequest};
    use prost::Message as _;
    use serde_json::json;

    fn index(name: &str) -> usize {
        MESSAGES
            .iter()
            .position(|message| message.name == name)
            .unwrap()
    }

    #[test]
    fn a_request_reads_both_spellings() {
        let value = json!({"key": "Zm9v", "range_end": "Zm9w", "limit": "3", "sortOrder": "DESCEND", "x": 1});
        let wire = to_wire(index("etcdserverpb.RangeRequest"), &value).unwrap();
        let request = RangeRequest::decode(&wire[..]).unwrap();
        assert_eq!(
            (&request.key[..], request.limit, request.sort_order),
            (&b"foo"[..], 3, 2)
        );
        let back = from_wire(index("etcdserverpb.RangeRequest"), &wire).unwrap();
        assert_eq!(
            back,
            json!({"key": "Zm9v", "range_end": "Zm9w", "limit": "3", "sort_order": "DESCEND"})
        );
    }

    #[test]
    fn a_transaction_nests() {
        let value = json!({"compare": [{"result": "EQUAL", "target": "CREATE", "key": "Zm9v", "createRevision": "0"}],
            "success": [{"requestPut": {"key": "Zm9v", "value": "YmFy"}}]});
        let wire = to_wire(index("etcdserverpb.TxnRequest"), &value).unwrap();
        let request = TxnRequest::decode(&wire[..]).unwrap();
        assert!(request.compare[0].target_union.is_some());
        assert_eq!(request.success.len(), 1);
        assert!(to_wire(index("etcdserverpb.TxnRequest"), &json!([])).is_err());
    }
}
