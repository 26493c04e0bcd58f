//! EndpointSlice mirroring: Endpoints that people write for services without a selector show as slices, too.
//!
//! Invariant: one slice for each set of ports and address family, with at most 1000 addresses of each subset; slices that
//! mirror nothing any more go. Leaves out: Endpoints of leader elections, of services with a selector, and those that
//! ask not to be mirrored.

use crate::plan::{Note, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use crate::template::controller_reference;
use corten_api::Object;
use corten_api::core::v1::{EndpointAddress, EndpointPort as Port, Endpoints, Service};
use corten_api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use corten_api::meta::v1::ObjectMeta;
use corten_core::{List, Map, Str, semantic_eq};
use corten_meta::{ObjectKey, Snapshot};
use std::net::IpAddr;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "endpointslicemirroring",
    service_account: "endpointslicemirroring-controller",
    primary: resource::<Endpoints>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<Service>),
            keys: namesake,
        },
        Wake {
            on: Watched::One(resource::<EndpointSlice>),
            keys: mirrored,
        },
    ],
    reconcile: |snapshot, key, _| Some(plan(&observe(snapshot, key))),
};

const MANAGED_BY: (&str, &str) = (
    "endpointslice.kubernetes.io/managed-by",
    "endpointslicemirroring-controller.k8s.io",
);
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that slices do not take over.
const OWN_ANNOTATIONS: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// Addresses of one subset that are mirrored, at most.
const ADDRESSES_MAX: usize = 1000;

fn namesake(_: &Snapshot, service: &Object) -> Vec<ObjectKey> {
    let meta = service.meta();
    vec![ObjectKey::new(meta.namespace.clone(), meta.name.clone())]
}

fn mirrored(_: &Snapshot, slice: &Object) -> Vec<ObjectKey> {
    let meta = slice.meta();
    let ours = meta.label(MANAGED_BY.0) == MANAGED_BY.1;
    let service = meta.labels.get(SERVICE_NAME).filter(|_| ours);
    service
        .map(|name| ObjectKey::new(meta.namespace.clone(), name.clone()))
        .into_iter()
        .collect()
}

/// Endpoints that are to be mirrored, if they are, and their slices.
#[derive(Debug)]
pub struct Observed<'a> {
    endpoints: Option<&'a Endpoints>,
    slices: Vec<&'a EndpointSlice>,
}

/// What concerns the Endpoints `key`.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Observed<'a> {
    let service = snapshot.get::<Service>(&key.namespace, &key.name);
    let wanted = service.is_some_and(|s| s.spec.selector.is_nil());
    let endpoints = snapshot
        .get::<Endpoints>(&key.namespace, &key.name)
        .filter(|e| {
            let meta = &e.metadata;
            wanted && meta.label(SKIP) != "true" && !meta.annotations.contains_key(LEADER)
        });
    let ours = |s: &&EndpointSlice| {
        s.metadata.label(SERVICE_NAME) == key.name.as_str()
            && s.metadata.label(MANAGED_BY.0) == MANAGED_BY.1
    };
    let slices = snapshot.list_in::<EndpointSlice>(&key.namespace);
    Observed {
        endpoints,
        slices: slices.filter(ours).collect(),
    }
}

/// Endpoints of one family behind the same ports.
struct Group {
    family: &'static str,
    ports: List<EndpointPort>,
    endpoints: Vec<Endpoint>,
}

/// What was left out, for the events.
#[derive(Default)]
struct Skipped {
    invalid: usize,
    total: usize,
}

/// The writes that make slices show what the Endpoints say.
pub fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut left = observed.slices.clone();
    let mut missing = Vec::new();
    let mut skipped = Skipped::default();
    if let Some(endpoints) = observed.endpoints {
        let groups = groups(endpoints, &mut skipped);
        for group in groups {
            let same = |s: &&EndpointSlice| {
                s.address_type == group.family && s.ports.iter().eq(group.ports.iter())
            };
            match left.iter().position(same) {
                Some(at) => rewrite(&mut plan, endpoints, left.remove(at), group),
                None => missing.push(group),
            }
        }
        for group in missing {
            // A slice that would go is used again before another is made.
            let reusable = left.iter().position(|s| s.address_type == group.family);
            match reusable {
                Some(at) => rewrite(&mut plan, endpoints, left.remove(at), group),
                None if endpoints.metadata.deleting() => {}
                None => plan.write(Write::create(
                    slice(endpoints, group, None),
                    "no slice mirrors these ports",
                )),
            }
        }
    }
    for slice in left {
        plan.write(Write::delete(slice, "it mirrors nothing any more"));
    }
    if let Some(endpoints) = observed.endpoints.filter(|_| !plan.steps.is_empty()) {
        tell(&mut plan, endpoints, &skipped);
    }
    plan
}

fn tell(plan: &mut Plan, endpoints: &Endpoints, skipped: &Skipped) {
    if skipped.invalid > 0 {
        let text = format!(
            "Skipped {} invalid IP addresses when mirroring to EndpointSlices",
            skipped.invalid
        );
        plan.note(Note::warning(endpoints, "InvalidIPAddress", text));
    }
    if skipped.total > skipped.invalid {
        let text = format!(
            "A max of {ADDRESSES_MAX} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
            skipped.total
        );
        plan.note(Note::warning(endpoints, "TooManyAddressesToMirror", text));
    }
}

fn rewrite(plan: &mut Plan, endpoints: &Endpoints, seen: &EndpointSlice, mut group: Group) {
    // Those that were there keep their place, so that an unchanged slice is not written.
    let place = |e: &Endpoint| {
        let mut old = seen.endpoints.iter();
        old.position(|o| o.addresses == e.addresses && target(o) == target(e))
            .unwrap_or(usize::MAX)
    };
    group.endpoints.sort_by_key(place);
    let new = slice(endpoints, group, Some(seen));
    if !semantic_eq(seen, &new) {
        plan.write_if(Write::patch(seen, &new, "the Endpoints changed"));
    }
}

fn target(endpoint: &Endpoint) -> Option<&Str> {
    endpoint.target_ref.as_ref().map(|t| &t.uid)
}

fn groups(endpoints: &Endpoints, skipped: &mut Skipped) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for subset in endpoints.subsets.iter() {
        let ports: List<EndpointPort> = subset.ports.iter().map(port).collect();
        let ready = subset.addresses.iter().map(|a| (a, true));
        let waiting = subset.not_ready_addresses.iter().map(|a| (a, false));
        let mut added = 0;
        for (address, is_ready) in ready.chain(waiting) {
            if added == ADDRESSES_MAX {
                skipped.total += 1;
                continue;
            }
            let Some((family, endpoint)) = endpoint(address, is_ready) else {
                skipped.invalid += 1;
                skipped.total += 1;
                continue;
            };
            added += 1;
            let same = |g: &&mut Group| g.family == family && g.ports == ports;
            match groups.iter_mut().find(same) {
                Some(group) => group.endpoints.push(endpoint),
                None => groups.push(Group {
                    family,
                    ports: ports.clone(),
                    endpoints: vec![endpoint],
                }),
            }
        }
    }
    groups
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(port.protocol.clone()),
        port: Some(port.port),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, is_ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let family = if ip.is_ipv6() { "IPv6" } else { "IPv4" };
    let endpoint = Endpoint {
        addresses: List::from_iter([Str::from(ip.to_string())]),
        conditions: EndpointConditions {
            ready: Some(is_ready),
            ..Default::default()
        },
        target_ref: address.target_ref.clone(),
        node_name: address.node_name.clone(),
        hostname: (!address.hostname.is_empty()).then(|| address.hostname.clone()),
        ..Default::default()
    };
    Some((family, endpoint))
}

fn slice(endpoints: &Endpoints, group: Group, seen: Option<&EndpointSlice>) -> EndpointSlice {
    let meta = &endpoints.metadata;
    let annotations = meta.annotations.iter();
    let annotations: Map<Str> = annotations
        .filter(|(key, _)| !OWN_ANNOTATIONS.contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let mut labels = meta.labels.clone();
    labels.insert(SERVICE_NAME, meta.name.clone());
    labels.insert(MANAGED_BY.0, MANAGED_BY.1);
    let mut slice = match seen {
        Some(seen) => seen.clone(),
        None => EndpointSlice {
            metadata: ObjectMeta {
                generate_name: format!("{}-", meta.name).into(),
                namespace: meta.namespace.clone(),
                ..Default::default()
            },
            ..Default::default()
        },
    };
    slice.metadata.labels = labels;
    slice.metadata.annotations = annotations;
    slice.metadata.owner_references = List::from_iter([controller_reference(endpoints)]);
    slice.address_type = group.family.into();
    slice.ports = group.ports;
    slice.endpoints = List::from(group.endpoints);
    slice
}

#[cfg(test)]
#[path = "endpointslice_mirroring_tests.rs"]
mod tests;
