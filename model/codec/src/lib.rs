//! JSON, YAML and protobuf over the field table.
