//! The status of one container: waiting, running or terminated, and why.

use crate::observed::{Busy, Exit, Image, Life, Seen};
use crate::plan::{PULL_ERROR_SHOWN, held_back, initialized};
use crate::policy::{is_sidecar, restarts_after};
use crate::status::pod_name_and_uid;
use crate::{Moment, Observed};
use corten_api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, ContainerUser, LinuxContainerUser,
    ResourceRequirements, VolumeMountStatus,
};
use corten_core::{Map, Quantity, QuantityFormat, Time};

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Main,
    Ephemeral,
}

/// Whether failing to get an image for this reason leads to a back-off.
pub(crate) fn backs_off(reason: &str) -> bool {
    !matches!(reason, "ErrImageNeverPull" | "InvalidImageName")
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(Box::new(ContainerStateWaiting {
            reason: reason.into(),
            message: message.into(),
        })),
        ..ContainerState::default()
    }
}

/// An exit as the API shows it.
fn terminated(exit: &Exit) -> ContainerState {
    let time = |moment: Moment| moment.time();
    ContainerState {
        terminated: Some(Box::new(ContainerStateTerminated {
            exit_code: exit.code,
            signal: exit.signal,
            reason: exit.reason.clone(),
            message: exit.message.as_str().into(),
            started_at: exit.started.map_or(Time::default(), time),
            finished_at: time(exit.finished),
            container_id: exit.id.clone(),
        })),
        ..ContainerState::default()
    }
}

pub(super) fn container_status(
    o: &Observed,
    container: &Container,
    role: Role,
    now: Moment,
) -> ContainerStatus {
    let lists = [
        &o.last.init_container_statuses,
        &o.last.container_statuses,
        &o.last.ephemeral_container_statuses,
    ];
    let old = lists
        .into_iter()
        .flat_map(|list| list.iter())
        .find(|s| s.name == container.name);
    let empty = Seen::default();
    let seen = o.seen(&container.name).unwrap_or(&empty);
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone(),
        volume_mounts: container.volume_mounts.iter().map(mount_status).collect(),
        ..ContainerStatus::default()
    };
    match &seen.current {
        Some(_) => current(o, container, seen, role, &mut status),
        None => absent(o, container, old, role, &mut status),
    }
    if let Some(state) = held(o, container, seen, role, now) {
        if status.state.terminated.is_some() {
            status.last_termination_state = std::mem::take(&mut status.state);
        }
        status.state = state;
    }
    readiness(container, seen, role, &mut status);
    status
}

fn mount_status(mount: &corten_api::core::v1::VolumeMount) -> VolumeMountStatus {
    let recursive = match mount.recursive_read_only.as_deref() {
        Some("Enabled" | "IfPossible") => "Enabled",
        _ => "Disabled",
    };
    VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
        recursive_read_only: mount.read_only.then(|| recursive.into()),
        ..VolumeMountStatus::default()
    }
}

/// The state when nothing else is known: not begun.
fn not_begun(o: &Observed) -> ContainerState {
    match o.pod.spec.init_containers.is_empty() {
        true => waiting("ContainerCreating", ""),
        false => waiting("PodInitializing", ""),
    }
}

fn absent(
    o: &Observed,
    container: &Container,
    old: Option<&ContainerStatus>,
    role: Role,
    status: &mut ContainerStatus,
) {
    status.state = not_begun(o);
    if let Some(old) = old {
        status.restart_count = old.restart_count;
        status.last_termination_state = old.last_termination_state.clone();
        if old.state.terminated.is_some() {
            *status = old.clone();
        } else if old.state.running.is_some() && status.last_termination_state.terminated.is_none()
        {
            let lost = Exit {
                code: 137,
                reason: "ContainerStatusUnknown".into(),
                message: "The container could not be located when the pod was deleted.  The container used to be \
                          Running"
                    .into(),
                ..Exit::default()
            };
            status.last_termination_state = terminated(&lost);
            if let Some(state) = &mut status.last_termination_state.terminated {
                state.finished_at = Time::default();
            }
            if o.pod.metadata.deletion_timestamp.is_none() {
                status.restart_count += 1;
            }
        }
    }
    if role == Role::Init
        && !is_sidecar(container)
        && status.state.waiting.is_some()
        && initialized(o)
    {
        let done = Exit {
            reason: "Completed".into(),
            message: "Unable to get init container status from container runtime and pod has been initialized, treat \
                      it as exited normally"
                .into(),
            ..Exit::default()
        };
        status.state = terminated(&done);
        if let Some(state) = &mut status.state.terminated {
            state.finished_at = Time::default();
        }
    }
}

fn current(
    o: &Observed,
    container: &Container,
    seen: &Seen,
    role: Role,
    status: &mut ContainerStatus,
) {
    let Some(instance) = &seen.current else {
        return;
    };
    if !instance.image.is_empty() {
        status.image = instance.image.clone();
    }
    status.image_id = instance.image_id.clone();
    status.container_id = instance.id.clone();
    status.restart_count = i32::try_from(instance.attempt).unwrap_or(i32::MAX);
    if let Some(previous) = &seen.previous {
        status.last_termination_state = terminated(previous);
    }
    status.state = match &instance.life {
        Life::Created => waiting("", ""),
        Life::Running(since) => ContainerState {
            running: Some(Box::new(ContainerStateRunning {
                started_at: since.time(),
            })),
            ..ContainerState::default()
        },
        Life::Exited(exit) => terminated(exit),
    };
    // Until its postStart hook has ended a container does not count as begun.
    if seen.busy == Some(Busy::Starting) && !matches!(instance.life, Life::Exited(_)) {
        status.state = not_begun(o);
    }
    if role != Role::Ephemeral {
        status.allocated_resources = container.resources.requests.clone();
        status.resources = Some(Box::new(resources(container, seen)));
    }
    status.user = instance.user.as_ref().map(|(uid, gid, groups)| {
        let linux = LinuxContainerUser {
            uid: *uid,
            gid: *gid,
            supplemental_groups: groups.iter().copied().collect(),
        };
        Box::new(ContainerUser {
            linux: Some(Box::new(linux)),
        })
    });
    if let Some(lifecycle) = &container.lifecycle {
        status.stop_signal = lifecycle.stop_signal.clone();
    }
}

/// What a container has: what it was granted, as far as that has been carried out.
fn resources(container: &Container, seen: &Seen) -> ResourceRequirements {
    let mut resources = container.resources.clone();
    let (Some(_), Some(sizes)) = (seen.running(), seen.actuated) else {
        return resources;
    };
    let milli = |value: i64| Quantity::new_milli(value, QuantityFormat::DecimalSi);
    let bytes = |value: i64| Quantity::new(value, QuantityFormat::BinarySi);
    let set = |map: &mut Map<Quantity>, name: &str, quantity: Quantity| {
        if !quantity.is_zero() && !map.is_empty() && map.get(name) != Some(&quantity) {
            map.insert(name, quantity);
        }
    };
    set(&mut resources.limits, "cpu", milli(sizes.cpu_limit));
    set(&mut resources.limits, "memory", bytes(sizes.memory_limit));
    set(&mut resources.requests, "cpu", milli(sizes.cpu_request));
    set(
        &mut resources.requests,
        "memory",
        bytes(sizes.memory_request),
    );
    resources
}

/// The waiting state of a container that should run and cannot.
fn held(
    o: &Observed,
    container: &Container,
    seen: &Seen,
    role: Role,
    now: Moment,
) -> Option<ContainerState> {
    let again = match (&seen.current, role) {
        (None, _) => true,
        (Some(_), Role::Ephemeral) => false,
        (Some(instance), _) => match &instance.life {
            Life::Exited(exit) => seen.resizing || restarts_after(&o.pod.spec, container, exit),
            Life::Created => true,
            Life::Running(_) => false,
        },
    };
    let restarting = seen.busy == Some(Busy::Starting);
    if !again || (seen.current.is_some() && (restarting || o.ending() || o.ending_since.is_some()))
    {
        return None;
    }
    if let Image::Failed {
        reason,
        message,
        at,
        ..
    } = &seen.image
    {
        return Some(
            match backs_off(reason) && now >= at.plus_seconds(PULL_ERROR_SHOWN) {
                true => {
                    let image = container.image.as_str();
                    let text = format!("Back-off pulling image {image:?}: {reason}: {message}");
                    waiting("ImagePullBackOff", &text)
                }
                false => waiting(reason, message),
            },
        );
    }
    if let Some(failure) = &seen.failure
        && (seen.exit().is_none() || held_back(seen, now).is_none())
    {
        return Some(waiting(&failure.reason, &failure.message));
    }
    held_back(seen, now).map(|_| {
        let text = format!(
            "back-off {} restarting failed container={} pod={}",
            seen.backoff.text(),
            container.name,
            pod_name_and_uid(&o.pod)
        );
        waiting("CrashLoopBackOff", &text)
    })
}

fn readiness(container: &Container, seen: &Seen, role: Role, status: &mut ContainerStatus) {
    let running = status.state.running.is_some();
    if role == Role::Ephemeral {
        return;
    }
    let plain_init = role == Role::Init && !is_sidecar(container);
    let started = running && seen.probes.started();
    status.started = Some(started);
    status.ready = match plain_init {
        true => status
            .state
            .terminated
            .as_ref()
            .is_some_and(|t| t.exit_code == 0),
        false => started && seen.probes.ready(),
    };
}
