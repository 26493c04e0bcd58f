//! Where one cluster keeps what, and what its things on the host are called.
//!
//! Invariant: names and paths follow from the data directory alone, so that two clusters never share any, and what a
//! process left behind can be found again.

use std::path::{Path, PathBuf};

/// The data directory of a cluster that was not told another.
const DEFAULT_DATA: &str = "/var/lib/corten";

/// Paths and names of one cluster.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The data directory.
    pub data: PathBuf,
    /// Empty for the default data directory, else a short text of its own.
    suffix: String,
}

impl Layout {
    /// The layout of the cluster on `data`, which should be an absolute path.
    pub fn new(data: &Path) -> Layout {
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        let suffix = match data == Path::new(DEFAULT_DATA) {
            true => String::new(),
            false => format!(
                "-{:06x}",
                hash(data.as_os_str().as_encoded_bytes()) & 0xff_ffff
            ),
        };
        Layout { data, suffix }
    }

    /// Keys and certificates.
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }

    /// The API server's store.
    pub fn store(&self) -> PathBuf {
        self.data.join("store")
    }

    /// The node agent's own directory.
    pub fn kubelet(&self) -> PathBuf {
        self.data.join("kubelet")
    }

    /// Manifests of static pods.
    pub fn static_pods(&self) -> PathBuf {
        self.data.join("manifests")
    }

    /// The runtime's records and writable layers.
    pub fn runtime(&self) -> PathBuf {
        self.data.join("runtime")
    }

    /// Addresses given to pods.
    pub fn leases(&self) -> PathBuf {
        self.data.join("network")
    }

    /// Sockets and namespaces; gone after a reboot.
    pub fn run(&self) -> PathBuf {
        PathBuf::from(format!("/run/corten{}", self.suffix))
    }

    /// Container logs; the path that log collectors know for the default cluster.
    pub fn logs(&self) -> PathBuf {
        match self.suffix.is_empty() {
            true => PathBuf::from("/var/log/pods"),
            false => self.data.join("logs"),
        }
    }

    /// The cgroup of all pods.
    pub fn cgroup_parent(&self) -> String {
        format!("/kubepods{}", self.suffix)
    }

    /// The pods' bridge and its nftables table.
    pub fn bridge(&self) -> String {
        format!(
            "corten{}",
            if self.suffix.is_empty() {
                "0"
            } else {
                &self.suffix[1..]
            }
        )
    }

    /// The nftables table of services.
    pub fn proxy_table(&self) -> String {
        format!("corten-proxy{}", self.suffix)
    }
}

/// FNV-1a: the same in every build.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}
