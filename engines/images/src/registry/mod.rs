//! Registries: how they are found, asked and believed (distribution spec v2), for pull and push.
//! Leaves out: search, catalogues, schema 1 manifests, signature checks.

pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod connect;
pub mod hosts;
pub mod progress;
pub(crate) mod pull;
pub mod push;
pub mod secrets;

use std::path::PathBuf;
use std::time::Duration;

use crate::oci::Platform;
use hosts::RegistryHosts;
use progress::Progress;
use secrets::Credentials;

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct RegistryOptions {
    /// Mirrors, plain-HTTP and self-signed registries.
    pub hosts: RegistryHosts,
    /// Files with trusted certificates (PEM), read in order until one exists.
    pub trust_files: Vec<PathBuf>,
    /// Sent with every request.
    pub user_agent: String,
    /// Layers fetched at the same time in one pull.
    pub layers_at_once: usize,
    /// How often a blob download is continued after a failure.
    pub retries_max: u32,
    /// The wait before the first continuation; doubles each time.
    pub retry_wait: Duration,
    /// How long a connection may take to be made, and a registry to answer or to send the next piece.
    pub answer_time_max: Duration,
}

impl Default for RegistryOptions {
    fn default() -> RegistryOptions {
        RegistryOptions {
            hosts: RegistryHosts::default(),
            trust_files: [
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/pki/tls/certs/ca-bundle.crt",
                "/etc/ssl/ca-bundle.pem",
                "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                "/etc/ssl/cert.pem",
            ]
            .map(PathBuf::from)
            .to_vec(),
            user_agent: concat!("corten/", env!("CARGO_PKG_VERSION")).to_owned(),
            layers_at_once: 3,
            retries_max: 5,
            retry_wait: Duration::from_millis(250),
            answer_time_max: Duration::from_secs(30),
        }
    }
}

/// What one pull may use.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// Credentials to try in order (see [`secrets::Keyring::lookup`]). Empty: anonymous only.
    pub credentials: Vec<Credentials>,
    /// Told about the pull as it goes on; must not block.
    pub progress: Option<Progress>,
    /// Another machine than the store's.
    pub platform: Option<Platform>,
}
