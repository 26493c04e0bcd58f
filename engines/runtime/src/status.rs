//! What the runtime reports: identities, states and statistics.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::config::{IdGroups, NamespaceMode, Resources};

/// Identity of a sandbox: 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SandboxId(pub(crate) String);

/// Identity of a container: 64 lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerId(pub(crate) String);

impl SandboxId {
    /// Takes an id as stored by a caller; whether it exists shows when it is used.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ContainerId {
    /// Takes an id as stored by a caller; whether it exists shows when it is used.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a sandbox can run containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    Ready,
    /// Stopped, or its shim is gone (after a reboot, for instance).
    NotReady,
}

/// One sandbox as it is now.
#[derive(Clone, Debug)]
pub struct SandboxStatus {
    pub id: SandboxId,
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub attempt: u32,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub state: SandboxState,
    pub created_at: SystemTime,
    /// Network mode it was made with.
    pub network: NamespaceMode,
    /// The pod's network namespace as a path for netlink and CNI; `None` with the node's network or when stopped.
    pub netns: Option<PathBuf>,
    /// Process id of the shim; `None` when stopped.
    pub shim_pid: Option<u32>,
}

/// Where a container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running,
    Exited,
}

/// One container as it is now.
#[derive(Clone, Debug)]
pub struct ContainerStatus {
    pub id: ContainerId,
    pub sandbox: SandboxId,
    pub name: String,
    pub attempt: u32,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub state: ContainerState,
    pub created_at: SystemTime,
    pub started_at: Option<SystemTime>,
    pub finished_at: Option<SystemTime>,
    /// 0..255; 128 + n after signal n; 128 when it could not start; 255 when the shim died with it.
    pub exit_code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, `ContainerStatusUnknown`; empty while alive.
    pub reason: String,
    /// More about `reason`, such as why it could not start.
    pub message: String,
    /// The image as the pod names it.
    pub image: String,
    /// The image's resolved reference.
    pub image_ref: String,
    pub log_path: Option<PathBuf>,
    /// Identity of the first process once known.
    pub user: Option<IdGroups>,
    /// Process id of the first process on the node while it runs.
    pub pid: Option<u32>,
    /// Limits as last set.
    pub resources: Resources,
    /// Whether standard input can be attached.
    pub stdin: bool,
    pub tty: bool,
}

/// CPU time of a cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// Nanoseconds since the cgroup was made.
    pub usage_nanos: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// Time spent throttled in nanoseconds.
    pub throttled_nanos: u64,
}

/// Memory of a cgroup in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    pub usage: u64,
    /// Usage without inactive page cache.
    pub working_set: u64,
    pub rss: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
    /// `None` is unlimited.
    pub limit: Option<u64>,
}

/// Traffic of one network interface since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceStats {
    pub name: String,
    pub received_bytes: u64,
    pub received_errors: u64,
    pub sent_bytes: u64,
    pub sent_errors: u64,
}

/// Statistics of one cgroup at one moment.
#[derive(Clone, Debug)]
pub struct Stats {
    pub at: SystemTime,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    /// Processes and threads.
    pub pids: u64,
    /// Interfaces of the pod's own network besides loopback; empty for containers.
    pub network: Vec<InterfaceStats>,
    /// The container's writable layer, for disk accounting; `None` for sandboxes.
    pub writable_layer: Option<PathBuf>,
}
