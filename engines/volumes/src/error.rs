//! Errors of the crate. Texts that users see in events are those of upstream's kubelet.

use std::io;
use std::path::{Path, PathBuf};

use crate::payload::PayloadError;

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be used.
    #[error("failed to {attempt} {path}: {source}")]
    Disk {
        /// What was tried, as a verb.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A pod uid, volume or container name that cannot be a file name.
    #[error("invalid name {0:?}: it cannot be the name of a directory")]
    Name(String),
    /// The content of a volume is invalid.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A host path with `..` in it.
    #[error("invalid HostPath `{0}`: must not contain '..'")]
    HostPathBacksteps(String),
    /// A host path is not what its type says.
    #[error("hostPath type check failed: {path} is not a {expected}")]
    HostPathType {
        /// The path.
        path: String,
        /// `directory`, `file`, `socket file`, …
        expected: &'static str,
    },
    /// A `subPath` that starts with a slash.
    #[error("error SubPath `{0}` must not be an absolute path")]
    SubPathAbsolute(String),
    /// A `subPath` with `..` in it.
    #[error("unable to provision SubPath `{0}`: must not contain '..'")]
    SubPathBacksteps(String),
    /// The directory of a `subPath` could not be made. The cause is not shown: it could tell about the host's files.
    #[error(
        "failed to create subPath directory for volumeMount {volume:?} of container {container:?}"
    )]
    SubPathMake {
        /// The name of the volume mount.
        volume: String,
        /// The container.
        container: String,
        /// For the log.
        cause: io::Error,
    },
    /// A `subPath` could not be prepared. The cause is not shown: it could tell about the host's files.
    #[error("failed to prepare subPath for volumeMount {volume:?} of container {container:?}")]
    SubPathPrepare {
        /// The name of the volume mount.
        volume: String,
        /// The container.
        container: String,
        /// For the log.
        cause: io::Error,
    },
    /// A container mounts something at a path outside of itself.
    #[error("invalid container mount point {0}")]
    MountPoint(String),
}

impl Error {
    pub(crate) fn disk(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Disk {
            attempt,
            path,
            source,
        }
    }
}

/// Errors of system calls as the errors of files that they are.
pub(crate) fn errno<T>(result: rustix::io::Result<T>) -> io::Result<T> {
    result.map_err(io::Error::from)
}
