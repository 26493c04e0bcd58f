//! The shape of every message and call, for code that treats them alike (the JSON form, dispatch).

include!("generated/table.rs");

/// A message.
#[derive(Debug)]
pub struct Message {
    /// Its name with its package.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Its name in the protobuf file.
    pub name: &'static str,
    /// Its number.
    pub number: u32,
    /// What it holds.
    pub kind: Kind,
    /// Whether it holds a list.
    pub repeated: bool,
    /// Whether it is one of several of which one is set (then it is shown even when it is zero).
    pub oneof: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A truth value.
    Bool,
    /// Bytes.
    Bytes,
    /// UTF-8.
    Text,
    /// A number.
    Int64,
    /// A number.
    Uint64,
    /// A number.
    Int32,
    /// A number.
    Uint32,
    /// An index into [`ENUMS`].
    Enum(usize),
    /// An index into [`MESSAGES`].
    Message(usize),
}

/// A call.
#[derive(Debug)]
pub struct Method {
    /// Its gRPC path.
    pub path: &'static str,
    /// Its paths in the JSON gateway.
    pub http: &'static [&'static str],
    /// The request, as an index into [`MESSAGES`].
    pub input: usize,
    /// The response, as an index into [`MESSAGES`].
    pub output: usize,
    /// Whether the client sends a stream.
    pub client_streams: bool,
    /// Whether the server sends a stream.
    pub server_streams: bool,
}

/// The call behind a path of the JSON gateway.
pub fn by_http(path: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.http.contains(&path))
}
