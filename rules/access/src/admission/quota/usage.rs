//! What one object uses of a quota, and which requests change that.
//!
//! Leaves out: devices of resource claims, which are counted as objects only.

use super::super::pod_resources::{Amounts, Half, asks_itself, occupied};
use super::super::{Operation, Review};
use super::scopes::{claim_matches, classes, has_deadline, pod_matches, selectors};
use corten_api::Object;
use corten_api::core::v1::{
    Container, PersistentVolumeClaim, Pod, ResourceQuota, ScopedResourceSelectorRequirement,
    Service,
};
use corten_core::{Quantity, QuantityFormat, Str, Time};
use std::collections::{BTreeMap, BTreeSet};

const BETA_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const OF_CLASS: &str = ".storageclass.storage.k8s.io/";
const POD_NAMES: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// What every container must ask for when a quota limits it.
const MANDATORY: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];
const SERVICE_NAMES: [&str; 4] = [
    "count/services",
    "services",
    "services.nodeports",
    "services.loadbalancers",
];
const CLAIM_NAMES: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
/// Kinds that had names of their own before any kind could be counted.
const ALIASES: [&str; 4] = [
    "configmaps",
    "resourcequotas",
    "replicationcontrollers",
    "secrets",
];

/// How objects of one resource are measured.
pub(super) enum Evaluator {
    Pods,
    Services,
    Claims,
    /// Counted, under these names.
    Objects(Vec<String>),
}

fn amount(value: i64) -> Quantity {
    Quantity::new(value, QuantityFormat::DecimalSi)
}

impl Evaluator {
    pub(super) fn of(group: &str, resource: &str) -> Evaluator {
        match (group, resource) {
            ("", "pods") => Evaluator::Pods,
            ("", "services") => Evaluator::Services,
            ("", "persistentvolumeclaims") => Evaluator::Claims,
            ("", _) => {
                let alias = ALIASES.contains(&resource).then(|| resource.to_owned());
                let names = std::iter::once(format!("count/{resource}"));
                Evaluator::Objects(names.chain(alias).collect())
            }
            _ => Evaluator::Objects(vec![format!("count/{resource}.{group}")]),
        }
    }

    /// Whether the request can change what is used.
    pub(super) fn handles(&self, review: &Review, new: &Object) -> bool {
        let create = review.operation == Operation::Create;
        match (self, review.subresource) {
            (Evaluator::Pods, "") => {
                let deadline = |o: &Object| o.downcast_ref::<Pod>().map(has_deadline);
                create || review.old.and_then(deadline) != deadline(new)
            }
            (Evaluator::Pods, "resize") => !create,
            (Evaluator::Services | Evaluator::Claims, "") => true,
            (Evaluator::Claims, "status") => {
                let old = review
                    .old
                    .and_then(|o| o.downcast_ref::<PersistentVolumeClaim>());
                let new = new.downcast_ref::<PersistentVolumeClaim>();
                old.zip(new).is_some_and(|(old, new)| {
                    let storage = |c: &PersistentVolumeClaim| {
                        c.status.allocated_resources.get("storage").cloned()
                    };
                    storage(old) != storage(new) || classes(old) != classes(new)
                })
            }
            (Evaluator::Objects(_), "") => create,
            _ => false,
        }
    }

    /// Those of the selectors that an object satisfies.
    pub(super) fn matching_scopes(
        &self,
        object: &Object,
        selectors: &[ScopedResourceSelectorRequirement],
    ) -> Vec<ScopedResourceSelectorRequirement> {
        let satisfied = |selector: &ScopedResourceSelectorRequirement| match self {
            Evaluator::Pods => object
                .downcast_ref::<Pod>()
                .is_some_and(|pod| pod_matches(selector, pod)),
            Evaluator::Claims => object
                .downcast_ref::<PersistentVolumeClaim>()
                .is_some_and(|claim| claim_matches(selector, claim)),
            _ => false,
        };
        selectors.iter().filter(|s| satisfied(s)).cloned().collect()
    }

    /// Whether a limited resource is about objects of this kind.
    pub(super) fn tracks(&self, name: &str) -> bool {
        match self {
            Evaluator::Pods => {
                POD_NAMES.contains(&name)
                    || name.starts_with("hugepages-")
                    || name.starts_with("requests.hugepages-")
                    || is_extended_request(name)
            }
            Evaluator::Services => SERVICE_NAMES.contains(&name),
            Evaluator::Claims => {
                name == "count/persistentvolumeclaims"
                    || CLAIM_NAMES.contains(&name)
                    || CLAIM_NAMES.iter().any(|claim| {
                        let class = name.strip_suffix(claim);
                        class.is_some_and(|rest| rest.ends_with(OF_CLASS))
                    })
            }
            Evaluator::Objects(names) => names.iter().any(|n| n == name),
        }
    }

    /// Whether the quota is about the object.
    pub(super) fn matches(&self, quota: &ResourceQuota, object: &Object) -> bool {
        if !quota.status.hard.keys().any(|name| self.tracks(name)) {
            return false;
        }
        selectors(quota).iter().all(|selector| match self {
            Evaluator::Pods => object
                .downcast_ref()
                .is_some_and(|p| pod_matches(selector, p)),
            Evaluator::Claims => object
                .downcast_ref()
                .is_some_and(|c| claim_matches(selector, c)),
            _ => false,
        })
    }

    /// What the object must say because a quota limits it, but does not.
    pub(super) fn missing(&self, limited: &[&Str], object: &Object) -> Option<String> {
        let (Evaluator::Pods, Some(pod)) = (self, object.downcast_ref::<Pod>()) else {
            return None;
        };
        if asks_itself(pod) {
            return None;
        }
        let mut lacking: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let containers = pod.spec.containers.iter();
        for container in containers.chain(pod.spec.init_containers.iter()) {
            let Container {
                resources, name, ..
            } = container;
            let says = compute(&resources.requests, &resources.limits);
            let mandatory = limited.iter().filter(|l| MANDATORY.contains(&l.as_str()));
            for resource in mandatory.filter(|l| !says.contains_key(l)) {
                lacking
                    .entry(resource.as_str())
                    .or_default()
                    .insert(name.as_str());
            }
        }
        let parts: Vec<String> = lacking
            .into_iter()
            .map(|(resource, names)| {
                let names: Vec<&str> = names.into_iter().collect();
                format!("{resource} for: {}", names.join(","))
            })
            .collect();
        (!parts.is_empty()).then(|| format!("must specify {}", parts.join("; ")))
    }

    /// What the object uses at `now`.
    pub(super) fn usage(&self, object: &Object, now: &Time) -> Amounts {
        match self {
            Evaluator::Pods => object.downcast_ref().map(|pod| pod_usage(pod, now)),
            Evaluator::Services => object.downcast_ref().map(service_usage),
            Evaluator::Claims => object.downcast_ref().map(claim_usage),
            Evaluator::Objects(names) => {
                Some(names.iter().map(|n| (n.as_str(), amount(1))).collect())
            }
        }
        .unwrap_or_default()
    }
}

/// Whether a limited resource is a request for something that vendors define.
fn is_extended_request(name: &str) -> bool {
    let Some(resource) = name.strip_prefix("requests.") else {
        return false;
    };
    let native = !resource.contains('/') || resource.contains("kubernetes.io/");
    !native || resource.starts_with("deviceclass.resource.kubernetes.io/")
}

fn pod_usage(pod: &Pod, now: &Time) -> Amounts {
    let counted = Amounts::from([("count/pods", amount(1))]);
    if has_ended(pod, now) {
        return counted;
    }
    let mut usage = compute(&occupied(pod, Half::Requests), &occupied(pod, Half::Limits));
    super::add(&mut usage, &counted);
    usage
}

/// Whether the pod no longer holds what it asked for: it finished, or its node is gone while it is being deleted.
fn has_ended(pod: &Pod, now: &Time) -> bool {
    if matches!(pod.status.phase.as_str(), "Failed" | "Succeeded") {
        return true;
    }
    let meta = &pod.metadata;
    match (meta.deletion_timestamp, meta.deletion_grace_period_seconds) {
        (Some(deleted), Some(grace)) => now.unix() > deleted.unix() + grace,
        _ => false,
    }
}

/// Names in quotas for what a pod or container asks for.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut usage = Amounts::from([("pods", amount(1))]);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requests.get(name) {
            usage.insert(name, request.clone());
            usage.insert(format!("requests.{name}"), request.clone());
        }
        if let Some(limit) = limits.get(name) {
            usage.insert(format!("limits.{name}"), limit.clone());
        }
    }
    for (name, request) in requests.iter() {
        let pages = name.starts_with("hugepages-");
        if pages {
            usage.insert(name.clone(), request.clone());
        }
        if pages || is_extended_request(&format!("requests.{name}")) {
            usage.insert(format!("requests.{name}"), request.clone());
        }
    }
    usage
}

fn service_usage(service: &Service) -> Amounts {
    let spec = &service.spec;
    let ports = match spec.type_.as_str() {
        "NodePort" => spec.ports.len(),
        "LoadBalancer" if spec.allocate_load_balancer_node_ports == Some(false) => {
            spec.ports.iter().filter(|p| p.node_port != 0).count()
        }
        "LoadBalancer" => spec.ports.len(),
        _ => 0,
    };
    Amounts::from([
        ("count/services", amount(1)),
        ("services", amount(1)),
        ("services.nodeports", amount(ports as i64)),
        (
            "services.loadbalancers",
            amount(i64::from(spec.type_ == "LoadBalancer")),
        ),
    ])
}

fn claim_usage(claim: &PersistentVolumeClaim) -> Amounts {
    let mut usage = Amounts::from([
        ("persistentvolumeclaims", amount(1)),
        ("count/persistentvolumeclaims", amount(1)),
    ]);
    let annotated = claim.metadata.annotations.get(BETA_STORAGE_CLASS);
    let class = annotated.or(claim.spec.storage_class_name.as_ref());
    let class = class.filter(|c| !c.is_empty());
    let mut storage = claim.spec.resources.requests.get("storage").cloned();
    if let Some(asked) = &mut storage {
        let allocated = claim.status.allocated_resources.get("storage");
        if let Some(allocated) = allocated.filter(|a| **a > *asked) {
            *asked = allocated.clone();
        }
        // Quotas count whole bytes.
        asked.round_up(0);
        usage.insert("requests.storage", asked.clone());
    }
    if let Some(class) = class {
        usage.insert(
            format!("{class}{OF_CLASS}persistentvolumeclaims"),
            amount(1),
        );
        if let Some(storage) = storage {
            usage.insert(format!("{class}{OF_CLASS}requests.storage"), storage);
        }
    }
    usage
}
