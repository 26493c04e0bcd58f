//! JSON text of raw fields to and from `Value`: strict on input, Go's `encoding/json` form on output.
//! Leaves out speed, streaming and strictness options, which are the codec's.

use crate::fill::ValueMapFiller;
use crate::raw::RawJson;
use crate::str::Str;
use crate::value::Value;

/// Deepest nesting that is read: what a thread with 2 MiB of stack takes in an unoptimised build.
const DEPTH: usize = 512;

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Byte position.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid JSON at byte {}: {}", self.at, self.what)
    }
}
impl std::error::Error for JsonError {}

impl RawJson {
    /// The text as a value; nil is `null`.
    pub fn to_value(&self) -> Result<Value, JsonError> {
        if self.is_nil() {
            Ok(Value::Null)
        } else {
            parse(self.as_bytes())
        }
    }
    /// The value as text, compact and with sorted keys; `null` becomes the text `null`.
    pub fn from_value(value: &Value) -> RawJson {
        RawJson::from(print(value))
    }
}

/// Reads one JSON value that is the whole text. A repeated key keeps the last value.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at == text.len() {
        Ok(value)
    } else {
        reader.fail("something behind the value")
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn fail<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError { at: self.at, what })
    }
    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
    fn next(&mut self) -> Option<u8> {
        self.space();
        self.text.get(self.at).copied()
    }
    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.text[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        self.fail("no value")
    }

    fn value(&mut self, depth: usize) -> Result<Value, JsonError> {
        if depth > DEPTH {
            return self.fail("nested too deeply");
        }
        match self.next() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::Str),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => self.fail("no value"),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        let mut list = Vec::new();
        if self.next() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(list));
        }
        loop {
            list.push(self.value(depth + 1)?);
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(list));
                }
                _ => return self.fail("no comma and no end of an array"),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, JsonError> {
        self.at += 1;
        let mut map = ValueMapFiller::default();
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Map(map.finish()));
        }
        loop {
            if self.next() != Some(b'"') {
                return self.fail("no key");
            }
            let key = self.string()?;
            if self.next() != Some(b':') {
                return self.fail("no colon");
            }
            self.at += 1;
            let value = self.value(depth + 1)?;
            map.insert(key, value);
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Map(map.finish()));
                }
                _ => return self.fail("no comma and no end of an object"),
            }
        }
    }

    fn string(&mut self) -> Result<Str, JsonError> {
        self.at += 1;
        let mut out: Vec<u8> = Vec::new();
        let mut from = self.at;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => {
                    let tail = &self.text[from..self.at];
                    self.at += 1;
                    if out.is_empty() {
                        return Ok(Str::from(String::from_utf8_lossy(tail)));
                    }
                    out.extend_from_slice(tail);
                    return Ok(Str::from(String::from_utf8_lossy(&out)));
                }
                Some(b'\\') => {
                    out.extend_from_slice(&self.text[from..self.at]);
                    self.escape(&mut out)?;
                    from = self.at;
                }
                Some(0x20..) => self.at += 1,
                _ => return self.fail("a text without end or with a control character"),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), JsonError> {
        let Some(&mark) = self.text.get(self.at + 1) else {
            return self.fail("an escape without end");
        };
        self.at += 2;
        out.push(match mark {
            b'"' | b'\\' | b'/' => mark,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let char = self.unicode()?;
                out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.fail("an unknown escape"),
        });
        Ok(())
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits
            .iter()
            .try_fold(0, |n, &d| Some(n * 16 + char::from(d).to_digit(16)?))
    }

    /// The four digits behind `\u`, with the second half of a surrogate pair; a lone half is U+FFFD.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let Some(unit) = self.hex(self.at) else {
            return self.fail("no four hexadecimal digits");
        };
        self.at += 4;
        if (0xD800..0xDC00).contains(&unit)
            && self.text[self.at..].starts_with(b"\\u")
            && let Some(low @ 0xDC00..0xE000) = self.hex(self.at + 2)
        {
            self.at += 6;
            let char = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            return Ok(char::from_u32(char).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        while matches!(self.text.get(self.at), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == from {
            self.fail("no digit")
        } else {
            Ok(())
        }
    }

    fn number(&mut self) -> Result<Value, JsonError> {
        let from = self.at;
        if self.text[self.at] == b'-' {
            self.at += 1;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.text.get(self.at) == Some(&b'.') {
            whole = false;
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            whole = false;
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.text[from..self.at]).expect("digits are ASCII");
        if whole && let Ok(int) = text.parse() {
            return Ok(Value::Int(int));
        }
        match text.parse::<f64>() {
            Ok(float) if float.is_finite() => Ok(Value::Float(float)),
            _ => self.fail("a number out of range"),
        }
    }
}

/// The value as compact JSON with Go's escapes.
pub fn print(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(v) => out.push_str(if *v { "true" } else { "false" }),
        Value::Int(v) => out.push_str(&v.to_string()),
        Value::Float(v) => out.push_str(&float_text(*v)),
        Value::Str(v) => write_text(v, out),
        Value::List(v) => {
            out.push('[');
            for (i, element) in v.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(element, out);
            }
            out.push(']');
        }
        Value::Map(v) => {
            out.push('{');
            for (i, (key, member)) in v.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write(member, out);
            }
            out.push('}');
        }
    }
}

/// A float as Go's `encoding/json` prints it: shortest digits, an exponent below 1e-6 and from 1e21 on.
pub fn float_text(v: f64) -> String {
    let size = v.abs();
    if !v.is_finite() {
        return "null".into();
    }
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{v:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
    }
    format!("{v}")
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", c as u32))
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}
