//! Another server on loopback, with a certificate of its own, that answers JSON with JSON.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part, and one that cannot go on has failed"
)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// The server, its thread ended with the process.
pub struct Elsewhere {
    /// `https://localhost:port`
    pub url: String,
    /// PEM.
    pub certificate: String,
    /// Path and body of every request.
    pub asked: Arc<Mutex<Vec<(String, Value)>>>,
    /// The Authorization header of every request, or nothing.
    pub proofs: Arc<Mutex<Vec<String>>>,
}

type Decide = dyn Fn(&str, &Value) -> Value + Send + Sync;

impl Elsewhere {
    /// Answers with what `decide` makes of the server's URL and path (`url path`) and the body.
    pub fn start(decide: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Elsewhere {
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
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let elsewhere = Elsewhere {
            url: format!("https://localhost:{port}"),
            certificate,
            asked: Arc::default(),
            proofs: Arc::default(),
        };
        let asked = (elsewhere.asked.clone(), elsewhere.proofs.clone());
        let decide = Arc::new(decide) as Arc<Decide>;
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(accept(listener, acceptor, asked, decide));
        });
        elsewhere
    }

    /// A kubeconfig that names it.
    pub fn kubeconfig(&self, directory: &Path) -> PathBuf {
        let ca = directory.join("elsewhere.crt");
        std::fs::write(&ca, &self.certificate).unwrap();
        let file = directory.join("elsewhere.conf");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"{}/ask\", certificate-authority: {}}}}}]\n\
             users: [{{name: u, user: {{token: secret}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             current-context: c\n",
            self.url,
            ca.display()
        );
        std::fs::write(&file, text).unwrap();
        file
    }
}

type Asked = (Arc<Mutex<Vec<(String, Value)>>>, Arc<Mutex<Vec<String>>>);

async fn accept(
    listener: std::net::TcpListener,
    acceptor: TlsAcceptor,
    asked: Asked,
    decide: Arc<Decide>,
) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, asked, decide) = (acceptor.clone(), asked.clone(), decide.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let service = service_fn(|request| answer(request, asked.clone(), decide.clone()));
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    (asked, proofs): Asked,
    decide: Arc<Decide>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let proof = request.headers().get("authorization");
    let proof = proof.map_or("", |v| v.to_str().unwrap()).to_owned();
    proofs.lock().push(proof);
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    asked.lock().push((path.clone(), body.clone()));
    let told = decide(&path, &body).to_string();
    let builder = Response::builder().header("content-type", "application/json");
    Ok(builder.body(Full::new(told.into())).unwrap())
}
