//! JSON, YAML, CBOR and protobuf over the field table.
//! Invariant: one non-generic reader and writer per format serve every kind; bytes are upstream's, order included.
//! Leaves out defaulting, validation and content negotiation.

pub mod cbor;
mod decoded;
pub mod json;
mod list;
pub mod protobuf;
pub mod yaml;

pub use decoded::{DecodeError, Decoded, Options};
pub use list::{ListHead, ListLayout};
