//! What a pod asks for as a whole: its quality of service, and what pod-level resources mean for what is left out.

use corten_api::core::v1::{Container, PodSpec};
use corten_core::{Map, Quantity};
use std::cmp::Ordering;

/// Names of resources that have a say in the quality of service.
const QOS: [&str; 2] = ["cpu", "memory"];

fn add_positive(into: &mut Map<Quantity>, from: &Map<Quantity>) {
    for (name, amount) in from {
        if !QOS.contains(&name.as_str()) || amount.sign() <= 0 {
            continue;
        }
        into.get_or_insert_with(name, || Quantity::ZERO).add(amount);
    }
}

/// `BestEffort`, `Burstable` or `Guaranteed`, from requests and limits.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let (mut requests, mut limits) = (Map::<Quantity>::NIL, Map::<Quantity>::NIL);
    let mut guaranteed = true;
    let has_both = |list: &Map<Quantity>| {
        QOS.iter()
            .all(|n| list.get(n).is_some_and(|q| q.sign() > 0))
    };
    if let Some(resources) = &spec.resources {
        add_positive(&mut requests, &resources.requests);
        add_positive(&mut limits, &resources.limits);
        if !resources.limits.is_empty() && !has_both(&resources.limits) {
            guaranteed = false;
        }
    } else {
        for container in spec.containers.iter().chain(spec.init_containers.iter()) {
            add_positive(&mut requests, &container.resources.requests);
            add_positive(&mut limits, &container.resources.limits);
            guaranteed &= has_both(&container.resources.limits);
        }
    }
    if requests.is_empty() && limits.is_empty() {
        return "BestEffort";
    }
    let same = |name: &str, request: &Quantity| {
        limits
            .get(name)
            .is_some_and(|l| l.amount().compare(&request.amount()) == Ordering::Equal)
    };
    if guaranteed && requests.len() == limits.len() && requests.iter().all(|(n, r)| same(n, r)) {
        return "Guaranteed";
    }
    "Burstable"
}

/// Whether pods as a whole can ask for the resource.
pub fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether an init container runs beside the others.
pub fn is_sidecar(container: &Container) -> bool {
    container
        .restart_policy
        .as_ref()
        .is_some_and(|p| p == "Always")
}

/// What all containers together need at their peak: the larger of all that run on and each init container in its turn.
pub fn aggregate(spec: &PodSpec, of: fn(&Container) -> &Map<Quantity>) -> Map<Quantity> {
    let mut total = Map::<Quantity>::NIL;
    for container in spec.containers.iter() {
        add(&mut total, of(container));
    }
    let (mut sidecars, mut peak) = (Map::<Quantity>::NIL, Map::<Quantity>::NIL);
    for container in spec.init_containers.iter() {
        if is_sidecar(container) {
            add(&mut total, of(container));
            add(&mut sidecars, of(container));
            raise(&mut peak, &sidecars);
        } else {
            let mut now = sidecars.clone();
            add(&mut now, of(container));
            raise(&mut peak, &now);
        }
    }
    raise(&mut total, &peak);
    total
}

fn add(into: &mut Map<Quantity>, from: &Map<Quantity>) {
    for (name, amount) in from {
        into.get_or_insert_with(name, || Quantity::ZERO).add(amount);
    }
}

fn raise(into: &mut Map<Quantity>, to: &Map<Quantity>) {
    for (name, amount) in to {
        let place = into.get_or_insert_with(name, || Quantity::ZERO);
        if amount.amount().compare(&place.amount()) == Ordering::Greater {
            *place = amount.clone();
        }
    }
}

/// Pod-level limits of huge pages and pod-level requests that follow from what the containers ask for.
pub fn default_pod_level(spec: &mut PodSpec) {
    let Some(mut resources) = spec.resources.take() else {
        return;
    };
    if !resources.limits.is_empty() || !resources.requests.is_empty() {
        for (name, limit) in &aggregate(spec, |c| &c.resources.limits) {
            let free =
                !resources.requests.contains_key(name) && !resources.limits.contains_key(name);
            if name.starts_with("hugepages-") && free {
                resources.limits.insert(name.clone(), limit.clone());
            }
        }
    }
    if !resources.limits.is_empty() {
        for (name, request) in &aggregate(spec, |c| &c.resources.requests) {
            let overcommitted = is_pod_level(name) && !name.starts_with("hugepages-");
            if overcommitted && !resources.requests.contains_key(name) {
                resources.requests.insert(name.clone(), request.clone());
            }
        }
        for (name, limit) in &resources.limits {
            if is_pod_level(name) && !resources.requests.contains_key(name) {
                resources.requests.insert(name.clone(), limit.clone());
            }
        }
    }
    spec.resources = Some(resources);
}
