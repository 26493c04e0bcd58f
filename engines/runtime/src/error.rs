//! Why an operation failed; one variant per attempt, in words a node's operator can act on.

use std::path::PathBuf;

/// Result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("sandbox {0} does not exist")]
    NoSuchSandbox(String),
    #[error("container {0} does not exist")]
    NoSuchContainer(String),
    #[error("sandbox {0} is not ready")]
    SandboxNotReady(String),
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The request itself cannot be honoured (CreateContainerConfigError class).
    #[error("invalid configuration of {object}: {why}")]
    Invalid { object: String, why: String },
    #[error("make sandbox of pod {pod}: {why}")]
    CreateSandbox { pod: String, why: String },
    /// CreateContainerError class.
    #[error("create container {name}: {why}")]
    CreateContainer { name: String, why: String },
    /// RunContainerError class; the container is now Exited with reason `StartError` and code 128.
    #[error("failed to start container process: {why}")]
    StartContainer { container: String, why: String },
    /// The command of an exec could not be started.
    #[error("failed to exec in container: failed to start exec: {why}")]
    Exec { container: String, why: String },
    #[error("command {command:?} timed out")]
    ExecTimeout { command: String },
    #[error("attach to container {container}: {why}")]
    Attach { container: String, why: String },
    #[error("connect to port {port} inside sandbox {sandbox}: {why}")]
    PortForward {
        sandbox: String,
        port: u16,
        why: String,
    },
    #[error("shim of sandbox {sandbox} did not {attempt}: {why}")]
    Shim {
        sandbox: String,
        attempt: &'static str,
        why: String,
    },
    #[error("{attempt} {}: {source}", path.display())]
    Io {
        attempt: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("read record {}: {why}; remove the sandbox's directory by hand if it is damaged", path.display())]
    Record { path: PathBuf, why: String },
    #[error("find the cgroup hierarchies: {0}")]
    Cgroups(String),
}

impl Error {
    pub(crate) fn io(
        attempt: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            attempt,
            path,
            source,
        }
    }

    /// Whether the object of the request is gone (callers treat removal of it as done).
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NoSuchSandbox(_) | Self::NoSuchContainer(_))
    }
}
