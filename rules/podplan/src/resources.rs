//! What a pod asks for and may use: sums over its containers, its quality of service, and kernel units.

use crate::policy::{is_sidecar, spec_containers};
use crate::resize::Knob;
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

/// What the control group of a pod or a container is sized for: thousandths of a CPU and bytes, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// requests.cpu.
    pub cpu_request: i64,
    /// limits.cpu.
    pub cpu_limit: i64,
    /// requests.memory.
    pub memory_request: i64,
    /// limits.memory.
    pub memory_limit: i64,
}

impl Sizes {
    /// Of a container; the limits of its pod stand in for those that it does not have itself.
    pub fn of_container(spec: &PodSpec, container: &Container) -> Sizes {
        let own = |which, name| side(&container.resources, which).get(name);
        let limit = |name| {
            let whole = || spec.resources.as_deref()?.limits.get(name);
            own(Side::Limits, name)
                .filter(|q| !q.is_zero())
                .or_else(whole)
        };
        Sizes {
            cpu_request: own(Side::Requests, "cpu").map_or(0, Quantity::milli_value),
            cpu_limit: limit("cpu").map_or(0, Quantity::milli_value),
            memory_request: own(Side::Requests, "memory").map_or(0, Quantity::value),
            memory_limit: limit("memory").map_or(0, Quantity::value),
        }
    }

    /// Of a pod as a whole.
    pub fn of_pod(spec: &PodSpec) -> Sizes {
        let total = |which, name| pod_total(spec, which, name);
        Sizes {
            cpu_request: total(Side::Requests, "cpu").map_or(0, |q| q.milli_value()),
            cpu_limit: total(Side::Limits, "cpu").map_or(0, |q| q.milli_value()),
            memory_request: total(Side::Requests, "memory").map_or(0, |q| q.value()),
            memory_limit: total(Side::Limits, "memory").map_or(0, |q| q.value()),
        }
    }

    /// What `knob` sets.
    pub(crate) fn get(&self, knob: Knob) -> i64 {
        match knob {
            Knob::Memory => self.memory_limit,
            Knob::CpuLimit => self.cpu_limit,
            Knob::CpuRequest => self.cpu_request,
        }
    }

    /// Takes over what `knob` set.
    pub(crate) fn take(&mut self, knob: Knob, from: &Sizes) {
        match knob {
            Knob::Memory => {
                self.memory_limit = from.memory_limit;
                self.memory_request = from.memory_request;
            }
            Knob::CpuLimit => self.cpu_limit = from.cpu_limit,
            Knob::CpuRequest => self.cpu_request = from.cpu_request,
        }
    }
}

/// Every resource that the containers of a pod ask for or may use together, each as far as it is named.
pub fn pod_sums(spec: &PodSpec, which: Side) -> Map<Quantity> {
    let own = |c: &Container| side(&c.resources, which).clone();
    let add_all = |sum: &mut Map<Quantity>, more: &Map<Quantity>| {
        for (name, quantity) in more.iter() {
            sum.get_or_insert_with(name.clone(), Quantity::default)
                .add(quantity);
        }
    };
    let raise = |sum: &mut Map<Quantity>, other: &Map<Quantity>| {
        for (name, quantity) in other.iter() {
            if sum.get(name).is_none_or(|own| own < quantity) {
                sum.insert(name.clone(), quantity.clone());
            }
        }
    };
    let (mut sum, mut sidecars, mut most) = (Map::default(), Map::default(), Map::default());
    spec.containers
        .iter()
        .for_each(|c| add_all(&mut sum, &own(c)));
    for container in &spec.init_containers {
        let mut needed = own(container);
        if is_sidecar(container) {
            add_all(&mut sum, &needed);
            add_all(&mut sidecars, &needed);
            needed = sidecars.clone();
        } else {
            add_all(&mut needed, &sidecars);
        }
        raise(&mut most, &needed);
    }
    raise(&mut sum, &most);
    if let Some(whole) = spec.resources.as_deref() {
        for (name, quantity) in side(whole, which).iter() {
            sum.insert(name.clone(), quantity.clone());
        }
    }
    for (name, quantity) in spec.overhead.iter() {
        let named = which == Side::Requests || sum.contains_key(name);
        if named {
            sum.get_or_insert_with(name.clone(), Quantity::default)
                .add(quantity);
        }
    }
    sum
}

/// cpu.shares for a request in thousandths of a CPU.
pub fn cpu_shares(milli: i64) -> u64 {
    (milli.max(0) as u64 * 1024 / 1000).clamp(2, 262_144)
}

/// The CFS quota in microseconds per [`CPU_PERIOD`] for a limit in thousandths of a CPU; nothing when unlimited.
pub fn cpu_quota(milli: i64) -> Option<i64> {
    (milli > 0).then(|| (milli * CPU_PERIOD as i64 / 1000).max(1000))
}

/// oom_score_adj of a container: lower for pods that asked for more of the node's memory, of which there are so many
/// bytes.
pub fn oom_score_adj(spec: &PodSpec, container: &Container, node_memory: i64) -> i32 {
    if spec.priority.is_some_and(|p| p >= 2_000_000_000) {
        return -997;
    }
    match qos_class(spec) {
        "Guaranteed" => -997,
        "BestEffort" => 1000,
        _ => burstable_score(spec, container, node_memory.max(1)),
    }
}

fn burstable_score(spec: &PodSpec, container: &Container, node_memory: i64) -> i32 {
    let request = |c: &Container| amount(c, Side::Requests, "memory").map_or(0, |q| q.value());
    let score = |bytes: i64| 1000 - 1000 * bytes / node_memory;
    // What the pod asks for beyond its containers counts for all of them alike.
    let whole = spec
        .resources
        .as_deref()
        .and_then(|r| r.requests.get("memory"));
    let beyond = whole.map_or(0, |whole| {
        let main = spec.containers.iter();
        let beside = spec.init_containers.iter().filter(|c| is_sidecar(c));
        let sum: i64 = main.chain(beside).map(request).sum();
        let count = spec.containers.len() + spec.init_containers.len();
        (whole.value() - sum) / i64::try_from(count.max(1)).unwrap_or(1)
    });
    let mut adjust = score(request(container) + beyond);
    let sidecar = spec
        .init_containers
        .iter()
        .any(|c| c.name == container.name)
        && is_sidecar(container);
    if sidecar {
        // A sidecar is killed no sooner than what it serves.
        let least = spec.containers.iter().map(request).min().unwrap_or(0);
        adjust = adjust.min(score(least + beyond));
    }
    adjust.clamp(3, 999) as i32
}
