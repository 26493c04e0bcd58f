//! A small HTTPS client for the API: HTTP/1.1, one connection, one request at a time. It measures and
//! it writes faster than kubectl can; everything else in the tests goes through kubectl.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::kubectl::Kubectl;

/// Where an API server is and who asks.
#[derive(Debug, Clone)]
pub struct ApiAccess {
    address: SocketAddr,
    host: String,
    token: Option<String>,
    tls: Arc<ClientConfig>,
    roots: Arc<RootCertStore>,
}

/// One connection to an API server.
pub struct ApiClient {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
    access: ApiAccess,
}

/// What came of a request whose answer is not kept.
#[derive(Debug)]
pub struct Passed {
    /// The HTTP status code.
    pub status: u16,
    /// The bytes of the body.
    pub length: usize,
    /// The first of them, to say what went wrong.
    pub beginning: Vec<u8>,
}

/// What the server answered.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body, with chunks put together.
    pub body: Vec<u8>,
}

impl ApiAccess {
    /// The access that a kubeconfig gives; `kubectl config view` reads the file.
    pub fn from_kubeconfig(kubectl: &Kubectl) -> Result<ApiAccess> {
        let config = kubectl.json("config view --raw --minify")?;
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let server = cluster["server"]
            .as_str()
            .context("the kubeconfig names no server")?;
        let ca = pem_of(cluster, "certificate-authority")?
            .context("the kubeconfig has no certificate-authority")?;
        let identity = match (
            pem_of(user, "client-certificate")?,
            pem_of(user, "client-key")?,
        ) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => None,
        };
        let token = user["token"].as_str().map(str::to_string);
        ApiAccess::new(server, &ca, identity, token)
    }

    /// The access that a kubeconfig with one cluster and one user gives, read line by line: for
    /// measurements in which the time that kubectl takes would count.
    pub fn from_file(kubeconfig: &Path) -> Result<ApiAccess> {
        let text = std::fs::read_to_string(kubeconfig)
            .with_context(|| format!("reading {}", kubeconfig.display()))?;
        let value = |name: &str| {
            let mut values = text.lines().filter_map(|line| {
                let line = line.trim().trim_start_matches("- ");
                line.strip_prefix(name)?
                    .strip_prefix(':')
                    .map(|rest| rest.trim().trim_matches('"'))
            });
            values.next()
        };
        let pem = |name: &str| -> Result<Option<Vec<u8>>> {
            value(name)
                .map(|data| STANDARD.decode(data).context("base64"))
                .transpose()
        };
        let server = value("server").context("the kubeconfig names no server")?;
        let ca = pem("certificate-authority-data")?.context("the kubeconfig has no authority")?;
        let identity = match (pem("client-certificate-data")?, pem("client-key-data")?) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            _ => None,
        };
        ApiAccess::new(server, &ca, identity, value("token").map(str::to_string))
    }

    /// Access to `server` (`https://host:port`) whose certificate `ca` (PEM) signed.
    pub fn new(
        server: &str,
        ca: &[u8],
        identity: Option<(Vec<u8>, Vec<u8>)>,
        token: Option<String>,
    ) -> Result<ApiAccess> {
        let authority = server
            .strip_prefix("https://")
            .context("the server is https")?;
        let authority = authority.trim_end_matches('/');
        let (host, _) = authority
            .rsplit_once(':')
            .context("the server has a port")?;
        let address = authority
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .with_context(|| format!("{authority} is no address"))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca) {
            // A file may hold a leaf beside its authority; what cannot be a root is skipped.
            let _ = roots.add(certificate.context("reading the authority's certificate")?);
        }
        let roots = Arc::new(roots);
        let builder = trusting(&roots)?;
        let tls = match identity {
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(&certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .context("reading the client certificate")?;
                let key = PrivateKeyDer::from_pem_slice(&key).context("reading the client key")?;
                builder.with_client_auth_cert(chain, key)?
            }
            None => builder.with_no_client_auth(),
        };
        let host = host.trim_matches(['[', ']']).to_string();
        Ok(ApiAccess {
            address,
            host,
            token,
            tls: Arc::new(tls),
            roots,
        })
    }

    /// The same server, asked by nobody in particular.
    pub fn without_identity(&self) -> Result<ApiAccess> {
        let tls = Arc::new(trusting(&self.roots)?.with_no_client_auth());
        Ok(ApiAccess {
            tls,
            token: None,
            ..self.clone()
        })
    }

    /// The same server, asked with this token and no certificate.
    pub fn with_token(&self, token: &str) -> Result<ApiAccess> {
        Ok(ApiAccess {
            token: Some(token.to_string()),
            ..self.without_identity()?
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bearer token, if that is how the identity is proven.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// What TLS connections are made with.
    pub fn tls(&self) -> ClientConfig {
        (*self.tls).clone()
    }

    /// The name that the server's certificate is for.
    pub fn server_name(&self) -> Result<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).context("the server's name")
    }

    /// The bytes of one request.
    pub fn encode(
        &self,
        method: &str,
        path: &str,
        accept: &str,
        content_type: &str,
        body: &[u8],
    ) -> Vec<u8> {
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\nContent-Length: {}\r\n",
            self.host,
            body.len()
        );
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Type: {content_type}\r\n"));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// Opens a connection; call it inside the cluster's network namespace.
    pub fn connect(&self) -> Result<ApiClient> {
        let tcp = TcpStream::connect_timeout(&self.address, Duration::from_secs(5))
            .with_context(|| format!("connecting to {}", self.address))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = self.server_name()?;
        let connection = ClientConnection::new(self.tls.clone(), name)?;
        let stream = BufReader::with_capacity(64 << 10, StreamOwned::new(connection, tcp));
        Ok(ApiClient {
            stream,
            access: self.clone(),
        })
    }
}

impl ApiClient {
    /// One request with a JSON body (empty for none).
    pub fn request(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer> {
        self.request_as(method, path, "application/json", body)
    }

    /// One request with a body of this content type.
    pub fn request_as(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer> {
        let bytes = self
            .access
            .encode(method, path, "application/json", content_type, body);
        self.send(&bytes)?;
        self.read_answer()
            .with_context(|| format!("{method} {path}"))
    }

    /// Asks without reading the answer, as clients do that go or hang.
    pub fn send_only(&mut self, method: &str, path: &str) -> Result<()> {
        let json = "application/json";
        let bytes = self.access.encode(method, path, json, json, b"");
        self.send(&bytes)
    }

    /// One request as [`ApiAccess::encode`] makes it; of the answer only the size and the beginning are kept.
    pub fn exchange(&mut self, request: &[u8]) -> Result<Passed> {
        const KEPT: usize = 1024;
        self.send(request)?;
        let (status, length) = self.read_head()?;
        let mut passed = Passed {
            status,
            length: 0,
            beginning: Vec::new(),
        };
        loop {
            let size = match length {
                Some(length) => length,
                None => usize::from_str_radix(self.line()?.trim(), 16).context("a chunk's size")?,
            };
            let mut left = size;
            while left > 0 {
                let bytes = self
                    .stream
                    .fill_buf()
                    .context("reading the answer's body")?;
                if bytes.is_empty() {
                    bail!("the server closed the connection");
                }
                let taken = bytes.len().min(left);
                let kept = taken.min(KEPT.saturating_sub(passed.beginning.len()));
                passed.beginning.extend_from_slice(&bytes[..kept]);
                self.stream.consume(taken);
                left -= taken;
            }
            passed.length += size;
            if length.is_some() {
                return Ok(passed);
            }
            self.line()?;
            if size == 0 {
                return Ok(passed);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).context("sending the request")?;
        stream.flush().context("sending the request")
    }

    /// The status, and the length of the body; none when it comes in chunks.
    fn read_head(&mut self) -> Result<(u16, Option<usize>)> {
        let line = self.line()?;
        let status = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("no status line: {line:?}"))?;
        let mut length = None;
        let mut chunked = false;
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().ok(),
                "transfer-encoding" => chunked = value.trim() == "chunked",
                _ => {}
            }
        }
        match (chunked, length) {
            (true, _) => Ok((status, None)),
            (false, Some(length)) => Ok((status, Some(length))),
            (false, None) => bail!("the answer has no length"),
        }
    }

    fn read_answer(&mut self) -> Result<Answer> {
        let (status, length) = self.read_head()?;
        let mut body = Vec::new();
        match length {
            None => loop {
                let size = self.line()?;
                let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size")?;
                self.read_onto(&mut body, size)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            },
            Some(length) => self.read_onto(&mut body, length)?,
        }
        Ok(Answer { status, body })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self
            .stream
            .read_line(&mut line)
            .context("reading the answer")?
            == 0
        {
            bail!("the server closed the connection");
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    fn read_onto(&mut self, body: &mut Vec<u8>, length: usize) -> Result<()> {
        let start = body.len();
        body.resize(start + length, 0);
        self.stream
            .read_exact(&mut body[start..])
            .context("reading the answer's body")
    }
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient")
            .field("host", &self.access.host)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| {
            format!(
                "the answer is no JSON: {}",
                String::from_utf8_lossy(&self.body)
            )
        })
    }
}

fn trusting(roots: &Arc<RootCertStore>) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots.clone()))
}

/// PEM from a kubeconfig entry, inline (`<name>-data`) or as a file.
fn pem_of(entry: &Value, name: &str) -> Result<Option<Vec<u8>>> {
    if let Some(data) = entry[format!("{name}-data")].as_str() {
        let pem = STANDARD
            .decode(data)
            .with_context(|| format!("{name}-data is base64"))?;
        return Ok(Some(pem));
    }
    match entry[name].as_str() {
        Some(path) => Ok(Some(
            std::fs::read(path).with_context(|| format!("reading {path}"))?,
        )),
        None => Ok(None),
    }
}
