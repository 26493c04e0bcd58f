//! Connections to registries: TCP, TLS where it belongs, HTTP/1.1, and reuse of idle connections.
//! Leaves out HTTP/2, client certificates and proxies.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::hosts::{Scheme, host_of};

type Sender = SendRequest<Full<Bytes>>;

/// Idle connections kept per host.
const IDLE_MAX: usize = 4;

/// Where and how to connect.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) authority: String,
    pub(crate) scheme: Scheme,
    pub(crate) skip_verify: bool,
    pub(crate) trust_files: Vec<PathBuf>,
}

/// Connections, shared by all pulls of a store.
pub(crate) struct Connections {
    trust_files: Vec<PathBuf>,
    roots: OnceLock<Vec<CertificateDer<'static>>>,
    configs: Mutex<HashMap<(bool, Vec<PathBuf>), Arc<ClientConfig>>>,
    idle: Mutex<HashMap<Target, Vec<Sender>>>,
    answer_time_max: Duration,
}

impl Connections {
    pub(crate) fn new(trust_files: Vec<PathBuf>, answer_time_max: Duration) -> Connections {
        Connections {
            trust_files,
            roots: OnceLock::new(),
            configs: Mutex::default(),
            idle: Mutex::default(),
            answer_time_max,
        }
    }

    /// Sends one request and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        let bounded =
            tokio::time::timeout(self.answer_time_max, self.send_unbounded(target, request)).await;
        bounded.unwrap_or_else(|_| Err(format!("no answer within {:?}", self.answer_time_max)))
    }

    async fn send_unbounded(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, String> {
        // An idle connection may have been closed by the other side just now: then once more on a new one.
        if let Some(mut sender) = self.take_idle(target)
            && let Ok(response) = sender.send_request(request.clone()).await
        {
            self.keep(target, sender);
            return Ok(response);
        }
        let mut sender = self.connect(target).await?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| describe(&error))?;
        self.keep(target, sender);
        Ok(response)
    }

    fn take_idle(&self, target: &Target) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.get_mut(target)?;
        senders.retain(|sender| !sender.is_closed());
        let at = senders.iter().position(SendRequest::is_ready)?;
        Some(senders.swap_remove(at))
    }

    /// Kept right away; it counts as idle once the body of the answer has been read.
    fn keep(&self, target: &Target, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let senders = idle.entry(target.clone()).or_default();
        if senders.len() >= IDLE_MAX {
            senders.remove(0);
        }
        senders.push(sender);
    }

    async fn connect(&self, target: &Target) -> Result<Sender, String> {
        let stream = match target.scheme {
            Scheme::Http => Stream::Plain(dial(&target.authority, 80).await?),
            Scheme::Https => self.tls(target, target.skip_verify).await?,
            Scheme::HttpsOrHttp => match self.tls(target, true).await {
                Ok(stream) => stream,
                Err(_) => Stream::Plain(dial(&target.authority, 80).await?),
            },
        };
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| describe(&error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a registry connection ended");
            }
        });
        Ok(sender)
    }

    async fn tls(&self, target: &Target, skip_verify: bool) -> Result<Stream, String> {
        let config = self.config(skip_verify, &target.trust_files)?;
        let name = ServerName::try_from(host_of(&target.authority).to_owned())
            .map_err(|error| error.to_string())?;
        let stream = dial(&target.authority, 443).await?;
        let stream = TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|error| format!("tls: {error}"))?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    fn config(&self, skip_verify: bool, more: &[PathBuf]) -> Result<Arc<ClientConfig>, String> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(&(skip_verify, more.to_vec())) {
            return Ok(config.clone());
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = if skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
                .with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(self.roots().iter().cloned());
            for file in more {
                roots.add_parsable_certificates(read_certificates(file)?);
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        };
        let config = Arc::new(config);
        configs.insert((skip_verify, more.to_vec()), config.clone());
        Ok(config)
    }

    fn roots(&self) -> &[CertificateDer<'static>] {
        self.roots.get_or_init(|| {
            let existing = self.trust_files.iter().find(|file| file.exists());
            let read = existing.map_or_else(|| Ok(Vec::new()), read_certificates);
            read.unwrap_or_else(|error| {
                tracing::warn!(%error, "no trusted certificates: registries with TLS will not be believed");
                Vec::new()
            })
        })
    }
}

fn read_certificates(file: &PathBuf) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: rustls::pki_types::pem::Error| {
        format!(
            "failed to read certificates from {}: {error}",
            file.display()
        )
    };
    CertificateDer::pem_file_iter(file)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)
}

async fn dial(authority: &str, port: u16) -> Result<TcpStream, String> {
    let host = host_of(authority);
    let port = match authority.rsplit_once(':') {
        Some((rest, digits)) if rest.ends_with(']') || !rest.contains(':') => digits
            .parse()
            .map_err(|_| format!("dial tcp: {authority}: invalid port"))?,
        _ => port,
    };
    let addresses = tokio::net::lookup_host((host, port))
        .await
        .map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
    let mut last = format!("dial tcp: lookup {host}: no such host");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream
                    .set_nodelay(true)
                    .map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = format!("dial tcp {address}: connect: connection refused");
            }
            Err(error) => last = format!("dial tcp {address}: connect: {error}"),
        }
    }
    Err(last)
}

/// An error with its causes, which hyper leaves out.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Believes any certificate, for registries configured so and for loopback; signatures are still checked.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
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
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
