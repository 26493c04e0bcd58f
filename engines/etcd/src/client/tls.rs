//! The client's certificates: whom it trusts, and who it is.

use super::ClientError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files in PEM form.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// The authorities whose servers are trusted.
    pub ca: Option<PathBuf>,
    /// The client's certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    pub(crate) fn load(&self) -> Result<Arc<rustls::ClientConfig>, ClientError> {
        let mut roots = rustls::RootCertStore::empty();
        let Some(ca) = &self.ca else {
            return Err(ClientError::Tls {
                attempt: "connecting to etcd by https".to_owned(),
                reason: "a file with its authority's certificate is needed (--etcd-cafile)"
                    .to_owned(),
            });
        };
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| wrong(ca, error))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(ca, error))?
            .with_root_certificates(roots);
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let chain = certificates(certificate)?;
                let key_der =
                    PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?;
                builder
                    .with_client_auth_cert(chain, key_der)
                    .map_err(|error| wrong(certificate, error))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    CertificateDer::pem_file_iter(path)
        .and_then(|all| all.collect())
        .map_err(|error| wrong(path, error))
}

fn wrong(path: &Path, error: impl std::fmt::Display) -> ClientError {
    ClientError::Tls {
        attempt: format!("reading {}", path.display()),
        reason: error.to_string(),
    }
}
