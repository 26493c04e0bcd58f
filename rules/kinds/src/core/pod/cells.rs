//! One row of the table of pods: readiness, the one word for what the pod is doing, restarts.

use super::resources::is_sidecar;
use crate::cells::{age, duration};
use corten_api::core::v1::{ContainerStatus, Pod};
use corten_core::{Time, Value};

/// What the walk over the containers finds.
#[derive(Default)]
struct Seen {
    reason: String,
    ready: usize,
    restarts: i64,
    last_restart: Time,
}

impl Seen {
    fn restarted(&mut self, status: &ContainerStatus) {
        self.restarts += i64::from(status.restart_count);
        if let Some(terminated) = &status.last_termination_state.terminated
            && terminated.finished_at.unix() > self.last_restart.unix()
        {
            self.last_restart = terminated.finished_at;
        }
    }
}

/// Cells of a pod.
pub(super) fn cells(pod: &Pod, now: &Time) -> Vec<Value> {
    let seen = look(pod);
    let total = pod.spec.containers.len()
        + pod
            .spec
            .init_containers
            .iter()
            .filter(|c| is_sidecar(c))
            .count();
    let restarts = if seen.restarts != 0 && !seen.last_restart.is_zero() {
        format!(
            "{} ({} ago)",
            seen.restarts,
            duration(now.seconds_since(seen.last_restart))
        )
    } else {
        seen.restarts.to_string()
    };
    let or_none = |text: &str| Value::from(if text.is_empty() { "<none>" } else { text });
    let ip = pod.status.pod_ips.first().map_or("", |ip| ip.ip.as_str());
    vec![
        Value::from(&pod.metadata.name),
        Value::from(format!("{}/{total}", seen.ready)),
        Value::from(seen.reason),
        Value::from(restarts),
        age(&pod.metadata.creation_timestamp, now),
        or_none(ip),
        or_none(&pod.spec.node_name),
        or_none(&pod.status.nominated_node_name),
        Value::from(gates(pod)),
    ]
}

fn gates(pod: &Pod) -> String {
    if pod.spec.readiness_gates.is_empty() {
        return "<none>".to_owned();
    }
    let is_true = |kind: &str| {
        pod.status
            .conditions
            .iter()
            .find(|c| c.type_ == kind)
            .is_some_and(|c| c.status == "True")
    };
    let done = pod
        .spec
        .readiness_gates
        .iter()
        .filter(|g| is_true(&g.condition_type))
        .count();
    format!("{done}/{}", pod.spec.readiness_gates.len())
}

fn has_condition(pod: &Pod, kind: &str) -> bool {
    pod.status
        .conditions
        .iter()
        .any(|c| c.type_ == kind && c.status == "True")
}

fn look(pod: &Pod) -> Seen {
    let status = &pod.status;
    let mut reason = if status.reason.is_empty() {
        &status.phase
    } else {
        &status.reason
    }
    .to_string();
    if status
        .conditions
        .iter()
        .any(|c| c.type_ == "PodScheduled" && c.reason == "SchedulingGated")
    {
        reason = "SchedulingGated".to_owned();
    }
    let mut seen = Seen {
        reason,
        ..Seen::default()
    };
    let mut sidecars = Seen::default();
    let initializing = look_at_init(pod, &mut seen, &mut sidecars);
    if !initializing || has_condition(pod, "Initialized") {
        (seen.restarts, seen.last_restart) = (sidecars.restarts, sidecars.last_restart);
        look_at_main(pod, &mut seen);
    }
    if pod.metadata.deletion_timestamp.is_some() {
        if status.reason == "NodeLost" {
            seen.reason = "Unknown".to_owned();
        } else if !matches!(status.phase.as_str(), "Failed" | "Succeeded") {
            seen.reason = "Terminating".to_owned();
        }
    }
    seen
}

/// Whether init containers are still at work.
fn look_at_init(pod: &Pod, seen: &mut Seen, sidecars: &mut Seen) -> bool {
    for (i, status) in pod.status.init_container_statuses.iter().enumerate() {
        let sidecar = pod
            .spec
            .init_containers
            .iter()
            .any(|c| c.name == status.name && is_sidecar(c));
        seen.restarted(status);
        if sidecar {
            sidecars.restarted(status);
        }
        let state = &status.state;
        if state.terminated.as_ref().is_some_and(|t| t.exit_code == 0) {
            continue;
        }
        if sidecar && status.started == Some(true) {
            seen.ready += usize::from(status.ready);
            continue;
        }
        let waiting = state
            .waiting
            .as_ref()
            .filter(|w| !matches!(w.reason.as_str(), "" | "PodInitializing"));
        seen.reason = match (&state.terminated, waiting) {
            (Some(t), _) if !t.reason.is_empty() => format!("Init:{}", t.reason),
            (Some(t), _) if t.signal != 0 => format!("Init:Signal:{}", t.signal),
            (Some(t), _) => format!("Init:ExitCode:{}", t.exit_code),
            (None, Some(w)) => format!("Init:{}", w.reason),
            (None, None) => format!("Init:{i}/{}", pod.spec.init_containers.len()),
        };
        return true;
    }
    false
}

fn look_at_main(pod: &Pod, seen: &mut Seen) {
    let mut running = false;
    let mut failed = String::new();
    for status in pod.status.container_statuses.iter().rev() {
        seen.restarted(status);
        let state = &status.state;
        if let Some(waiting) = state.waiting.as_ref().filter(|w| !w.reason.is_empty()) {
            seen.reason = waiting.reason.to_string();
        } else if let Some(t) = &state.terminated {
            seen.reason = if !t.reason.is_empty() {
                t.reason.to_string()
            } else if t.signal != 0 {
                format!("Signal:{}", t.signal)
            } else {
                format!("ExitCode:{}", t.exit_code)
            };
            if t.exit_code != 0 {
                failed = seen.reason.clone();
            }
        } else if status.ready && state.running.is_some() {
            running = true;
            seen.ready += 1;
        }
    }
    if seen.reason == "Completed" {
        if running && has_condition(pod, "Ready") {
            seen.reason = "Running".to_owned();
        } else if !failed.is_empty() {
            seen.reason = failed;
        } else if running {
            seen.reason = "NotReady".to_owned();
        }
    }
}
