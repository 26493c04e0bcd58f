//! JSON, YAML and protobuf over the field table.
//! Invariant: one non-generic reader and writer per format serve every kind; bytes are upstream's, order included.
//! Leaves out defaulting, validation and content negotiation.

pub mod json;
pub mod protobuf;
pub mod yaml;
