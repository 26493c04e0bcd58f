//! Containers from creation to removal.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::link::{ANSWER_MAX, Link};
use super::sandboxes::{new_id, remove_tree};
use super::state::Container;
use super::{Core, blocking, failed};
use crate::config::ContainerConfig;
use crate::error::{Error, Result};
use crate::events::Event;
use crate::process::{Capabilities, arguments, stop_signal};
use crate::records::{self, ContainerRecord, Places};
use crate::status::{ContainerId, ContainerState, SandboxId};
use crate::wire::{FailureKind, Reply, Request};

/// Longest wait for a killed process to be gone: it may hang in a file system.
const KILL_MAX: Duration = Duration::from_secs(30);

impl Core {
    pub(super) async fn create_container(
        self: Arc<Self>,
        sandbox: String,
        config: ContainerConfig,
    ) -> Result<ContainerId> {
        let name = config.name.clone();
        let invalid = |why| Error::Invalid {
            object: format!("container {name}"),
            why,
        };
        Capabilities::wanted(&config.security).map_err(invalid)?;
        arguments(&config).map_err(invalid)?;
        let places = {
            let mut state = self.state();
            let entry = state.sandbox(&sandbox)?;
            if entry.shim.is_none() || entry.stopping {
                return Err(Error::SandboxNotReady(sandbox));
            }
            entry.places.clone()
        };
        let id = new_id()?;
        let record = ContainerRecord {
            id: id.clone(),
            config,
            created_at: SystemTime::now(),
        };
        let (written, to_write) = (record.clone(), places.clone());
        blocking(move || prepare(&to_write, &written)).await?;
        let container = Container::new(record, &sandbox, None);
        self.state().containers.insert(id.clone(), container);
        if let Err(error) = self.ask_create(&sandbox, &id, &name, &places).await {
            self.state().containers.remove(&id);
            let group = self
                .cgroups
                .group(&self.state().sandbox(&sandbox)?.record.cgroup)
                .child(&id);
            blocking(move || {
                let _ = group.kill().and_then(|()| group.remove());
                remove_files(&places, &id)
            })
            .await?;
            return Err(error);
        }
        let container = ContainerId(id);
        let created = Event::ContainerCreated {
            sandbox: SandboxId(sandbox),
            container: container.clone(),
        };
        self.emit(created);
        Ok(container)
    }

    async fn ask_create(&self, sandbox: &str, id: &str, name: &str, places: &Places) -> Result<()> {
        let shim = |why: String| Error::Shim {
            sandbox: sandbox.to_owned(),
            attempt: "create the container",
            why,
        };
        let link = Link::connect(&places.socket()).map_err(|e| shim(e.to_string()))?;
        let request = Request::Create {
            container: id.to_owned(),
        };
        match link
            .ask(&request, &[])
            .await
            .map_err(|e| shim(e.to_string()))?
            .0
        {
            Reply::Created { ids, pid } => {
                let mut state = self.state();
                let container = state.container(id)?;
                container.user = Some(ids);
                container.pid = Some(pid);
                Ok(())
            }
            Reply::Failed(failure) if failure.kind == FailureKind::Invalid => Err(Error::Invalid {
                object: format!("container {name}"),
                why: failure.why,
            }),
            Reply::Failed(failure) => Err(Error::CreateContainer {
                name: name.to_owned(),
                why: failure.why,
            }),
            other => Err(shim(format!("unexpected answer {other:?}"))),
        }
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<()> {
        let attempt = "start the container";
        let link = self.link_of(id, attempt)?;
        let request = Request::Start {
            container: id.to_owned(),
        };
        let answer = link.ask(&request, &[]).await.map(|(reply, _)| reply);
        match answer {
            Ok(Reply::Failed(failure)) if failure.kind == FailureKind::Other => {
                // The shim has recorded its end; callers may look at once.
                let mut ended = self.state().container(id)?.ended.subscribe();
                let _ = tokio::time::timeout(ANSWER_MAX, ended.wait_for(|ended| *ended)).await;
                Err(Error::StartContainer {
                    container: id.to_owned(),
                    why: failure.why,
                })
            }
            other => {
                self.expect_done(id, attempt, other)?;
                self.mark_started(id, SystemTime::now());
                Ok(())
            }
        }
    }

    /// Sends a signal to the first process and waits at most `patience` for the container's end.
    async fn signal(&self, id: &str, signal: i32, patience: Duration) -> Result<bool> {
        let mut ended = self.state().container(id)?.ended.subscribe();
        let request = Request::Signal {
            container: id.to_owned(),
            signal,
        };
        match self.order(id, "signal the container", request).await {
            Err(Error::NotRunning(_) | Error::NoSuchContainer(_)) => {}
            other => other?,
        }
        let wait = ended.wait_for(|ended| *ended);
        Ok(tokio::time::timeout(patience, wait).await.is_ok())
    }

    pub(super) async fn stop_container(
        &self,
        id: &str,
        grace: Duration,
        signal: Option<i32>,
    ) -> Result<()> {
        let (state, polite) = {
            let mut state = self.state();
            let container = state.container(id)?;
            (
                container.state(),
                signal.unwrap_or_else(|| stop_signal(&container.record.config)),
            )
        };
        if state == ContainerState::Exited {
            return Ok(());
        }
        if state == ContainerState::Running
            && !grace.is_zero()
            && self.signal(id, polite, grace).await?
        {
            return Ok(());
        }
        if self.signal(id, libc::SIGKILL, KILL_MAX).await? {
            return Ok(());
        }
        let why = format!("still alive {} s after SIGKILL", KILL_MAX.as_secs());
        Err(Error::Shim {
            sandbox: self.sandbox_of(id),
            attempt: "kill the container",
            why,
        })
    }

    pub(super) async fn remove_container(self: Arc<Self>, id: String) -> Result<()> {
        match self.stop_container(&id, Duration::ZERO, None).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        }
        let places = self.state().places_of(&id)?;
        let group = self.container_group(&id)?;
        let delete = Request::Delete {
            container: id.clone(),
        };
        match self.order(&id, "forget the container", delete).await {
            Err(Error::NotRunning(_)) => {} // no shim, no memory of it
            other => other?,
        }
        let files = id.clone();
        blocking(move || {
            group
                .remove()
                .map_err(Error::io("remove cgroup of", &files))?;
            remove_files(&places, &files)
        })
        .await?;
        if let Some(container) = self.state().containers.remove(&id) {
            let sandbox = SandboxId(container.sandbox);
            self.emit(Event::ContainerRemoved {
                sandbox,
                container: ContainerId(id),
            });
        }
        Ok(())
    }

    /// Reports a shim's refusal to attach or exec.
    pub(super) fn refused(&self, id: &str, attempt: &'static str, reply: Reply) -> Error {
        match reply {
            Reply::Failed(failure) => failed(id, attempt, failure),
            other => Error::Shim {
                sandbox: self.sandbox_of(id),
                attempt,
                why: format!("unexpected answer {other:?}"),
            },
        }
    }
}

/// Makes the writable layer and the record. The layer's root shows as the container's, so it looks like the image's.
fn prepare(places: &Places, record: &ContainerRecord) -> Result<()> {
    records::make_private(&places.layer(&record.id))?;
    let (upper, work) = (places.upper(&record.id), places.work(&record.id));
    for directory in [&upper, &work] {
        fs::create_dir(directory).map_err(Error::io("make directory", directory))?;
    }
    let look_alike = |top: &fs::Metadata| -> io::Result<()> {
        std::os::unix::fs::chown(&upper, Some(top.uid()), Some(top.gid()))?;
        fs::set_permissions(&upper, fs::Permissions::from_mode(top.mode() & 0o7777))
    };
    if let Some(layer) = record.config.image.layers.last() {
        let top = fs::metadata(layer).map_err(Error::io("read image layer", layer))?;
        look_alike(&top).map_err(Error::io("prepare writable layer", &upper))?;
    }
    records::write(&places.container(&record.id), record)
}

fn remove_files(places: &Places, id: &str) -> Result<()> {
    remove_tree(&places.layer(id))?;
    for file in [places.exit(id), places.container(id)] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &file)(error));
            }
            _ => {}
        }
    }
    Ok(())
}
