//! The CRI-shaped interface: what a node agent needs of a container runtime, in plain types.
//! Left out: images, networks, checkpoints, and everything about gRPC.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::{ContainerConfig, Resources, SandboxConfig};
use crate::error::Result;
use crate::events::EventStream;
use crate::status::{ContainerId, ContainerStatus, SandboxId, SandboxStatus, Stats};

/// Bytes out of a process.
pub type ByteReader = Box<dyn AsyncRead + Send + Unpin>;
/// Bytes into a process.
pub type ByteWriter = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection inside a pod.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TerminalSize {
    pub columns: u16,
    pub rows: u16,
}

/// Which streams an exec or attach session opens. With a terminal there is no stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamSet {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// A process to run inside a container.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub streams: StreamSet,
    pub tty: bool,
    /// Terminal size at the start.
    pub size: Option<TerminalSize>,
}

/// Streams to a process. Dropping `stdin` ends its input; end of file on an output ends that output.
pub struct Streams {
    pub stdin: Option<ByteWriter>,
    pub stdout: Option<ByteReader>,
    pub stderr: Option<ByteReader>,
}

/// Changes the terminal size of a session; does nothing without a terminal.
pub trait Resize: Send + Sync {
    /// Sets the size.
    fn resize(&self, size: TerminalSize) -> Result<()>;
}

/// A process running inside a container on a caller's behalf. Dropping the session leaves the process alone.
pub struct ExecSession {
    pub streams: Streams,
    pub terminal: Option<Box<dyn Resize>>,
    /// Ends with the exit code (128 + n after signal n) when the process is gone.
    pub exit: Pin<Box<dyn Future<Output = Result<i32>> + Send>>,
}

/// A live copy of a container's own streams. Dropping it detaches.
pub struct AttachSession {
    pub streams: Streams,
    pub terminal: Option<Box<dyn Resize>>,
}

/// What a finished command left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit_code: i32,
}

/// Name and version of a runtime, as a node reports them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeVersion {
    pub name: String,
    pub version: String,
}

/// A container runtime. All methods may be called at once from many tasks.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Name and version.
    fn version(&self) -> RuntimeVersion;

    /// Makes the pod's namespaces (loopback up), cgroup and shim. The caller then plugs a network into
    /// [`SandboxStatus::netns`].
    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxId>;
    /// Kills what runs in it, releases namespaces and processes, keeps records and logs. Done twice is fine.
    async fn stop_pod_sandbox(&self, sandbox: &SandboxId) -> Result<()>;
    /// Stops it if needed and forgets it with all its containers. A missing sandbox is fine.
    async fn remove_pod_sandbox(&self, sandbox: &SandboxId) -> Result<()>;
    async fn pod_sandbox_status(&self, sandbox: &SandboxId) -> Result<SandboxStatus>;
    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>>;

    /// Prepares a container; its first process waits for [`Runtime::start_container`].
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId>;
    /// Runs the entry point; returns once it has been executed. A container starts at most once.
    async fn start_container(&self, container: &ContainerId) -> Result<()>;
    /// Sends the stop signal (`signal`, else the container's, else TERM), waits `grace`, kills. Returns when it is gone.
    async fn stop_container(
        &self,
        container: &ContainerId,
        grace: Duration,
        signal: Option<i32>,
    ) -> Result<()>;
    /// Kills it if needed and forgets it; its log stays. A missing container is fine.
    async fn remove_container(&self, container: &ContainerId) -> Result<()>;
    async fn container_status(&self, container: &ContainerId) -> Result<ContainerStatus>;
    async fn list_containers(&self) -> Result<Vec<ContainerStatus>>;
    /// Opens the log path anew, after the caller renamed the file.
    async fn reopen_log(&self, container: &ContainerId) -> Result<()>;
    /// Changes limits of a running container.
    async fn update_resources(&self, container: &ContainerId, resources: &Resources) -> Result<()>;
    /// Changes limits of the pod's cgroup.
    async fn update_sandbox_resources(
        &self,
        sandbox: &SandboxId,
        resources: &Resources,
    ) -> Result<()>;
    /// Makes a cgroup below the runtime's parent (`""` is the parent, `burstable` a quality-of-service class) and sets its limits.
    async fn set_group_resources(&self, group: &str, resources: &Resources) -> Result<()>;

    /// Starts a process with streams.
    async fn exec(&self, container: &ContainerId, request: ExecRequest) -> Result<ExecSession>;
    /// Runs a command to its end; kills it after `timeout` (zero is none). At most 16 MiB of each output are kept.
    async fn exec_sync(
        &self,
        container: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput>;
    /// Copies of the container's streams from now on; `stdin` only if the container has it open.
    async fn attach(&self, container: &ContainerId, streams: StreamSet) -> Result<AttachSession>;
    /// Connects to a TCP port on the pod's loopback.
    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn ByteStream>>;

    async fn container_stats(&self, container: &ContainerId) -> Result<Stats>;
    async fn sandbox_stats(&self, sandbox: &SandboxId) -> Result<Stats>;
    /// Statistics of every container that runs.
    async fn list_container_stats(&self) -> Result<BTreeMap<ContainerId, Stats>>;

    /// Events from now on.
    fn subscribe(&self) -> EventStream;
}
