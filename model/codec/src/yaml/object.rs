//! Objects of any kind as YAML, by way of JSON as upstream does it.

use super::{decode_value, decode_value_strict, write_value};
use crate::decoded::{DecodeError, Decoded, Options};
use crate::json;
use corten_api::Object;

/// Decodes the first document. Repeated keys are one problem that lists them all.
pub fn decode(text: &[u8], options: &Options<'_>) -> Result<Decoded, DecodeError> {
    let value = decode_value(text)?;
    let mut decoded = json::decode(&json::encode_value(&value), options)?;
    if options.strict {
        let (_, repeated) = decode_value_strict(text)?;
        if !repeated.is_empty() {
            let problem = format!("yaml: unmarshal errors:\n  {}", repeated.join("\n  "));
            decoded.problems.insert(0, problem);
        }
    }
    Ok(decoded)
}

/// The YAML of an object, keys sorted, with a final line break.
pub fn encode(object: &Object) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    match json::decode_value(&json::encode(object)) {
        Ok(value) => write_value(&value, &mut out),
        // Only numbers beyond a float's range fail, and no struct holds such.
        Err(_) => out.extend_from_slice(b"null\n"),
    }
    out
}
