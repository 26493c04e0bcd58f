//! The agent's side: [`CoreRuntime`] keeps an account of sandboxes and containers, starts shims, and adopts the
//! living ones when it starts. It does nothing to a container itself; the shims do.

mod adopt;
mod containers;
mod link;
mod sandboxes;
mod state;
mod stats;
mod streams;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::api::{
    AttachSession, ByteStream, ExecOutput, ExecRequest, ExecSession, Runtime, RuntimeVersion,
    StreamSet,
};
use crate::cgroup::{Cgroups, Group};
use crate::config::{ContainerConfig, Resources, SandboxConfig};
use crate::error::{Error, Result};
use crate::events::{Event, EventStream};
use crate::records::Places;
use crate::status::{ContainerId, ContainerStatus, SandboxId, SandboxStatus, Stats};
use crate::wire::{Failure, FailureKind, Reply, Request};
use link::Link;
use state::State;

/// Where a runtime lives and how it starts shims.
#[derive(Clone, Debug)]
pub struct CoreOptions {
    /// Directory for records and writable layers; survives reboots.
    pub root: PathBuf,
    /// Directory for sockets and namespaces, such as `/run/corten/runtime`; may vanish at a reboot.
    pub run: PathBuf,
    /// Cgroup below which all pods live, absolute from each hierarchy's root, such as `/kubepods`.
    pub cgroup_parent: String,
    /// Executable that calls [`crate::shim_main`], and the arguments that make it do so.
    pub shim: (PathBuf, Vec<String>),
}

/// The runtime. Clones share one account.
#[derive(Clone)]
pub struct CoreRuntime {
    core: Arc<Core>,
}

/// What all clones and tasks share.
struct Core {
    options: CoreOptions,
    cgroups: Cgroups,
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
}

/// Events kept for slow subscribers.
const EVENTS_KEPT: usize = 4096;

impl CoreRuntime {
    /// Opens the directories (making them if needed) and adopts every pod whose shim lives. What a dead shim left
    /// behind is killed and reported as exited. Needs root.
    pub async fn open(options: CoreOptions) -> Result<Self> {
        let cgroups = Cgroups::discover().map_err(|error| Error::Cgroups(error.to_string()))?;
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let core = Arc::new(Core {
            options,
            cgroups,
            state: Mutex::default(),
            events,
        });
        let prepared = core.clone();
        blocking(move || prepared.prepare()).await?;
        core.adopt_all().await?;
        Ok(Self { core })
    }

    /// Unmounts what [`CoreRuntime::open`] mounted and removes the cgroup of all pods. For taking a node down for
    /// good: fails while a sandbox lives.
    pub async fn release(self) -> Result<()> {
        if let Some(living) = self
            .core
            .state()
            .sandboxes
            .values()
            .find(|s| s.shim.is_some())
        {
            let why = "stop it before releasing the runtime".to_owned();
            return Err(Error::Invalid {
                object: format!("sandbox {}", living.record.id),
                why,
            });
        }
        let core = self.core.clone();
        blocking(move || {
            core.remove_parent_group()?;
            core.unmount()
        })
        .await
    }
}

impl Core {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: Event) {
        let _ = self.events.send(event); // nobody may be listening
    }

    fn places(&self, sandbox: &str) -> Places {
        Places::new(&self.options.root, &self.options.run, sandbox)
    }

    /// The cgroup at a path below the parent.
    fn group(&self, below: &str) -> Group {
        self.cgroups
            .group(&format!("{}/{below}", self.options.cgroup_parent))
    }

    fn remove_parent_group(&self) -> Result<()> {
        let parent = self.options.cgroup_parent.trim_matches('/');
        if parent.is_empty() {
            return Ok(()); // the host's own root
        }
        let group = self.cgroups.group(parent);
        group
            .remove()
            .map_err(Error::io("remove the cgroup", parent))
    }

    /// The cgroup of a container.
    fn container_group(&self, id: &str) -> Result<Group> {
        let mut state = self.state();
        let sandbox = state.container(id)?.sandbox.clone();
        Ok(self
            .cgroups
            .group(&state.sandbox(&sandbox)?.record.cgroup)
            .child(id))
    }

    /// Connects to the shim of a container's sandbox.
    fn link_of(&self, container: &str, attempt: &'static str) -> Result<Link> {
        let (sandbox, socket) = {
            let mut state = self.state();
            let sandbox = state.container(container)?.sandbox.clone();
            let entry = state.sandbox(&sandbox)?;
            if entry.shim.is_none() {
                return Err(Error::NotRunning(container.to_owned()));
            }
            (sandbox, entry.places.socket())
        };
        Link::connect(&socket).map_err(|error| Error::Shim {
            sandbox,
            attempt,
            why: error.to_string(),
        })
    }

    /// One request that is answered by `Done`.
    async fn order(&self, container: &str, attempt: &'static str, request: Request) -> Result<()> {
        let link = self.link_of(container, attempt)?;
        let answer = link.ask(&request, &[]).await;
        self.expect_done(container, attempt, answer.map(|(reply, _)| reply))
    }

    fn expect_done(
        &self,
        container: &str,
        attempt: &'static str,
        answer: std::io::Result<Reply>,
    ) -> Result<()> {
        let why = match answer {
            Ok(Reply::Done) => return Ok(()),
            Ok(Reply::Failed(failure)) => return Err(failed(container, attempt, failure)),
            Ok(other) => format!("unexpected answer {other:?}"),
            Err(error) => error.to_string(),
        };
        Err(Error::Shim {
            sandbox: self.sandbox_of(container),
            attempt,
            why,
        })
    }

    fn sandbox_of(&self, container: &str) -> String {
        self.state()
            .containers
            .get(container)
            .map(|c| c.sandbox.clone())
            .unwrap_or_default()
    }
}

/// A shim's refusal as an error.
fn failed(container: &str, attempt: &'static str, failure: Failure) -> Error {
    match failure.kind {
        FailureKind::NotRunning => Error::NotRunning(container.to_owned()),
        FailureKind::Missing => Error::NoSuchContainer(container.to_owned()),
        FailureKind::Invalid => Error::Invalid {
            object: format!("container {container}"),
            why: failure.why,
        },
        FailureKind::Other => Error::Shim {
            sandbox: format!("of container {container}"),
            attempt,
            why: failure.why,
        },
    }
}

/// Runs file system work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    finished(tokio::task::spawn_blocking(work)).await
}

/// Runs a task to its end even if the caller stops waiting: half-made pods would be nobody's.
async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    finished(tokio::spawn(work)).await
}

async fn finished<T>(task: tokio::task::JoinHandle<T>) -> T {
    match task.await {
        Ok(value) => value,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await, // the whole process is shutting down
    }
}

#[async_trait]
impl Runtime for CoreRuntime {
    fn version(&self) -> RuntimeVersion {
        RuntimeVersion {
            name: "corten".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<SandboxId> {
        to_the_end(self.core.clone().run_sandbox(config)).await
    }

    async fn stop_pod_sandbox(&self, sandbox: &SandboxId) -> Result<()> {
        to_the_end(self.core.clone().stop_sandbox(sandbox.0.clone())).await
    }

    async fn remove_pod_sandbox(&self, sandbox: &SandboxId) -> Result<()> {
        to_the_end(self.core.clone().remove_sandbox(sandbox.0.clone())).await
    }

    async fn pod_sandbox_status(&self, sandbox: &SandboxId) -> Result<SandboxStatus> {
        Ok(self.core.state().sandbox(&sandbox.0)?.status())
    }

    async fn list_pod_sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self
            .core
            .state()
            .sandboxes
            .values()
            .map(|sandbox| sandbox.status())
            .collect())
    }

    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId> {
        to_the_end(
            self.core
                .clone()
                .create_container(sandbox.0.clone(), config),
        )
        .await
    }

    async fn start_container(&self, container: &ContainerId) -> Result<()> {
        self.core.start_container(&container.0).await
    }

    async fn stop_container(
        &self,
        container: &ContainerId,
        grace: Duration,
        signal: Option<i32>,
    ) -> Result<()> {
        self.core.stop_container(&container.0, grace, signal).await
    }

    async fn remove_container(&self, container: &ContainerId) -> Result<()> {
        to_the_end(self.core.clone().remove_container(container.0.clone())).await
    }

    async fn container_status(&self, container: &ContainerId) -> Result<ContainerStatus> {
        Ok(self.core.state().container(&container.0)?.status())
    }

    async fn list_containers(&self) -> Result<Vec<ContainerStatus>> {
        Ok(self
            .core
            .state()
            .containers
            .values()
            .map(|container| container.status())
            .collect())
    }

    async fn reopen_log(&self, container: &ContainerId) -> Result<()> {
        let request = Request::Reopen {
            container: container.0.clone(),
        };
        self.core
            .order(&container.0, "reopen the log", request)
            .await
    }

    async fn update_resources(&self, container: &ContainerId, resources: &Resources) -> Result<()> {
        self.core
            .clone()
            .update_container(container.0.clone(), resources.clone())
            .await
    }

    async fn update_sandbox_resources(
        &self,
        sandbox: &SandboxId,
        resources: &Resources,
    ) -> Result<()> {
        self.core
            .update_sandbox(&sandbox.0, resources.clone())
            .await
    }

    async fn set_group_resources(&self, group: &str, resources: &Resources) -> Result<()> {
        self.core.set_group(group, resources.clone()).await
    }

    async fn exec(&self, container: &ContainerId, request: ExecRequest) -> Result<ExecSession> {
        Ok(self.core.exec(&container.0, request).await?.0)
    }

    async fn exec_sync(
        &self,
        container: &ContainerId,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput> {
        self.core.exec_sync(&container.0, command, timeout).await
    }

    async fn attach(&self, container: &ContainerId, streams: StreamSet) -> Result<AttachSession> {
        self.core.attach(&container.0, streams).await
    }

    async fn port_forward(&self, sandbox: &SandboxId, port: u16) -> Result<Box<dyn ByteStream>> {
        self.core.port_forward(&sandbox.0, port).await
    }

    async fn container_stats(&self, container: &ContainerId) -> Result<Stats> {
        self.core.container_stats(&container.0).await
    }

    async fn sandbox_stats(&self, sandbox: &SandboxId) -> Result<Stats> {
        self.core.sandbox_stats(&sandbox.0).await
    }

    async fn list_container_stats(&self) -> Result<BTreeMap<ContainerId, Stats>> {
        self.core.list_stats().await
    }

    fn subscribe(&self) -> EventStream {
        EventStream::new(self.core.events.subscribe())
    }
}
