//! Errors of the crate: a variant names the failed attempt. Pull errors read as the ones kubelet shows in events.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::reference::ReferenceError;
use crate::registry::hosts::HostsError;

/// The result of most functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory of the store could not be used.
    #[error("failed to {attempt} {path}: {source}")]
    Disk {
        /// What was tried, as a verb.
        attempt: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The list of images is damaged.
    #[error(
        "failed to read the image records in {path}: {reason}; move the file away to start with an empty store"
    )]
    Records {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Not an image name.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No image of that name or id in the store.
    #[error("failed to find image {0:?}: not found")]
    NotFound(String),
    /// An archive could not be imported; nothing of it was kept.
    #[error("failed to import images from {archive}: {reason}")]
    Import {
        /// The file, or `standard input`.
        archive: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer could not be unpacked; nothing of it was kept.
    #[error("failed to extract layer {layer}: {source}")]
    Unpack {
        /// The digest of the layer.
        layer: Digest,
        /// The entry and the cause.
        source: io::Error,
    },
    /// A pull failed.
    #[error("failed to pull and unpack image \"{image}\": {source}")]
    Pull {
        /// The normalised name.
        image: String,
        /// Why.
        source: PullError,
    },
    /// A push failed.
    #[error("failed to push image \"{image}\": {reason}")]
    Push {
        /// The normalised name.
        image: String,
        /// Why.
        reason: String,
    },
    /// An archive could not be built.
    #[error("failed to build image archive: {0}")]
    Build(String),
    /// Fewer bytes could be freed than the policy asks for.
    #[error(
        "Insufficient free disk space on the node's image filesystem ({usage_percent}% of {capacity} bytes used). \
         Failed to free sufficient space by deleting unused images (freed {freed} bytes). \
         Investigate disk usage, as it could be used by active images, logs, volumes, or other data."
    )]
    NotEnoughFreed {
        /// Disk usage before, in percent.
        usage_percent: u64,
        /// Bytes of the file system.
        capacity: u64,
        /// Bytes freed.
        freed: u64,
    },
    /// The process is shutting down and took the work with it.
    #[error("failed to finish {0}: the work was cancelled")]
    Cancelled(&'static str),
}

/// Why an image could not be pulled.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry does not have it.
    #[error("failed to resolve reference \"{reference}\": {reference}: not found")]
    NotFound {
        /// The normalised name.
        reference: String,
    },
    /// The registry wants (other) credentials.
    #[error(
        "failed to resolve reference \"{reference}\": pull access denied, repository does not exist or may require \
         authorization: {message}"
    )]
    Denied {
        /// The normalised name.
        reference: String,
        /// What the registry said.
        message: String,
    },
    /// No answer from the registry.
    #[error(
        "failed to resolve reference \"{reference}\": failed to do request: {method} \"{url}\": {reason}"
    )]
    Unavailable {
        /// The normalised name.
        reference: String,
        /// `Head`, `Get`.
        method: &'static str,
        /// What was asked.
        url: String,
        /// The failure: name look-up, connection, TLS.
        reason: String,
    },
    /// The registry answered with a status that means none of the above.
    #[error(
        "failed to resolve reference \"{reference}\": unexpected status from {method} request to {url}: {status}{message}"
    )]
    Status {
        /// The normalised name.
        reference: String,
        /// `HEAD`, `GET`.
        method: &'static str,
        /// What was asked.
        url: String,
        /// The code.
        status: http::StatusCode,
        /// What the registry said, with a leading separator, or nothing.
        message: String,
    },
    /// The index has no image for this machine.
    #[error("no match for platform in manifest: not found (this machine is {platform})")]
    NoPlatform {
        /// The machine.
        platform: String,
    },
    /// A document or a layer has a form that is not understood.
    #[error("{what}: unsupported media type {media_type:?}")]
    Unsupported {
        /// Which content.
        what: String,
        /// Its media type.
        media_type: String,
    },
    /// Content that differs from its digest or size, or cannot be read.
    #[error("failed to verify {what}: {reason}")]
    Corrupt {
        /// Which content.
        what: String,
        /// How it differs.
        reason: String,
    },
    /// A blob could not be downloaded, all retries used.
    #[error("failed to copy: failed to fetch {digest} from {url}: {reason}")]
    Fetch {
        /// The blob.
        digest: Digest,
        /// Where it was asked for last.
        url: String,
        /// The last failure.
        reason: String,
    },
    /// The hosts configuration of the registry cannot be used.
    #[error("failed to configure registry host: {0}")]
    Hosts(#[from] HostsError),
    /// The content was fine but could not be kept.
    #[error(transparent)]
    Store(#[from] Box<Error>),
}

impl Error {
    /// A registry could not be reached: kubelet's `RegistryUnavailable`.
    pub fn is_registry_unavailable(&self) -> bool {
        matches!(
            self,
            Error::Pull {
                source: PullError::Unavailable { .. },
                ..
            }
        )
    }

    /// The image does not exist, here or at the registry.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Error::NotFound(_)
                | Error::Pull {
                    source: PullError::NotFound { .. },
                    ..
                }
        )
    }

    /// The registry refused the credentials.
    pub fn is_denied(&self) -> bool {
        matches!(
            self,
            Error::Pull {
                source: PullError::Denied { .. },
                ..
            }
        )
    }

    pub(crate) fn disk(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Disk {
            attempt,
            path,
            source,
        }
    }
}
