//! Encryption of objects at rest, byte for byte as upstream does it: an `EncryptionConfiguration` becomes, for each
//! resource, a chain of providers. The first one writes; all of them read; what another than the first key wrote is
//! stale and is to be written again.
//!
//! ```
//! # let text = b"
//! # apiVersion: apiserver.config.k8s.io/v1
//! # kind: EncryptionConfiguration
//! # resources:
//! # - resources: [secrets]
//! #   providers: [{aesgcm: {keys: [{name: one, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}}, {identity: {}}]";
//! use corten_encryption::Encryption;
//!
//! let encryption = Encryption::parse(text)?;
//! let secrets = encryption.of("", "secrets");
//! let key = b"/registry/secrets/default/password";
//! let stored = secrets.to_storage(b"k8s\0...", key)?;
//! assert!(stored.starts_with(b"k8s:enc:aesgcm:v1:one:"));
//! let read = secrets.from_storage(&stored, key)?;
//! assert_eq!((read.bytes.as_slice(), read.is_stale), (&b"k8s\0..."[..], false));
//! # Ok::<(), corten_encryption::EncryptionError>(())
//! ```
//!
//! Left out: following the file, which is the server's, and version 1 of the key management service's protocol.

mod cipher;
mod config;
pub mod grpc;
mod kms;
mod provider;

pub use config::Encryption;
pub use provider::{Providers, Read};

/// What every encrypted object begins with.
pub const PREFIX: &[u8] = b"k8s:enc:";

/// Why an object could not be encrypted or decrypted, or a configuration not be used.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// The configuration is wrong.
    #[error("EncryptionConfiguration: {0}")]
    Config(String),
    /// No provider can read it.
    #[error("the provided value does not match any of the supported transformers")]
    NoProvider,
    /// It is encrypted, and nothing here decrypts it.
    #[error("identity transformer tried to read encrypted data")]
    Encrypted,
    /// It is too short to be what it says it is.
    #[error("the stored data was shorter than the required size")]
    Short,
    /// A key does not fit, or the bytes were changed or moved to another place.
    #[error("the stored data could not be decrypted with the key {0:?}")]
    Cipher(String),
    /// A key management plugin.
    #[error("kmsv2 Provider {name} is not healthy, error: {why}")]
    Kms {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// There is no randomness.
    #[error("unable to read sufficient random bytes")]
    Random,
}
