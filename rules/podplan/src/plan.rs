//! The plan: volumes and sandbox, then init containers in order, then containers; probes and restarts on the way.

use crate::note::Note;
use crate::observed::{Busy, Image, Life, SandboxState, Seen, Step};
use crate::policy::{is_sidecar, restarts_after, restarts_after_probe, spec_containers};
use crate::probe::{KINDS, ProbeKind, spec_of};
use crate::resize::{self, Change, Target};
use crate::status::{self, pod_name_and_uid};
use crate::{Moment, Observed, terminate};
use corten_api::core::v1::{Container, PodStatus};
use corten_core::Str;
use std::borrow::Cow;

/// Something to do. Carried out in the background; what comes of it is an [`crate::Input`].
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Mount every volume of the pod.
    MountVolumes,
    /// Make a sandbox with network.
    CreateSandbox {
        /// How many came before it.
        attempt: u32,
    },
    /// Look the container's image up and pull it if the policy says so.
    Pull {
        /// The container.
        container: Str,
    },
    /// Create and start a container and run its postStart hook.
    Start {
        /// The container.
        container: Str,
        /// How many instances came before it.
        attempt: u32,
    },
    /// Run the preStop hook.
    PreStop {
        /// The container.
        container: Str,
        /// Its instance.
        id: Str,
        /// When it is given up.
        deadline: Moment,
        /// Why the container is stopped.
        note: Note,
    },
    /// Stop the container: signal, wait, kill.
    Stop {
        /// The container.
        container: Str,
        /// Its instance.
        id: Str,
        /// When it is killed.
        deadline: Moment,
        /// Milliseconds between signal and kill.
        grace: i64,
        /// Why, unless that was told already.
        note: Option<Note>,
    },
    /// Probe a container once.
    Probe {
        /// The container.
        container: Str,
        /// Its instance.
        id: Str,
        /// Which probe.
        kind: ProbeKind,
    },
    /// Record an event about waiting, once per wait.
    Tell {
        /// The container.
        container: Str,
        /// Until when it waits.
        until: Moment,
        /// The event.
        note: Note,
    },
    /// A container that is stopped for its resize is started again, whatever its policy.
    Restart {
        /// The container.
        container: Str,
    },
    /// Write limits, in order; first see that no lowered memory limit is below what is used.
    Resize {
        /// The writes.
        changes: Vec<Change>,
        /// Memory limits that are lowered, in bytes.
        lowered: Vec<(Target, i64)>,
    },
    /// The pod has what it was granted.
    FinishResize {
        /// The event.
        note: Note,
    },
    /// Stop the sandbox and unmount the volumes; containers and logs stay readable.
    Release,
    /// Remove everything of the pod from the node.
    Clean,
    /// Delete the object from the API, with its UID as precondition.
    Delete,
}

/// What to do now, how the pod is, and when to look again.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In order.
    pub actions: Vec<Action>,
    /// The status as the node knows it.
    pub status: PodStatus,
    /// The status as it is reported: a pod is not reported as ended while a container runs.
    pub report: PodStatus,
    /// The node is ending the pod.
    pub ending: bool,
    /// Nothing remains to be done, ever.
    pub finished: bool,
    /// When to plan again if nothing happens before.
    pub wake_at: Option<Moment>,
}

impl Plan {
    pub(crate) fn wake(&mut self, at: Moment) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(crate) fn wake_for(&mut self, step: &Step) {
        if let Some(at) = step.wake_at() {
            self.wake(at);
        }
    }
}

/// What to do for the pod at `now`.
pub fn plan(o: &Observed, now: Moment) -> Plan {
    let mut plan = Plan {
        status: status::status(o, now),
        ..Plan::default()
    };
    let terminal = matches!(plan.status.phase.as_str(), "Failed" | "Succeeded");
    plan.ending = o.ending() || terminal || exhausted(o);
    if plan.ending {
        terminate::end(o, now, &mut plan);
    } else {
        advance(o, now, &mut plan);
        deadline(o, &mut plan);
    }
    plan.report = plan.status.clone();
    if terminal && o.any_alive() && !matches!(o.reported.phase.as_str(), "Failed" | "Succeeded") {
        plan.report.phase = match o.reported.phase.is_empty() {
            true => "Pending".into(),
            false => o.reported.phase.clone(),
        };
        plan.report.reason = o.reported.reason.clone();
        plan.report.message = o.reported.message.clone();
    }
    plan
}

fn deadline(o: &Observed, plan: &mut Plan) {
    if let (Some(seconds), Some(start)) =
        (o.pod.spec.active_deadline_seconds, plan.status.start_time)
    {
        plan.wake(Moment::from(start).plus_seconds(seconds));
    }
}

/// Whether every container ended and none is started again (sidecars do not count).
fn exhausted(o: &Observed) -> bool {
    let spec = &o.pod.spec;
    let over = |c: &Container| {
        let seen = o.seen(&c.name);
        seen.is_some_and(|s| s.busy.is_none() && !s.resizing)
            && seen
                .and_then(Seen::exit)
                .is_some_and(|exit| !restarts_after(spec, c, exit))
    };
    !spec.containers.is_empty() && spec.containers.iter().all(over)
}

/// Whether an instance of the present sandbox exists.
fn here<'a>(o: &Observed, seen: &'a Seen) -> Option<&'a Life> {
    let current = seen.current.as_ref()?;
    (current.sandbox == o.sandbox.id && !o.sandbox.id.is_empty()).then_some(&current.life)
}

/// Whether a container of the pod proper was made in the present sandbox: then all init containers are through.
pub(crate) fn initialized(o: &Observed) -> bool {
    let made = |c: &Container| o.seen(&c.name).is_some_and(|seen| here(o, seen).is_some());
    o.pod.spec.containers.iter().any(made)
}

fn advance(o: &Observed, now: Moment, plan: &mut Plan) {
    if o.volumes.due(now) {
        plan.actions.push(Action::MountVolumes);
    }
    plan.wake_for(&o.volumes);
    sandbox(o, now, plan);
    probes(o, now, plan);
    let free = resize::advance(o, now, plan);
    for container in wanted(o) {
        if !free || !start(o, &container, now, plan) {
            break;
        }
    }
    for ephemeral in &o.pod.spec.ephemeral_containers {
        let container = crate::as_container(ephemeral);
        if o.seen(&container.name)
            .is_some_and(|seen| seen.current.is_none())
        {
            start(o, &container, now, plan);
        }
    }
}

fn sandbox(o: &Observed, now: Moment, plan: &mut Plan) {
    let due = match &o.sandbox.state {
        SandboxState::None | SandboxState::Dead => true,
        SandboxState::Failed { retry_at, .. } => {
            plan.wake(*retry_at);
            *retry_at <= now
        }
        SandboxState::Busy | SandboxState::Ready => false,
    };
    // Volumes that failed keep the pod from getting a network at all.
    let volumes = matches!(o.volumes, Step::Missing | Step::Busy | Step::Ready);
    if due && volumes && (o.sandbox.attempts == 0 || !o.any_alive()) {
        plan.actions.push(Action::CreateSandbox {
            attempt: o.sandbox.attempts,
        });
    }
}

/// The containers that should run and do not, in the order in which they are started.
fn wanted(o: &Observed) -> Vec<Cow<'_, Container>> {
    let spec = &o.pod.spec;
    let mut wanted = Vec::new();
    let was_initialized = initialized(o);
    for container in &spec.init_containers {
        let Some(seen) = o.seen(&container.name) else {
            continue;
        };
        let life = here(o, seen);
        if is_sidecar(container) {
            if !matches!(life, Some(Life::Running(_))) || seen.busy.is_some() {
                wanted.push(Cow::Borrowed(container));
            }
            let up = matches!(life, Some(Life::Running(_))) && seen.busy.is_none();
            let through = up && seen.probes.started();
            if !was_initialized && !through {
                return wanted;
            }
        } else if !was_initialized
            && !matches!(life, Some(Life::Exited(exit)) if exit.code == 0 && seen.busy.is_none())
        {
            if !matches!(life, Some(Life::Running(_))) || seen.busy.is_some() {
                wanted.push(Cow::Borrowed(container));
            }
            return wanted;
        }
    }
    for container in &spec.containers {
        let Some(seen) = o.seen(&container.name) else {
            continue;
        };
        let missing = match here(o, seen) {
            Some(Life::Running(_)) => seen.busy.is_some(),
            Some(Life::Exited(exit)) => {
                seen.busy.is_some() || seen.resizing || restarts_after(spec, container, exit)
            }
            Some(Life::Created) => true,
            None => seen
                .exit()
                .is_none_or(|exit| seen.resizing || restarts_after(spec, container, exit)),
        };
        if missing {
            wanted.push(Cow::Borrowed(container));
        }
    }
    wanted
}

/// Brings one container a step nearer to running. False when those after it have to wait for it.
fn start(o: &Observed, container: &Container, now: Moment, plan: &mut Plan) -> bool {
    let name = &container.name;
    let Some(seen) = o.seen(name) else {
        return true;
    };
    match seen.busy {
        Some(Busy::Starting) => return false,
        Some(Busy::Stopping { .. }) => return true,
        None => {}
    }
    if let Some(until) = held_back(seen, now) {
        if seen.told_backoff != until {
            let text = format!(
                "Back-off restarting failed container {name} in pod {}",
                pod_name_and_uid(&o.pod)
            );
            let note = Note::warning(name, "BackOff", text);
            plan.actions.push(Action::Tell {
                container: name.clone(),
                until,
                note,
            });
        }
        plan.wake(until);
        return true;
    }
    if let Some(failure) = &seen.failure
        && seen.exit().is_none()
        && failure.retry_at > now
    {
        plan.wake(failure.retry_at);
        return true;
    }
    match &seen.image {
        Image::Busy => return false,
        Image::Failed {
            reason,
            retry_at,
            at,
            ..
        } if *retry_at > now => {
            wait_for_image(container, seen, reason, *at, *retry_at, plan, now);
            return true;
        }
        Image::Unknown | Image::Failed { .. } => {
            plan.actions.push(Action::Pull {
                container: name.clone(),
            });
            return false;
        }
        Image::Present => {}
    }
    if o.sandbox.state == SandboxState::Ready && o.volumes == Step::Ready {
        plan.actions.push(Action::Start {
            container: name.clone(),
            attempt: seen.attempts,
        });
    }
    false
}

/// Until when a container that ended must not be started again.
pub(crate) fn held_back(seen: &Seen, now: Moment) -> Option<Moment> {
    let exit = seen.exit().filter(|_| !seen.resizing)?;
    seen.backoff
        .until(exit.finished)
        .filter(|until| *until > now)
}

/// When a failed pull turns from an error into a back-off, in seconds after the failure.
pub(crate) const PULL_ERROR_SHOWN: i64 = 1;

fn wait_for_image(
    container: &Container,
    seen: &Seen,
    reason: &str,
    at: Moment,
    retry_at: Moment,
    plan: &mut Plan,
    now: Moment,
) {
    plan.wake(retry_at);
    let backs_off = status::backs_off(reason);
    let shown = at.plus_seconds(PULL_ERROR_SHOWN);
    if !backs_off || now < shown {
        if backs_off {
            plan.wake(shown);
        }
        return;
    }
    if seen.told_backoff != retry_at {
        let text = format!("Back-off pulling image {:?}", container.image.as_str());
        let note = Note::normal(&container.name, "BackOff", text);
        plan.actions.push(Action::Tell {
            container: container.name.clone(),
            until: retry_at,
            note,
        });
    }
}

fn probes(o: &Observed, now: Moment, plan: &mut Plan) {
    for container in spec_containers(&o.pod.spec) {
        let Some(seen) = o.seen(&container.name) else {
            continue;
        };
        let Some(since) = seen.running() else {
            continue;
        };
        if let Some(kind) = seen.probes.fatal() {
            kill_for(o, container, seen, kind, now, plan);
            continue;
        }
        if seen.busy.is_some() {
            continue;
        }
        let Some(id) = seen.current.as_ref().map(|current| current.id.clone()) else {
            continue;
        };
        for kind in KINDS {
            let due = spec_of(container, kind).and_then(|spec| seen.probes.due(kind, spec, since));
            match due {
                Some(at) if at <= now => plan.actions.push(Action::Probe {
                    container: container.name.clone(),
                    id: id.clone(),
                    kind,
                }),
                Some(at) => plan.wake(at),
                None => {}
            }
        }
    }
}

fn kill_for(
    o: &Observed,
    container: &Container,
    seen: &Seen,
    kind: ProbeKind,
    now: Moment,
    plan: &mut Plan,
) {
    let spec = &o.pod.spec;
    let init = spec
        .init_containers
        .iter()
        .any(|c| c.name == container.name);
    let what = if init { "Init container" } else { "Container" };
    let probe = kind.name().to_lowercase();
    let mut text = format!("{what} {} failed {probe} probe", container.name);
    if !init && restarts_after_probe(spec, container) {
        text.push_str(", will be restarted");
    }
    let own = spec_of(container, kind).and_then(|probe| probe.termination_grace_period_seconds);
    let grace = own.or(spec.termination_grace_period_seconds).unwrap_or(30);
    let deadline = now.plus_seconds(grace);
    terminate::stop(
        container,
        seen,
        deadline,
        text,
        terminate::Turn::Now,
        now,
        plan,
    );
}
