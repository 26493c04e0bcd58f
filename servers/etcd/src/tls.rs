//! The server's certificates, and whom it lets in.

use crate::serve::ServeError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files in PEM form, and what is asked of clients.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The server's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The authorities whose clients are trusted.
    pub trusted_ca: Option<PathBuf>,
    /// Whether a client needs a certificate.
    pub client_auth: ClientAuth,
}

/// Whether a client needs a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    None,
    /// One by a trusted authority is needed.
    Required,
}

impl TlsFiles {
    pub(crate) fn load(&self) -> Result<Arc<rustls::ServerConfig>, ServeError> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Err(ServeError::Tls {
                attempt: "listening on https".to_owned(),
                reason: "a certificate and its key are needed (--cert-file, --key-file)".to_owned(),
            });
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(certificate, error))?;
        let builder = match (&self.trusted_ca, self.client_auth) {
            (_, ClientAuth::None) => builder.with_no_client_auth(),
            (None, ClientAuth::Required) => {
                return Err(ServeError::Tls {
                    attempt: "asking clients for certificates".to_owned(),
                    reason: "the authorities to trust are needed (--trusted-ca-file)".to_owned(),
                });
            }
            (Some(ca), ClientAuth::Required) => {
                let mut roots = rustls::RootCertStore::empty();
                for one in certificates(ca)? {
                    roots.add(one).map_err(|error| wrong(ca, error))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|error| wrong(ca, error))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?;
        let mut config = builder
            .with_single_cert(certificates(certificate)?, key_der)
            .map_err(|error| wrong(certificate, error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ServeError> {
    CertificateDer::pem_file_iter(path)
        .and_then(|all| all.collect())
        .map_err(|error| wrong(path, error))
}

fn wrong(path: &Path, error: impl std::fmt::Display) -> ServeError {
    ServeError::Tls {
        attempt: format!("reading {}", path.display()),
        reason: error.to_string(),
    }
}
