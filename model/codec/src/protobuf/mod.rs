//! Protobuf: wire primitives, typed messages over the field table, and upstream's `k8s\0` envelope.
//! Invariant: output is byte-equal to upstream's; fields ascend by number, zeros of values that cannot be nil included.
//! Leaves out custom resources, which have no protobuf form.

mod decode;
mod encode;
mod envelope;
mod list;
mod object;
mod stamped;
pub(crate) mod wire;

pub use decode::decode_message;
pub use encode::{ItemGap, encode_message, encode_message_with_gap, encode_nested};
pub use envelope::{
    Envelope, MAGIC, open_envelope, seal_envelope, write_envelope_head, write_envelope_tail,
};
pub use list::{list_item_len, write_list_head, write_list_item_head, write_watch_event_head};
pub use object::{decode, decode_raw, encode, encode_stored, peek_kind};
pub use stamped::{Layout, Stamped};

use std::fmt;

/// Deepest nesting of messages that is decoded.
pub(crate) const DEPTH_MAX: usize = 1_000;

/// Why bytes are not a protobuf message; messages are upstream's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside of a value.
    UnexpectedEnd,
    /// A varint longer than 64 bits.
    Overflow,
    /// A length above 63 bits.
    InvalidLength,
    /// A wire type that does not exist.
    IllegalWireType(u8),
    /// A field number that is not positive.
    IllegalTag {
        /// The message's name.
        message: &'static str,
        /// The number.
        number: i32,
        /// The whole tag.
        wire: u64,
    },
    /// The end of a group in place of a field.
    GroupEnd {
        /// The message's name.
        message: &'static str,
    },
    /// The end of a group that never started.
    UnexpectedGroupEnd,
    /// A field whose wire type does not fit its type.
    WrongWireType {
        /// The wire type found.
        found: u8,
        /// JSON name of the field.
        field: &'static str,
    },
    /// A value that its type refuses, such as a malformed quantity.
    Value(String),
    /// Messages nested too deeply.
    Depth,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::UnexpectedEnd => f.write_str("unexpected EOF"),
            WireError::Overflow => f.write_str("proto: integer overflow"),
            WireError::InvalidLength => {
                f.write_str("proto: negative length found during unmarshaling")
            }
            WireError::IllegalWireType(found) => write!(f, "proto: illegal wireType {found}"),
            WireError::IllegalTag {
                message,
                number,
                wire,
            } => {
                write!(
                    f,
                    "proto: {message}: illegal tag {number} (wire type {wire})"
                )
            }
            WireError::GroupEnd { message } => {
                write!(f, "proto: {message}: wiretype end group for non-group")
            }
            WireError::UnexpectedGroupEnd => f.write_str("proto: unexpected end of group"),
            WireError::WrongWireType { found, field } => {
                // Go's names of fields mostly are the JSON names with a capital.
                let (first, rest) = field.split_at(field.chars().next().map_or(0, char::len_utf8));
                let first = first.to_uppercase();
                write!(f, "proto: wrong wireType = {found} for field {first}{rest}")
            }
            WireError::Value(message) => f.write_str(message),
            WireError::Depth => f.write_str("proto: exceeded max depth"),
        }
    }
}

impl std::error::Error for WireError {}

impl WireError {
    /// The same error, saying which message it is in.
    pub(crate) fn in_message(self, name: &'static str) -> WireError {
        match self {
            WireError::IllegalTag { number, wire, .. } => WireError::IllegalTag {
                message: name,
                number,
                wire,
            },
            other => other,
        }
    }
}
