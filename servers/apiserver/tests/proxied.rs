//! Requests that are passed on to pods, services and nodes, with a backend that tells what it was asked.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use corten_apiserver::{Disk, Io, NodeConnector, Place};
use parking_lot::Mutex;
use support::Cluster;
use support::raw::{self, get, send};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Leads every connection to one backend and remembers where it was to go.
struct Everywhere {
    backend: SocketAddr,
    asked: Arc<Mutex<Vec<Place>>>,
}

#[async_trait]
impl NodeConnector for Everywhere {
    async fn connect(&self, place: &Place) -> std::io::Result<Box<dyn Io>> {
        self.asked.lock().push(place.clone());
        Ok(Box::new(TcpStream::connect(self.backend).await?))
    }
}

/// Answers each connection once: an upgrade with an echo, `/moved` with a redirect, all else with the request itself.
async fn backend(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut seen = Vec::new();
            while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
                if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            let text = String::from_utf8_lossy(&seen).into_owned();
            let body_follows = text.contains("length: 5") && !text.ends_with("hello");
            if body_follows {
                let _ = stream.read_buf(&mut seen).await;
            }
            let text = String::from_utf8_lossy(&seen).into_owned();
            if text.to_ascii_lowercase().contains("upgrade: echo") {
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
                let _ = stream.write_all(head.as_bytes()).await;
                let (mut reader, mut writer) = stream.split();
                let _ = tokio::io::copy(&mut reader, &mut writer).await;
                return;
            }
            let answer = match text.contains(" /moved") {
                true => "HTTP/1.1 302 Found\r\nLocation: /next?q=1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
                false => format!("HTTP/1.1 203 Mine\r\nX-Own: yes\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}", text.len()),
            };
            let _ = stream.write_all(answer.as_bytes()).await;
        });
    }
}

struct World {
    cluster: Cluster,
    asked: Arc<Mutex<Vec<Place>>>,
}

fn world() -> World {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let connector = Everywhere {
        backend: listener.local_addr().unwrap(),
        asked: asked.clone(),
    };
    let directory = tempfile::tempdir().unwrap();
    let cluster = Cluster::start_with(directory, Disk::Memory, |config| {
        config.static_tokens = raw::tokens(&["admin", "jane"]);
        config.connector = Arc::new(connector);
    });
    cluster.block_on(async {
        tokio::spawn(backend(TcpListener::from_std(listener).unwrap()));
        let server = &cluster.server;
        let make = async |path: &str, body: &str| {
            let got = send(server, "admin", "POST", path, "", body.as_bytes()).await;
            assert_eq!(got.code, 201, "{path}: {}", got.text());
        };
        let ns = "/api/v1/namespaces/default";
        make(&format!("{ns}/serviceaccounts"), "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":\"default\"}}").await;
        make(&format!("{ns}/pods"), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"containers\":[{\"name\":\"c\",\"image\":\"i\",\"ports\":[{\"name\":\"http\",\"containerPort\":8080}]}]}}").await;
        make(&format!("{ns}/services"), "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"ports\":[{\"name\":\"http\",\"port\":80,\"targetPort\":8080}]}}").await;
        make("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"web-1\",\"labels\":{\"kubernetes.io/service-name\":\"web\"}},\"addressType\":\"IPv4\",\"ports\":[{\"name\":\"http\",\"port\":8080}],\"endpoints\":[{\"addresses\":[\"10.1.2.3\"],\"targetRef\":{\"kind\":\"Pod\",\"namespace\":\"default\",\"name\":\"web\"}},{\"addresses\":[\"10.9.9.9\"]}]}").await;
        let status = "{\"status\":{\"podIP\":\"10.1.2.3\",\"podIPs\":[{\"ip\":\"10.1.2.3\"}]}}";
        let headers = "Content-Type: application/merge-patch+json\r\n";
        let got = send(server, "admin", "PATCH", &format!("{ns}/pods/web/status"), headers, status.as_bytes()).await;
        assert_eq!(got.code, 200, "{}", got.text());
    });
    World { cluster, asked }
}

#[test]
fn pods_and_services_are_reached_as_asked() {
    let world = world();
    let server = &world.cluster.server;
    let ns = "/api/v1/namespaces/default";
    world.cluster.block_on(async {
        let got = get(server, &format!("{ns}/pods/web/proxy/a%2Fb/c/?x=1&y=%20")).await;
        assert_eq!((got.code, got.header("x-own")), (203, Some("yes")));
        let seen = got.text();
        assert!(
            seen.starts_with("GET /a%2Fb/c/?x=1&y=%20 HTTP/1.1"),
            "{seen}"
        );
        assert!(
            !seen.to_ascii_lowercase().contains("authorization"),
            "the token stays here: {seen}"
        );
        for (path, port, tls) in [
            ("pods/web/proxy/", 8080, false),
            ("pods/web:81/proxy/", 81, false),
            ("pods/web:http/proxy/", 8080, false),
            ("pods/https:web:8443/proxy/", 8443, true),
            ("services/web:http/proxy/", 8080, false),
            ("services/web:80/proxy/", 8080, false),
            ("services/https:web:http/proxy/", 8080, true),
        ] {
            let got = get(server, &format!("{ns}/{path}")).await;
            assert_eq!(got.code, 203, "{path}: {}", got.text());
            let wanted = format!(
                "Address {{ host: \"10.1.2.3\", port: {port}, tls: {} }}",
                if tls { "Tls" } else { "Plain" }
            );
            assert_eq!(
                format!("{:?}", world.asked.lock().last().unwrap()),
                wanted,
                "{path}"
            );
        }
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let got = send(
                server,
                "admin",
                method,
                &format!("{ns}/pods/web/proxy/do"),
                "",
                b"hello",
            )
            .await;
            assert!(
                got.text().starts_with(&format!("{method} /do")) && got.text().ends_with("hello"),
                "{}",
                got.text()
            );
        }
    });
}

#[test]
fn redirects_upgrades_and_refusals() {
    let world = world();
    let server = &world.cluster.server;
    let ns = "/api/v1/namespaces/default";
    world.cluster.block_on(async {
        let got = get(server, &format!("{ns}/pods/web/proxy?q=1")).await;
        assert_eq!((got.code, got.header("location")), (301, Some("/api/v1/namespaces/default/pods/web/proxy/?q=1")));
        let got = get(server, &format!("{ns}/services/web:http/proxy/moved")).await;
        assert_eq!((got.code, got.header("location")), (302, Some("/api/v1/namespaces/default/services/web:http/proxy/next?q=1")));
        for (path, code, message) in [
            ("pods/a:b:c:d/proxy/", 400, "invalid pod request \"a:b:c:d\""),
            ("services/ftp:web:1/proxy/", 400, "invalid service request \"ftp:web:1\""),
            ("pods/none/proxy/", 404, "pods \"none\" not found"),
            ("services/web:81/proxy/", 503, "no service port 81 found for service \"web\""),
            ("services/web/proxy/", 503, "no endpoints available for service \"web\""),
        ] {
            let got = get(server, &format!("{ns}/{path}")).await;
            assert_eq!((got.code, got.message().as_str()), (code, message), "{path}");
        }
        let refused = send(server, "jane", "GET", &format!("{ns}/pods/web/proxy/"), "", b"").await;
        assert_eq!(refused.code, 403);
        // The metadata service and the host itself are not to be had through a pod's status.
        let status = "{\"status\":{\"podIP\":\"169.254.169.254\",\"podIPs\":[{\"ip\":\"169.254.169.254\"}]}}";
        let mut stream = raw::connect(server).await;
        let ask = format!("GET {ns}/pods/web:9/proxy/up HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer admin\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        while !all.windows(4).any(|w| w == b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut all).await.unwrap(), 0);
        }
        assert_eq!(raw::parse(&all).code, 101);
        stream.write_all(b"to and fro").await.unwrap();
        let mut back = [0; 10];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"to and fro");
        let headers = "Content-Type: application/merge-patch+json\r\n";
        let got = send(server, "admin", "PATCH", &format!("{ns}/pods/web/status"), headers, status.as_bytes()).await;
        if got.code == 200 {
            let got = get(server, &format!("{ns}/pods/web/proxy/")).await;
            assert_eq!((got.code, got.message().as_str()), (400, "address not allowed"));
        }
    });
}
