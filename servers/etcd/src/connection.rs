//! One connection: HTTP/2 with gRPC on it, or HTTP/1.1 with JSON, told apart by their first bytes.

use crate::calls::Face;
use crate::{gateway, http2};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How every HTTP/2 connection starts.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Serves a connection until it ends.
pub(crate) async fn serve<T>(mut io: T, face: Face) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut front = Vec::with_capacity(PREFACE.len());
    while front.len() < PREFACE.len() && PREFACE.starts_with(&front) {
        let mut some = [0; 24];
        let wanted = PREFACE.len() - front.len();
        let read = io.read(&mut some[..wanted]).await?;
        if read == 0 {
            return Ok(());
        }
        front.extend_from_slice(&some[..read]);
    }
    if front == PREFACE {
        return http2::serve(io, face).await;
    }
    gateway::http1(Rewound { front, at: 0, io }, face).await
}

/// A connection of which some bytes were read to see what it is.
struct Rewound<T> {
    front: Vec<u8>,
    at: usize,
    io: T,
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.at < self.front.len() {
            let some = (self.front.len() - self.at).min(into.remaining());
            let at = self.at;
            into.put_slice(&self.front[at..at + some]);
            self.at += some;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
