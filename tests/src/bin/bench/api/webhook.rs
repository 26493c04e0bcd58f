//! What an admission webhook adds: creates with and without one that allows at once, beside the time that asking it
//! directly takes. The webhook is a small HTTPS server on the load's core.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::bodies;
use super::load::Request;
use super::operations::Bench;
use super::report::Measured;
use crate::pinned::{LOAD, pin};

/// Creates by one client, one after another: without a webhook, then with one.
pub fn added(b: &mut Bench) -> Result<Vec<Measured>> {
    b.namespace("hooked")?;
    let path = "/api/v1/namespaces/hooked/configmaps";
    let make = |prefix: &'static str| {
        move |number: usize| {
            let object = bodies::config_map(&format!("{prefix}-{number}"));
            Request::write("POST", path, object.to_string())
        }
    };
    let count = (b.flags.operations / 4).max(50);
    b.prepare(50, &make("warm"))?;
    let without = b.measure("webhook-without", 1, count, &make("without"))?;
    let hook = Hook::start(b)?;
    b.once(Request::write(
        "POST",
        CONFIGURATIONS,
        hook.configuration("hooked").to_string(),
    ))?;
    // A server may take a moment to know it.
    std::thread::sleep(std::time::Duration::from_secs(2));
    b.prepare(50, &make("warm-with"))?;
    let with = b.measure("webhook-with", 1, count, &make("with"))?;
    let delete = Request {
        method: "DELETE",
        ..Request::get(format!("{CONFIGURATIONS}/bench"))
    };
    b.once(delete)?;
    Ok(vec![without, with])
}

const CONFIGURATIONS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

struct Hook {
    port: u16,
    certificate: String,
}

impl Hook {
    fn start(b: &Bench) -> Result<Hook> {
        let pair =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let certificate = pair.cert.pem();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)?;
        let tls = Arc::new(tls);
        let listener = b
            .server
            .network
            .enter(|| TcpListener::bind("127.0.0.1:0"))??;
        let port = listener.local_addr()?.port();
        // It serves until the measurement ends.
        std::thread::spawn(move || {
            let _ = pin(LOAD);
            for stream in listener.incoming().flatten() {
                let tls = tls.clone();
                std::thread::spawn(move || serve(stream, tls));
            }
        });
        Ok(Hook { port, certificate })
    }

    fn configuration(&self, namespace: &str) -> serde_json::Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "bench" },
            "webhooks": [{
                "name": "bench.example.com",
                "clientConfig": {
                    "url": format!("https://127.0.0.1:{}/", self.port),
                    "caBundle": STANDARD.encode(&self.certificate),
                },
                "rules": [{
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
                    "operations": ["CREATE"], "scope": "Namespaced",
                }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        })
    }
}

/// Allows everything that comes over one connection.
fn serve(stream: TcpStream, tls: Arc<ServerConfig>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut stream = StreamOwned::new(ServerConnection::new(tls).ok()?, stream);
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let (body, end) = loop {
            if let Some(found) = whole(&bytes) {
                break found;
            }
            match stream.read(&mut chunk).ok()? {
                0 => return None,
                read => bytes.extend_from_slice(&chunk[..read]),
            }
        };
        let answer = allowed(&bytes[body..end])?;
        bytes.drain(..end);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        stream
            .write_all(&[head.as_bytes(), answer.as_bytes()].concat())
            .ok()?;
        stream.flush().ok()?;
    }
}

/// Where the body of the first request begins and ends, if all of it is there.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let end = head + length.unwrap_or(0);
    (bytes.len() >= end).then_some((head, end))
}

fn allowed(body: &[u8]) -> Option<String> {
    let review: serde_json::Value = serde_json::from_slice(body).ok()?;
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": { "uid": review["request"]["uid"], "allowed": true },
    });
    Some(answer.to_string())
}
