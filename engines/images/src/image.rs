//! An image as the store keeps it: identity, names, layers and how to run it.
//! Invariant: `id` is the digest of the configuration, as everywhere in Kubernetes; layers run from the bottom up.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, Hasher};
use crate::oci::{ConfigFile, Platform};

/// The identity of an image: the digest of its configuration, printed `sha256:…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ImageId(pub Digest);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One image in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of the configuration: CRI's image id.
    pub id: ImageId,
    /// The digest of the manifest; of a generated one for `docker save` archives.
    pub manifest: Digest,
    /// Full names with tags (CRI's `repo_tags`), sorted.
    pub tags: Vec<String>,
    /// Full names with digests (CRI's `repo_digests`), sorted. Empty for `docker save` archives.
    pub digests: Vec<String>,
    /// How to run it.
    pub config: ImageConfig,
    /// For which machine.
    pub platform: Platform,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Bytes of all layers on disk, shared ones included.
    pub size: u64,
    /// Never collected, only removed by name (CRI's `pinned`).
    #[serde(default)]
    pub pinned: bool,
    /// When the store got it, in seconds since 1970.
    pub added_at: u64,
}

/// One unpacked layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of the uncompressed archive.
    pub diff_id: Digest,
    /// The identity of this layer on top of those below it; names its directory.
    pub chain_id: Digest,
    /// Bytes of the files in it.
    pub size: u64,
}

/// What the image says about running it. Empty values mean "not said".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `NAME=value` in the image's order.
    pub env: Vec<String>,
    /// The program and its first arguments; Kubernetes' `command` replaces it.
    pub entrypoint: Vec<String>,
    /// Further arguments; Kubernetes' `args` replaces them.
    pub cmd: Vec<String>,
    /// The working directory.
    pub working_dir: String,
    /// `user`, `uid`, `user:group` or `uid:gid`.
    pub user: String,
    /// Paths declared as volumes, sorted.
    pub volumes: Vec<String>,
    /// `80/tcp` and the like, sorted.
    pub exposed_ports: Vec<String>,
    /// `SIGTERM`, `15`, `RTMIN+3`.
    pub stop_signal: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl Image {
    /// How a container status names the image: the first digest name, else the id (CRI's `image_ref`).
    pub fn image_ref(&self) -> String {
        self.digests
            .first()
            .cloned()
            .unwrap_or_else(|| self.id.to_string())
    }

    /// All names, tags first, as node status lists them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().chain(&self.digests).map(String::as_str)
    }

    /// When the store got it.
    pub fn added(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.added_at)
    }

    /// The numeric user of `config.user`, when it is numeric (CRI's `uid`).
    pub fn uid(&self) -> Option<u32> {
        self.config.user.split(':').next()?.parse().ok()
    }

    /// The user's name, when `config.user` is not numeric (CRI's `username`).
    pub fn username(&self) -> Option<&str> {
        let user = self.config.user.split(':').next()?;
        (!user.is_empty() && user.parse::<u32>().is_err()).then_some(user)
    }
}

impl ImageConfig {
    pub(crate) fn from_file(file: &ConfigFile) -> ImageConfig {
        let run = &file.config;
        ImageConfig {
            env: run.env.clone(),
            entrypoint: run.entrypoint.clone(),
            cmd: run.cmd.clone(),
            working_dir: run.working_dir.clone(),
            user: run.user.clone(),
            volumes: run.volumes.keys().cloned().collect(),
            exposed_ports: run.exposed_ports.keys().cloned().collect(),
            stop_signal: run.stop_signal.clone(),
            labels: run.labels.clone(),
        }
    }
}

/// The chain identities of layers given by `diff_ids`, lowest first.
pub(crate) fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = match chain.last() {
            None => *diff_id,
            Some(below) => {
                let mut hasher = Hasher::new();
                hasher.update(format!("{below} {diff_id}").as_bytes());
                hasher.finish()
            }
        };
        chain.push(next);
    }
    chain
}
