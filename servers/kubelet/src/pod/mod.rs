//! One task per pod: takes in what happened, asks for a plan, starts its actions, keeps the status written.
//!
//! Invariant: only this task changes the pod's [`Observed`]; actions run beside it and answer through its inbox.

mod checkpoint;
pub(crate) mod context;
pub(crate) mod instance;
pub(crate) mod references;
pub(crate) mod writer;

use crate::{clock, execute};
use context::{Context, Message, Work};
use corten_api::core::v1::Pod;
use corten_core::Str;
use corten_podplan::{Action, Allocation, Checkpoint, Input, Moment, Note, Observed, Plan, plan};
use std::sync::Arc;
use tokio::sync::mpsc;
use writer::Writer;

/// Plans in a row without anything new; more would be a plan that does not come to rest.
const ROUNDS_MAX: usize = 64;

/// A supervised pod, as others reach it.
#[derive(Clone)]
pub(crate) struct Handle {
    pub(crate) pod: Arc<Pod>,
    pub(crate) inbox: mpsc::UnboundedSender<Message>,
    pub(crate) work: Arc<Work>,
}

impl Handle {
    /// Tells the supervisor; it may be gone.
    pub(crate) fn send(&self, input: Input) {
        let _ = self.inbox.send(Message::Input(input));
    }
}

/// Starts a supervisor for `pod`; what the runtime has of it already is given as `known`.
pub(crate) fn supervise(context: &Arc<Context>, pod: Arc<Pod>, known: Known) -> Handle {
    let (inbox, messages) = mpsc::unbounded_channel();
    let kept = checkpoint::read(&context.pod_directory(&pod.metadata.uid));
    let allocation = granted(&pod, &known, kept.as_ref());
    let granted = allocation.overlay(&pod);
    let work = Arc::new(Work::new(context.clone(), granted, inbox.clone()));
    let ips: Vec<Str> = context.facts.host_ips.iter().map(Into::into).collect();
    let mut observed = Observed::new(pod.clone(), ips).with_allocation(allocation);
    adopt(&mut observed, &work, known);
    observed.recall(kept.as_ref());
    let writer = Writer::start(context.clone(), pod.clone(), inbox.clone());
    let supervisor = Supervisor {
        observed,
        work: work.clone(),
        messages,
        writer,
        wake_at: None,
        kept: kept.unwrap_or_default(),
    };
    tokio::spawn(supervisor.run());
    Handle { pod, inbox, work }
}

/// What the runtime has of a pod when it is first heard of.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) sandbox: Option<(corten_runtime::SandboxStatus, Vec<String>)>,
    pub(crate) instances: Vec<(Str, corten_podplan::Instance)>,
}

/// What a pod was granted: what was kept of it, or what its containers are said to have, or what it asks for.
fn granted(pod: &Arc<Pod>, known: &Known, kept: Option<&Checkpoint>) -> Allocation {
    if let Some(kept) = kept {
        return kept.allocation.clone();
    }
    let mut allocation = Allocation::of(&pod.spec);
    if known.sandbox.is_some() {
        let reported = Allocation::reported(&pod.status);
        allocation.containers.extend(reported.containers);
    }
    allocation
}

fn adopt(observed: &mut Observed, work: &Work, known: Known) {
    let now = clock::now();
    if let Some((status, ips)) = known.sandbox {
        observed.sandbox.attempts = status.attempt + 1;
        let id: Str = status.id.as_str().into();
        work.adopt_sandbox(&status.id, &ips);
        let ips = ips.iter().map(Into::into).collect();
        observed.apply(Input::Sandbox(Ok((id.clone(), ips))), now);
        if status.state != corten_runtime::SandboxState::Ready {
            observed.apply(Input::SandboxDied(id), now);
        }
    }
    for (name, instance) in known.instances {
        observed.apply(Input::Instance(name, instance), now);
    }
    observed.adopt();
}

struct Supervisor {
    observed: Observed,
    work: Arc<Work>,
    messages: mpsc::UnboundedReceiver<Message>,
    writer: Writer,
    wake_at: Option<Moment>,
    /// What is on disk of its resize.
    kept: Checkpoint,
}

impl Supervisor {
    async fn run(mut self) {
        if let Some(rejection) = self.work.context.admit(&self.observed.pod) {
            self.apply(Input::Rejected(rejection));
        }
        loop {
            if self.advance() {
                break;
            }
            let wake = self.wake_at.map(clock::until);
            let refresh = self.work.refresh_in();
            let sleep = match (wake, refresh) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            let message = match sleep {
                Some(duration) => tokio::time::timeout(duration, self.messages.recv())
                    .await
                    .ok(),
                None => Some(self.messages.recv().await),
            };
            match message {
                Some(Some(message)) => self.take(message),
                Some(None) => break,
                None if self.work.refresh_in().is_some_and(|d| d.is_zero()) => self.refresh(),
                None => {}
            }
            while let Ok(message) = self.messages.try_recv() {
                self.take(message);
            }
        }
        self.work.context.forget(&self.observed.pod);
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Input(input) => {
                if let Input::Pod(pod) = &input {
                    self.work.set_pod(pod.clone());
                    if self.observed.pod.metadata != pod.metadata {
                        self.refresh();
                    }
                }
                self.apply(input);
            }
            Message::Referenced => {
                self.apply(Input::Retry);
                self.refresh();
            }
        }
    }

    fn apply(&mut self, input: Input) {
        let notes = self.observed.apply(input, clock::now());
        self.tell(notes);
    }

    fn tell(&self, notes: impl IntoIterator<Item = Note>) {
        for note in notes {
            self.work.tell(note);
        }
    }

    /// Brings mounted files up to date with what they refer to.
    fn refresh(&self) {
        let mounted = self.observed.volumes == corten_podplan::Step::Ready;
        if mounted && !self.observed.ending() {
            tokio::spawn(execute::volumes::refresh(self.work.clone()));
        }
    }

    /// Plans until nothing more is to be started. True when the pod is done with.
    fn advance(&mut self) -> bool {
        for _ in 0..ROUNDS_MAX {
            let now = clock::now();
            let plan = plan(&self.observed, now);
            self.wake_at = plan.wake_at;
            if plan.report != self.observed.reported {
                self.work.set_status(plan.report.clone());
            }
            self.observed.settle(&plan, now);
            self.writer.report(&plan);
            if plan.finished {
                return true;
            }
            self.keep();
            if plan.actions.is_empty() {
                return false;
            }
            self.start(plan, now);
        }
        tracing::error!(pod = %self.observed.pod.metadata.full_name(), "the plan of a pod does not come to rest");
        false
    }

    /// Keeps on disk what has to be known of the pod's resize.
    fn keep(&mut self) {
        if !self.observed.resize.happened {
            return;
        }
        let checkpoint = self.observed.checkpoint();
        if checkpoint != self.kept {
            let pod = &self.observed.pod;
            let directory = self.work.context.pod_directory(&pod.metadata.uid);
            checkpoint::write(&directory, &checkpoint);
            self.kept = checkpoint;
        }
    }

    fn start(&mut self, plan: Plan, now: Moment) {
        for action in plan.actions {
            self.observed.begin(&action, now);
            self.tell(note_of(&action).cloned());
            match action {
                Action::Tell { .. } | Action::Restart { .. } | Action::FinishResize { .. } => {}
                Action::Delete => self.writer.delete(),
                action => {
                    tokio::spawn(execute::carry_out(self.work.clone(), action));
                }
            }
        }
    }
}

/// The event that goes with starting an action, if it has one.
fn note_of(action: &Action) -> Option<&Note> {
    match action {
        Action::Tell { note, .. }
        | Action::PreStop { note, .. }
        | Action::FinishResize { note } => Some(note),
        Action::Stop { note, .. } => note.as_ref(),
        _ => None,
    }
}
