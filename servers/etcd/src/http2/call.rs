//! What a connection knows of one call: who takes what arrives, and what waits to be sent.

use bytes::{BufMut, Bytes, BytesMut};
use corten_etcd::grpc;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

use crate::calls::{PUT, RANGE, TXN};

/// What a request says before its body.
#[derive(Default)]
pub(super) struct Request {
    pub(super) method: Cow<'static, str>,
    pub(super) path: Cow<'static, str>,
    pub(super) is_grpc: bool,
}

impl Request {
    /// Hears a header.
    pub(super) fn hear(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b":method" => self.method = text(value, &["POST"]),
            b":path" => self.path = text(value, &[PUT, RANGE, TXN]),
            b"content-type" => self.is_grpc = value.starts_with(b"application/grpc"),
            _ => {}
        }
    }
}

/// As text, of which nothing is copied if it is one of the usual ones.
fn text(value: &[u8], usual: &[&'static str]) -> Cow<'static, str> {
    match usual.iter().find(|known| known.as_bytes() == value) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(String::from_utf8_lossy(value).into_owned()),
    }
}

/// The body of a request.
#[derive(Default)]
pub(super) struct Collected {
    bytes: BytesMut,
}

impl Collected {
    /// Adds a piece; room for all of it is taken with the first one, when that says how long it is.
    pub(super) fn push(&mut self, piece: &[u8], is_grpc: bool, bytes_max: usize) {
        if self.bytes.is_empty() && is_grpc && piece.len() >= grpc::PREFIX {
            let length = grpc::length(piece, bytes_max).unwrap_or(0);
            self.bytes.reserve(piece.len().max(grpc::PREFIX + length));
        }
        self.bytes.put_slice(piece);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn whole(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// Who takes what arrives on a stream.
pub(super) enum Input {
    Collect(Request, Collected),
    Feed(mpsc::UnboundedSender<Bytes>),
    /// Nobody: the call runs or is over.
    Closed,
}

/// How a stream's answer ends.
pub(super) enum End {
    Trailers(Bytes),
    Data,
}

pub(super) struct Stream {
    pub(super) input: Input,
    /// The client has said everything.
    pub(super) ended: bool,
    /// What was read of it and not yet said to be read.
    pub(super) read: usize,
    /// What may be sent.
    pub(super) window: i64,
    pub(super) waiting: VecDeque<Bytes>,
    /// Whether it is in the row of streams that wait for the connection.
    pub(super) in_row: bool,
    pub(super) end: Option<End>,
    pub(super) room: Option<Arc<Semaphore>>,
    /// Whether its answer has begun.
    pub(super) answered: bool,
}

impl Stream {
    /// A stream on which nothing happened yet and so much may be sent.
    pub(super) fn new(window: i64) -> Stream {
        Stream {
            input: Input::Closed,
            ended: false,
            read: 0,
            window,
            waiting: VecDeque::new(),
            in_row: false,
            end: None,
            room: None,
            answered: false,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Some(room) = &self.room {
            room.close();
        }
    }
}
