//! YAML to and from the dynamic `Value`, with YAML 1.1's forms as kubectl reads them and Go's layout of output.
//! Invariant: a document becomes what upstream's conversion to JSON makes of it; aliases cannot blow it up.
//! Leaves out comments, styles and tags beyond the standard ones.

mod compose;
mod object;
mod resolve;
mod write;

pub use compose::{decode_documents, decode_value, decode_value_strict};
pub use object::{decode, encode};
pub use write::{encode_value, write_value};

use std::fmt;

/// Deepest nesting that is read.
pub(crate) const DEPTH_MAX: usize = 1_000;

/// Why text is not YAML; messages are those of the library that upstream uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    message: String,
}

impl YamlError {
    pub(crate) fn new(message: String) -> YamlError {
        YamlError { message }
    }
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for YamlError {}
