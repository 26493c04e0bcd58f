//! Single HTTPS requests as any client could send them: headers, certificate and body as the test says.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part, and one that cannot go on has failed"
)]

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Cluster;

/// A request.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    method: String,
    path: String,
    headers: String,
    body: String,
    certificate: Option<(String, String)>,
}

/// An answer.
#[derive(Debug)]
pub struct Told {
    pub code: u16,
    pub head: String,
    pub body: String,
}

impl Ask {
    pub fn get(path: &str) -> Ask {
        Ask::new("GET", path)
    }

    pub fn new(method: &str, path: &str) -> Ask {
        Ask {
            method: method.into(),
            path: path.into(),
            ..Ask::default()
        }
    }

    pub fn post(path: &str, body: &str) -> Ask {
        let ask = Ask::new("POST", path).header("Content-Type: application/json");
        Ask {
            body: body.into(),
            ..ask
        }
    }

    pub fn header(mut self, line: &str) -> Ask {
        self.headers.push_str(&format!("{line}\r\n"));
        self
    }

    pub fn bearer(self, token: &str) -> Ask {
        self.header(&format!("Authorization: Bearer {token}"))
    }

    /// With a client certificate and its key, PEM.
    pub fn certificate(mut self, certificate: &str, key: &str) -> Ask {
        self.certificate = Some((certificate.into(), key.into()));
        self
    }

    /// As a member of system:masters, by certificate.
    pub fn admin(self, cluster: &Cluster) -> Ask {
        let now = std::time::SystemTime::now();
        let pki = cluster.server.pki();
        let pair = pki.client(&corten_pki::Identity::SuperAdmin, now).unwrap();
        self.certificate(&pair.certificate, &pair.key)
    }

    /// Sends it; the connection is closed after the answer.
    pub fn send(&self, cluster: &Cluster) -> Told {
        cluster.block_on(self.told(cluster))
    }

    async fn told(&self, cluster: &Cluster) -> Told {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        let ca = cluster.server.pki().ca.certificate().to_owned();
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap())
            .unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match &self.certificate {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let address = cluster.server.address();
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(address.ip().to_string()).unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let mut stream = connector.connect(name, stream).await.unwrap();
        let text = format!(
            "{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n{}",
            self.method,
            self.path,
            self.body.len(),
            self.headers,
            self.body
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut told = Vec::new();
        // A peer that closes without notice has said everything all the same.
        let _ = stream.read_to_end(&mut told).await;
        let told = String::from_utf8_lossy(&told).into_owned();
        let (head, body) = told.split_once("\r\n\r\n").unwrap();
        Told {
            code: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }
}

impl Told {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }

    /// The message of a Status.
    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}
