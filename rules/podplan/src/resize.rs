//! Resizing a pod in place: which containers change as they run, which are stopped to start anew, and in what order
//! limits are written so that no container ever has more than its pod.

use crate::note::{Note, NoteKind};
use crate::observed::{Busy, SandboxState, Seen, Step};
use crate::plan::{Action, Plan};
use crate::policy::spec_containers;
use crate::resources::Sizes;
use crate::{Allocation, Moment, Observed, terminate};
use corten_api::core::v1::{Container, Pod, PodCondition};
use corten_core::{Str, Value, to_value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Seconds after which a resize that failed is tried again.
const RETRY: i64 = 10;

/// How the resize of a pod goes.
#[derive(Clone, Debug, Default)]
pub struct Resize {
    /// The node has no room for it yet (condition PodResizePending).
    pub pending: Option<Standing>,
    /// It is granted and not carried out yet (condition PodResizeInProgress).
    pub progress: Option<Standing>,
    /// What the pod's control group was sized for; nothing before it was made.
    pub group: Option<Sizes>,
    /// Writing the limits.
    pub step: Step,
    /// The pod has been resized on this node, so its grant has to be remembered.
    pub happened: bool,
}

/// One of the conditions about resizing, which are there or not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// `Deferred`, `Infeasible`, `Error` or nothing.
    pub reason: Str,
    /// Why.
    pub message: String,
    /// The generation of the pod that asked for it.
    pub generation: i64,
    /// Since when it stands for this reason.
    pub since: Moment,
}

impl Standing {
    fn of(condition: &PodCondition) -> Standing {
        Standing {
            reason: condition.reason.clone(),
            message: condition.message.to_string(),
            generation: condition.observed_generation,
            since: condition.last_transition_time.into(),
        }
    }
}

/// What the node decided about the resources that the spec of a pod asks for.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The pod, as the API has it, gets what it asks for.
    Granted(Arc<Pod>),
    /// There is no room now: the pod, the node's reason such as `OutOfcpu`, and a text.
    Deferred(Arc<Pod>, Str, String),
    /// It asks for what it has.
    Settled,
}

/// Whose limits are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The pod's control group.
    Pod,
    /// A container's: its name and instance.
    Container(Str, Str),
}

/// Which limits are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// The memory limit.
    Memory,
    /// The CPU quota.
    CpuLimit,
    /// The CPU weight.
    CpuRequest,
}

/// One write to one control group.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Whose.
    pub target: Target,
    /// Which.
    pub knob: Knob,
    /// What all its limits are to be in the end.
    pub sizes: Sizes,
}

/// What came of writing limits.
#[derive(Clone, Debug, Default)]
pub struct Resized {
    /// The writes that succeeded, in order.
    pub done: Vec<Change>,
    /// Why it ended early.
    pub error: Option<String>,
}

/// What has to be remembered of a resized pod when the agent is started again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// What was granted.
    pub allocation: Allocation,
    /// What the pod's control group was sized for.
    pub group: Option<Sizes>,
    /// What instances of containers have, by name: instance and sizes.
    pub containers: BTreeMap<Str, (Str, Sizes)>,
}

impl Observed {
    /// The pod was granted `allocation` when it came to this node.
    #[must_use]
    pub fn with_allocation(mut self, allocation: Allocation) -> Observed {
        self.allocation = allocation;
        let desired = self.desired.clone();
        self.set_pod(desired);
        for condition in &self.desired.status.conditions {
            let standing = Some(Standing::of(condition));
            match condition.type_.as_str() {
                "PodResizePending" => self.resize.pending = standing,
                "PodResizeInProgress" => self.resize.progress = standing,
                _ => {}
            }
        }
        self
    }

    /// What to remember of the pod's resize.
    pub fn checkpoint(&self) -> Checkpoint {
        let of = |(name, seen): (&Str, &Seen)| {
            let id = seen.current.as_ref()?.id.clone();
            Some((name.clone(), (id, seen.actuated?)))
        };
        Checkpoint {
            allocation: self.allocation.clone(),
            group: self.resize.group,
            containers: self.containers.iter().filter_map(of).collect(),
        }
    }

    /// Takes over what was remembered, or else what the API says, of containers that ran before this agent was started.
    pub fn recall(&mut self, checkpoint: Option<&Checkpoint>) {
        let pod = self.pod.clone();
        if self.sandbox.id.is_empty() {
            return;
        }
        self.resize.happened = checkpoint.is_some();
        self.resize.group = match checkpoint {
            Some(checkpoint) => checkpoint.group,
            None => Some(Sizes::of_pod(&pod.spec)),
        };
        for container in spec_containers(&pod.spec) {
            let Some(seen) = self.containers.get_mut(&container.name) else {
                continue;
            };
            let id = seen.current.as_ref().map(|current| current.id.clone());
            let kept = checkpoint.and_then(|c| c.containers.get(&container.name));
            seen.actuated = match kept {
                Some((of, sizes)) if Some(of) == id.as_ref() => Some(*sizes),
                _ => id.map(|_| Sizes::of_container(&pod.spec, container)),
            };
        }
    }

    /// Takes in what the node decided.
    pub(crate) fn judged(&mut self, verdict: Verdict, now: Moment) -> Vec<Note> {
        match verdict {
            Verdict::Settled => {
                self.resize.pending = None;
                Vec::new()
            }
            Verdict::Granted(pod) => {
                self.allocation = Allocation::of(&pod.spec);
                let desired = self.desired.clone();
                self.set_pod(desired);
                self.resize.happened = true;
                self.resize.pending = None;
                self.resize.step = Step::Missing;
                self.resize.progress = Some(Standing {
                    generation: pod.metadata.generation,
                    since: now,
                    ..Standing::default()
                });
                let text = summary("started", &pod, pod.metadata.generation, "");
                vec![Note::normal("", "ResizeStarted", text)]
            }
            Verdict::Deferred(pod, reason, message) => {
                let generation = pod.metadata.generation;
                let old = self.resize.pending.as_ref();
                let told = old.is_some_and(|p| p.generation == generation);
                let since = old.map_or(now, |p| p.since);
                let text = summary(&reason, &pod, generation, &message);
                self.resize.pending = Some(Standing {
                    reason: "Deferred".into(),
                    message,
                    generation,
                    since,
                });
                let note = Note::warning("", "ResizeDeferred", text);
                if told { Vec::new() } else { vec![note] }
            }
        }
    }

    /// Takes in what came of writing limits.
    pub(crate) fn resized(&mut self, result: Resized, now: Moment) -> Vec<Note> {
        for change in &result.done {
            let sizes = match &change.target {
                Target::Pod => self.resize.group.as_mut(),
                Target::Container(name, id) => self.actuated_of(name, id),
            };
            if let Some(sizes) = sizes {
                sizes.take(change.knob, &change.sizes);
            }
        }
        let Some(message) = result.error else {
            self.resize.step = Step::Missing;
            return Vec::new();
        };
        let retry_at = now.plus_seconds(RETRY);
        self.resize.step = Step::Failed {
            message: message.clone(),
            retry_at,
        };
        let generation = self.pod.metadata.generation;
        let standing = self.resize.progress.get_or_insert_with(|| Standing {
            generation,
            since: now,
            ..Standing::default()
        });
        if standing.message == message {
            return Vec::new();
        }
        if standing.reason != "Error" {
            standing.since = now;
        }
        standing.reason = "Error".into();
        standing.message.clone_from(&message);
        let text = summary("error", &self.pod, standing.generation, &message);
        vec![Note::warning("", "ResizeError", text)]
    }

    fn actuated_of(&mut self, name: &str, id: &str) -> Option<&mut Sizes> {
        let seen = self.containers.get_mut(name)?;
        let same = seen.current.as_ref().is_some_and(|c| c.id == id);
        if same { seen.actuated.as_mut() } else { None }
    }
}

/// `Pod resize WHAT: {json}` with the resources that were asked for.
fn summary(what: &str, pod: &Pod, generation: i64, error: &str) -> String {
    let list = |containers: &[Container]| {
        let of = |c: &Container| {
            let mut one = Value::map();
            one.set(&["name"], c.name.clone());
            one.set(&["resources"], to_value(&c.resources).unwrap_or_default());
            one
        };
        Value::List(containers.iter().map(of).collect())
    };
    let text = |value: &Value| {
        String::from_utf8_lossy(&corten_codec::json::encode_value(value)).into_owned()
    };
    let mut parts = Vec::new();
    if !pod.spec.init_containers.is_empty() {
        parts.push(format!(
            r#""initContainers":{}"#,
            text(&list(&pod.spec.init_containers))
        ));
    }
    parts.push(format!(
        r#""containers":{}"#,
        text(&list(&pod.spec.containers))
    ));
    parts.push(format!(r#""generation":{generation}"#));
    if !error.is_empty() {
        parts.push(format!(r#""error":{}"#, text(&Value::Str(error.into()))));
    }
    format!("Pod resize {what}: {{{}}}", parts.join(","))
}

/// What one container has to change.
struct Need<'a> {
    container: &'a Container,
    seen: &'a Seen,
    has: Sizes,
    wants: Sizes,
}

impl Need<'_> {
    fn restarts(&self) -> bool {
        let policy = |resource: &str| {
            let found = self
                .container
                .resize_policy
                .iter()
                .find(|p| p.resource_name == resource);
            found.is_some_and(|p| p.restart_policy == "RestartContainer")
        };
        let (has, wants) = (&self.has, &self.wants);
        let cpu = (has.cpu_request, has.cpu_limit) != (wants.cpu_request, wants.cpu_limit);
        let memory =
            (has.memory_request, has.memory_limit) != (wants.memory_request, wants.memory_limit);
        (cpu && policy("cpu")) || (memory && policy("memory"))
    }
}

fn need<'a>(o: &'a Observed, container: &'a Container) -> Option<Need<'a>> {
    let seen = o.seen(&container.name)?;
    seen.running()?;
    let has = seen.actuated?;
    let wants = Sizes::of_container(&o.pod.spec, container);
    (has != wants).then_some(Need {
        container,
        seen,
        has,
        wants,
    })
}

fn needs(o: &Observed) -> Vec<Need<'_>> {
    spec_containers(&o.pod.spec)
        .filter_map(|c| need(o, c))
        .collect()
}

/// The control group of the pod, as it is and as it should be, where they differ.
fn group(o: &Observed) -> Option<(Sizes, Sizes)> {
    let has = o.resize.group?;
    let mut wants = Sizes::of_pod(&o.pod.spec);
    // A limit of the pod is never taken away again.
    if wants.memory_limit == 0 {
        wants.memory_limit = has.memory_limit;
    }
    if wants.cpu_limit == 0 {
        wants.cpu_limit = has.cpu_limit;
    }
    wants.memory_request = has.memory_request;
    (has != wants).then_some((has, wants))
}

/// Plans what the resize needs next. True when containers may be started meanwhile.
pub(crate) fn advance(o: &Observed, now: Moment, plan: &mut Plan) -> bool {
    let needs = needs(o);
    let mut stopping = false;
    for container in spec_containers(&o.pod.spec) {
        let Some(seen) = o.seen(&container.name).filter(|s| s.running().is_some()) else {
            continue;
        };
        let need = needs.iter().find(|n| n.container.name == container.name);
        let restarts = seen.busy != Some(Busy::Starting) && need.is_some_and(Need::restarts);
        if restarts && !seen.resizing {
            plan.actions.push(Action::Restart {
                container: container.name.clone(),
            });
        }
        if restarts || seen.resizing {
            stopping = true;
            let grace = o.pod.spec.termination_grace_period_seconds.unwrap_or(30);
            let text = format!("Container {} resize requires restart", container.name);
            let deadline = now.plus_seconds(grace.max(1));
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
    }
    let live: Vec<&Need<'_>> = needs
        .iter()
        .filter(|n| n.seen.busy.is_none() && !n.restarts() && !n.seen.resizing)
        .collect();
    let group = group(o);
    if o.resize.step == Step::Busy {
        return false;
    }
    if stopping || o.sandbox.state != SandboxState::Ready {
        return true;
    }
    if group.is_none() && live.is_empty() {
        finish(o, &needs, plan);
        return true;
    }
    plan.wake_for(&o.resize.step);
    if !o.resize.step.due(now) {
        return true;
    }
    plan.actions.push(resize(group, &live));
    false
}

/// Tells that the resize is through.
fn finish(o: &Observed, needs: &[Need<'_>], plan: &mut Plan) {
    let restarting = o.containers.values().any(|seen| seen.resizing);
    let Some(standing) = o
        .resize
        .progress
        .as_ref()
        .filter(|_| !restarting && needs.is_empty())
    else {
        return;
    };
    let text = summary("completed", &o.pod, standing.generation, "");
    plan.actions.push(Action::FinishResize {
        note: Note {
            kind: NoteKind::Normal,
            reason: "ResizeCompleted",
            message: text,
            container: Str::default(),
        },
    });
}

fn unlimited(limit: i64) -> i64 {
    if limit == 0 { i64::MAX } else { limit }
}

/// The writes in their order: a pod grows before its containers and shrinks after them.
fn resize(group: Option<(Sizes, Sizes)>, live: &[&Need<'_>]) -> Action {
    let mut changes = Vec::new();
    let mut lowered = Vec::new();
    let target = |n: &Need<'_>| {
        let id = n
            .seen
            .current
            .as_ref()
            .map(|c| c.id.clone())
            .unwrap_or_default();
        Target::Container(n.container.name.clone(), id)
    };
    for phase in [&[Knob::Memory][..], &[Knob::CpuLimit, Knob::CpuRequest][..]] {
        let mut after = Vec::new();
        for knob in phase {
            let Some((has, wants)) =
                group.filter(|(has, wants)| has.get(*knob) != wants.get(*knob))
            else {
                continue;
            };
            let change = Change {
                target: Target::Pod,
                knob: *knob,
                sizes: wants,
            };
            let grows = match knob {
                Knob::CpuRequest => wants.cpu_request > has.cpu_request,
                _ => unlimited(wants.get(*knob)) > unlimited(has.get(*knob)),
            };
            if *knob == Knob::Memory && !grows {
                lowered.push((Target::Pod, wants.memory_limit));
            }
            if grows {
                changes.push(change)
            } else {
                after.insert(0, change)
            }
        }
        containers(phase, live, &target, &mut changes, &mut lowered);
        changes.append(&mut after);
    }
    Action::Resize { changes, lowered }
}

fn containers(
    phase: &[Knob],
    live: &[&Need<'_>],
    target: &dyn Fn(&Need<'_>) -> Target,
    changes: &mut Vec<Change>,
    lowered: &mut Vec<(Target, i64)>,
) {
    let differs = |n: &&&Need<'_>| {
        phase
            .iter()
            .any(|knob| n.has.get(*knob) != n.wants.get(*knob))
            || (phase == [Knob::Memory] && n.has.memory_request != n.wants.memory_request)
    };
    let grows = |n: &Need<'_>| {
        let first = phase[0];
        let (has, wants) = (unlimited(n.has.get(first)), unlimited(n.wants.get(first)));
        wants > has || (wants == has && n.wants.cpu_request > n.has.cpu_request)
    };
    let mut order: Vec<&&Need<'_>> = live.iter().filter(differs).collect();
    order.sort_by_key(|n| grows(n));
    for need in order {
        let limit = need.wants.memory_limit;
        if phase == [Knob::Memory] && limit != 0 && limit < unlimited(need.has.memory_limit) {
            lowered.push((target(need), limit));
        }
        for knob in phase {
            changes.push(Change {
                target: target(need),
                knob: *knob,
                sizes: need.wants,
            });
        }
    }
}

/// The conditions about resizing.
pub(crate) fn conditions(o: &Observed) -> Vec<PodCondition> {
    let of = |name: &str, standing: &Standing| PodCondition {
        type_: name.into(),
        status: "True".into(),
        observed_generation: standing.generation,
        last_probe_time: standing.since.time(),
        last_transition_time: standing.since.time(),
        reason: standing.reason.clone(),
        message: standing.message.as_str().into(),
    };
    let pending = o.resize.pending.as_ref().map(|s| of("PodResizePending", s));
    let progress = o
        .resize
        .progress
        .as_ref()
        .map(|s| of("PodResizeInProgress", s));
    pending.into_iter().chain(progress).collect()
}
