//! What the agent knows: sandboxes and containers, kept current by the shims' events. Invariant: everything here can
//! be rebuilt from the records on disk and the shims; locks are never held across an await.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::IdGroups;
use crate::error::{Error, Result};
use crate::records::{ContainerRecord, ExitRecord, Places, SandboxRecord};
use crate::status::{
    ContainerId, ContainerState, ContainerStatus, SandboxId, SandboxState, SandboxStatus,
};
use crate::wire::ShimState;

/// A sandbox with or without a living shim.
pub struct Sandbox {
    pub record: Arc<SandboxRecord>,
    pub places: Places,
    pub shim: Option<i32>,
    /// A stop is under way: the end of the shim is expected.
    pub stopping: bool,
    /// The task that reads the shim's events.
    pub watcher: Option<JoinHandle<()>>,
}

impl Sandbox {
    pub fn new(record: SandboxRecord, places: Places) -> Self {
        Self {
            record: Arc::new(record),
            places,
            shim: None,
            stopping: false,
            watcher: None,
        }
    }

    pub fn status(&self) -> SandboxStatus {
        let config = &self.record.config;
        let ready = self.shim.is_some() && !self.stopping;
        let own_network = config.network == crate::config::NamespaceMode::Pod;
        SandboxStatus {
            id: SandboxId(self.record.id.clone()),
            name: config.name.clone(),
            namespace: config.namespace.clone(),
            uid: config.uid.clone(),
            attempt: config.attempt,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            state: if ready {
                SandboxState::Ready
            } else {
                SandboxState::NotReady
            },
            created_at: self.record.created_at,
            network: config.network,
            netns: (self.shim.is_some() && own_network).then(|| self.places.netns()),
            shim_pid: self.shim.map(|pid| pid as u32),
        }
    }
}

/// A container.
pub struct Container {
    pub record: Arc<ContainerRecord>,
    pub sandbox: String,
    pub pid: Option<i32>,
    pub user: Option<IdGroups>,
    pub started_at: Option<SystemTime>,
    pub exit: Option<ExitRecord>,
    /// True once it has exited.
    pub ended: watch::Sender<bool>,
}

impl Container {
    pub fn new(record: ContainerRecord, sandbox: &str, exit: Option<ExitRecord>) -> Self {
        let (ended, _) = watch::channel(exit.is_some());
        Self {
            record: Arc::new(record),
            sandbox: sandbox.to_owned(),
            pid: None,
            user: exit.as_ref().and_then(|exit| exit.user.clone()),
            started_at: exit.as_ref().and_then(|exit| exit.started_at),
            exit,
            ended,
        }
    }

    pub fn state(&self) -> ContainerState {
        match (&self.exit, self.started_at) {
            (Some(_), _) => ContainerState::Exited,
            (None, Some(_)) => ContainerState::Running,
            (None, None) => ContainerState::Created,
        }
    }

    pub fn status(&self) -> ContainerStatus {
        let (record, config) = (&self.record, &self.record.config);
        let exit = self.exit.as_ref();
        ContainerStatus {
            id: ContainerId(record.id.clone()),
            sandbox: SandboxId(self.sandbox.clone()),
            name: config.name.clone(),
            attempt: config.attempt,
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            state: self.state(),
            created_at: record.created_at,
            started_at: self.started_at,
            finished_at: exit.map(|exit| exit.finished_at),
            exit_code: exit.map_or(0, |exit| exit.code),
            signal: exit.and_then(|exit| exit.signal),
            reason: exit.map(|exit| exit.reason.clone()).unwrap_or_default(),
            message: exit.map(|exit| exit.message.clone()).unwrap_or_default(),
            image: config.image.name.clone(),
            image_ref: config.image.reference.clone(),
            log_path: config.log_path.clone(),
            user: self.user.clone(),
            pid: self.pid.filter(|_| exit.is_none()).map(|pid| pid as u32),
            resources: config.resources.clone(),
            stdin: config.stdin != crate::config::StdinMode::Closed,
            tty: config.tty,
        }
    }
}

/// Everything, by id.
#[derive(Default)]
pub struct State {
    pub sandboxes: HashMap<String, Sandbox>,
    pub containers: HashMap<String, Container>,
}

impl State {
    pub fn sandbox(&mut self, id: &str) -> Result<&mut Sandbox> {
        self.sandboxes
            .get_mut(id)
            .ok_or_else(|| Error::NoSuchSandbox(id.to_owned()))
    }

    pub fn container(&mut self, id: &str) -> Result<&mut Container> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| Error::NoSuchContainer(id.to_owned()))
    }

    /// Where a container's sandbox keeps its files.
    pub fn places_of(&mut self, container: &str) -> Result<Places> {
        let sandbox = self.container(container)?.sandbox.clone();
        Ok(self.sandbox(&sandbox)?.places.clone())
    }

    /// Containers of a sandbox.
    pub fn of_sandbox(&self, sandbox: &str) -> Vec<String> {
        let of = |container: &&Container| container.sandbox == sandbox;
        self.containers
            .values()
            .filter(of)
            .map(|c| c.record.id.clone())
            .collect()
    }

    /// Takes over what a shim says of processes and users; starts and ends are events for the caller to mark.
    pub fn merge(&mut self, sandbox: &str, shim: &ShimState) {
        if let Some(sandbox) = self.sandboxes.get_mut(sandbox) {
            sandbox.shim = Some(shim.pid);
        }
        for facts in &shim.containers {
            let Some(container) = self.containers.get_mut(&facts.id) else {
                continue;
            };
            container.pid = Some(facts.pid);
            container.user = facts.user.clone().or(container.user.take());
        }
    }
}
