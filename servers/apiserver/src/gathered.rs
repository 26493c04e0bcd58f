//! Writes of an HTTP/2 connection gathered into few: events for a hundred watchers of one connection are a hundred
//! frames, which would each be a TLS record and a system call. Invariant: what was written is sent at the latest when
//! the connection is polled again, and nothing is held while it is idle.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// As much is gathered at most.
const GATHERED_MAX: usize = 64 * 1024;
/// Less than this is sent at once: an answer without a body, a ping.
const SMALL: usize = 1024;

/// A stream whose writes are gathered until the second flush.
pub(crate) struct Gathered<S> {
    inner: S,
    waiting: Vec<u8>,
    sent: usize,
    /// Whether something was written since the last flush.
    is_fresh: bool,
}

impl<S> Gathered<S> {
    pub(crate) fn new(inner: S) -> Gathered<S> {
        Gathered {
            inner,
            waiting: Vec::new(),
            sent: 0,
            is_fresh: false,
        }
    }
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Sends what was gathered, and lets go of its memory.
    fn drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let rest = &self.waiting[self.sent..];
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.sent += written,
            }
        }
        self.sent = 0;
        self.waiting = Vec::new();
        Poll::Ready(Ok(()))
    }

    fn room_for(&mut self, cx: &mut Context<'_>, bytes: usize) -> Poll<io::Result<()>> {
        if self.waiting.len() + bytes > GATHERED_MAX || self.sent > 0 {
            ready!(self.drain(cx))?;
        }
        self.is_fresh = true;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.room_for(cx, bytes.len()))?;
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = parts.iter().map(|part| part.len()).sum();
        ready!(self.room_for(cx, length))?;
        self.waiting.reserve(length);
        for part in parts {
            self.waiting.extend_from_slice(part);
        }
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // HTTP/2 flushes after every frame with a body and once more after the last one.
        if std::mem::take(&mut self.is_fresh) && (SMALL..GATHERED_MAX).contains(&self.waiting.len())
        {
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Counts writes.
    #[derive(Default)]
    struct Sink {
        writes: Vec<usize>,
    }

    impl AsyncWrite for Sink {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.writes.push(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write(stream: &mut Gathered<Sink>, bytes: usize) {
        let cx = &mut Context::from_waker(Waker::noop());
        let written = Pin::new(&mut *stream).poll_write(cx, &vec![0; bytes]);
        assert!(matches!(written, Poll::Ready(Ok(all)) if all == bytes));
        flush(stream);
    }

    fn flush(stream: &mut Gathered<Sink>) {
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(matches!(
            Pin::new(stream).poll_flush(cx),
            Poll::Ready(Ok(()))
        ));
    }

    #[test]
    fn frames_go_out_together() {
        let mut stream = Gathered::new(Sink::default());
        for _ in 0..10 {
            write(&mut stream, 5000);
        }
        assert!(stream.inner.writes.is_empty());
        flush(&mut stream);
        assert_eq!(stream.inner.writes, [50_000]);
        assert_eq!(
            stream.waiting.capacity(),
            0,
            "nothing is held while it is idle"
        );
    }

    #[test]
    fn small_ones_go_out_at_once_and_large_ones_in_pieces() {
        let mut stream = Gathered::new(Sink::default());
        write(&mut stream, 17);
        assert_eq!(stream.inner.writes, [17]);
        write(&mut stream, 40_000);
        write(&mut stream, 40_000);
        assert_eq!(stream.inner.writes, [17, 40_000]);
        flush(&mut stream);
        assert_eq!(stream.inner.writes, [17, 40_000, 40_000]);
    }
}
