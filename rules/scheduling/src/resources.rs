//! Amounts of resources: what pods ask for and nodes have.
//!
//! CPU is in thousandths of a core, everything else in its unit (bytes, devices), rounded up.

use corten_api::core::v1::{Container, Pod, PodCondition};
use corten_core::{Map, Quantity, Str};
use std::collections::BTreeMap;

/// What a container without a CPU request counts as when nodes are compared, in thousandths of a core.
const CPU_ASSUMED: i64 = 100;
/// What a container without a memory request counts as when nodes are compared: 200 MiB.
const MEMORY_ASSUMED: i64 = 200 << 20;

/// Amounts by resource name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts(BTreeMap<Str, i64>);

impl Amounts {
    /// The amounts that a `requests`, `capacity` or `allocatable` field gives.
    pub fn of(list: &Map<Quantity>) -> Amounts {
        let amount = |name: &Str, quantity: &Quantity| match name.as_str() {
            "cpu" => quantity.milli_value(),
            _ => quantity.value(),
        };
        Amounts(
            list.iter()
                .map(|(name, quantity)| (name.clone(), amount(name, quantity)))
                .collect(),
        )
    }

    /// The amount of one resource; 0 when it is not named.
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Sets the amount of one resource.
    pub fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.into(), amount);
    }

    /// Adds other amounts.
    pub fn add(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Takes other amounts away.
    pub fn subtract(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            let rest = self.0.entry(name.clone()).or_default();
            *rest = rest.saturating_sub(*amount);
        }
    }

    /// Raises each amount to that of `other` where that is more.
    pub fn raise(&mut self, other: &Amounts) {
        for (name, amount) in &other.0 {
            let most = self.0.entry(name.clone()).or_default();
            *most = (*most).max(*amount);
        }
    }

    /// The resources and their amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, i64)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), *amount))
    }
}

/// Which requests count for a container that names none.
#[derive(Clone, Copy, PartialEq)]
enum Missing {
    Nothing,
    Assumed,
}

fn container(container: &Container, missing: Missing) -> Amounts {
    let mut amounts = Amounts::of(&container.resources.requests);
    if missing == Missing::Assumed {
        for (name, assumed) in [("cpu", CPU_ASSUMED), ("memory", MEMORY_ASSUMED)] {
            if !container.resources.requests.contains_key(name) {
                amounts.set(name, assumed);
            }
        }
    }
    amounts
}

/// A container's requests; with what its status says it was granted and has, where that is more.
fn counted(pod: &Pod, c: &Container, missing: Missing) -> Amounts {
    let mut amounts = container(c, missing);
    let all = pod.status.container_statuses.iter();
    let status = all
        .chain(pod.status.init_container_statuses.iter())
        .find(|s| s.name == c.name);
    let Some(status) = status else {
        return amounts;
    };
    let infeasible = |c: &PodCondition| c.type_ == "PodResizePending" && c.reason == "Infeasible";
    let has = status.resources.as_deref();
    let mut held = has.map_or_else(Amounts::default, |r| Amounts::of(&r.requests));
    held.raise(&Amounts::of(&status.allocated_resources));
    if pod.status.conditions.iter().any(infeasible) && held != Amounts::default() {
        return held;
    }
    amounts.raise(&held);
    amounts
}

fn is_sidecar(container: &Container) -> bool {
    container
        .restart_policy
        .as_ref()
        .is_some_and(|p| p == "Always")
}

fn total(pod: &Pod, missing: Missing) -> Amounts {
    let mut running = Amounts::default();
    for c in pod.spec.containers.iter() {
        running.add(&counted(pod, c, missing));
    }
    // An init container runs beside the sidecars that were started before it.
    let (mut sidecars, mut peak) = (Amounts::default(), Amounts::default());
    for c in pod.spec.init_containers.iter() {
        let mut own = counted(pod, c, missing);
        if is_sidecar(c) {
            sidecars.add(&own);
            peak.raise(&sidecars);
        } else {
            own.add(&sidecars);
            peak.raise(&own);
        }
    }
    running.add(&sidecars);
    running.raise(&peak);
    if let Some(whole) = &pod.spec.resources {
        for (name, amount) in Amounts::of(&whole.requests).iter() {
            running.set(name, amount);
        }
    }
    running.add(&Amounts::of(&pod.spec.overhead));
    running
}

/// What the pod asks for: what must be free on its node.
pub fn requests(pod: &Pod) -> Amounts {
    total(pod, Missing::Nothing)
}

/// What the pod counts as when nodes are compared: containers that name nothing count too.
pub fn assumed_requests(pod: &Pod) -> Amounts {
    total(pod, Missing::Assumed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::core::v1::ContainerStatus;

    fn quantity(text: &str) -> Quantity {
        Quantity::parse(text).unwrap()
    }

    #[test]
    fn a_resized_pod_counts_with_the_most_that_it_has_or_asks_for() {
        let mut pod = Pod::default();
        let mut container = Container {
            name: "c".into(),
            ..Container::default()
        };
        container.resources.requests.insert("cpu", quantity("100m"));
        pod.spec.containers.push(container);
        let mut status = ContainerStatus {
            name: "c".into(),
            ..ContainerStatus::default()
        };
        status.allocated_resources.insert("cpu", quantity("300m"));
        pod.status.container_statuses.push(status);
        assert_eq!(requests(&pod).get("cpu"), 300, "not shrunk yet");
        pod.spec.containers[0]
            .resources
            .requests
            .insert("cpu", quantity("500m"));
        assert_eq!(requests(&pod).get("cpu"), 500, "to grow");
        pod.status.conditions.push(PodCondition {
            type_: "PodResizePending".into(),
            reason: "Infeasible".into(),
            ..PodCondition::default()
        });
        assert_eq!(requests(&pod).get("cpu"), 300, "never to grow");
    }
}
