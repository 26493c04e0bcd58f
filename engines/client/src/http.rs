//! The transport over HTTPS: one HTTP/2 connection, protobuf for built-in kinds and JSON for the rest.
