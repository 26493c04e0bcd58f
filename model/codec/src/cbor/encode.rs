//! Writing. Invariant: map entries stand in the order of their encoded keys; numbers have their shortest form.

use super::SELF_DESCRIBED;
use corten_api::Object;
use corten_core::{MsgRef, Ref, Value};

/// A whole object behind the self-described tag.
pub fn encode(object: &Object) -> Vec<u8> {
    match object.message() {
        Some(message) => encode_message(message),
        None => encode_value(&object.to_value().unwrap_or_default()),
    }
}

/// A message behind the self-described tag.
pub fn encode_message(message: MsgRef<'_>) -> Vec<u8> {
    let mut out = SELF_DESCRIBED.to_vec();
    write_message(message, &mut out);
    out
}

/// A value behind the self-described tag.
pub fn encode_value(value: &Value) -> Vec<u8> {
    let mut out = SELF_DESCRIBED.to_vec();
    write_value(value, &mut out);
    out
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
/// Tag 22: a reader that wants text takes the base64 of what follows.
const LATER_BASE64: u8 = 0xc0 | 22;

fn head(major: u8, number: u64, out: &mut Vec<u8>) {
    match number {
        0..=23 => out.push(major | number as u8),
        24..=0xff => out.extend([major | 24, number as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend((number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend((number as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(number.to_be_bytes());
        }
    }
}

fn text(text: &str, out: &mut Vec<u8>) {
    head(BYTES, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn integer(number: i64, out: &mut Vec<u8>) {
    match u64::try_from(number) {
        Ok(number) => head(UNSIGNED, number, out),
        // -1 is 0, -2 is 1: the complement of the bits.
        Err(_) => head(NEGATIVE, !number as u64, out),
    }
}

fn float(number: f64, out: &mut Vec<u8>) {
    if let Some(half) = half_bits(number) {
        out.push(0xf9);
        out.extend(half.to_be_bytes());
    } else if f64::from(number as f32).to_bits() == number.to_bits() {
        out.push(0xfa);
        out.extend((number as f32).to_bits().to_be_bytes());
    } else {
        out.push(0xfb);
        out.extend(number.to_bits().to_be_bytes());
    }
}

/// The 16-bit form of a number that has an exact one.
fn half_bits(number: f64) -> Option<u16> {
    let bits = number.to_bits();
    let sign = ((bits >> 48) & 0x8000) as u16;
    if number == 0.0 {
        return Some(sign);
    }
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1023;
    let fraction = bits & 0x000f_ffff_ffff_ffff;
    if (-14..=15).contains(&exponent) {
        let exact = fraction & ((1 << 42) - 1) == 0;
        let biased = ((exponent + 15) as u16) << 10;
        return exact.then_some(sign | biased | (fraction >> 42) as u16);
    }
    if (-24..-14).contains(&exponent) {
        // Below the normal range the leading 1 is written out.
        let shift = 42 + (-14 - exponent) as u32;
        let whole = fraction | 1 << 52;
        let exact = whole & ((1_u64 << shift) - 1) == 0;
        return exact.then_some(sign | (whole >> shift) as u16);
    }
    None
}

/// Entries in the order of their encoded keys.
fn map(mut entries: Vec<(Vec<u8>, Vec<u8>)>, out: &mut Vec<u8>) {
    entries.sort();
    head(MAP, entries.len() as u64, out);
    for (key, value) in entries {
        out.extend(key);
        out.extend(value);
    }
}

fn entry(key: &str, write: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    let (mut encoded, mut value) = (Vec::new(), Vec::new());
    text(key, &mut encoded);
    write(&mut value);
    (encoded, value)
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(b) => out.push(if *b { TRUE } else { FALSE }),
        Value::Int(number) => integer(*number, out),
        Value::Float(number) => float(*number, out),
        Value::Str(s) => text(s, out),
        Value::List(list) => {
            head(ARRAY, list.len() as u64, out);
            list.iter().for_each(|item| write_value(item, out));
        }
        Value::Map(members) => {
            let entries = members
                .iter()
                .map(|(k, v)| entry(k, |out| write_value(v, out)));
            map(entries.collect(), out);
        }
    }
}

fn write_message(message: MsgRef<'_>, out: &mut Vec<u8>) {
    let mut entries = Vec::new();
    for (index, field) in message.msg().json.iter().enumerate() {
        let value = message.json(index);
        if !field.omits(value) {
            entries.push(entry(field.key, |out| write_ref(value, out)));
        }
    }
    map(entries, out);
}

fn write_ref(value: Ref<'_>, out: &mut Vec<u8>) {
    match value {
        Ref::Nil => out.push(NULL),
        Ref::Bool(b) => out.push(if b { TRUE } else { FALSE }),
        Ref::I32(number) => integer(i64::from(number), out),
        Ref::I64(number) => integer(number, out),
        Ref::F64(number) => float(number, out),
        Ref::Str(s) => text(s, out),
        Ref::Bin(bytes) if bytes.is_nil() => out.push(NULL),
        Ref::Bin(bytes) => {
            out.push(LATER_BASE64);
            head(BYTES, bytes.len() as u64, out);
            out.extend_from_slice(bytes);
        }
        Ref::Msg(message) => write_message(message, out),
        Ref::List(list) if list.is_nil() => out.push(NULL),
        Ref::List(list) => {
            head(ARRAY, list.len() as u64, out);
            list.iter().for_each(|item| write_ref(item, out));
        }
        Ref::Map(members) if members.is_nil() => out.push(NULL),
        Ref::Map(members) => {
            let entries = members
                .iter()
                .map(|(k, v)| entry(k, |out| write_ref(v, out)));
            map(entries.collect(), out);
        }
        // Times, quantities, raw JSON and the like are what their JSON is.
        other => write_value(&other.to_value().unwrap_or_default(), out),
    }
}
