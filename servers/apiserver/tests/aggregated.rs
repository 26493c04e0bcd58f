//! An API server under this one's roof: a small one that shows what reaches it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corten_pki::{Authority, Leaf, Usage};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use support::Cluster;
use support::raw::{get, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const GROUP: &str = "wardle.example.com";

/// Only clients with the front proxy's certificate are listened to.
fn acceptor(authority: &Authority, front_proxy_ca: &str) -> TlsAcceptor {
    let leaf = Leaf {
        common_name: "wardle".into(),
        organization: None,
        dns: vec!["wardle.default.svc".into()],
        ips: vec![],
        usage: Usage::Server,
        lifetime: Duration::from_secs(3600),
    };
    let pair = authority.issue(&leaf, SystemTime::now()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(front_proxy_ca.as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

async fn wardle(listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((tcp, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(tcp).await else {
                return;
            };
            let mut seen = Vec::new();
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let text = String::from_utf8_lossy(&seen).into_owned();
            let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
            let own = format!("/apis/{GROUP}/v1alpha1");
            let (head, body) = if path == own {
                (
                    "200 OK\r\nContent-Type: application/json",
                    format!(
                        "{{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"{GROUP}/v1alpha1\",\"resources\":[{{\"name\":\"flunders\",\"singularName\":\"flunder\",\"namespaced\":true,\"kind\":\"Flunder\",\"verbs\":[\"get\",\"list\"],\"shortNames\":[\"fl\"]}},{{\"name\":\"flunders/status\",\"singularName\":\"\",\"namespaced\":true,\"kind\":\"Flunder\",\"verbs\":[\"get\"]}}]}}"
                    ),
                )
            } else if path == "/apis" {
                let seen = text.to_lowercase();
                let asked = seen.contains(
                    "application/json;g=apidiscovery.k8s.io;v=v2;as=apigroupdiscoverylist,",
                );
                match seen.contains("if-none-match: \"one\"") {
                    _ if !asked => ("406 Not Acceptable", String::new()),
                    true => ("304 Not Modified", String::new()),
                    false => (
                        "200 OK\r\nETag: \"one\"\r\nContent-Type: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                        format!(
                            "{{\"items\":[{{\"metadata\":{{\"name\":\"{GROUP}\"}},\"versions\":[{{\"version\":\"v1alpha1\",\"resources\":[{{\"resource\":\"flunders\",\"singularResource\":\"flunder\",\"scope\":\"Namespaced\",\"verbs\":[\"get\",\"list\"],\"shortNames\":[\"fl\"],\"categories\":[\"of-the-document\"],\"responseKind\":{{\"group\":\"{GROUP}\",\"version\":\"v1alpha1\",\"kind\":\"Flunder\"}},\"subresources\":[{{\"subresource\":\"status\",\"verbs\":[\"get\"]}}]}}]}}]}}]}}"
                        ),
                    ),
                }
            } else if path == format!("/openapi/v3{own}") {
                (
                    "200 OK\r\nContent-Type: application/json",
                    "{\"openapi\":\"3.0.0\",\"info\":{\"title\":\"wardle\",\"version\":\"0\"}}"
                        .to_owned(),
                )
            } else if path.ends_with("/moved") {
                ("302 Found\r\nLocation: /elsewhere", String::new())
            } else {
                ("200 OK\r\nContent-Type: text/plain", text)
            };
            let answer = format!(
                "HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if is_so().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("never: {what}");
}

fn api_service(bundle: &str, service: &str, port: u16) -> String {
    use base64::Engine as _;
    let bundle = base64::engine::general_purpose::STANDARD.encode(bundle);
    format!(
        "{{\"apiVersion\":\"apiregistration.k8s.io/v1\",\"kind\":\"APIService\",\"metadata\":{{\"name\":\"v1alpha1.{GROUP}\"}},\
         \"spec\":{{\"group\":\"{GROUP}\",\"version\":\"v1alpha1\",\"groupPriorityMinimum\":1000,\"versionPriority\":15,\
         \"caBundle\":\"{bundle}\",\"service\":{{\"namespace\":\"default\",\"name\":\"{service}\",\"port\":{port}}}}}}}"
    )
}

#[test]
fn what_is_served_here_is_registered() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        until("the local services are registered", async || {
            get(server, &format!("{SERVICES}/v2.autoscaling")).await.code == 200
        })
        .await;
        let service = get(server, &format!("{SERVICES}/v2.autoscaling")).await.json();
        assert_eq!(service["spec"], serde_json::json!({"group": "autoscaling", "version": "v2", "groupPriorityMinimum": 17500, "versionPriority": 30}));
        assert_eq!(service["metadata"]["labels"]["kube-aggregator.kubernetes.io/automanaged"], "onstart");
        assert_eq!(service["status"]["conditions"][0]["reason"], "Local");
        let groups = get(server, "/apis").await.json();
        assert_eq!(groups["groups"][0]["name"], "apiregistration.k8s.io");
        assert_eq!(groups["groups"][1]["name"], "apps");
        let map = get(server, "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await.json();
        assert_eq!(map["data"]["requestheader-allowed-names"], "[\"front-proxy-client\"]");
        assert!(map["data"]["requestheader-client-ca-file"].as_str().unwrap().contains("BEGIN CERTIFICATE"));
    });
}

#[test]
fn another_server_under_this_roof() {
    let cluster = Cluster::with_tokens(&["admin", "jane"]);
    let server = &cluster.server;
    let authority =
        Authority::create("wardle-ca", Duration::from_secs(3600), SystemTime::now()).unwrap();
    let front = server.pki().front_proxy_ca.certificate().to_owned();
    cluster.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(wardle(listener, acceptor(&authority, &front)));
        let made = send(server, "admin", "POST", SERVICES, "", api_service(authority.certificate(), "wardle", port).as_bytes()).await;
        assert_eq!(made.code, 201, "{}", made.text());
        let path = format!("{SERVICES}/v1alpha1.{GROUP}");
        let condition = async || get(server, &path).await.json()["status"]["conditions"][0].clone();
        until("the missing service is noticed", async || condition().await["reason"] == "ServiceNotFound").await;
        assert_eq!(condition().await["message"], "service/wardle in \"default\" is not present");
        let own = format!("/apis/{GROUP}/v1alpha1");
        let away = get(server, &own).await;
        assert_eq!((away.code, away.text().as_str()), (503, "service unavailable\n"));
        let outside = "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"wardle\"},\"spec\":{\"type\":\"ExternalName\",\"externalName\":\"localhost\"}}";
        let made = send(server, "admin", "POST", "/api/v1/namespaces/default/services", "", outside.as_bytes()).await;
        assert_eq!(made.code, 201, "{}", made.text());
        until("the server is found well", async || condition().await["status"] == "True").await;
        assert_eq!(condition().await["message"], "all checks passed");
        until("it is under the roof", async || get(server, &own).await.code == 200).await;

        // The user's name arrives, and no other that the client would like to have.
        let flunders = format!("{own}/namespaces/default/flunders?limit=5");
        let got = send(server, "admin", "GET", &flunders, "X-Remote-User: root\r\nX-Remote-Extra-A: b\r\n", b"").await;
        let seen = got.text().to_ascii_lowercase();
        assert!(seen.starts_with(&format!("get {flunders} ").to_ascii_lowercase()), "{seen}");
        assert!(seen.contains("x-remote-user: admin\r\n") && seen.contains("x-remote-group: system:masters\r\n"), "{seen}");
        assert!(!seen.contains("root") && !seen.contains("x-remote-extra-a") && !seen.contains("bearer"), "{seen}");
        assert_eq!(send(server, "jane", "GET", &flunders, "", b"").await.code, 403);
        assert_eq!(get(server, &format!("{own}/moved")).await.code, 502);

        // It shows in every discovery document and in OpenAPI.
        let groups = get(server, "/apis").await.text();
        assert!(groups.contains(&format!("{GROUP}/v1alpha1")));
        let aggregated = "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList\r\n";
        let document = send(server, "admin", "GET", "/apis", aggregated, b"").await.json();
        let group = document["items"].as_array().unwrap().iter().find(|i| i["metadata"]["name"] == GROUP).unwrap().clone();
        let flunder = &group["versions"][0]["resources"][0];
        assert_eq!((&flunder["resource"], &flunder["shortNames"][0], &flunder["subresources"][0]["subresource"]), (&"flunders".into(), &"fl".into(), &"status".into()));
        let schemas = get(server, "/openapi/v3").await.json();
        let url = schemas["paths"][format!("apis/{GROUP}/v1alpha1")]["serverRelativeURL"].as_str().unwrap().to_owned();
        let schema = get(server, &url).await;
        assert_eq!((schema.json()["info"]["title"].as_str(), schema.header("cache-control")), (Some("wardle"), Some("public, immutable")));

        let gone = send(server, "admin", "DELETE", &path, "", b"").await;
        assert_eq!(gone.code, 200);
        until("it is gone again", async || get(server, &own).await.code == 404).await;
    });
}

#[test]
fn why_a_server_is_not_available() {
    let cluster = Cluster::with_tokens(&["admin"]);
    let server = &cluster.server;
    cluster.block_on(async {
        let post = async |path: &str, body: &str| {
            let got = send(server, "admin", "POST", path, "", body.as_bytes()).await;
            assert_eq!(got.code, 201, "{}", got.text());
        };
        let service = "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"far\"},\"spec\":{\"ports\":[{\"name\":\"s\",\"port\":444}]}}";
        post("/api/v1/namespaces/default/services", service).await;
        post(SERVICES, &api_service("", "far", 443)).await;
        let path = format!("{SERVICES}/v1alpha1.{GROUP}");
        let says = async |reason: &str, message: &str| {
            until(reason, async || {
                let said = get(server, &path).await.json()["status"]["conditions"][0].clone();
                said["reason"] == reason && said["message"] == message
            })
            .await;
        };
        says("ServicePortError", "service/far in \"default\" is not listening on port 443").await;
        let headers = "Content-Type: application/merge-patch+json\r\n";
        send(server, "admin", "PATCH", &path, headers, b"{\"spec\":{\"service\":{\"port\":444}}}").await;
        says("EndpointsNotFound", "cannot find endpointslices for service/far in \"default\"").await;
        let slice = "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"far-1\",\"labels\":{\"kubernetes.io/service-name\":\"far\"}},\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"s\",\"port\":1}],\"endpoints\":[]}";
        post("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slice).await;
        says("MissingEndpoints", "endpointslices for service/far in \"default\" have no addresses with port name \"s\"").await;
    });
}
