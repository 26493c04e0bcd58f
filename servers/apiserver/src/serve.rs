//! Connections: accept, TLS handshake, HTTP/1.1 or HTTP/2, and the graceful end of it all.
//! Invariant: a peer that never finishes its handshake or its headers holds one task and no lock, for a bounded time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::authentication::Peer;
use crate::gathered::Gathered;
use crate::http;
use crate::server::Server;

const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// All headers of a request together, as Go's servers.
const HEADERS_MAX: usize = 1 << 20;
const HEADER_MAX: Duration = Duration::from_secs(30);
/// Requests in flight may finish for so long when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Connections that are still open after that: streams that clients keep.
const LINGER_MAX: Duration = Duration::from_secs(2);

/// What a connection speaks.
#[derive(Clone, Copy)]
enum Protocol {
    Http1,
    Http2,
}

/// Serves until `stop` turns true, then lets running requests finish for a while.
pub(crate) async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stopped| *stopped) => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let _ = stream.set_nodelay(true);
                let connection = connection(
                    server.clone(),
                    // The newest: certificates change while the server runs.
                    TlsAcceptor::from(server.access.tls.load_full()),
                    stream,
                    address,
                    graceful.watcher(),
                    stop.clone(),
                );
                tokio::spawn(connection);
            }
            Err(error) => {
                // Out of descriptors, most likely: accepting again at once would only spin.
                tracing::warn!(%error, "accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    // HTTP/2 clients get GOAWAY now, HTTP/1.1 connections close after their answer.
    let closed = graceful.shutdown();
    tokio::pin!(closed);
    let drained = tokio::time::timeout(DRAIN_MAX, server.drained());
    tokio::select! {
        () = &mut closed => return,
        _ = drained => {}
    }
    let _ = tokio::time::timeout(LINGER_MAX, closed).await;
}

/// How a connection is spoken on, and what it may cost.
fn builder(spoken: Protocol) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_MAX)
        .max_buf_size(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .max_concurrent_streams(1000)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1024)
        .max_header_list_size(HEADERS_MAX as u32);
    // What was agreed in the handshake is spoken: nobody is waited for to show which it is.
    match spoken {
        Protocol::Http2 => builder.http2_only(),
        Protocol::Http1 => builder.http1_only(),
    }
}

async fn connection(
    server: Arc<Server>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
    address: SocketAddr,
    watcher: Watcher,
    mut stop: watch::Receiver<bool>,
) {
    let handshake = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(stream));
    // Who has not asked for anything yet does not hold up the end.
    let shaken = tokio::select! {
        shaken = handshake => shaken,
        _ = stop.wait_for(|stopped| *stopped) => return,
    };
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            server.metrics.handshake_failed();
            tracing::debug!(%error, %address, "TLS handshake");
            return;
        }
        Err(_) => return,
    };
    let agreed = stream.get_ref().1;
    let spoken = match agreed.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        _ => Protocol::Http1,
    };
    let peer = Peer::new(address, agreed.peer_certificates());
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (server, peer) = (server.clone(), peer.clone());
        // On the heap until it is answered: what sends the answer lives in its place, for as long as a watch lasts.
        Box::pin(async move {
            Ok::<_, std::convert::Infallible>(http::handle(server, peer, request).await)
        })
    });
    let builder = builder(spoken);
    let served = match spoken {
        Protocol::Http1 => {
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            watcher.watch(connection.into_owned()).await
        }
        Protocol::Http2 => {
            let stream = TokioIo::new(Gathered::new(stream));
            let connection = builder.serve_connection_with_upgrades(stream, service);
            watcher.watch(connection.into_owned()).await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, %address, "connection");
    }
}
