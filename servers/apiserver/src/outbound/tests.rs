//! The client against servers made here: trust, reuse of connections, resolving of services, failures in Go's words.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use corten_api::core::v1::{Service, ServicePort};
use corten_api::discovery::v1::{Endpoint as SliceEndpoint, EndpointPort, EndpointSlice};
use corten_meta::Snapshot;
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::{Options, Store};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;

use super::*;
use crate::catalog::Catalog;

fn outbound() -> Outbound {
    let catalog = Catalog::built_in(&crate::runtime_config::RuntimeConfig::default());
    let options = Options::new(
        MemoryEngine::on(&MemoryDisk::new()),
        |key: &corten_store::Key, stored: &Bytes| {
            crate::commit::describe(
                &Catalog::built_in(&crate::runtime_config::RuntimeConfig::default()),
                key,
                stored,
            )
        },
    );
    let store = Store::open(options).unwrap();
    Outbound::new(Arc::new(Typed::new(&store, &catalog, Default::default())))
}

struct Backend {
    address: SocketAddr,
    certificate: String,
    connections: Arc<AtomicUsize>,
}

impl Backend {
    /// Echoes method, path and version; self-signed for `name`.
    async fn start(name: &str) -> Backend {
        let pair = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let certificate = pair.cert.pem();
        let key = pair.signing_key.serialize_pem();
        let tls = crate::tls::server_config(&certificate, &key, &certificate).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let acceptor = tokio_rustls::TlsAcceptor::from(tls.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(|request: Request<Incoming>| async move {
                        if request.uri().path() == "/never" {
                            std::future::pending::<()>().await;
                        }
                        let said = format!(
                            "{} {} {:?}",
                            request.method(),
                            request.uri().path_and_query().unwrap(),
                            request.version()
                        );
                        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(said))))
                    });
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection_with_upgrades(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Backend {
            address,
            certificate,
            connections,
        }
    }

    fn endpoint(&self, host: &str) -> Endpoint {
        Endpoint {
            place: Place::Url(format!("https://{host}:{}/ignored", self.address.port())),
            trust: Trust::of(self.certificate.clone()),
        }
    }
}

fn get(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

fn minute() -> Limits {
    Limits::within(Duration::from_secs(60))
}

#[tokio::test]
async fn one_connection_serves_many_calls() {
    let backend = Backend::start("localhost").await;
    let outbound = outbound();
    for _ in 0..20 {
        let endpoint = backend.endpoint("localhost");
        let answer = outbound
            .call(&endpoint, get("/a?b=c"), minute())
            .await
            .unwrap();
        assert_eq!(answer.body(), "GET /a?b=c HTTP/1.1");
    }
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn http_2_is_spoken_when_it_is_offered() {
    let backend = Backend::start("localhost").await;
    let mut endpoint = backend.endpoint("localhost");
    endpoint.trust.protocols = Protocols::Http2OrHttp1;
    let answer = outbound()
        .call(&endpoint, get("/"), minute())
        .await
        .unwrap();
    assert_eq!(answer.body(), "GET / HTTP/2.0");
}

#[tokio::test]
async fn what_cannot_be_verified_is_refused_in_gos_words() {
    let backend = Backend::start("localhost").await;
    let other = Backend::start("elsewhere.example").await;
    let outbound = outbound();
    let call = async |endpoint: &Endpoint| {
        let answer = outbound.call(endpoint, get("/"), minute()).await;
        answer.unwrap_err().to_string()
    };
    let mut stranger = backend.endpoint("localhost");
    stranger.trust = Trust::of(other.certificate.clone());
    assert_eq!(
        call(&stranger).await,
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    );
    assert_eq!(
        call(&other.endpoint("localhost")).await,
        "tls: failed to verify certificate: x509: certificate is valid for elsewhere.example, not localhost"
    );
    let mut named = other.endpoint("localhost");
    named.trust.server_name = Some("elsewhere.example".into());
    assert!(outbound.call(&named, get("/"), minute()).await.is_ok());
    let mut careless = backend.endpoint("localhost");
    careless.trust = Trust {
        verification: Verification::Skipped,
        ..Trust::default()
    };
    assert!(outbound.call(&careless, get("/"), minute()).await.is_ok());
    let mut garbage = backend.endpoint("localhost");
    garbage.trust = Trust::of("no PEM");
    assert_eq!(
        call(&garbage).await,
        "unable to load root certificates: unable to parse bytes as PEM block"
    );
}

#[tokio::test]
async fn limits_hold() {
    let backend = Backend::start("localhost").await;
    let outbound = outbound();
    let endpoint = backend.endpoint("localhost");
    let soon = Limits::within(Duration::from_millis(50));
    let late = outbound.call(&endpoint, get("/never"), soon).await;
    assert_eq!(late.unwrap_err(), Failure::Late);
    let small = Limits {
        answer_max: 3,
        ..minute()
    };
    let large = outbound.call(&endpoint, get("/"), small).await;
    assert_eq!(large.unwrap_err(), Failure::TooLarge);
}

#[tokio::test]
async fn nobody_listening_is_worded_as_go_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let endpoint = Endpoint {
        place: Place::Url(format!("https://{address}")),
        trust: Trust::default(),
    };
    let failure = outbound().call(&endpoint, get("/"), minute()).await;
    assert_eq!(
        failure.unwrap_err().to_string(),
        format!("dial tcp {address}: connect: connection refused")
    );
    let service = Endpoint {
        place: Place::Service {
            namespace: "ns".into(),
            name: "hook".into(),
            port: 443,
        },
        trust: Trust::default(),
    };
    assert_eq!(service.place.origin(), "https://hook.ns.svc:443");
    let failure = outbound().call(&service, get("/"), minute()).await;
    assert_eq!(
        failure.unwrap_err().to_string(),
        "service \"hook\" not found"
    );
}

#[test]
fn services_resolve_to_ready_endpoints_in_turn() {
    let mut snapshot = Snapshot::new();
    let mut service = Service::default();
    service.metadata.namespace = "ns".into();
    service.metadata.name = "hook".into();
    service.spec.cluster_ip = "10.0.0.7".into();
    service.spec.ports.push(ServicePort {
        name: "https".into(),
        port: 443,
        ..ServicePort::default()
    });
    snapshot.put(service);
    let at = |snapshot: &Snapshot, turn| dial::resolve(snapshot, "ns", "hook", 443, turn);
    assert_eq!(at(&snapshot, 0), Ok(("10.0.0.7".into(), 443)));
    let mut slice = EndpointSlice::default();
    slice.metadata.namespace = "ns".into();
    slice.metadata.name = "hook-1".into();
    slice
        .metadata
        .labels
        .insert("kubernetes.io/service-name", "hook");
    slice.ports.push(EndpointPort {
        name: Some("https".into()),
        port: Some(8443),
        ..EndpointPort::default()
    });
    snapshot.put(slice.clone());
    let none = "no endpoints available for service \"hook\"";
    assert_eq!(at(&snapshot, 0), Err(Failure::Unresolved(none.into())));
    for (address, ready) in [("10.1.0.1", true), ("10.1.0.2", false), ("10.1.0.3", true)] {
        let mut endpoint = SliceEndpoint::default();
        endpoint.addresses.push(address);
        endpoint.conditions.ready = Some(ready);
        slice.endpoints.push(endpoint);
    }
    snapshot.put(slice);
    assert_eq!(at(&snapshot, 0), Ok(("10.1.0.1".into(), 8443)));
    assert_eq!(at(&snapshot, 1), Ok(("10.1.0.3".into(), 8443)));
    let missing = dial::resolve(&snapshot, "ns", "hook", 80, 0);
    let why = "no service port 80 found for service \"hook\"";
    assert_eq!(missing, Err(Failure::Unresolved(why.into())));
}
