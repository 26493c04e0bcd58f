//! The kubelet's HTTP server, for the API server: logs, exec, attach, port-forward, pods, health, statistics.
//!
//! Invariant: over the network only clients with a certificate of the configured names are answered; in the process
//! the connection itself is the authentication.

pub(crate) mod logs;
mod portforward;
mod route;
mod spdy;
mod stats;
mod streams;
pub(crate) mod tls;
mod websocket;

use crate::Error;
use crate::options::KubeletOptions;
use crate::pod::context::Context;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What is answered.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;
pub(crate) type Response = http::Response<Body>;
pub(crate) type Request = http::Request<Incoming>;

/// A whole body.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A plain text answer.
pub(crate) fn text(code: u16, text: impl Into<String>) -> Response {
    let mut response = http::Response::new(full(text.into()));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, plain);
    response
}

/// A JSON answer.
pub(crate) fn json(bytes: Vec<u8>) -> Response {
    let mut response = http::Response::new(full(bytes));
    let value = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, value);
    response
}

/// Opens the port, if there is to be one.
pub(crate) async fn listen(
    options: &KubeletOptions,
) -> Result<Option<(TcpListener, Arc<rustls::ServerConfig>)>, Error> {
    let Some(serving) = &options.serving else {
        return Ok(None);
    };
    let tls = tls::server(serving)?;
    let address = (serving.address, options.port);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Listen {
            address: format!("{}:{}", address.0, address.1),
            source,
        })?;
    Ok(Some((listener, Arc::new(tls))))
}

/// Accepts connections for ever.
pub(crate) async fn accept(
    context: Arc<Context>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
) {
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let (context, acceptor) = (context.clone(), acceptor.clone());
        tokio::spawn(async move {
            match acceptor.accept(stream).await {
                Ok(stream) if tls::allowed(&context, &stream) => {
                    serve(context, stream, Peer::Network).await;
                }
                Ok(stream) => refuse(stream).await,
                Err(error) => tracing::debug!(%peer, %error, "a connection to the kubelet failed"),
            }
        });
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An API server in this process, which passes answers on as they are.
    Process,
    /// An API server somewhere, which words refusals itself.
    Network,
}

/// Answers requests on one connection of an authenticated peer.
pub(crate) async fn serve<I>(context: Arc<Context>, io: I, peer: Peer)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let context = context.clone();
        async move {
            let worded =
                peer == Peer::Process && request.uri().path().starts_with("/containerLogs/");
            let answer = route::answer(context, request).await;
            let refused = worded && answer.status().as_u16() >= 400;
            let answer = if refused {
                refusal(answer).await
            } else {
                answer
            };
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "a connection to the kubelet ended early");
    }
}

/// A refusal in plain text as the API words it.
async fn refusal(answer: Response) -> Response {
    let code = answer.status();
    let body = answer
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let reason = match code.as_u16() {
        400 => "BadRequest",
        404 => "NotFound",
        422 => "Invalid",
        _ => "InternalError",
    };
    let status = serde_json::json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": String::from_utf8_lossy(&body).trim_end(),
        "reason": reason,
        "code": code.as_u16(),
    });
    let mut answer = json(status.to_string().into_bytes());
    *answer.status_mut() = code;
    answer
}

/// Answers every request with 401, but for the health check.
async fn refuse<I>(io: I)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(|request: Request| async move {
        let response = match request.uri().path() {
            "/healthz" => text(200, "ok"),
            _ => text(401, "Unauthorized"),
        };
        Ok::<_, std::convert::Infallible>(response)
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the kubelet ended early");
    }
}
