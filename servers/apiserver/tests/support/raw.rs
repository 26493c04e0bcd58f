//! HTTP/1.1 by hand over TLS: what well-behaved clients cannot send.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test program uses its own part, and one that cannot go on has failed"
)]

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use corten_apiserver::{ApiServer, UserInfo};

/// An answer.
#[derive(Debug)]
pub struct Got {
    pub code: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn message(&self) -> String {
        self.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// The tokens that tests use: `admin` may do everything, others are plain users of that name.
pub fn tokens(names: &[&str]) -> std::collections::HashMap<String, UserInfo> {
    let user = |name: &&str| {
        let groups = match *name {
            "admin" => vec!["system:masters".to_owned()],
            _ => vec![],
        };
        let info = UserInfo {
            name: (*name).to_owned(),
            groups,
            ..UserInfo::default()
        };
        ((*name).to_owned(), info)
    };
    names.iter().map(user).collect()
}

/// A TLS connection to the server.
pub async fn connect(server: &ApiServer) -> TlsStream<TcpStream> {
    connect_with(server, b"http/1.1").await
}

/// The same for a protocol.
pub async fn connect_with(server: &ApiServer, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(server.pki().ca.certificate().as_bytes()).unwrap();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(server.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .unwrap()
}

/// Sends bytes and reads until the server ends the connection; chunks are joined.
pub async fn exchange(server: &ApiServer, bytes: &[u8]) -> Got {
    let mut stream = connect(server).await;
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.flush().await;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    parse(&all)
}

/// Splits an answer; joins chunks.
pub fn parse(all: &[u8]) -> Got {
    let end = all
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or(all.len());
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let rest = all.get(end + 4..).unwrap_or_default();
    let code = head
        .split(' ')
        .nth(1)
        .and_then(|c| c.parse().ok())
        .unwrap_or(0);
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    let body = if chunked {
        unchunk(rest)
    } else {
        rest.to_vec()
    };
    Got { code, head, body }
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).ok();
        let Some(size) = size.and_then(|s| usize::from_str_radix(s.trim(), 16).ok()) else {
            break;
        };
        let start = line + 2;
        if size == 0 || rest.len() < start + size {
            break;
        }
        out.extend_from_slice(&rest[start..start + size]);
        rest = &rest[(start + size + 2).min(rest.len())..];
    }
    out
}

/// One request as a user, with further headers (each ended by CRLF).
pub async fn send(
    server: &ApiServer,
    user: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Got {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user}\r\nConnection: close\r\n\
         Content-Length: {}\r\n{headers}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    exchange(server, &bytes).await
}

/// A GET as the administrator.
pub async fn get(server: &ApiServer, path: &str) -> Got {
    send(server, "admin", "GET", path, "", b"").await
}
