//! Continue tokens of lists: where the next page starts and at which revision, in upstream's encoding, so that a token
//! of one server is understood by the other. Refusals use the words of Go's decoders.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD, URL_SAFE_NO_PAD};
use corten_client::Status;
use serde_json::{Value, json};

const VERSION: &str = "meta.k8s.io/v1";

/// A decoded token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// The revision of the first page; negative for "whatever is there now".
    pub revision: i64,
    /// The first key that is shown, below the resource: `namespace/name` or `name`.
    pub start: String,
}

/// The token for a page that starts at `start` (`namespace/name\0`), of a list in `namespace` (empty for all).
pub(crate) fn encode(revision: i64, namespace: &str, start: &str) -> String {
    let below = match namespace {
        "" => start,
        namespace => start
            .strip_prefix(namespace)
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(start),
    };
    let text = format!(
        "{{\"v\":\"{VERSION}\",\"rv\":{revision},\"start\":{}}}",
        json!(format!("/{below}"))
    );
    URL_SAFE_NO_PAD.encode(text)
}

/// Reads a token of a list in `namespace`. `Err` is 400.
pub(crate) fn decode(token: &str, namespace: &str) -> Result<Token, Status> {
    parse(token, namespace).map_err(|why| {
        Status::bad_request(format!(
            "invalid continue token: continue key is not valid: {why}"
        ))
    })
}

fn parse(token: &str, namespace: &str) -> Result<Token, String> {
    // As Go: bits that are left over at the end are nobody's concern.
    let lenient = NO_PAD.with_decode_allow_trailing_bits(true);
    let bytes = GeneralPurpose::new(&URL_SAFE, lenient)
        .decode(token)
        .map_err(|_| format!("illegal base64 data at input byte {}", bad_byte(token)))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| syntax(&bytes, &e))?;
    let Value::Object(fields) = &value else {
        let kind = go_kind(&value);
        return Err(format!(
            "json: cannot unmarshal {kind} into Go value of type storage.continueToken"
        ));
    };
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(other) => Err(mismatch(name, other, "string")),
    };
    let version = text("v")?;
    let revision = match fields.get("rv") {
        None | Some(Value::Null) => 0,
        Some(value) => value
            .as_i64()
            .ok_or_else(|| mismatch("rv", value, "int64"))?,
    };
    let start = text("start")?;
    if version != VERSION {
        return Err(format!(
            "server does not recognize this encoded version {version}"
        ));
    }
    if revision == 0 {
        return Err(format!(
            "incorrect encoded start resourceVersion (version {VERSION})"
        ));
    }
    if start.is_empty() {
        return Err(format!("encoded start key empty (version {VERSION})"));
    }
    let below = start.strip_prefix('/').unwrap_or(start);
    // Nothing above or beside the list can be reached.
    let straight = !below.is_empty()
        && below
            .split('/')
            .all(|part| !matches!(part, "" | "." | ".."));
    if !straight {
        return Err(start.to_owned());
    }
    let start = match namespace {
        "" => below.to_owned(),
        namespace => format!("{namespace}/{below}"),
    };
    Ok(Token { revision, start })
}

fn mismatch(field: &str, value: &Value, wanted: &str) -> String {
    let kind = match (value, wanted) {
        (Value::Number(number), "int64") => format!("number {number}"),
        _ => go_kind(value).to_owned(),
    };
    format!(
        "json: cannot unmarshal {kind} into Go struct field continueToken.{field} of type {wanted}"
    )
}

fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Where Go's decoder finds the base64 wrong: the first strange byte, or the start of the last, incomplete group.
fn bad_byte(token: &str) -> usize {
    let strange = token
        .bytes()
        .position(|b| !(b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    strange.unwrap_or(token.len() / 4 * 4)
}

/// A syntax error in Go's words, where that is easy.
fn syntax(bytes: &[u8], error: &serde_json::Error) -> String {
    match bytes.first() {
        None => "unexpected end of JSON input".to_owned(),
        Some(_) if error.is_eof() => "unexpected end of JSON input".to_owned(),
        Some(first) if !matches!(first, b'{' | b'[' | b'"') => format!(
            "invalid character {} looking for beginning of value",
            quoted(*first)
        ),
        Some(_) => error.to_string(),
    }
}

/// A byte as Go quotes a rune.
fn quoted(byte: u8) -> String {
    match char::from(byte) {
        '\'' => "'\\''".to_owned(),
        c if c.is_control() => format!("'\\x{byte:02x}'"),
        c => format!("'{c}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    #[test]
    fn tokens_are_upstreams() {
        let made = encode(247, "edge", "edge/c1\0");
        assert_eq!(
            made,
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MjQ3LCJzdGFydCI6Ii9jMVx1MDAwMCJ9"
        );
        let start = "edge/c1\0".to_owned();
        assert_eq!(
            decode(&made, "edge").ok(),
            Some(Token {
                revision: 247,
                start
            })
        );
        let all = encode(654, "", "edge/c3\0");
        assert_eq!(decode(&all, "").ok().unwrap().start, "edge/c3\0");
    }

    #[test]
    fn refusals_are_upstreams() {
        let why = |token: &str| decode(token, "n").unwrap_err().message;
        let is = |got: String, wanted: &str| {
            assert_eq!(
                got,
                format!("invalid continue token: continue key is not valid: {wanted}")
            );
        };
        is(why("!!!"), "illegal base64 data at input byte 0");
        is(why("W10="), "illegal base64 data at input byte 3");
        is(
            why(&token("{\"v\":1}")),
            "json: cannot unmarshal number into Go struct field continueToken.v of type string",
        );
        let with = |v: &str, rv: i64, start: &str| {
            token(&json!({"v": v, "rv": rv, "start": start}).to_string())
        };
        is(
            why(&with("v2", 1, "c")),
            "server does not recognize this encoded version v2",
        );
        is(
            why(&with(VERSION, 0, "c")),
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        );
        is(
            why(&with(VERSION, 5, "")),
            "encoded start key empty (version meta.k8s.io/v1)",
        );
        for bad in ["../x", "a//b", "/", "a/./b", "a/"] {
            is(why(&with(VERSION, 5, bad)), bad);
        }
    }
}
