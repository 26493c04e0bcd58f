//! Whom the outbound client trusts and as whom it speaks: from CA bundles and client pairs to TLS settings, and from
//! TLS failures to the words of Go's crypto/tls.
//!
//! Invariant: a certificate is taken only when it chains to the given bundle (or the system's, when none is given) and
//! names the server, or when verification was switched off explicitly.

use std::sync::Arc;

use bytes::Bytes;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::Failure;

/// Whether certificates are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Verification {
    /// They must chain to the bundle and name the server.
    #[default]
    Required,
    /// Anything is taken (`insecureSkipTLSVerify`).
    Skipped,
}

/// Which HTTP versions are offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Protocols {
    /// HTTP/1.1 only: requests spread over connections, upgrades work. What upstream uses for webhooks.
    #[default]
    Http1,
    /// HTTP/2 where the other side takes it.
    Http2OrHttp1,
}

/// The client's own certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientIdentity {
    /// PEM chain.
    pub certificate: Bytes,
    /// PEM key.
    pub key: Bytes,
}

/// Whom to trust and as whom to speak; connections are shared per value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// PEM certificates; the system's when empty.
    pub ca_bundle: Bytes,
    pub verification: Verification,
    /// What the certificate must name, when it is not the host of the place.
    pub server_name: Option<String>,
    pub identity: Option<ClientIdentity>,
    pub protocols: Protocols,
}

impl Trust {
    /// Trusts a bundle (the system's when empty), speaks HTTP/1.1 without a certificate.
    pub(crate) fn of(ca_bundle: impl Into<Bytes>) -> Trust {
        Trust {
            ca_bundle: ca_bundle.into(),
            ..Trust::default()
        }
    }

    /// TLS settings.
    pub(super) fn configuration(&self) -> Result<Arc<rustls::ClientConfig>, Failure> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = match self.verification {
            Verification::Skipped => Arc::new(Unchecked(provider.clone())),
            Verification::Required => Arc::new(Bundle::new(&self.ca_bundle, provider.clone())?),
        };
        let wrong = |what: &str, e: &dyn std::fmt::Display| {
            Failure::Untrusted(format!("unable to load {what}: {e}"))
        };
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| wrong("TLS versions", &e))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_slice_iter(&identity.certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|e| wrong("the client certificate", &e))?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key)
                    .map_err(|e| wrong("the client key", &e))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| wrong("the client pair", &e))?
            }
        };
        config.alpn_protocols = match self.protocols {
            Protocols::Http1 => vec![b"http/1.1".to_vec()],
            Protocols::Http2OrHttp1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        Ok(Arc::new(config))
    }
}

/// Where systems keep their CA bundle; the first that exists counts, as in Go.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

fn system_bundle() -> Vec<u8> {
    SYSTEM_BUNDLES
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .unwrap_or_default()
}

/// Verifies against a bundle. A server may present a certificate of the bundle itself, even one marked as a CA: Go
/// accepts that, and many webhooks are installed with one self-signed certificate.
#[derive(Debug)]
struct Bundle {
    certificates: Vec<CertificateDer<'static>>,
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl Bundle {
    fn new(pem: &[u8], provider: Arc<rustls::crypto::CryptoProvider>) -> Result<Bundle, Failure> {
        let system;
        let given = !pem.is_empty();
        let pem = match given {
            true => pem,
            false => {
                system = system_bundle();
                &system
            }
        };
        let mut certificates = Vec::new();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem).flatten() {
            // One odd certificate must not make the others useless.
            let _ = roots.add(certificate.clone());
            certificates.push(certificate);
        }
        if given && certificates.is_empty() {
            let why = "unable to load root certificates: unable to parse bytes as PEM block";
            return Err(Failure::Untrusted(why.into()));
        }
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        Ok(Bundle {
            certificates,
            inner: inner.build().ok(),
            provider,
        })
    }

    /// Whether the server's certificate is itself one of the bundle, names the server and is valid now.
    fn is_trusted_itself(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, rustls::Error> {
        if !self.certificates.iter().any(|c| c == end_entity) {
            return Ok(false);
        }
        let parsed = ParsedCertificate::try_from(end_entity)?;
        rustls::client::verify_server_name(&parsed, server_name)?;
        let (_, read) = x509_parser::parse_x509_certificate(end_entity)
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let (start, end) = (read.validity().not_before, read.validity().not_after);
        let now = now.as_secs() as i64;
        Ok(start.timestamp() <= now && now <= end.timestamp())
    }
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is_trusted_itself(end_entity, server_name, now)? {
            return Ok(ServerCertVerified::assertion());
        }
        let unknown = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let inner = self.inner.as_ref().ok_or(unknown)?;
        inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Takes any certificate.
#[derive(Debug)]
struct Unchecked(Arc<rustls::crypto::CryptoProvider>);

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
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A failed handshake in Go's words.
pub(super) fn refusal(error: &std::io::Error, name: &str) -> Failure {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    let unverified =
        |why: String| Failure::Untrusted(format!("tls: failed to verify certificate: x509: {why}"));
    match inner {
        Some(rustls::Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                unverified("certificate signed by unknown authority".into())
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => {
                unverified("certificate has expired or is not yet valid".into())
            }
            CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                let names: Vec<&str> = presented.iter().map(|p| alternative(p)).collect();
                let names = names.join(", ");
                unverified(format!("certificate is valid for {names}, not {name}"))
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                unverified(format!(
                    "certificate is not valid for any names, but wanted to match {name}"
                ))
            }
            other => unverified(other.to_string()),
        },
        Some(rustls::Error::InvalidMessage(_)) => {
            Failure::Untrusted("http: server gave HTTP response to HTTPS client".into())
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            Failure::Untrusted(format!("remote error: tls: {alert:?}"))
        }
        Some(other) => Failure::Untrusted(format!("tls: {other}")),
        None if error.kind() == std::io::ErrorKind::UnexpectedEof => Failure::Broken("EOF".into()),
        None => Failure::Broken(error.to_string()),
    }
}

/// `DnsName("a")` as `a`.
fn alternative(presented: &str) -> &str {
    presented.split('"').nth(1).unwrap_or(presented)
}
