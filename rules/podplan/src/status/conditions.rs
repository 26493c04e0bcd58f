//! The conditions that a node sets on a pod, with the moment of their last change.

use crate::observed::{SandboxState, Step};
use crate::policy::is_sidecar;
use crate::resize;
use crate::{Moment, Observed};
use corten_api::core::v1::{Container, ContainerStatus, PodCondition, PodStatus};

const OWN: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

#[derive(Default)]
struct Verdict {
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn yes() -> Verdict {
        Verdict {
            holds: true,
            ..Verdict::default()
        }
    }

    fn no(reason: &'static str, message: String) -> Verdict {
        Verdict {
            holds: false,
            reason,
            message,
        }
    }
}

pub(super) fn set(o: &Observed, now: Moment, status: &mut PodStatus) {
    let others = o
        .pod
        .status
        .conditions
        .iter()
        .filter(|c| !OWN.contains(&c.type_.as_str()));
    status.conditions = others.cloned().collect();
    let has_sandbox = o.sandbox.state == SandboxState::Ready && o.volumes == Step::Ready;
    let ready_to_start = Verdict {
        holds: has_sandbox,
        ..Verdict::default()
    };
    let initialized = initialized(o, status);
    let containers = containers_ready(o, status);
    let ready = match containers.holds {
        true => gates(o, status),
        false => Verdict::no(containers.reason, containers.message.clone()),
    };
    for (name, verdict) in [
        ("PodReadyToStartContainers", ready_to_start),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers),
        ("PodScheduled", Verdict::yes()),
    ] {
        push(o, now, status, name, verdict);
    }
    for condition in resize::conditions(o) {
        status.conditions.push(condition);
    }
}

/// The conditions of a pod that the node refused: only what was there before, and where it was scheduled to.
pub(super) fn rejected(o: &Observed, now: Moment, status: &mut PodStatus) {
    status.conditions = o
        .pod
        .status
        .conditions
        .iter()
        .filter(|c| c.type_ != "PodScheduled")
        .cloned()
        .collect();
    push(o, now, status, "PodScheduled", Verdict::yes());
}

fn push(o: &Observed, now: Moment, status: &mut PodStatus, name: &str, verdict: Verdict) {
    let value = if verdict.holds { "True" } else { "False" };
    let find = |list: &PodStatus| list.conditions.iter().find(|c| c.type_ == name).cloned();
    let old = find(&o.last).or_else(|| find(&o.pod.status));
    let since = old.filter(|c| c.status == value && !c.last_transition_time.is_zero());
    status.conditions.push(PodCondition {
        type_: name.into(),
        observed_generation: o.pod.metadata.generation,
        status: value.into(),
        last_transition_time: since.map_or(now.time(), |c| c.last_transition_time),
        reason: verdict.reason.into(),
        message: verdict.message.into(),
        ..PodCondition::default()
    });
}

fn go_list(names: &[&str]) -> String {
    format!("[{}]", names.join(" "))
}

fn initialized(o: &Observed, status: &PodStatus) -> Verdict {
    let done = |c: &Container, s: &ContainerStatus| match is_sidecar(c) {
        true => s.started == Some(true),
        false => s.ready,
    };
    let pairs = o
        .pod
        .spec
        .init_containers
        .iter()
        .zip(status.init_container_statuses.iter());
    let open: Vec<&str> = pairs
        .filter(|(c, s)| !done(c, s))
        .map(|(c, _)| c.name.as_str())
        .collect();
    if status.phase == "Succeeded" {
        return Verdict {
            holds: true,
            reason: "PodCompleted",
            message: String::new(),
        };
    }
    let begun = status.container_statuses.iter().any(|s| {
        s.state.running.is_some()
            || s.state.terminated.is_some()
            || s.last_termination_state.terminated.is_some()
    });
    if open.is_empty() || begun {
        return Verdict::yes();
    }
    Verdict::no(
        "ContainersNotInitialized",
        format!("containers with incomplete status: {}", go_list(&open)),
    )
}

fn containers_ready(o: &Observed, status: &PodStatus) -> Verdict {
    match status.phase.as_str() {
        "Succeeded" => return Verdict::no("PodCompleted", String::new()),
        "Failed" => return Verdict::no("PodFailed", String::new()),
        _ => {}
    }
    let spec = &o.pod.spec;
    let sidecars = spec.init_containers.iter().filter(|c| is_sidecar(c));
    let all = [&status.init_container_statuses, &status.container_statuses];
    let unready: Vec<&str> = sidecars
        .chain(spec.containers.iter())
        .map(|c| c.name.as_str())
        .filter(|name| {
            let found = all
                .iter()
                .flat_map(|list| list.iter())
                .find(|s| s.name == *name);
            !found.is_some_and(|s| s.ready)
        })
        .collect();
    match unready.is_empty() {
        true => Verdict::yes(),
        false => Verdict::no(
            "ContainersNotReady",
            format!("containers with unready status: {}", go_list(&unready)),
        ),
    }
}

fn gates(o: &Observed, status: &PodStatus) -> Verdict {
    let unmet: Vec<String> = o
        .pod
        .spec
        .readiness_gates
        .iter()
        .filter_map(|gate| {
            let gate = gate.condition_type.as_str();
            match status.conditions.iter().find(|c| c.type_ == gate) {
                None => Some(format!(
                    "corresponding condition of pod readiness gate {gate:?} does not exist."
                )),
                Some(c) if c.status != "True" => Some(format!(
                    "the status of pod readiness gate {gate:?} is not \"True\", but {}",
                    c.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    match unmet.is_empty() {
        true => Verdict::yes(),
        false => Verdict::no("ReadinessGatesNotReady", unmet.join(", ")),
    }
}
