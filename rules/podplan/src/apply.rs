//! Taking in what happened: results of actions, changes of the object, events of the runtime.

use crate::note::Note;
use crate::observed::{Busy, Exit, Failure, Hook, Image, Instance, Life, SandboxState, Step};
use crate::plan::{Action, Plan};
use crate::probe::{ProbeKind, ProbeResult, spec_of};
use crate::resize::{Resized, Verdict};
use crate::resources::Sizes;
use crate::{Backoff, Moment, Observed, Rejection, container_of};
use corten_api::core::v1::Pod;
use corten_core::Str;
use std::sync::Arc;

/// Seconds after which a failed step is tried again.
const RETRY: i64 = 10;

/// Something that happened to a pod.
#[derive(Clone, Debug)]
pub enum Input {
    /// The object changed.
    Pod(Arc<Pod>),
    /// The object is gone from the API.
    Removed,
    /// The node refuses the pod.
    Rejected(Rejection),
    /// Mounting the volumes ended.
    Volumes(Result<(), String>),
    /// Making a sandbox ended: its identity and addresses.
    Sandbox(Result<(Str, Vec<Str>), String>),
    /// A sandbox stopped or died.
    SandboxDied(Str),
    /// Looking up or pulling a container's image ended, with waiting reason and message when in vain.
    Image(Str, Result<(), (Str, String)>),
    /// An instance was made, started or ended.
    Instance(Str, Instance),
    /// Creating and starting a container ended, with waiting reason and message when in vain.
    Started(Str, Result<(), (Str, String)>),
    /// Stopping a container ended in vain.
    StopFailed(Str),
    /// A preStop hook ended.
    HookDone(Str),
    /// A probe of the instance ended.
    Probed(Str, Str, ProbeKind, ProbeResult),
    /// Stopping the sandbox and unmounting ended.
    Released(Result<(), String>),
    /// Removing everything of the pod ended.
    Cleaned(Result<(), String>),
    /// Asking the API to delete the object ended.
    Deleted(Result<(), String>),
    /// The node decided about the resources that the spec asks for.
    Judged(Verdict),
    /// Writing limits ended.
    Resized(Resized),
    /// Something that the pod refers to changed: what failed for want of it may be tried again at once.
    Retry,
}

fn step(result: Result<(), String>, now: Moment) -> Step {
    match result {
        Ok(()) => Step::Ready,
        Err(message) => Step::Failed {
            message,
            retry_at: now.plus_seconds(RETRY),
        },
    }
}

impl Observed {
    /// Takes in what happened at `now`; gives the events to record.
    pub fn apply(&mut self, input: Input, now: Moment) -> Vec<Note> {
        match input {
            Input::Pod(pod) => self.change(pod, now),
            Input::Removed => {
                self.removed = true;
                self.ending_since.get_or_insert(now);
            }
            Input::Rejected(rejection) => {
                let note = Note::warning("", "Rejected", rejection.message.clone());
                self.rejection = Some(rejection);
                return vec![note];
            }
            Input::Volumes(result) => self.volumes = step(result, now),
            Input::Sandbox(result) => return self.sandbox_made(result, now),
            Input::SandboxDied(id) => {
                if self.sandbox.id == id {
                    self.sandbox.state = SandboxState::Dead;
                }
            }
            Input::Image(name, result) => self.image(&name, result, now),
            Input::Instance(name, instance) => self.instance(&name, instance),
            Input::Started(name, result) => return self.started(&name, result, now),
            Input::StopFailed(name) => {
                if let Some(seen) = self.containers.get_mut(&name)
                    && matches!(seen.busy, Some(Busy::Stopping { .. }))
                {
                    seen.busy = None;
                }
            }
            Input::HookDone(name) => {
                if let Some(seen) = self.containers.get_mut(&name) {
                    seen.hook = Hook::Done;
                }
            }
            Input::Probed(name, id, kind, result) => return self.probed(&name, &id, kind, result),
            Input::Released(result) => self.released = step(result, now),
            Input::Cleaned(result) => self.cleaned = step(result, now),
            Input::Deleted(result) => self.deleted = step(result, now),
            Input::Judged(verdict) => return self.judged(verdict, now),
            Input::Resized(result) => return self.resized(result, now),
            Input::Retry => self.retry(now),
        }
        Vec::new()
    }

    fn change(&mut self, pod: Arc<Pod>, now: Moment) {
        let grace = |pod: &Pod| pod.metadata.deletion_grace_period_seconds;
        if pod.metadata.deletion_timestamp.is_some()
            && (self.ending_since.is_none() || grace(&pod) != grace(&self.pod))
        {
            self.ending_since = Some(now);
        }
        self.set_pod(pod);
    }

    fn sandbox_made(&mut self, result: Result<(Str, Vec<Str>), String>, now: Moment) -> Vec<Note> {
        match result {
            Ok((id, ips)) => {
                self.sandbox.id = id;
                self.sandbox.ips = ips;
                self.sandbox.state = SandboxState::Ready;
                Vec::new()
            }
            Err(message) => {
                let note = Note::warning(
                    "",
                    "FailedCreatePodSandBox",
                    format!("Failed to create pod sandbox: {message}"),
                );
                let retry_at = now.plus_seconds(RETRY);
                self.sandbox.state = SandboxState::Failed { message, retry_at };
                vec![note]
            }
        }
    }

    fn image(&mut self, name: &str, result: Result<(), (Str, String)>, now: Moment) {
        let Some(seen) = self.containers.get_mut(name) else {
            return;
        };
        seen.image = match result {
            Ok(()) => {
                seen.image_backoff = Backoff::default();
                Image::Present
            }
            Err((reason, message)) => {
                seen.image_backoff = seen.image_backoff.next(now, now);
                let retry_at = now.plus_seconds(seen.image_backoff.delay);
                Image::Failed {
                    reason,
                    message,
                    retry_at,
                    at: now,
                }
            }
        };
    }

    fn instance(&mut self, name: &str, instance: Instance) {
        let Some(seen) = self.containers.get_mut(name) else {
            return;
        };
        seen.attempts = seen.attempts.max(instance.attempt + 1);
        let exited = matches!(instance.life, Life::Exited(_));
        match &mut seen.current {
            Some(current) if current.id == instance.id => {
                // What ended stays ended: reports may overtake each other.
                if !matches!(current.life, Life::Exited(_)) {
                    *current = instance;
                }
            }
            Some(current) if instance.attempt < current.attempt => {
                if let Life::Exited(exit) = instance.life {
                    seen.previous.get_or_insert(exit);
                }
                return;
            }
            _ => {
                if let Some(exit) = seen.exit().cloned() {
                    seen.previous = Some(exit);
                }
                seen.current = Some(instance);
                seen.hook = Hook::Waiting;
                seen.probes.reset();
            }
        }
        if exited {
            if matches!(seen.busy, Some(Busy::Stopping { .. })) {
                seen.busy = None;
            }
            // The image is looked up again before the next start, and pulled again if the policy says so.
            if seen.image == Image::Present {
                seen.image = Image::Unknown;
            }
        }
    }

    fn started(&mut self, name: &str, result: Result<(), (Str, String)>, now: Moment) -> Vec<Note> {
        let Some(seen) = self.containers.get_mut(name) else {
            return Vec::new();
        };
        if seen.busy == Some(Busy::Starting) {
            seen.busy = None;
        }
        match result {
            Ok(()) => {
                seen.failure = None;
                Vec::new()
            }
            Err((reason, message)) => {
                // A hook's message may hold secrets.
                let told = match reason.as_str() {
                    "PostStartHookError" => None,
                    _ => Some(Note::warning(name, "Failed", format!("Error: {message}"))),
                };
                let retry_at = now.plus_seconds(RETRY);
                seen.failure = Some(Failure {
                    reason,
                    message,
                    retry_at,
                });
                told.into_iter().collect()
            }
        }
    }

    fn probed(&mut self, name: &str, id: &str, kind: ProbeKind, result: ProbeResult) -> Vec<Note> {
        let pod = self.pod.clone();
        let ending = self.ending();
        let (Some(seen), Some(container)) =
            (self.containers.get_mut(name), container_of(&pod.spec, name))
        else {
            return Vec::new();
        };
        let current = seen
            .current
            .as_ref()
            .is_some_and(|current| current.id == id);
        let (true, Some(spec)) = (current, spec_of(&container, kind)) else {
            return Vec::new();
        };
        let quiet = ending || seen.running().is_none();
        seen.probes
            .record(kind, spec, result == ProbeResult::Success);
        let text = match result {
            ProbeResult::Success => return Vec::new(),
            ProbeResult::Failure(output) => format!("{} probe failed: {output}", kind.name()),
            ProbeResult::Error(error) => {
                format!(
                    "{} probe errored and resulted in unknown state: {error}",
                    kind.name()
                )
            }
        };
        if quiet {
            Vec::new()
        } else {
            vec![Note::warning(name, "Unhealthy", text)]
        }
    }

    fn retry(&mut self, now: Moment) {
        if let Step::Failed { retry_at, .. } = &mut self.volumes {
            *retry_at = now;
        }
        for seen in self.containers.values_mut() {
            if let Some(failure) = &mut seen.failure
                && failure.reason == "CreateContainerConfigError"
            {
                failure.retry_at = now;
            }
        }
    }

    /// Notes that `action` was started at `now`.
    pub fn begin(&mut self, action: &Action, now: Moment) {
        match action {
            Action::MountVolumes => self.volumes = Step::Busy,
            Action::CreateSandbox { .. } => {
                self.sandbox.attempts += 1;
                self.resize.group = Some(Sizes::of_pod(&self.pod.spec));
                self.sandbox.state = SandboxState::Busy;
            }
            Action::Pull { container } => {
                if let Some(seen) = self.containers.get_mut(container) {
                    seen.image = Image::Busy;
                }
            }
            Action::Start { container, .. } => self.begin_start(container, now),
            Action::PreStop {
                container,
                deadline,
                ..
            } => {
                if let Some(seen) = self.containers.get_mut(container) {
                    seen.hook = Hook::Running;
                    seen.busy = Some(Busy::Stopping {
                        deadline: *deadline,
                        sent: None,
                    });
                }
            }
            Action::Stop {
                container,
                deadline,
                ..
            } => {
                if let Some(seen) = self.containers.get_mut(container) {
                    seen.busy = Some(Busy::Stopping {
                        deadline: *deadline,
                        sent: Some(*deadline),
                    });
                }
            }
            Action::Probe {
                container, kind, ..
            } => {
                if let Some(seen) = self.containers.get_mut(container) {
                    seen.probes.begin(*kind, now);
                }
            }
            Action::Tell {
                container, until, ..
            } => {
                if let Some(seen) = self.containers.get_mut(container) {
                    seen.told_backoff = *until;
                }
            }
            Action::Restart { container } => {
                if let Some(seen) = self.containers.get_mut(container) {
                    seen.resizing = true;
                }
            }
            Action::Resize { .. } => self.resize.step = Step::Busy,
            Action::FinishResize { .. } => self.resize.progress = None,
            Action::Release => self.released = Step::Busy,
            Action::Clean => self.cleaned = Step::Busy,
            Action::Delete => self.deleted = Step::Busy,
        }
    }

    fn begin_start(&mut self, name: &str, now: Moment) {
        let pod = self.pod.clone();
        let Some(seen) = self.containers.get_mut(name) else {
            return;
        };
        let sizes = container_of(&pod.spec, name).map(|c| Sizes::of_container(&pod.spec, &c));
        seen.actuated = sizes;
        if std::mem::take(&mut seen.resizing) {
            seen.busy = Some(Busy::Starting);
            return;
        }
        if let Some(finished) = seen.exit().map(|exit: &Exit| exit.finished) {
            seen.backoff = seen.backoff.next(finished, now);
        }
        seen.busy = Some(Busy::Starting);
    }

    /// Keeps what a plan said, as the basis of the next one.
    pub fn settle(&mut self, plan: &Plan, now: Moment) {
        self.last = plan.status.clone();
        self.reported = plan.report.clone();
        if plan.ending {
            self.ending_since.get_or_insert(now);
        }
    }

    /// Takes over what the API said of a pod that ran before this agent was started.
    pub fn adopt(&mut self) {
        let status = &self.pod.status;
        for reported in status
            .container_statuses
            .iter()
            .chain(status.init_container_statuses.iter())
        {
            if let Some(seen) = self.containers.get_mut(&reported.name)
                && seen
                    .current
                    .as_ref()
                    .is_some_and(|c| c.id == reported.container_id)
            {
                seen.probes
                    .adopt(reported.started == Some(true), reported.ready);
            }
        }
    }
}
