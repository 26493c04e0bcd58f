//! What a pod asks for: requests and limits of its containers put together.
//!
//! Invariant: init containers run one after another beside the restartable ones before them, so each resource counts
//! as the larger of the steady sum and the worst moment of the start; values on the pod itself override cpu, memory
//! (and huge pages) of its containers.

use corten_api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use corten_core::{Map, Quantity, Str};

/// Amounts by resource name.
pub(super) type Amounts = Map<Quantity>;

/// Which half of resource requirements is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Half {
    Requests,
    Limits,
}

impl Half {
    pub(super) fn of(self, requirements: &ResourceRequirements) -> &Amounts {
        match self {
            Half::Requests => &requirements.requests,
            Half::Limits => &requirements.limits,
        }
    }
}

pub(super) fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more.iter() {
        match sum.get_mut(name) {
            Some(found) => found.add(amount),
            None => {
                sum.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other.iter() {
        match most.get_mut(name) {
            Some(found) if *found >= *amount => {}
            Some(found) => *found = amount.clone(),
            None => {
                most.insert(name.clone(), amount.clone());
            }
        }
    }
}

fn restartable(container: &Container) -> bool {
    container
        .restart_policy
        .as_ref()
        .is_some_and(|p| p == "Always")
}

/// What the containers need together, given what one of them needs.
fn combined(pod: &Pod, of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut sum = Amounts::default();
    for container in pod.spec.containers.iter() {
        add(&mut sum, &of(container));
    }
    let mut beside = Amounts::default();
    let mut start = Amounts::default();
    for container in pod.spec.init_containers.iter() {
        let mut now = of(container);
        if restartable(container) {
            add(&mut sum, &now);
            add(&mut beside, &now);
            now = beside.clone();
        } else {
            add(&mut now, &beside);
        }
        raise(&mut start, &now);
    }
    raise(&mut sum, &start);
    sum
}

/// What the pod asks for as it is written, without overhead: what limit ranges are compared with.
pub(super) fn written(pod: &Pod, half: Half) -> Amounts {
    let mut sum = combined(pod, |container| half.of(&container.resources).clone());
    if let Some(own) = pod.spec.resources.as_deref() {
        for (name, amount) in half.of(own).iter() {
            if name == "cpu" || name == "memory" {
                sum.insert(name.clone(), amount.clone());
            }
        }
    }
    sum
}

/// Whether a resource may be asked for by the pod itself.
fn of_pods(name: &Str) -> bool {
    name == "cpu" || name == "memory" || name.starts_with("hugepages-")
}

/// Whether the pod itself asks for resources.
pub(super) fn asks_itself(pod: &Pod) -> bool {
    let own = pod.spec.resources.as_deref();
    own.is_some_and(|own| own.requests.keys().chain(own.limits.keys()).any(of_pods))
}

/// What the pod occupies: as written or, while it is resized, as much as it still has; overhead included.
pub(super) fn occupied(pod: &Pod, half: Half) -> Amounts {
    let mut sum = combined(pod, |container| effective(pod, container, half));
    if let Some(own) = pod.spec.resources.as_deref() {
        for (name, amount) in half.of(own).iter().filter(|(name, _)| of_pods(name)) {
            sum.insert(name.clone(), amount.clone());
        }
    }
    match half {
        Half::Requests => add(&mut sum, &pod.spec.overhead),
        // Overhead raises limits that exist; a resource without one stays unlimited.
        Half::Limits => {
            for (name, amount) in pod.spec.overhead.iter() {
                if let Some(limit) = sum.get_mut(name).filter(|limit| !limit.is_zero()) {
                    limit.add(amount);
                }
            }
        }
    }
    sum
}

fn effective(pod: &Pod, container: &Container, half: Half) -> Amounts {
    let written = half.of(&container.resources);
    let is_init = pod
        .spec
        .init_containers
        .iter()
        .any(|c| c.name == container.name);
    let status = match is_init && !restartable(container) {
        true => None,
        false => status_of(pod, &container.name),
    };
    let Some((status, actual)) = status.and_then(|s| Some((s, s.resources.as_deref()?))) else {
        return written.clone();
    };
    let infeasible = pod
        .status
        .conditions
        .iter()
        .find(|c| c.type_ == "PodResizePending");
    let mut most = half.of(actual).clone();
    if half == Half::Requests {
        raise(&mut most, &status.allocated_resources);
    }
    if infeasible.is_none_or(|c| c.reason != "Infeasible") {
        raise(&mut most, written);
    }
    most
}

fn status_of<'a>(pod: &'a Pod, name: &str) -> Option<&'a ContainerStatus> {
    let regular = pod.status.container_statuses.iter();
    let mut all = regular.chain(pod.status.init_container_statuses.iter());
    all.find(|status| status.name == name)
}
