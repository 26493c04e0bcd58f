//! Bodies of answers: whole bytes, a row of shared chunks (lists), or a stream (watches, proxied answers).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use hyper::body::{Body, Frame, SizeHint};

use crate::encode::Listing;

/// The stream type of watches.
pub type ByteStream = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The body of an answer.
pub enum Answer {
    /// Everything at once.
    Whole(Bytes),
    /// Shared pieces in order.
    Pieces { pieces: VecDeque<Bytes>, left: u64 },
    /// A large list, made while it is sent.
    Listing(Box<Listing>),
    /// Chunks as they come; the end of the stream ends the answer.
    Stream(ByteStream),
}

impl Answer {
    /// An empty body.
    pub fn empty() -> Answer {
        Answer::Whole(Bytes::new())
    }

    /// A body of pieces.
    pub fn pieces(pieces: VecDeque<Bytes>) -> Answer {
        let left = pieces.iter().map(|p| p.len() as u64).sum();
        Answer::Pieces { pieces, left }
    }

    /// How many bytes it is, for large lists about; `None` for streams.
    pub fn size(&self) -> Option<u64> {
        match self {
            Answer::Whole(bytes) => Some(bytes.len() as u64),
            Answer::Pieces { left, .. } => Some(*left),
            Answer::Listing(listing) => Some(listing.size()),
            Answer::Stream(_) => None,
        }
    }

    /// The same, keeping something until the last of a stream has gone or the client has.
    pub fn holding<T: Send + 'static>(self, held: T) -> Answer {
        match self {
            Answer::Stream(stream) => {
                let holding = stream.map(move |chunk| {
                    let _ = &held;
                    chunk
                });
                Answer::Stream(Box::pin(holding))
            }
            whole => whole,
        }
    }

    /// Everything in one buffer; `None` for streams.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Answer::Whole(bytes) => Some(bytes),
            Answer::Pieces { pieces, left } => {
                let mut all = Vec::with_capacity(left as usize);
                for piece in pieces {
                    all.extend_from_slice(&piece);
                }
                Some(all.into())
            }
            Answer::Listing(mut listing) => {
                let mut all = Vec::new();
                while let Some(chunk) = listing.next() {
                    all.extend_from_slice(&chunk.ok()?);
                }
                Some(all.into())
            }
            Answer::Stream(_) => None,
        }
    }
}

impl From<Vec<u8>> for Answer {
    fn from(bytes: Vec<u8>) -> Answer {
        Answer::Whole(bytes.into())
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Answer {
        Answer::Whole(text.into())
    }
}

/// Pieces smaller than this are joined before they are handed to the connection.
const PIECE_MIN: usize = 32 * 1024;

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Answer::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Answer::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Answer::Pieces { pieces, left } => {
                let Some(first) = pieces.pop_front() else {
                    return Poll::Ready(None);
                };
                let next = join(first, pieces);
                *left -= next.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(next))))
            }
            Answer::Listing(listing) => Poll::Ready(listing.next().map(|chunk| match chunk {
                Ok(bytes) => Ok(Frame::data(bytes)),
                Err(status) => {
                    // The answer has begun: all that is left is to break it off.
                    tracing::error!(why = status.message, "a list cannot be sent to its end");
                    Err(io::Error::other(status.message))
                }
            })),
            Answer::Stream(stream) => stream
                .as_mut()
                .poll_next(cx)
                .map(|chunk| chunk.map(|b| Ok(Frame::data(b)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(bytes) => bytes.is_empty(),
            Answer::Pieces { pieces, .. } => pieces.is_empty(),
            Answer::Listing(listing) => listing.is_done(),
            Answer::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Answer::Pieces { left, .. } => SizeHint::with_exact(*left),
            Answer::Listing(listing) => match listing.exact() {
                Some(left) => SizeHint::with_exact(left),
                None => SizeHint::default(),
            },
            Answer::Stream(_) => SizeHint::default(),
        }
    }
}

fn join(first: Bytes, rest: &mut VecDeque<Bytes>) -> Bytes {
    if first.len() >= PIECE_MIN || rest.is_empty() {
        return first;
    }
    let mut joined = Vec::with_capacity(PIECE_MIN * 2);
    joined.extend_from_slice(&first);
    while joined.len() < PIECE_MIN {
        let Some(piece) = rest.pop_front() else { break };
        joined.extend_from_slice(&piece);
    }
    joined.into()
}
