//! What a caller asks for: the plain configuration types of sandboxes, images and containers.
//! They are stored as JSON beside the pod, so that a restarted agent or a later exec reads the same facts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The capabilities (without `CAP_`) that an unprivileged container gets when it asks for nothing.
pub const DEFAULT_CAPABILITIES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// Paths hidden from unprivileged containers (ProcMount `Default`); a missing one is skipped.
pub const DEFAULT_MASKED_PATHS: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Paths made read-only for unprivileged containers (ProcMount `Default`); a missing one is skipped.
pub const DEFAULT_READONLY_PATHS: &[&str] = &[
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Whether a namespace belongs to the pod or to the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// One namespace for the pod.
    #[default]
    Pod,
    /// The node's own namespace (`hostNetwork`, `hostIPC`).
    Node,
}

/// Where the containers of a pod find their PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PidMode {
    /// Each container has its own; its entry point is PID 1.
    #[default]
    Container,
    /// One for the pod (`shareProcessNamespace`), with a tiny init as PID 1.
    Pod,
    /// The node's (`hostPID`).
    Node,
}

/// One pod sandbox: what all containers of the pod share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SandboxConfig {
    /// metadata.name of the pod.
    pub name: String,
    /// metadata.namespace of the pod.
    pub namespace: String,
    /// metadata.uid of the pod.
    pub uid: String,
    /// How many sandboxes this pod had before this one.
    pub attempt: u32,
    /// Kept and returned, never interpreted.
    pub labels: BTreeMap<String, String>,
    /// Kept and returned, never interpreted.
    pub annotations: BTreeMap<String, String>,
    /// Host name inside the pod; ignored with the node's network. Empty keeps the node's.
    pub hostname: String,
    /// Network namespace; `Node` also means the node's UTS namespace.
    pub network: NamespaceMode,
    /// IPC namespace, and with it /dev/shm and /dev/mqueue.
    pub ipc: NamespaceMode,
    /// PID namespaces.
    pub pid: PidMode,
    /// `kernel.shm_rmid_forced` = `1` and the like, applied inside the pod's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Cgroup of the pod below the runtime's cgroup parent, such as `burstable/pod<UID>`.
    pub cgroup: String,
    /// Limits of the pod's cgroup as a whole.
    pub resources: Resources,
    /// Size of the pod's /dev/shm in bytes; `None` is 64 MiB.
    pub shm_size: Option<u64>,
}

/// The parts of an OCI image configuration that starting a container needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `NAME=value` in the image's order.
    pub env: Vec<String>,
    /// Entrypoint; used when the container has no `command`.
    pub entrypoint: Vec<String>,
    /// Cmd; used when the container has neither `command` nor `args`.
    pub cmd: Vec<String>,
    /// WorkingDir; empty means `/`.
    pub working_dir: String,
    /// User: `name`, `uid`, each optionally with `:group`.
    pub user: String,
    /// StopSignal, such as `SIGTERM` or `15`.
    pub stop_signal: Option<String>,
}

/// An image as the runtime needs it: directories and a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootImage {
    /// Unpacked layers in OCI order: the lowest (base) first. Overlay whiteouts are already in place.
    pub layers: Vec<PathBuf>,
    /// The image's configuration.
    pub config: ImageConfig,
    /// Resolved reference (digest or id), kept and returned in the status.
    pub reference: String,
    /// The image as the pod names it, kept and returned in the status.
    pub name: String,
}

/// Where a mount takes its content from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the node, with everything mounted below it. Missing directories are made.
    HostPath(PathBuf),
    /// An image volume: layers (lowest first), always read-only, optionally one directory below their root.
    Layers {
        layers: Vec<PathBuf>,
        sub_path: Option<PathBuf>,
    },
}

/// What a container may do with a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    #[default]
    ReadWrite,
    /// Read-only; mounts below it keep their own mode.
    ReadOnly,
    /// Read-only with everything below it.
    RecursiveReadOnly,
}

/// How mount events travel between the node and the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// None (`rprivate`).
    #[default]
    Private,
    /// From the node into the container (`rslave`).
    HostToContainer,
    /// Both ways (`rshared`); the source must lie on a shared mount.
    Bidirectional,
}

/// One mount inside a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Where the content comes from.
    pub source: MountSource,
    /// Absolute path inside the container.
    pub target: PathBuf,
    /// Read-only or not.
    pub access: Access,
    /// Mount propagation.
    pub propagation: Propagation,
}

/// One device node of the host made visible in the container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the node.
    pub host_path: PathBuf,
    /// Path inside the container.
    pub container_path: PathBuf,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits of one cgroup. `None` and empty leave a knob as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Relative weight in cgroup v1 terms (2..262144); converted on v2.
    pub cpu_shares: Option<u64>,
    /// CPU time per period in microseconds; -1 is unlimited.
    pub cpu_quota: Option<i64>,
    /// Period of `cpu_quota` in microseconds.
    pub cpu_period: Option<u64>,
    /// Memory limit in bytes; -1 is unlimited.
    pub memory_limit: Option<i64>,
    /// Memory plus swap in bytes as v1 counts it; -1 is unlimited. Ignored where swap is not accounted.
    pub memory_swap_limit: Option<i64>,
    /// Processes and threads; -1 is unlimited.
    pub pids_limit: Option<i64>,
    /// CPUs such as `0-2,7`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Page size (`2MB`) to bytes.
    pub hugepage_limits: BTreeMap<String, u64>,
    /// Files of cgroup v2 written as they are, such as `memory.oom.group` = `1`. Ignored on v1.
    pub unified: BTreeMap<String, String>,
}

/// Which resource an [`Rlimit`] limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RlimitKind {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

/// One resource limit, applied best effort (raising needs CAP_SYS_RESOURCE).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    pub kind: RlimitKind,
    pub soft: u64,
    pub hard: u64,
}

/// What happens to a container's standard input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StdinMode {
    /// /dev/null.
    #[default]
    Closed,
    /// Open for the container's life; attach sessions may write to it.
    Open,
    /// Closed when the first attach session ends its input.
    Once,
}

/// The user a container runs as, before the image's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunAs {
    /// The image's `User`, or root.
    #[default]
    Image,
    /// runAsUser.
    Uid(u32),
    /// A user name that must exist in the image's /etc/passwd.
    Name(String),
}

/// Which groups besides the requested ones a process gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SupplementalGroupsPolicy {
    /// Also those that the image's /etc/group gives the user.
    #[default]
    Merge,
    /// Only the requested ones.
    Strict,
}

/// Resolved numeric identity of a container's first process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdGroups {
    pub uid: u32,
    pub gid: u32,
    /// Supplemental groups in ascending order, the primary group included.
    pub groups: Vec<u32>,
}

/// Which system calls a container may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompProfile {
    /// No filter.
    #[default]
    Unconfined,
    /// The runtime's own filter.
    RuntimeDefault,
    /// A JSON profile (OCI form, as Docker writes it) on the node.
    Localhost(PathBuf),
}

/// What a container's processes may do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecurityConfig {
    /// All capabilities and devices, writable /sys and cgroups, no filter and no masks.
    pub privileged: bool,
    /// The user.
    pub run_as: RunAs,
    /// runAsGroup; needs `run_as` other than `Image` or replaces the image's group.
    pub run_as_group: Option<u32>,
    /// supplementalGroups and fsGroup.
    pub supplemental_groups: Vec<u32>,
    /// supplementalGroupsPolicy.
    pub supplemental_groups_policy: SupplementalGroupsPolicy,
    /// Capabilities added to the default set, with or without `CAP_`, or `ALL`.
    pub add_capabilities: Vec<String>,
    /// Capabilities taken from the default set, or `ALL`.
    pub drop_capabilities: Vec<String>,
    /// allowPrivilegeEscalation: false.
    pub no_new_privileges: bool,
    /// readOnlyRootFilesystem.
    pub readonly_rootfs: bool,
    /// Seccomp profile; ignored when privileged.
    pub seccomp: SeccompProfile,
    /// AppArmor profile to change to on exec; `None` leaves it alone.
    pub apparmor_profile: Option<String>,
    /// Paths to hide, usually [`DEFAULT_MASKED_PATHS`]; ignored when privileged.
    pub masked_paths: Vec<String>,
    /// Paths to make read-only, usually [`DEFAULT_READONLY_PATHS`]; ignored when privileged.
    pub readonly_paths: Vec<String>,
}

/// One container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// Name of the container in the pod.
    pub name: String,
    /// How many containers of this name the pod had before.
    pub attempt: u32,
    /// Kept and returned, never interpreted.
    pub labels: BTreeMap<String, String>,
    /// Kept and returned, never interpreted.
    pub annotations: BTreeMap<String, String>,
    /// The image.
    pub image: RootImage,
    /// `command` of the pod; replaces the image's entrypoint and cmd.
    pub command: Vec<String>,
    /// `args` of the pod; replaces the image's cmd.
    pub args: Vec<String>,
    /// workingDir; empty takes the image's. Made when missing.
    pub working_dir: String,
    /// Environment in order; replaces the image's entries of the same name.
    pub env: Vec<(String, String)>,
    /// Volumes and files such as /etc/hosts.
    pub mounts: Vec<Mount>,
    /// Host devices.
    pub devices: Vec<Device>,
    /// Absolute path of the log in CRI format; `None` drops the output. Missing parents are made.
    pub log_path: Option<PathBuf>,
    /// Standard input.
    pub stdin: StdinMode,
    /// A terminal as stdin, stdout and stderr.
    pub tty: bool,
    /// Permissions.
    pub security: SecurityConfig,
    /// Limits of the container's cgroup.
    pub resources: Resources,
    /// oom_score_adj, best effort (lowering needs CAP_SYS_RESOURCE).
    pub oom_score_adj: Option<i32>,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// lifecycle.stopSignal; replaces the image's.
    pub stop_signal: Option<String>,
}
