//! HTTP/1.1 over TLS, one request at a time: enough of it to see exactly what a server answers.
//! Certificates of servers are not checked: both are on loopback and were started by this program.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::corpus::Request;
use super::servers::Server;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, chunks put together.
    pub body: Vec<u8>,
}

impl Answer {
    /// All values of a header, in order.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(n, _)| n == name);
        named.map(|(_, v)| v.as_str()).collect()
    }
}

/// A connection that opens itself again when the server has closed it.
pub struct Connection<'a> {
    server: &'a Server,
    stream: Option<BufReader<StreamOwned<ClientConnection, TcpStream>>>,
}

impl<'a> Connection<'a> {
    /// Opens nothing yet.
    pub fn new(server: &'a Server) -> Connection<'a> {
        Connection {
            server,
            stream: None,
        }
    }

    /// Sends a request and reads the answer; once more on a new connection if the old one was closed meanwhile.
    pub fn send(&mut self, request: &Request) -> Result<Answer> {
        let fresh = self.stream.is_none();
        match self.try_send(request) {
            Err(_) if !fresh => {
                self.stream = None;
                self.try_send(request)
            }
            outcome => outcome,
        }
    }

    fn try_send(&mut self, request: &Request) -> Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.open()?,
        };
        let bytes = self.bytes(request);
        stream.get_mut().write_all(&bytes).context("sending")?;
        stream.get_mut().flush().context("sending")?;
        let (answer, open) = read_answer(&mut stream, request.method == "HEAD")?;
        if open {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn bytes(&self, request: &Request) -> Vec<u8> {
        let (method, path) = (&request.method, &request.path);
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n",
            request.body.len()
        );
        let mut header = |name: &str, value: &str| {
            let said = request
                .headers
                .iter()
                .any(|(n, _)| n.eq_ignore_ascii_case(name));
            if !said {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        };
        header("User-Agent", "diff-api/1");
        header("Accept", "application/json");
        if let Some(token) = &self.server.token {
            header("Authorization", &format!("Bearer {token}"));
        }
        for (name, value) in &request.headers {
            if !value.is_empty() {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&request.body);
        bytes
    }

    fn open(&self) -> Result<BufReader<StreamOwned<ClientConnection, TcpStream>>> {
        let tcp = TcpStream::connect(("127.0.0.1", self.server.port)).context("connecting")?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
        let name = ServerName::try_from("127.0.0.1").context("a name")?;
        let connection = ClientConnection::new(self.server.tls.clone(), name)?;
        Ok(BufReader::new(StreamOwned::new(connection, tcp)))
    }
}

fn line(stream: &mut impl BufRead) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line).context("reading the answer")? == 0 {
        bail!("the server closed the connection");
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn read_answer(stream: &mut impl BufRead, bodiless: bool) -> Result<(Answer, bool)> {
    let first = line(stream)?;
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status: u16 = status.with_context(|| format!("no status line: {first:?}"))?;
    let mut headers = Vec::new();
    loop {
        let text = line(stream)?;
        let Some((name, value)) = text.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let length = answer
        .all("content-length")
        .first()
        .and_then(|v| v.parse::<usize>().ok());
    let chunked = answer.all("transfer-encoding").contains(&"chunked");
    let mut open = !answer.all("connection").contains(&"close");
    if bodiless || matches!(status, 204 | 304) {
        return Ok((answer, open));
    }
    match length {
        _ if chunked => loop {
            let size = line(stream)?;
            let size = usize::from_str_radix(size.trim(), 16).context("a chunk's size")?;
            read_onto(stream, &mut answer.body, size)?;
            line(stream).or_else(|e| if size == 0 { Ok(String::new()) } else { Err(e) })?;
            if size == 0 {
                break;
            }
        },
        Some(length) => read_onto(stream, &mut answer.body, length)?,
        None => {
            let _ = stream.read_to_end(&mut answer.body);
            open = false;
        }
    }
    Ok((answer, open))
}

fn read_onto(stream: &mut impl Read, body: &mut Vec<u8>, length: usize) -> Result<()> {
    let start = body.len();
    body.resize(start + length, 0);
    stream
        .read_exact(&mut body[start..])
        .context("reading a body")
}

/// TLS that takes any server, optionally with a client's own certificate (chain and key in PEM).
pub fn tls(identity: Option<(&[u8], &[u8])>) -> Result<Arc<ClientConfig>> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer(provider)));
    let config = match identity {
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
            let key = PrivateKeyDer::from_pem_slice(key).context("the client's key")?;
            builder.with_client_auth_cert(chain.context("the client's certificate")?, key)?
        }
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
