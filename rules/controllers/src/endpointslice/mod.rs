//! EndpointSlice: the addresses behind each service with a selector, in slices of at most 100.
//!
//! Invariant: an endpoint stays in the slice in which it is, so that one pod's change rewrites one slice; every service
//! with a selector has at least one slice of each of its address families, empty if need be. Leaves out: services
//! without a selector, whose slices are their users' own.

mod endpoint;
mod pack;

use crate::plan::{Context, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::core::v1::{Node, Pod, Service};
use corten_api::discovery::v1::EndpointSlice;
use corten_core::{Map, Str, semantic_eq};
use corten_meta::{ObjectKey, Selector, Snapshot};
use pack::Group;

pub use endpoint::{belongs, ports_of};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "endpointslice",
    service_account: "endpointslice-controller",
    primary: resource::<Service>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: selecting_services,
        },
        Wake {
            on: Watched::One(resource::<EndpointSlice>),
            keys: its_service,
        },
    ],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

const MANAGED_BY: (&str, &str) = (
    "endpointslice.kubernetes.io/managed-by",
    "endpointslice-controller.k8s.io",
);
/// The service that a slice belongs to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Marks the slices of services without a cluster address.
const HEADLESS: &str = "service.kubernetes.io/headless";

/// Every service of the pod's namespace that selects it.
pub fn selecting_services(snapshot: &Snapshot, pod: &Object) -> Vec<ObjectKey> {
    let meta = pod.meta();
    snapshot
        .list_in::<Service>(&meta.namespace)
        .filter(|s| {
            !s.spec.selector.is_empty()
                && Selector::from_map(&s.spec.selector).matches(&meta.labels)
        })
        .map(|s| ObjectKey::new(meta.namespace.clone(), s.metadata.name.clone()))
        .collect()
}

fn its_service(_: &Snapshot, slice: &Object) -> Vec<ObjectKey> {
    let meta = slice.meta();
    let ours = meta.label(MANAGED_BY.0) == MANAGED_BY.1;
    let service = meta.labels.get(SERVICE_NAME).filter(|_| ours);
    service
        .map(|name| ObjectKey::new(meta.namespace.clone(), name.clone()))
        .into_iter()
        .collect()
}

/// A service, its pods and its slices.
#[derive(Debug)]
pub struct Observed<'a> {
    service: &'a Service,
    pods: Vec<(&'a Pod, Option<&'a Node>)>,
    slices: Vec<&'a EndpointSlice>,
}

/// What concerns the service `key`; nothing when it does not exist or selects no pods.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let service = snapshot.get::<Service>(&key.namespace, &key.name)?;
    if service.spec.selector.is_empty() || service.spec.type_ == "ExternalName" {
        return None;
    }
    let selector = Selector::from_map(&service.spec.selector);
    let selected = snapshot
        .list_in::<Pod>(&key.namespace)
        .filter(|p| selector.matches(&p.metadata.labels));
    let pods = selected
        .filter(|pod| belongs(pod))
        .map(|pod| (pod, snapshot.get::<Node>("", &pod.spec.node_name)))
        .filter(|(_, node)| node.is_some() || service.spec.publish_not_ready_addresses)
        .collect();
    let ours = |s: &&EndpointSlice| {
        s.metadata.label(SERVICE_NAME) == key.name.as_str()
            && s.metadata.label(MANAGED_BY.0) == MANAGED_BY.1
    };
    let slices = snapshot
        .list_in::<EndpointSlice>(&key.namespace)
        .filter(ours)
        .collect();
    Some(Observed {
        service,
        pods,
        slices,
    })
}

/// The address types that a service has endpoints of.
fn address_types(service: &Service) -> Vec<&'static str> {
    let families = service
        .spec
        .ip_families
        .iter()
        .map(|f| if f == "IPv6" { "IPv6" } else { "IPv4" });
    match service.spec.ip_families.is_empty() {
        true if service.spec.cluster_ip.contains(':') => vec!["IPv6"],
        true => vec!["IPv4"],
        false => families.collect(),
    }
}

/// The writes that bring the slices in line with the pods.
pub fn plan(observed: &Observed, _: &Context) -> Plan {
    let mut plan = Plan::default();
    let service = observed.service;
    if service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let labels = slice_labels(service);
    let families = address_types(service);
    for slice in observed
        .slices
        .iter()
        .filter(|s| !families.iter().any(|f| s.address_type == *f))
    {
        plan.write(Write::delete(
            *slice,
            "the service has no addresses of this family",
        ));
    }
    for family in families {
        let existing: Vec<&EndpointSlice> = observed
            .slices
            .iter()
            .copied()
            .filter(|s| s.address_type == family)
            .collect();
        let groups = endpoint::groups(service, &observed.pods, family);
        let wanted = pack::pack(service, family, groups, &existing);
        for slice in wanted.kept {
            let Some(seen) = existing
                .iter()
                .find(|s| s.metadata.name == slice.metadata.name)
            else {
                continue;
            };
            let mut slice = slice;
            slice.metadata.labels = labels.clone();
            if !semantic_eq(*seen, &slice) {
                plan.write_if(Write::patch(*seen, &slice, "its endpoints changed"));
            }
        }
        for mut slice in wanted.created {
            slice.metadata.labels = labels.clone();
            plan.write(Write::create(
                slice,
                "no slice has room for the service's endpoints",
            ));
        }
        for name in wanted.deleted {
            if let Some(seen) = existing.iter().find(|s| s.metadata.name == name) {
                plan.write(Write::delete(*seen, "its endpoints are gone or moved"));
            }
        }
    }
    plan
}

/// The service's own labels, and those that tell whose slice it is.
fn slice_labels(service: &Service) -> Map<Str> {
    let reserved = [SERVICE_NAME, MANAGED_BY.0, HEADLESS];
    let own = service
        .metadata
        .labels
        .iter()
        .filter(|(key, _)| !reserved.contains(&key.as_str()));
    let mut labels: Map<Str> = own.map(|(k, v)| (k.clone(), v.clone())).collect();
    labels.insert(SERVICE_NAME, service.metadata.name.clone());
    labels.insert(MANAGED_BY.0, MANAGED_BY.1);
    if service.spec.cluster_ip == "None" {
        labels.insert(HEADLESS, "");
    }
    labels
}

/// An empty group for a service without pods.
fn placeholder() -> Group {
    Group {
        ports: corten_core::List::empty(),
        endpoints: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
