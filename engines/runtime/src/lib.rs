//! Containers: namespaces, cgroups, mounts, and one supervisor process ("shim") per pod.
//!
//! [`Runtime`] is the CRI-shaped interface in plain types; [`CoreRuntime`] implements it without any
//! other program. Invariant: a container's parent is its pod's shim, never the agent, so containers,
//! their logs and exit codes outlive the agent. Left out: images (given as lists of lower directories),
//! networks (the caller plugs an interface into the netns path), user namespaces.
//!
//! Wiring: the binary must call [`shim_main`] when started with the argv prefix given in
//! [`CoreOptions::shim`], before any thread exists and before any runtime is built.

mod agent;
mod api;
mod config;
mod error;
mod events;
mod status;

pub use agent::{CoreOptions, CoreRuntime};
pub use api::{
    AttachSession, ByteReader, ByteStream, ByteWriter, ExecOutput, ExecRequest, ExecSession,
    Resize, Runtime, RuntimeVersion, StreamSet, Streams, TerminalSize,
};
pub use config::{
    Access, ContainerConfig, DEFAULT_CAPABILITIES, DEFAULT_MASKED_PATHS, DEFAULT_READONLY_PATHS,
    Device, IdGroups, ImageConfig, Mount, MountSource, NamespaceMode, PidMode, Propagation,
    Resources, Rlimit, RlimitKind, RootImage, RunAs, SandboxConfig, SeccompProfile, SecurityConfig,
    StdinMode, SupplementalGroupsPolicy,
};
pub use error::{Error, Result};
pub use events::{ContainerExit, Event, EventStream};
pub use shim::shim_main;
pub use status::{
    ContainerId, ContainerState, ContainerStatus, CpuStats, InterfaceStats, MemoryStats, SandboxId,
    SandboxState, SandboxStatus, Stats,
};

mod cgroup;
mod process;
mod records;
mod rootfs;
mod seccomp;
mod seqpacket;
mod shim;
mod sys;
mod wire;
