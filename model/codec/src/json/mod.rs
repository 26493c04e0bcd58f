//! JSON: scanner, typed and dynamic decoding, and Go's form of output.
//! Invariant: accepts, refuses and words errors as upstream's JSON library does (case-sensitive, integers preserved).
//! Leaves out which kind a document is: `object` looks that up.

mod decode;
mod encode;
mod list;
mod object;
pub(crate) mod path;
pub(crate) mod scan;
pub(crate) mod text;
mod value;

pub use decode::{Report, decode_message};
pub use encode::{Gap, encode_message, encode_message_with_gap, write_message};
pub use list::{write_list_head, write_list_tail, write_watch_event_head, write_watch_event_tail};
pub use object::{decode, decode_dynamic, encode, encode_with_gap, write_object};
pub use text::{write_base64, write_float, write_int, write_raw, write_text};
pub use value::{decode_value, decode_value_strict, encode_value, write_value};

use scan::Scanner;
use std::fmt;

/// Deepest nesting that is built in memory (only skipped text may nest deeper).
pub(crate) const DEPTH_MAX: usize = 1_000;

/// Text that is not JSON; the message is Go's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    message: Box<str>,
}

impl SyntaxError {
    pub(crate) fn new(message: String) -> SyntaxError {
        SyntaxError {
            message: message.into(),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Why JSON did not become a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// The text is not JSON.
    Syntax(SyntaxError),
    /// The text is JSON that does not fit the type; the message is Go's (`json: cannot unmarshal ...`).
    Type(String),
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Syntax(error) => error.fmt(f),
            JsonError::Type(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for JsonError {}

impl From<SyntaxError> for JsonError {
    fn from(error: SyntaxError) -> JsonError {
        JsonError::Syntax(error)
    }
}

/// The `apiVersion` and `kind` of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeMeta {
    /// `v1`, `apps/v1`; empty when absent.
    pub api_version: String,
    /// `Pod`; empty when absent.
    pub kind: String,
}

/// Go's name of the anonymous struct that a document's kind is read into.
const KIND_TYPE: &str = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;

/// Reads `apiVersion` and `kind` without parsing more than needed: it stops once it has seen both.
pub fn peek_kind(bytes: &[u8]) -> Result<TypeMeta, JsonError> {
    let mut meta = TypeMeta::default();
    let (mut has_version, mut has_kind) = (false, false);
    let mut scan = Scanner::new(bytes);
    let first = scan.peek();
    if first != b'{' {
        let start = scan.at();
        scan.skip()?;
        scan.finish()?;
        if bytes[start] == b'n' {
            return Ok(meta);
        }
        let value = decode::value_name(first);
        return Err(JsonError::Type(format!(
            "json: cannot unmarshal {value} into Go value of type {KIND_TYPE}"
        )));
    }
    scan.step();
    let mut more = scan.next_member(true)?;
    while more {
        let key = scan.key()?;
        scan.colon()?;
        let target = match &*key {
            b"apiVersion" => Some((&mut meta.api_version, &mut has_version, "apiVersion")),
            b"kind" => Some((&mut meta.kind, &mut has_kind, "kind")),
            _ => None,
        };
        match (target, scan.peek()) {
            (Some((text, seen, _)), b'"') => {
                *text = scan.text()?.into_owned();
                *seen = true;
            }
            (Some((_, _, name)), byte) if byte != b'n' => {
                scan.skip()?;
                let value = decode::value_name(byte);
                return Err(JsonError::Type(format!(
                    "json: cannot unmarshal {value} into Go struct field .{name} of type string"
                )));
            }
            _ => scan.skip()?,
        }
        if has_version && has_kind {
            return Ok(meta);
        }
        more = scan.next_member(false)?;
    }
    scan.finish()?;
    Ok(meta)
}

/// Quotes as Go's `strconv.Quote`, for messages.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if c < '\u{80}' => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || c.is_whitespace() || c == '\u{ad}' || c == '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peeks_at_the_kind() {
        let peek = |text: &str| peek_kind(text.as_bytes());
        let meta = peek(r#"{"kind":"Pod","apiVersion":"v1","spec":not read"#).unwrap();
        assert_eq!(
            (meta.kind.as_str(), meta.api_version.as_str()),
            ("Pod", "v1")
        );
        assert_eq!(peek("{}").unwrap(), TypeMeta::default());
        assert_eq!(
            peek(r#"{"kind":null,"a":[]}"#).unwrap(),
            TypeMeta::default()
        );
        assert_eq!(
            peek(r#"{"kind":1}"#).unwrap_err().to_string(),
            "json: cannot unmarshal number into Go struct field .kind of type string"
        );
        assert_eq!(
            peek("{\"a\":}").unwrap_err().to_string(),
            "invalid character '}' looking for beginning of value"
        );
        assert!(
            peek("[]")
                .unwrap_err()
                .to_string()
                .starts_with("json: cannot unmarshal array into Go value of type struct")
        );
    }

    #[test]
    fn quotes_as_go() {
        assert_eq!(
            quote("a\"\\\n\u{1}é\u{2028}"),
            "\"a\\\"\\\\\\n\\x01é\\u2028\""
        );
    }
}
