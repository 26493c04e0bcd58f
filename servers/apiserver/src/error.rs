//! Why an API server does not start. Refusals of requests are `corten_client::Status`.

/// A failed attempt to start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// TLS or keys.
    #[error("set up TLS: {0}")]
    Tls(String),
    /// The PKI directory.
    #[error("prepare the cluster's keys: {0}")]
    Pki(#[from] corten_pki::Error),
    /// The log's engine.
    #[error("open the store's log: {0}")]
    Engine(String),
    /// The store.
    #[error("open the store: {0}")]
    Store(#[from] corten_store::OpenError),
    /// The listening socket.
    #[error("listen: {0}; choose another address or free the port")]
    Listen(std::io::Error),
    /// A file that settings name.
    #[error("use {path}: {why}")]
    Settings {
        path: std::path::PathBuf,
        why: String,
    },
    /// A flag's value.
    #[error("{0}")]
    Flag(String),
    /// The first objects.
    #[error("write the cluster's first objects: {0}")]
    Bootstrap(corten_client::Status),
}
