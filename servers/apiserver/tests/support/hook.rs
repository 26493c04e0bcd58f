//! A webhook server on loopback with a certificate of its own, which remembers what it was asked.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A running webhook server.
pub struct Hook {
    /// `https://localhost:port`
    pub url: String,
    /// Base64 of the PEM certificate.
    pub bundle: String,
    /// Every review that came in, with the path and query it came under.
    pub asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// How many connections were made.
    pub connections: Arc<AtomicUsize>,
}

type Decide = dyn Fn(&str, &Value) -> Value + Send + Sync;

impl Hook {
    /// Answers with what `decide` makes of path and request: the members of the response beside its uid. A null
    /// response never comes.
    pub async fn start(decide: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Hook {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook = Hook {
            url: format!(
                "https://localhost:{}",
                listener.local_addr().unwrap().port()
            ),
            bundle: STANDARD.encode(&certificate),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let (asked, connections) = (hook.asked.clone(), hook.connections.clone());
        let decide: Arc<Decide> = Arc::new(decide);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, asked, decide) = (acceptor.clone(), asked.clone(), decide.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service =
                        service_fn(|request| answer(request, asked.clone(), decide.clone()));
                    let _ = auto::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        hook
    }

    /// The requests (`review.request`) that came under a path.
    pub fn requests(&self, path: &str) -> Vec<Value> {
        let asked = self.asked.lock();
        let under = |(target, _): &&(String, Value)| target.split('?').next() == Some(path);
        let requests = asked.iter().filter(under);
        requests
            .map(|(_, review)| review["request"].clone())
            .collect()
    }
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    decide: Arc<Decide>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let target = request.uri().path_and_query().unwrap().to_string();
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    asked.lock().push((target, review.clone()));
    let mut response = decide(&path, &review["request"]);
    if response.is_null() {
        std::future::pending::<()>().await;
    }
    if let Some(raw) = response.get("raw") {
        let code = raw["code"].as_u64().unwrap() as u16;
        let text = raw["text"].as_str().unwrap().to_owned();
        let builder = Response::builder().status(code);
        let builder = builder.header("content-type", "text/plain");
        return Ok(builder.body(Full::new(text.into())).unwrap());
    }
    if let Some(patch) = response.get("patch") {
        let patch = STANDARD.encode(patch.to_string());
        response["patch"] = patch.into();
        response["patchType"] = "JSONPatch".into();
    }
    response["uid"] = review["request"]["uid"].clone();
    let review = json!({
        "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response,
    });
    let builder = Response::builder().header("content-type", "application/json");
    Ok(builder.body(Full::new(review.to_string().into())).unwrap())
}
