//! Why a kubelet could not start.

/// Why a kubelet could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A directory of the kubelet could not be made.
    #[error("make directory {path}: {source}; check that the file system is writable")]
    Directory {
        /// The directory.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The runtime could not say what it runs.
    #[error("list what the container runtime runs: {0}")]
    Runtime(#[from] corten_runtime::Error),
    /// The port could not be opened.
    #[error("listen on {address}: {source}; is another kubelet running?")]
    Listen {
        /// The address.
        address: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The serving certificate cannot be used.
    #[error("use the kubelet's serving certificate: {0}")]
    Certificate(String),
    /// The node could not be registered.
    #[error("register node {node}: {source}")]
    Register {
        /// The node.
        node: String,
        /// The API server's answer.
        source: corten_client::Error,
    },
}
