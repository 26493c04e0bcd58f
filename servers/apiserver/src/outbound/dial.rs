//! Opening a connection for the outbound client: from a place to an address (services through the server's own view of
//! services and endpoint slices, hosts through DNS), then TCP and TLS.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use corten_api::core::v1::Service;
use corten_api::discovery::v1::EndpointSlice;
use corten_meta::Snapshot;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Endpoint, Failure, Place, trust};
use crate::typed::Typed;

/// The longest that a connection may take to open, handshake included.
const DIAL_MAX: Duration = Duration::from_secs(10);

/// Opens connections for one client.
#[derive(Clone)]
pub(super) struct Dialer {
    typed: Arc<Typed>,
    tls: TlsConnector,
    /// The service that the client is for; none for URLs.
    service: Option<(String, String, u16)>,
    server_name: Option<String>,
    /// Takes endpoints in turn.
    turn: Arc<AtomicUsize>,
}

impl Dialer {
    pub(super) fn new(
        typed: Arc<Typed>,
        tls: Arc<rustls::ClientConfig>,
        endpoint: &Endpoint,
    ) -> Dialer {
        let (service, own_name) = match &endpoint.place {
            Place::Url(_) => (None, None),
            Place::Service {
                namespace,
                name,
                port,
            } => (
                Some((namespace.clone(), name.clone(), *port)),
                Some(format!("{name}.{namespace}.svc")),
            ),
        };
        Dialer {
            typed,
            tls: TlsConnector::from(tls),
            service,
            server_name: endpoint.trust.server_name.clone().or(own_name),
            turn: Arc::default(),
        }
    }

    /// A connection, within a bounded time.
    async fn dial(self, uri: Uri) -> Result<Wire, Failure> {
        let place = uri.authority().map_or("", |a| a.as_str()).to_owned();
        let dialled = tokio::time::timeout(DIAL_MAX, self.reach(uri)).await;
        dialled.unwrap_or(Err(Failure::Unreachable {
            address: place,
            why: "i/o timeout".into(),
        }))
    }

    async fn reach(self, uri: Uri) -> Result<Wire, Failure> {
        let host = uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let (to, port) = match &self.service {
            Some((namespace, name, port)) => {
                let view = self.typed.view();
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                resolve(&view.snapshot, namespace, name, *port, turn)?
            }
            None => (bare.to_owned(), uri.port_u16().unwrap_or(443)),
        };
        let stream = connect(&to, port).await?;
        let name = self.server_name.as_deref().unwrap_or(bare).to_owned();
        let asked = ServerName::try_from(name.clone())
            .map_err(|e| Failure::Unresolved(format!("the host name {name:?}: {e}")))?;
        match self.tls.connect(asked, stream).await {
            Ok(stream) => Ok(Wire(TokioIo::new(stream))),
            Err(error) => Err(trust::refusal(&error, &name)),
        }
    }
}

/// A TCP connection to the first address that answers.
async fn connect(host: &str, port: u16) -> Result<TcpStream, Failure> {
    let found = tokio::net::lookup_host((host, port)).await;
    let addresses: Vec<_> = match found {
        Ok(addresses) => addresses.collect(),
        Err(_) => Vec::new(),
    };
    let mut last = Failure::Unresolved(format!("dial tcp: lookup {host}: no such host"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A request is small and waited for.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => {
                last = Failure::Unreachable {
                    address: address.to_string(),
                    why: spoken(&error),
                }
            }
        }
    }
    Err(last)
}

/// As Go words errors of connect(2).
fn spoken(error: &std::io::Error) -> String {
    use std::io::ErrorKind as E;
    match error.kind() {
        E::ConnectionRefused => "connect: connection refused".into(),
        E::HostUnreachable => "connect: no route to host".into(),
        E::NetworkUnreachable => "connect: network is unreachable".into(),
        E::TimedOut => "connect: connection timed out".into(),
        _ => format!("connect: {error}"),
    }
}

/// The address behind a port of a service: a ready endpoint in turn, or the cluster IP when no slice names any.
pub(super) fn resolve(
    snapshot: &Snapshot,
    namespace: &str,
    name: &str,
    port: u16,
    turn: usize,
) -> Result<(String, u16), Failure> {
    let service = snapshot
        .get::<Service>(namespace, name)
        .ok_or_else(|| Failure::Unresolved(format!("service {name:?} not found")))?;
    let spec = &service.spec;
    if spec.type_ == "ExternalName" {
        return Ok((spec.external_name.to_string(), port));
    }
    let wanted = spec.ports.iter().find(|p| p.port == i32::from(port));
    let wanted = wanted.ok_or_else(|| {
        Failure::Unresolved(format!("no service port {port} found for service {name:?}"))
    })?;
    let mut ready = Vec::new();
    let mut slices = 0;
    for slice in snapshot.list_in::<EndpointSlice>(namespace) {
        if slice.metadata.label("kubernetes.io/service-name") != name {
            continue;
        }
        slices += 1;
        let named = |n: &Option<corten_core::Str>| n.as_deref().unwrap_or_default().to_owned();
        let target = slice
            .ports
            .iter()
            .find(|p| named(&p.name) == wanted.name.as_str());
        let Some(target) = target.and_then(|p| p.port) else {
            continue;
        };
        for endpoint in slice.endpoints.iter() {
            if endpoint.conditions.ready != Some(false)
                && let Some(address) = endpoint.addresses.first()
            {
                ready.push((address.to_string(), target as u16));
            }
        }
    }
    if !ready.is_empty() {
        let chosen = turn % ready.len();
        return Ok(ready.swap_remove(chosen));
    }
    if slices > 0 {
        let why = format!("no endpoints available for service {name:?}");
        return Err(Failure::Unresolved(why));
    }
    match spec.cluster_ip.as_str() {
        "" | "None" => {
            let why = "cannot route to service with ClusterIP \"None\"";
            Err(Failure::Unresolved(why.into()))
        }
        ip => Ok((ip.to_owned(), port)),
    }
}

/// An encrypted connection.
pub(super) struct Wire(TokioIo<TlsStream<TcpStream>>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        let (_, session) = self.0.inner().get_ref();
        match session.alpn_protocol() {
            Some(b"h2") => Connected::new().negotiated_h2(),
            _ => Connected::new(),
        }
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buffer)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

impl tower_service::Service<Uri> for Dialer {
    type Response = Wire;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().dial(uri))
    }
}
