//! CBOR as upstream's serializer writes and reads it: RFC 8949's deterministic encoding behind the self-described tag,
//! texts as byte strings, bytes under the tag for later base64. Invariant: one object has one encoding.
//! Leaves out big numbers, NaN and infinities, which upstream rejects too.

mod decode;
mod encode;

pub use decode::decode_value;
pub use encode::{encode, encode_message, encode_value};

use crate::{DecodeError, Decoded, Options};
use std::fmt;

/// What every document begins with: tag 55799.
pub const SELF_DESCRIBED: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// Deepest nesting that is read.
pub(crate) const DEPTH_MAX: usize = 1_000;

/// Why bytes are not CBOR that the API takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CborError {
    message: String,
}

impl CborError {
    pub(crate) fn new(message: impl Into<String>) -> CborError {
        CborError {
            message: message.into(),
        }
    }
}

impl fmt::Display for CborError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cbor: {}", self.message)
    }
}

impl std::error::Error for CborError {}

/// Decodes an object.
///
/// # Errors
/// When the bytes are not CBOR, or what they hold is no such object.
pub fn decode(bytes: &[u8], options: &Options<'_>) -> Result<Decoded, DecodeError> {
    let value = decode_value(bytes).map_err(|e| DecodeError::Type(e.to_string()))?;
    crate::json::decode(&crate::json::encode_value(&value), options)
}

/// Whether a document says of itself that it is CBOR.
pub fn is_self_described(bytes: &[u8]) -> bool {
    bytes.starts_with(&SELF_DESCRIBED)
}
