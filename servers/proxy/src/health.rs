//! Health over HTTP: of Services, on their health check node ports, for load balancers that ask which nodes have
//! endpoints; and of the proxy itself. The texts are upstream's, since load balancers read them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use corten_dataplane::Netns;
use corten_netplan::proxy::ServiceHealth;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::ProxyError;

/// What the proxy says about itself. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ProxyHealth {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    /// Whether the kernel was brought to a state that was asked for, and no later attempt failed.
    healthy: bool,
}

impl ProxyHealth {
    /// Whether the kernel is as the last snapshot asked.
    pub fn is_healthy(&self) -> bool {
        self.state.lock().healthy
    }

    pub(crate) fn note<T, E>(&self, applied: &Result<T, E>) {
        self.state.lock().healthy = applied.is_ok();
    }
}

/// The health check ports of Services.
#[derive(Debug)]
pub(crate) struct HealthChecks {
    netns: Option<Netns>,
    proxy: ProxyHealth,
    ports: BTreeMap<u16, Port>,
}

#[derive(Debug)]
struct Port {
    health: Arc<Mutex<ServiceHealth>>,
    server: JoinHandle<()>,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl HealthChecks {
    pub(crate) fn new(netns: Option<Netns>, proxy: ProxyHealth) -> Self {
        HealthChecks {
            netns,
            proxy,
            ports: BTreeMap::new(),
        }
    }

    /// Answers on these ports and no others. A port that is taken by someone else is passed over, with a warning.
    pub(crate) async fn set(&mut self, wanted: &BTreeMap<u16, ServiceHealth>) {
        self.ports.retain(|port, _| wanted.contains_key(port));
        for (port, health) in wanted {
            if let Some(present) = self.ports.get(port) {
                *present.health.lock() = health.clone();
                continue;
            }
            let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), *port);
            match self.listen(any).await {
                Ok(listener) => {
                    let health = Arc::new(Mutex::new(health.clone()));
                    let (shared, proxy) = (health.clone(), self.proxy.clone());
                    let server = serve(listener, move |_| service_answer(&shared.lock(), &proxy));
                    self.ports.insert(*port, Port { health, server });
                }
                Err(error) => {
                    tracing::warn!(%error, service = %health.service, "no health checks for the Service")
                }
            }
        }
    }

    /// Listens in the proxy's network namespace. The unspecified IPv6 address takes IPv4 too.
    pub(crate) async fn listen(&self, address: SocketAddr) -> Result<TcpListener, ProxyError> {
        let failed = |source| ProxyError::Listen { address, source };
        let bind = || std::net::TcpListener::bind(address);
        let listener = match &self.netns {
            Some(netns) => netns.run(bind)?,
            None => bind(),
        };
        let listener = listener.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        TcpListener::from_std(listener).map_err(failed)
    }
}

/// Answers `/healthz` and `/livez` about the proxy.
pub(crate) fn serve_proxy(listener: TcpListener, health: ProxyHealth) {
    serve(listener, move |path| match path {
        "/healthz" | "/livez" => {
            let healthy = health.is_healthy();
            let eligible = if path == "/healthz" {
                ",\"nodeEligible\":true"
            } else {
                ""
            };
            answer(
                healthy,
                format!("{{\"healthy\":{healthy}{eligible}}}"),
                None,
            )
        }
        _ => {
            let mut absent = Response::new(Full::from("404 page not found\n"));
            *absent.status_mut() = StatusCode::NOT_FOUND;
            absent
        }
    });
}

fn service_answer(health: &ServiceHealth, proxy: &ProxyHealth) -> Response<Full<Bytes>> {
    let (count, healthy) = (health.local_endpoints, proxy.is_healthy());
    let (namespace, name) = (&health.service.namespace, &health.service.name);
    let text = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {healthy}\n}}\n"
    );
    answer(count > 0 && healthy, text, Some(count))
}

fn answer(good: bool, text: String, weight: Option<usize>) -> Response<Full<Bytes>> {
    let status = if good {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut response = Response::builder()
        .status(status)
        .header("Content-Type", "application/json")
        .header("X-Content-Type-Options", "nosniff");
    if let Some(weight) = weight {
        response = response.header("X-Load-Balancing-Endpoint-Weight", weight);
    }
    response
        .body(Full::from(text))
        .expect("the headers are well-formed")
}

fn serve(
    listener: TcpListener,
    answer: impl Fn(&str) -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> JoinHandle<()> {
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let response = answer(request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            tokio::spawn(async move {
                // A client that goes away in the middle is none of the server's business.
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    })
}
