//! Sandboxes from run to removal, the task that follows a shim's events, and what happens when a shim dies.

use std::fs;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::mount::UnmountFlags;

use super::link::Link;
use super::state::Sandbox;
use super::{Core, blocking};
use crate::config::SandboxConfig;
use crate::error::{Error, Result};
use crate::events::{ContainerExit, Event};
use crate::records::{self, ExitRecord, Places, SandboxRecord};
use crate::status::{ContainerId, SandboxId};
use crate::wire::{Reply, Request};

/// Longest wait for a shim to kill its containers and end; then they are killed from outside.
const STOP_MAX: Duration = Duration::from_secs(15);

/// 32 random bytes in hexadecimal.
pub fn new_id() -> Result<String> {
    let mut bytes = [0u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Error::io("read random bytes from", "getrandom")(error.into()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Core {
    pub(super) async fn run_sandbox(self: Arc<Self>, config: SandboxConfig) -> Result<SandboxId> {
        let pod = format!("{}/{}", config.namespace, config.name);
        let invalid = config.cgroup.split('/').any(|part| part == "..");
        if invalid || config.cgroup.trim_matches('/').is_empty() {
            let why = "cgroup must be a path below the parent".to_owned();
            return Err(Error::Invalid {
                object: format!("pod {pod}"),
                why,
            });
        }
        let id = new_id()?;
        let parent = self.options.cgroup_parent.trim_end_matches('/');
        let cgroup = format!("{parent}/{}", config.cgroup.trim_matches('/'));
        let record = SandboxRecord {
            id: id.clone(),
            config,
            created_at: SystemTime::now(),
            cgroup,
        };
        let places = self.places(&id);
        let (written, to_write) = (record.clone(), places.clone());
        blocking(move || {
            to_write.make()?;
            records::write(&to_write.sandbox(), &written)
        })
        .await?;
        self.state()
            .sandboxes
            .insert(id.clone(), Sandbox::new(record, places));
        let started = match self.start_shim(&id).await {
            Ok(()) => self.connect_shim(&id).await,
            Err(why) => Err(Error::CreateSandbox { pod, why }),
        };
        if let Err(error) = started {
            self.clone().bury(id.clone()).await; // what it made before it failed
            let _ = self.clone().remove_sandbox(id).await;
            return Err(error);
        }
        self.emit(Event::SandboxReady {
            sandbox: SandboxId(id.clone()),
        });
        Ok(SandboxId(id))
    }

    /// Executes a shim and waits until it is ready.
    async fn start_shim(&self, id: &str) -> Result<(), String> {
        let output = tokio::process::Command::new(self.executable())
            .args(&self.options.shim.1)
            .arg(&self.options.root)
            .arg(&self.options.run)
            .arg(id)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .output()
            .await
            .map_err(|error| format!("execute the shim: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }

    /// Subscribes to a shim, takes over its state, and follows it.
    pub(super) async fn connect_shim(self: &Arc<Self>, id: &str) -> Result<()> {
        let link = self.subscribe_to(id).await?;
        let watcher = tokio::spawn(self.clone().follow(id.to_owned(), link));
        self.state().sandbox(id)?.watcher = Some(watcher);
        Ok(())
    }

    async fn subscribe_to(&self, id: &str) -> Result<Link> {
        let socket = self.state().sandbox(id)?.places.socket();
        let fail = |why: String| Error::Shim {
            sandbox: id.to_owned(),
            attempt: "connect",
            why,
        };
        let link = Link::connect(&socket).map_err(|e| fail(e.to_string()))?;
        let (reply, _) = link
            .ask(&Request::Subscribe, &[])
            .await
            .map_err(|e| fail(e.to_string()))?;
        let Reply::State(shim) = reply else {
            return Err(fail(format!("unexpected {reply:?}")));
        };
        self.state().merge(id, &shim);
        for facts in shim.containers {
            if let Some(at) = facts.started_at {
                self.mark_started(&facts.id, at);
            }
            if let Some(exit) = facts.exit {
                self.mark_exited(&facts.id, exit);
            }
        }
        Ok(link)
    }

    /// Reads a shim's events until it ends. One that hung up because nobody read may still live.
    async fn follow(self: Arc<Self>, id: String, mut link: Link) {
        loop {
            while let Ok(Some((event, _))) = link.receive().await {
                match event {
                    Reply::Started { container, at } => self.mark_started(&container, at),
                    Reply::Exited { container, exit } => self.mark_exited(&container, exit),
                    _ => {}
                }
            }
            if self
                .state()
                .sandboxes
                .get(&id)
                .is_none_or(|sandbox| sandbox.stopping)
            {
                return; // expected
            }
            match self.subscribe_to(&id).await {
                Ok(again) => link = again,
                Err(_) => break,
            }
        }
        tracing::error!(sandbox = id, "the shim died; its containers are killed");
        self.bury(id).await;
    }

    /// A container's program runs.
    pub(super) fn mark_started(&self, id: &str, at: SystemTime) {
        let mut state = self.state();
        let Ok(container) = state.container(id) else {
            return;
        };
        if container.started_at.is_none() {
            container.started_at = Some(at);
            let sandbox = SandboxId(container.sandbox.clone());
            self.emit(Event::ContainerStarted {
                sandbox,
                container: ContainerId(id.to_owned()),
            });
        }
    }

    /// A container ended.
    fn mark_exited(&self, id: &str, exit: ExitRecord) {
        let mut state = self.state();
        let Ok(container) = state.container(id) else {
            return;
        };
        if container.exit.is_some() {
            return;
        }
        container.started_at = exit.started_at.or(container.started_at);
        let event = Event::ContainerExited {
            sandbox: SandboxId(container.sandbox.clone()),
            container: ContainerId(id.to_owned()),
            exit: ContainerExit {
                code: exit.code,
                signal: exit.signal,
                oom: exit.oom,
                at: exit.finished_at,
            },
        };
        container.exit = Some(exit);
        container.ended.send_replace(true);
        self.emit(event);
    }

    /// The shim of a sandbox is gone: ends what it left and says so.
    pub(super) async fn bury(self: Arc<Self>, id: String) {
        let core = self.clone();
        let sandbox = id.clone();
        blocking(move || core.end_sandbox(&sandbox)).await;
        self.emit(Event::SandboxStopped {
            sandbox: SandboxId(id),
        });
    }

    /// Kills a sandbox's processes, settles its containers' ends, and releases its namespaces and cgroups.
    fn end_sandbox(&self, id: &str) {
        let (record, places, shim, containers) = {
            let mut state = self.state();
            let containers = state.of_sandbox(id);
            let Ok(sandbox) = state.sandbox(id) else {
                return;
            };
            sandbox.stopping = true;
            (
                sandbox.record.clone(),
                sandbox.places.clone(),
                sandbox.shim,
                containers,
            )
        };
        if let Some(pid) = shim {
            kill_shim(pid, &places);
        }
        let pod = self.cgroups.group(&record.cgroup);
        let mut groups: Vec<_> = containers
            .iter()
            .map(|container| pod.child(container))
            .collect();
        groups.push(pod.child(id)); // the pod's init
        for group in &groups {
            if let Err(error) = group.kill() {
                tracing::error!(sandbox = id, %error, "kill what is left of a pod");
            }
        }
        for container in &containers {
            self.settle(&places, container);
        }
        for group in &groups {
            if let Err(error) = group.remove() {
                tracing::error!(sandbox = id, %error, "remove cgroup");
            }
        }
        pod.remove_if_empty();
        release(&places);
        if let Ok(sandbox) = self.state().sandbox(id) {
            sandbox.shim = None;
            sandbox.stopping = false;
        }
    }

    /// A container without a known end gets the recorded one, or an unknown one.
    fn settle(&self, places: &Places, id: &str) {
        if self
            .state()
            .container(id)
            .is_ok_and(|container| container.exit.is_some())
        {
            return;
        }
        let exit = records::read::<ExitRecord>(&places.exit(id))
            .ok()
            .flatten()
            .unwrap_or_else(|| {
                let mut exit = ExitRecord::unknown("the shim died before the container");
                if let Ok(container) = self.state().container(id) {
                    exit.started_at = container.started_at;
                    exit.user = container.user.clone();
                }
                let _ = records::write(&places.exit(id), &exit);
                exit
            });
        self.mark_exited(id, exit);
    }

    pub(super) async fn stop_sandbox(self: Arc<Self>, id: String) -> Result<()> {
        let (socket, watcher) = {
            let mut state = self.state();
            let sandbox = state.sandbox(&id)?;
            if sandbox.shim.is_none() {
                return Ok(());
            }
            sandbox.stopping = true;
            (sandbox.places.socket(), sandbox.watcher.take())
        };
        let orderly = async {
            let link = Link::connect(&socket)?;
            link.ask(&Request::Stop, &[]).await?;
            if let Some(watcher) = watcher {
                let _ = watcher.await; // the last events, then the end of the shim
            }
            io::Result::Ok(())
        };
        match tokio::time::timeout(STOP_MAX, orderly).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(sandbox = id, %error, "the shim did not stop; killing")
            }
            Err(_) => tracing::warn!(sandbox = id, "the shim takes too long to stop; killing"),
        }
        self.bury(id).await;
        Ok(())
    }

    pub(super) async fn remove_sandbox(self: Arc<Self>, id: String) -> Result<()> {
        match self.clone().stop_sandbox(id.clone()).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        }
        let (places, containers) = {
            let mut state = self.state();
            let containers = state.of_sandbox(&id);
            (state.sandbox(&id)?.places.clone(), containers)
        };
        blocking(move || {
            release(&places);
            remove_tree(places.state())
        })
        .await?;
        let mut state = self.state();
        let sandbox = SandboxId(id.clone());
        for container in containers {
            state.containers.remove(&container);
            let container = ContainerId(container);
            self.emit(Event::ContainerRemoved {
                sandbox: sandbox.clone(),
                container,
            });
        }
        state.sandboxes.remove(&id);
        self.emit(Event::SandboxRemoved { sandbox });
        Ok(())
    }
}

/// Kills a shim that did not end by itself. Its socket tells that the process id is still its own.
fn kill_shim(pid: i32, places: &Places) {
    let alive = || crate::seqpacket::connect(&places.socket()).is_ok();
    if let (Some(pid), true) = (rustix::process::Pid::from_raw(pid), alive()) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        for _ in 0..1000 {
            if !alive() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Unmounts and removes what a pod has in the run directory.
fn release(places: &Places) {
    for mount in [places.netns(), places.shm()] {
        if mount.exists() {
            let _ = rustix::mount::unmount(&mount, UnmountFlags::DETACH);
        }
    }
    let _ = fs::remove_file(places.netns());
    let _ = fs::remove_dir(places.shm());
    let _ = fs::remove_dir(places.namespaces());
    let _ = fs::remove_dir_all(places.run());
}

/// Removes a directory with everything in it; a missing one is fine.
pub fn remove_tree(directory: &std::path::Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::io("remove", directory)),
    }
}
