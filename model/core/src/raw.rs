//! `RawJson`: JSON text kept verbatim (`runtime.RawExtension`, `metav1.FieldsV1`, `apiextensions.JSON`).
//! Invariant: none on the content; what came over protobuf may not even be JSON, and is kept as it came.

use crate::list::Bin;
use std::fmt;

/// JSON text kept byte for byte; nil prints as `null` (or is left out).
#[derive(Clone, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct RawJson(pub Bin);

impl RawJson {
    /// Nothing.
    pub const NIL: RawJson = RawJson(Bin::NIL);

    /// Whether there is no text at all.
    pub const fn is_nil(&self) -> bool {
        self.0.is_nil()
    }

    /// The bytes of the text, empty when nil.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, when it is UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<&str> for RawJson {
    fn from(text: &str) -> RawJson {
        RawJson(Bin::from(text))
    }
}
impl From<String> for RawJson {
    fn from(text: String) -> RawJson {
        RawJson(Bin::from(text.into_bytes()))
    }
}
impl From<Vec<u8>> for RawJson {
    fn from(text: Vec<u8>) -> RawJson {
        RawJson(Bin::from(text))
    }
}
impl fmt::Debug for RawJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_nil() {
            f.write_str("nil")
        } else {
            f.write_str(&String::from_utf8_lossy(&self.0))
        }
    }
}
