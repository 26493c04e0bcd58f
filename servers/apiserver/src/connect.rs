//! Requests that another server answers: pod logs, exec, attach and port-forward at the pod's kubelet, and proxying to
//! nodes, pods and services. The bytes of an upgraded connection are passed through untouched, so the kubelet
//! server terminates WebSocket and SPDY.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::{CONNECTION, HeaderMap, HeaderName, UPGRADE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use corten_client::Status;

use crate::body::Answer;
use crate::outbound::{Endpoint, Outbound};

/// A byte stream on which HTTP/1.1 is spoken.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a proxied request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The kubelet of a node.
    Kubelet {
        node: String,
        host: String,
        port: u16,
    },
    /// A pod's or service's own port.
    Address {
        host: String,
        port: u16,
        tls: Encryption,
    },
}

impl Place {
    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        let (Place::Kubelet { host, port, .. } | Place::Address { host, port, .. }) = self;
        format!("{}:{port}", bracketed(host))
    }
}

/// An IPv6 address as URLs hold it.
pub(crate) fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// A failed connection in Go's words.
pub(crate) fn go_error(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the other side speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Plain HTTP.
    Plain,
    /// HTTPS; the certificate of pods and services is not verified, as upstream's proxy does it.
    Tls,
}

/// Opens connections to kubelets, pods and services. In one process kubelets are reached directly.
#[async_trait]
pub trait NodeConnector: Send + Sync {
    /// A connection on which HTTP/1.1 requests are sent, already authenticated as the API server.
    async fn connect(&self, place: &Place) -> std::io::Result<Box<dyn Io>>;
}

/// Connects nowhere: for servers without nodes.
pub struct NoNodes;

#[async_trait]
impl NodeConnector for NoNodes {
    async fn connect(&self, place: &Place) -> std::io::Result<Box<dyn Io>> {
        Err(std::io::Error::other(format!(
            "no connector is configured for {place:?}"
        )))
    }
}

/// Headers that belong to one connection and are not passed on.
const HOP: [&str; 6] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Where a request goes on to.
struct Onward {
    /// `host:port`, for the Host header.
    host: String,
    /// Path and query.
    path: String,
}

/// Sends `request` to `place` under `path` (with query) and answers what comes back; an upgrade is tunnelled.
pub(crate) async fn forward(
    connector: &Arc<dyn NodeConnector>,
    place: &Place,
    path: &str,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let io = connector
        .connect(place)
        .await
        .map_err(|e| unreachable(place, &e))?;
    let onward = Onward {
        host: place.authority(),
        path: path.to_owned(),
    };
    over(io, &onward, request).await.map_err(|why| match place {
        Place::Kubelet { .. } => Status::internal(format!("error dialing backend: {why}")),
        Place::Address { .. } => {
            Status::unavailable(format!("error trying to reach service: {why}"))
        }
    })
}

/// The same over a connection that is there already. Bodies are passed through as they come. `Err` says what failed.
async fn over(
    io: Box<dyn Io>,
    onward: &Onward,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .map_err(|e| e.to_string())?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "proxied connection");
        }
    });
    let upgrade = upgrading(&mut request);
    let outgoing = outgoing(onward, request, upgrade.is_some())?;
    let answer = sender
        .send_request(outgoing)
        .await
        .map_err(|e| e.to_string())?;
    Ok(passed_back(answer, upgrade, driver))
}

/// The client's side of an upgrade, when it asks for one.
fn upgrading(request: &mut Request<Incoming>) -> Option<hyper::upgrade::OnUpgrade> {
    let asks = request.headers().contains_key(UPGRADE);
    asks.then(|| hyper::upgrade::on(request))
}

/// The same over the connections that are kept for an endpoint; upgrades go over HTTP/1.1.
pub(crate) async fn to_endpoint(
    outbound: &Outbound,
    endpoint: &Endpoint,
    mut request: Request<Incoming>,
) -> Result<Response<Answer>, String> {
    let path = request.uri().path_and_query();
    let onward = Onward {
        host: String::new(),
        path: path.map_or("/", |p| p.as_str()).to_owned(),
    };
    let upgrade = upgrading(&mut request);
    let mut outgoing = outgoing(&onward, request, upgrade.is_some())?;
    outgoing.headers_mut().remove(http::header::HOST);
    let outgoing = outgoing.map(|body| body.map_err(Into::into).boxed_unsync());
    let sent = match upgrade.is_some() {
        true => outbound.stream(&endpoint.on_http1(), outgoing).await,
        false => outbound.stream(endpoint, outgoing).await,
    };
    let answer = sent.map_err(|failure| failure.to_string())?;
    Ok(passed_back(answer, upgrade, ()))
}

/// What came back, for the client; `held` lives for as long as the body is passed on.
fn passed_back<T: Send + 'static>(
    mut answer: Response<Incoming>,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
    held: T,
) -> Response<Answer> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(client) = upgrade {
            let backend = hyper::upgrade::on(&mut answer);
            tokio::spawn(tunnel(client, backend));
        }
        let (parts, _) = answer.into_parts();
        return Response::from_parts(parts, Answer::empty());
    }
    let (mut parts, body) = answer.into_parts();
    drop_hop_headers(&mut parts.headers);
    let stream = futures_util::stream::unfold((body, held), |(mut body, held)| async move {
        loop {
            match body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Some((data, (body, held))),
                    Err(_) => continue,
                },
                _ => return None,
            }
        }
    });
    Response::from_parts(parts, Answer::Stream(Box::pin(stream)))
}

fn outgoing(
    onward: &Onward,
    request: Request<Incoming>,
    upgraded: bool,
) -> Result<Request<Incoming>, String> {
    let (parts, body) = request.into_parts();
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = parts.method;
    let path = &onward.path;
    *outgoing.uri_mut() = path
        .parse()
        .map_err(|e| format!("the path {path:?} cannot be proxied: {e}"))?;
    for (name, value) in &parts.headers {
        let keep_upgrade = upgraded && (name == UPGRADE || name == CONNECTION);
        let secret =
            name == http::header::AUTHORIZATION || name.as_str().starts_with("impersonate-");
        if (keep_upgrade || !is_hop(name)) && !secret && name != http::header::HOST {
            outgoing.headers_mut().append(name, value.clone());
        }
    }
    if let Ok(host) = onward.host.parse() {
        outgoing.headers_mut().insert(http::header::HOST, host);
    }
    Ok(outgoing)
}

fn is_hop(name: &HeaderName) -> bool {
    name == CONNECTION || name == UPGRADE || HOP.contains(&name.as_str())
}

fn drop_hop_headers(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove(UPGRADE);
    for name in HOP {
        headers.remove(name);
    }
}

async fn tunnel(client: hyper::upgrade::OnUpgrade, backend: hyper::upgrade::OnUpgrade) {
    let (Ok(client), Ok(backend)) = (client.await, backend.await) else {
        return;
    };
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut backend).await {
        tracing::debug!(%error, "tunnel");
    }
}

fn unreachable(place: &Place, error: &std::io::Error) -> Status {
    let why = format!("dial tcp {}: {}", place.authority(), go_error(error));
    match place {
        Place::Kubelet { .. } => Status::internal(format!("error dialing backend: {why}")),
        Place::Address { .. } => {
            Status::unavailable(format!("error trying to reach service: {why}"))
        }
    }
}
