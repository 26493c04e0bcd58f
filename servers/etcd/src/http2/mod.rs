//! HTTP/2 as a gRPC server needs it (RFC 9113): one task for each connection reads, answers what can be answered at
//! once, and writes everything that is due with one call. (Why it is its own: `docs/decisions/008-own-http2.md`.)
//!
//! Left out: server push, priorities (received and ignored), compressing answers' headers with a dynamic table.

mod call;
mod connection;
mod frame;
mod hpack;
mod huffman;
mod mailbox;
mod stream;

pub(crate) use connection::serve;
pub(crate) use hpack::Block;
pub(crate) use mailbox::Rooms;
pub(crate) use stream::{Body, Reply};
