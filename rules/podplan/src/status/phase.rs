//! The phase of a pod, counted from its container statuses.

use crate::Observed;
use crate::policy::{is_sidecar, restarts};
use corten_api::core::v1::{Container, ContainerStatus, PodStatus};

#[derive(Default)]
struct Count {
    pending: u32,
    pending_sidecars: u32,
    failed_for_good: u32,
    unknown: u32,
    running: u32,
    waiting: u32,
    stopped: u32,
    stopped_for_good: u32,
    succeeded: u32,
}

fn last_code(status: &ContainerStatus) -> Option<i32> {
    let now = status.state.terminated.as_ref();
    let before = status.last_termination_state.terminated.as_ref();
    now.or(before).map(|t| t.exit_code)
}

pub(super) fn phase(o: &Observed, status: &PodStatus) -> &'static str {
    let spec = &o.pod.spec;
    let mut n = Count::default();
    for (container, status) in spec
        .init_containers
        .iter()
        .zip(status.init_container_statuses.iter())
    {
        match is_sidecar(container) {
            true => sidecar(status, &mut n),
            false => init(o, container, status, &mut n),
        }
    }
    for container in &spec.containers {
        match status
            .container_statuses
            .iter()
            .find(|s| s.name == container.name)
        {
            Some(status) => main(o, container, status, &mut n),
            None => n.unknown += 1,
        }
    }
    decide(o, &n)
}

fn init(o: &Observed, container: &Container, status: &ContainerStatus, n: &mut Count) {
    let code = match status.state.running.is_some() {
        true => None,
        false => last_code(status),
    };
    match code {
        None => n.pending += 1,
        Some(0) => {}
        Some(code) if restarts(&o.pod.spec, container, code) => {}
        Some(_) => n.failed_for_good += 1,
    }
}

fn sidecar(status: &ContainerStatus, n: &mut Count) {
    if status.state.running.is_some() {
        n.running += 1;
        if status.started != Some(true) {
            n.pending_sidecars += 1;
        }
    } else if status.state.waiting.is_some() && status.last_termination_state.terminated.is_none() {
        n.pending_sidecars += 1;
        n.waiting += 1;
    }
}

fn main(o: &Observed, container: &Container, status: &ContainerStatus, n: &mut Count) {
    if status.state.running.is_some() {
        n.running += 1;
        return;
    }
    match last_code(status) {
        None => n.waiting += 1,
        Some(code) => {
            n.stopped += 1;
            let again = o.seen(&container.name).is_some_and(|s| s.resizing);
            if !again && !restarts(&o.pod.spec, container, code) {
                n.stopped_for_good += 1;
            }
            if code == 0 && status.state.terminated.is_some() {
                n.succeeded += 1;
            }
        }
    }
}

fn decide(o: &Observed, n: &Count) -> &'static str {
    let begun = o
        .pod
        .spec
        .containers
        .iter()
        .any(|c| o.seen(&c.name).is_some_and(|s| s.running().is_some()));
    if n.failed_for_good > 0 {
        return "Failed";
    }
    if n.pending > 0 || (n.pending_sidecars > 0 && !begun) || n.waiting > 0 {
        return "Pending";
    }
    if n.running > 0 && n.unknown == 0 {
        return "Running";
    }
    if n.running > 0 || n.stopped == 0 || n.unknown > 0 {
        return "Pending";
    }
    let over = o.ending() && !o.any_alive();
    match (
        n.stopped == n.succeeded,
        over || n.stopped == n.stopped_for_good,
    ) {
        (_, false) => "Running",
        (true, true) => "Succeeded",
        (false, true) => "Failed",
    }
}
