//! The engine's errors: each variant names the attempt that failed and on what.

use std::io;
use std::path::PathBuf;

/// The result of anything the data plane does.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed attempt of the data plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network namespace could not be opened, made or entered.
    #[error("cannot {attempt} network namespace {name}: {source}")]
    Netns {
        attempt: &'static str,
        name: String,
        source: io::Error,
    },
    /// A netlink socket could not be opened or used at all.
    #[error("cannot {attempt} netlink socket: {source}")]
    Socket {
        attempt: &'static str,
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("kernel refused to {attempt}: {source}")]
    Kernel { attempt: String, source: io::Error },
    /// The kernel's answer could not be understood.
    #[error("kernel's answer to {attempt} was malformed")]
    Malformed { attempt: &'static str },
    /// A kernel setting under /proc/sys could not be written.
    #[error("cannot set {}: {source}; the node needs it writable", path.display())]
    Sysctl { path: PathBuf, source: io::Error },
    /// A lease file could not be written, read or removed.
    #[error("cannot {attempt} lease {}: {source}", path.display())]
    Lease {
        attempt: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Every address of the node's pod CIDR is taken.
    #[error("no free address in pod CIDR {cidr}; remove pods or give the node a larger pod CIDR")]
    NoFreeAddress { cidr: String },
    /// A sandbox id that cannot name a lease (empty, or with a slash or a leading dot).
    #[error("sandbox id {id:?} cannot name a lease")]
    SandboxId { id: String },
    /// A configuration value that cannot work.
    #[error("{what} is {value:?}: {why}")]
    Config {
        what: &'static str,
        value: String,
        why: &'static str,
    },
}

impl Error {
    /// The kernel's error number, if the kernel refused a request.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::Kernel { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    pub(crate) fn kernel(attempt: impl Into<String>, errno: i32) -> Self {
        Error::Kernel {
            attempt: attempt.into(),
            source: io::Error::from_raw_os_error(errno),
        }
    }
}
