//! What a pod asks for and may use: sums over its containers, its quality of service, and kernel units.

use crate::policy::{is_sidecar, spec_containers};
use corten_api::core::v1::{Container, PodSpec, ResourceRequirements};
use corten_core::{Map, Quantity};

/// CPU period in microseconds.
pub const CPU_PERIOD: u64 = 100_000;

/// Which side of ResourceRequirements is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// requests.
    Requests,
    /// limits.
    Limits,
}

fn side(resources: &ResourceRequirements, side: Side) -> &Map<Quantity> {
    match side {
        Side::Requests => &resources.requests,
        Side::Limits => &resources.limits,
    }
}

/// The quality of service class: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(spec: &PodSpec) -> &'static str {
    let own = spec
        .resources
        .as_deref()
        .filter(|r| !r.requests.is_empty() || !r.limits.is_empty());
    let all: Vec<&ResourceRequirements> = match own {
        Some(resources) => vec![resources],
        None => spec_containers(spec).map(|c| &c.resources).collect(),
    };
    let positive = |map: &Map<Quantity>, name: &str| map.get(name).is_some_and(|q| q.sign() > 0);
    let names = ["cpu", "memory"];
    let asks = |r: &&ResourceRequirements| {
        names
            .iter()
            .any(|n| positive(&r.requests, n) || positive(&r.limits, n))
    };
    if !all.iter().any(asks) {
        return "BestEffort";
    }
    let full = |r: &&ResourceRequirements| {
        names.iter().all(|n| {
            positive(&r.limits, n) && r.requests.get(n).is_none_or(|q| Some(q) == r.limits.get(n))
        })
    };
    if all.iter().all(full) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn amount(container: &Container, which: Side, name: &str) -> Option<Quantity> {
    let resources = &container.resources;
    let own = side(resources, which).get(name).cloned();
    // A limit stands in for a request that was not given.
    own.or_else(|| {
        (which == Side::Requests)
            .then(|| resources.limits.get(name).cloned())
            .flatten()
    })
}

fn add(sum: &mut Option<Quantity>, more: Option<Quantity>) {
    match (sum.as_mut(), more) {
        (Some(sum), Some(more)) => sum.add(&more),
        (None, Some(more)) => *sum = Some(more),
        _ => {}
    }
}

/// What the pod as a whole asks for or may use of the resource `name`; nothing when unbounded or not asked for.
pub fn pod_total(spec: &PodSpec, which: Side, name: &str) -> Option<Quantity> {
    let overhead = spec.overhead.get(name).cloned();
    let with_overhead = |total: Option<Quantity>| {
        let mut total = total?;
        if let Some(overhead) = &overhead {
            total.add(overhead);
        }
        Some(total)
    };
    if let Some(own) = spec
        .resources
        .as_deref()
        .and_then(|r| side(r, which).get(name))
    {
        return with_overhead(Some(own.clone()));
    }
    // One unbounded container makes the pod unbounded.
    if which == Side::Limits && spec_containers(spec).any(|c| amount(c, which, name).is_none()) {
        return None;
    }
    let mut sidecars: Option<Quantity> = None;
    let mut most: Option<Quantity> = None;
    for container in &spec.init_containers {
        let own = amount(container, which, name);
        let mut needed = sidecars.clone();
        add(&mut needed, own.clone());
        if is_sidecar(container) {
            add(&mut sidecars, own);
        }
        most = most.max(needed);
    }
    let mut total = sidecars;
    for container in &spec.containers {
        add(&mut total, amount(container, which, name));
    }
    let total = total.max(most);
    match total {
        Some(_) => with_overhead(total),
        None => (which == Side::Requests).then_some(overhead).flatten(),
    }
}

/// cpu.shares for a request in thousandths of a CPU.
pub fn cpu_shares(milli: i64) -> u64 {
    (milli.max(0) as u64 * 1024 / 1000).clamp(2, 262_144)
}

/// The CFS quota in microseconds per [`CPU_PERIOD`] for a limit in thousandths of a CPU; nothing when unlimited.
pub fn cpu_quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli * CPU_PERIOD as i64 / 1000).max(1000))
}

/// oom_score_adj of a container: lower for pods that asked for more of the node's memory.
pub fn oom_score_adj(spec: &PodSpec, container: &Container, node_memory: i64) -> i32 {
    if spec.priority.is_some_and(|p| p >= 2_000_000_000) {
        return -997;
    }
    match qos_class(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => {
            let request = amount(container, Side::Requests, "memory").map_or(0, |q| q.value());
            let adjust = 1000 - 1000 * request / node_memory.max(1);
            adjust.clamp(3, 999) as i32
        }
    }
}
