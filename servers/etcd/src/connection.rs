//! One connection: HTTP/2 with gRPC on it, or HTTP/1.1 with JSON, told apart by their first bytes.

use crate::calls::Face;
use crate::gateway;
use crate::streams::{In, Out, is_stream};
use bytes::{Bytes, BytesMut};
use corten_etcd::{Code, Refusal, grpc};
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderValue, Request, Response};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How every HTTP/2 connection starts.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What gRPC's framing and small fields may add to the largest request.
const OVERHEAD: usize = 512 << 10;
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

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
    let is_h2 = front == PREFACE;
    let io = Rewound { front, at: 0, io };
    if is_h2 {
        http2(io, face).await
    } else {
        gateway::http1(io, face).await
    }
}

async fn http2<T>(io: T, face: Face) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut connection = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(1 << 20)
        .max_header_list_size(1 << 16)
        .max_send_buffer_size(4 << 20)
        .handshake::<_, Bytes>(io)
        .await
        .map_err(io::Error::other)?;
    // Ends the calls of a connection with it.
    let mut calls = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    calls.spawn(call(request, respond, face.clone()));
                }
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Ok(()),
            },
            Some(_) = calls.join_next(), if !calls.is_empty() => {}
        }
    }
}

async fn call(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, face: Face) {
    let content = request
        .headers()
        .get("content-type")
        .map(HeaderValue::as_bytes);
    if !content.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        gateway::over_http2(request, respond, face).await;
        return;
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let mut input = In::Grpc {
        body,
        received: BytesMut::new(),
        bytes_max: face.about.request_bytes_max + OVERHEAD,
    };
    if is_stream(path) {
        return stream(path, input, respond, face).await;
    }
    let answered = match input.next().await {
        Ok(Some(body)) => face.call(path, body).await,
        Ok(None) => Err(Refusal::new(Code::Internal, "grpc: a request is missing")),
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(message) => {
            let Ok(mut out) = respond.send_response(head_of_answer(), false) else {
                return;
            };
            if out.send_data(message, false).is_ok() {
                let _ = out.send_trailers(grpc::trailers(Ok(())));
            }
        }
        Err(refusal) => refuse(&mut respond, &refusal),
    }
}

fn head_of_answer() -> Response<()> {
    let mut head = Response::new(());
    let kind = HeaderValue::from_static(grpc::CONTENT_TYPE);
    head.headers_mut().insert("content-type", kind);
    head
}

/// An answer that consists of its status.
fn refuse(respond: &mut SendResponse<Bytes>, refusal: &Refusal) {
    let mut head = head_of_answer();
    head.headers_mut().extend(grpc::trailers(Err(refusal)));
    let _ = respond.send_response(head, true);
}

async fn stream(path: &str, input: In, mut respond: SendResponse<Bytes>, face: Face) {
    let Ok(out) = respond.send_response(head_of_answer(), false) else {
        return;
    };
    let mut out = Out::Grpc(out);
    let result = face.stream(path, input, &mut out).await;
    if let Out::Grpc(mut out) = out {
        let _ = out.send_trailers(grpc::trailers(result.as_ref().map(|_| ())));
    }
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
