//! JSON to and from the dynamic `Value`, as upstream reads and prints unstructured objects.
//! Invariant: a number without `.` that fits 64 bits is an integer, any other a float; maps print sorted by key.

use super::decode::Report;
use super::path::At;
use super::scan::Scanner;
use super::text::{write_float, write_int, write_text};
use super::{DEPTH_MAX, JsonError, SyntaxError};
use corten_core::{Str, Value, ValueMapFiller};
use std::borrow::Cow;

/// Decodes a document; of duplicate members the last one stays.
pub fn decode_value(bytes: &[u8]) -> Result<Value, JsonError> {
    decode(bytes, None)
}

/// Decodes a document and reports duplicate members.
pub fn decode_value_strict(bytes: &[u8], report: &mut Report) -> Result<Value, JsonError> {
    decode(bytes, Some(report))
}

fn decode(bytes: &[u8], report: Option<&mut Report>) -> Result<Value, JsonError> {
    let mut scan = Scanner::new(bytes);
    let (value, error) = decode_value_part(&mut scan, report, &At::Root)?;
    scan.finish()?;
    match error {
        Some(message) => Err(JsonError::Type(message)),
        None => Ok(value),
    }
}

/// Decodes the value at hand; also gives the error of a number that is out of range, if any.
pub(super) fn decode_value_part(
    scan: &mut Scanner<'_>,
    report: Option<&mut Report>,
    at: &At,
) -> Result<(Value, Option<String>), SyntaxError> {
    let own = std::mem::replace(scan, Scanner::new(&[]));
    let mut reader = Reader {
        scan: own,
        report,
        depth: 0,
        error: None,
    };
    let value = reader.value(at)?;
    *scan = reader.scan;
    Ok((value, reader.error))
}

struct Reader<'a, 'r> {
    scan: Scanner<'a>,
    report: Option<&'r mut Report>,
    depth: usize,
    error: Option<String>,
}

impl Reader<'_, '_> {
    fn value(&mut self, at: &At) -> Result<Value, SyntaxError> {
        Ok(match self.scan.peek() {
            b'"' => Value::Str(match self.scan.text()? {
                Cow::Borrowed(text) => Str::from(text),
                Cow::Owned(text) => Str::from(text),
            }),
            b'{' => return self.map(at),
            b'[' => return self.list(at),
            b'-' | b'0'..=b'9' => {
                let text = self.scan.number()?;
                self.number(text)
            }
            b't' => {
                self.scan.literal("true")?;
                Value::Bool(true)
            }
            b'f' => {
                self.scan.literal("false")?;
                Value::Bool(false)
            }
            b'n' => {
                self.scan.literal("null")?;
                Value::Null
            }
            _ => return Err(self.scan.bad("looking for beginning of value")),
        })
    }

    fn number(&mut self, text: &str) -> Value {
        if let Ok(value) = text.parse::<i64>() {
            return Value::Int(value);
        }
        let value = text.parse::<f64>().unwrap_or(f64::INFINITY);
        if !value.is_finite() {
            self.error.get_or_insert_with(|| {
                format!("json: cannot unmarshal number {text} into Go value of type float64")
            });
        }
        Value::Float(value)
    }

    fn enter(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            Err(self.scan.too_deep())
        } else {
            Ok(())
        }
    }

    fn list(&mut self, at: &At) -> Result<Value, SyntaxError> {
        self.enter()?;
        self.scan.step();
        let mut list = Vec::new();
        let mut more = self.scan.next_element(true)?;
        while more {
            list.push(self.value(&At::Index(at, list.len()))?);
            more = self.scan.next_element(false)?;
        }
        self.depth -= 1;
        Ok(Value::List(list))
    }

    fn map(&mut self, at: &At) -> Result<Value, SyntaxError> {
        self.enter()?;
        self.scan.step();
        let mut map = ValueMapFiller::default();
        let mut more = self.scan.next_member(true)?;
        while more {
            let key = self.scan.text()?;
            self.scan.colon()?;
            let value = self.value(&At::Key(at, &key))?;
            let replaced = map.insert(Str::from(&*key), value);
            if replaced.is_some()
                && let Some(report) = &mut self.report
            {
                report.add("duplicate field", &at.member(&key));
            }
            more = self.scan.next_member(false)?;
        }
        self.depth -= 1;
        Ok(Value::Map(map.finish()))
    }
}

/// The JSON of a value, members sorted by key.
pub fn encode_value(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write_value(value, &mut out);
    out
}

/// Appends the JSON of a value.
pub fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(v) => write_int(*v, out),
        Value::Float(v) => write_float(*v, out),
        Value::Str(v) => write_text(v, out),
        Value::List(list) => {
            out.push(b'[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(element, out);
            }
            out.push(b']');
        }
        Value::Map(map) => {
            out.push(b'{');
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        String::from_utf8(encode_value(&decode_value(text.as_bytes()).unwrap())).unwrap()
    }

    #[test]
    fn values_round_trip_sorted() {
        assert_eq!(
            round(r#" {"b":[1,2.50,1e3,-0],"a":{"x":null,"":true}} "#),
            r#"{"a":{"":true,"x":null},"b":[1,2.5,1000,0]}"#
        );
        assert_eq!(round("9223372036854775808"), "9223372036854776000");
        assert_eq!(round("1.0"), "1");
        assert_eq!(round(r#"{"a":1,"a":2}"#), r#"{"a":2}"#);
    }

    #[test]
    fn duplicates_are_reported_once() {
        let mut report = Report::default();
        decode_value_strict(br#"{"a":[{"b":1,"b":2,"b":3}],"a":null}"#, &mut report).unwrap();
        assert_eq!(
            report.problems,
            [r#"duplicate field "a[0].b""#, r#"duplicate field "a""#]
        );
    }

    #[test]
    fn numbers_out_of_range_are_type_errors() {
        let error = decode_value(b"[1e999]").unwrap_err().to_string();
        assert_eq!(
            error,
            "json: cannot unmarshal number 1e999 into Go value of type float64"
        );
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(DEPTH_MAX + 1) + &"]".repeat(DEPTH_MAX + 1);
        assert!(
            decode_value(deep.as_bytes())
                .unwrap_err()
                .to_string()
                .contains("exceeded max depth")
        );
        assert!(decode_value(&deep.as_bytes()[1..deep.len() - 1]).is_ok());
    }
}
