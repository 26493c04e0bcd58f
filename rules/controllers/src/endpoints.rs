//! Endpoints: the older form of a service's addresses, one object per service with at most 1000 of them.
//!
//! Invariant: objects of services without a selector, and objects that this controller did not make, are left alone.

use crate::endpointslice::{belongs, ports_of, selecting_services};
use crate::plan::{Context, Plan, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use corten_api::meta::v1::ObjectMeta;
use corten_core::{List, Map, Str, semantic_eq};
use corten_meta::{ObjectKey, Selector, Snapshot};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "endpoints",
    service_account: "endpoint-controller",
    primary: resource::<Service>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: selecting_services,
        },
        Wake {
            on: Watched::One(resource::<Endpoints>),
            keys: same_name,
        },
    ],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

const ADDRESSES_MAX: usize = 1000;
const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const HEADLESS: &str = "service.kubernetes.io/headless";

fn same_name(_: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    vec![ObjectKey::new(
        object.meta().namespace.clone(),
        object.meta().name.clone(),
    )]
}

/// A service with a selector, or endpoints whose service is gone.
#[derive(Debug)]
pub struct Observed<'a> {
    service: Option<&'a Service>,
    pods: Vec<&'a Pod>,
    seen: Option<&'a Endpoints>,
}

/// What concerns the service `key`.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let seen = snapshot.get::<Endpoints>(&key.namespace, &key.name);
    let Some(service) = snapshot.get::<Service>(&key.namespace, &key.name) else {
        let ours = seen.filter(|e| e.metadata.label(MANAGED_BY.0) == MANAGED_BY.1);
        return ours.map(|_| Observed {
            service: None,
            pods: Vec::new(),
            seen,
        });
    };
    if service.spec.selector.is_empty() || service.spec.type_ == "ExternalName" {
        return None;
    }
    let selector = Selector::from_map(&service.spec.selector);
    let unready = service.spec.publish_not_ready_addresses;
    let selected = snapshot.list_in::<Pod>(&key.namespace).filter(|p| {
        selector.matches(&p.metadata.labels) && belongs(p) && (unready || !p.metadata.deleting())
    });
    Some(Observed {
        service: Some(service),
        pods: selected.collect(),
        seen,
    })
}

/// The write that brings the object in line with the pods.
pub fn plan(observed: &Observed, _: &Context) -> Plan {
    let mut plan = Plan::default();
    let Some(service) = observed.service.filter(|s| !s.metadata.deleting()) else {
        if let (Some(seen), None) = (observed.seen, observed.service) {
            plan.write(Write::delete(seen, "its service is gone"));
        }
        return plan;
    };
    let mut new = observed.seen.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            namespace: service.metadata.namespace.clone(),
            name: service.metadata.name.clone(),
            ..Default::default()
        },
        ..Default::default()
    });
    let (subsets, truncated) = truncate(subsets(service, &observed.pods));
    new.subsets = List::from(subsets);
    new.metadata.labels = labels(service);
    match truncated {
        true => drop(new.metadata.annotations.insert(OVER_CAPACITY, "truncated")),
        false => drop(new.metadata.annotations.remove(OVER_CAPACITY)),
    }
    match observed.seen {
        None => plan.write(Write::create(new, "the service has no endpoints object")),
        Some(seen) if semantic_eq(seen, &new) => {}
        Some(seen) => plan.write_if(Write::patch(seen, &new, "the service's pods changed")),
    }
    plan
}

fn labels(service: &Service) -> Map<Str> {
    let mut labels: Map<Str> = service.metadata.labels.clone();
    labels.insert(MANAGED_BY.0, MANAGED_BY.1);
    match service.spec.cluster_ip == "None" {
        true => drop(labels.insert(HEADLESS, "")),
        false => drop(labels.remove(HEADLESS)),
    }
    labels
}

fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let first = service.spec.ip_families.first();
    let six = first.map_or_else(
        || service.spec.cluster_ip.contains(':'),
        |family| family == "IPv6",
    );
    let listed = pod.status.pod_ips.iter().map(|ip| &ip.ip);
    let single = std::iter::once(&pod.status.pod_ip).filter(|_| pod.status.pod_ips.is_empty());
    let ip: IpAddr = listed
        .chain(single)
        .filter_map(|ip| ip.parse().ok())
        .find(|ip: &IpAddr| ip.is_ipv6() == six)?;
    let named = !pod.spec.hostname.is_empty() && pod.spec.subdomain == service.metadata.name;
    Some(EndpointAddress {
        ip: ip.to_string().into(),
        hostname: if named {
            pod.spec.hostname.clone()
        } else {
            Str::EMPTY
        },
        node_name: Some(pod.spec.node_name.clone()),
        target_ref: Some(Box::new(ObjectReference {
            kind: "Pod".into(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        })),
    })
}

/// A port as it can be sorted: name, number, protocol, application protocol.
type Port = (Str, i32, Str, Option<Str>);

/// Ports that lead to the same addresses are one subset.
fn subsets(service: &Service, pods: &[&Pod]) -> Vec<EndpointSubset> {
    let mut by_port: BTreeMap<Option<Port>, Vec<usize>> = BTreeMap::new();
    let mut found: Vec<(EndpointAddress, bool)> = Vec::new();
    for pod in pods {
        let Some(address) = address(service, pod) else {
            continue;
        };
        let ready = service.spec.publish_not_ready_addresses || pods::is_ready(pod);
        let index = found.len();
        found.push((address, ready));
        if service.spec.ports.is_empty() && service.spec.cluster_ip == "None" {
            by_port.entry(None).or_default().push(index);
        }
        for port in ports_of(service, pod).iter() {
            let name = port.name.clone().unwrap_or_default();
            let protocol = port.protocol.clone().unwrap_or_default();
            let port = (
                name,
                port.port.unwrap_or(0),
                protocol,
                port.app_protocol.clone(),
            );
            by_port.entry(Some(port)).or_default().push(index);
        }
    }
    let mut by_addresses: BTreeMap<Vec<usize>, Vec<Port>> = BTreeMap::new();
    for (port, addresses) in by_port {
        by_addresses.entry(addresses).or_default().extend(port);
    }
    let subset = |(addresses, ports): (Vec<usize>, Vec<Port>)| {
        let of = |wanted: bool| {
            let chosen = addresses.iter().filter_map(|i| found.get(*i));
            let mut chosen: Vec<EndpointAddress> = chosen
                .filter(|(_, ready)| *ready == wanted)
                .map(|(a, _)| a.clone())
                .collect();
            chosen.sort_by(|a, b| a.ip.cmp(&b.ip));
            if chosen.is_empty() {
                List::NIL
            } else {
                List::from(chosen)
            }
        };
        let ports: Vec<EndpointPort> = ports
            .into_iter()
            .map(|(name, port, protocol, app_protocol)| EndpointPort {
                name,
                port,
                protocol,
                app_protocol,
            })
            .collect();
        EndpointSubset {
            addresses: of(true),
            not_ready_addresses: of(false),
            ports: if ports.is_empty() {
                List::NIL
            } else {
                List::from(ports)
            },
        }
    };
    by_addresses.into_iter().map(subset).collect()
}

/// Keeps 1000 addresses, ready ones first.
fn truncate(mut subsets: Vec<EndpointSubset>) -> (Vec<EndpointSubset>, bool) {
    let total: usize = subsets
        .iter()
        .map(|s| s.addresses.len() + s.not_ready_addresses.len())
        .sum();
    let mut room = ADDRESSES_MAX;
    let mut keep = |list: &mut List<EndpointAddress>| {
        list.truncate(room);
        room -= list.len();
    };
    subsets.iter_mut().for_each(|s| keep(&mut s.addresses));
    subsets
        .iter_mut()
        .for_each(|s| keep(&mut s.not_ready_addresses));
    subsets.retain(|s| !s.addresses.is_empty() || !s.not_ready_addresses.is_empty());
    (subsets, total > ADDRESSES_MAX)
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use corten_api::core::v1::{Endpoints, Service};
    use expect_test::expect;

    #[test]
    fn ports_with_the_same_addresses_share_a_subset() {
        let pod = |name: &str, ip: &str, ready: &str| {
            format!(
                "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: w}}}}
spec: {{nodeName: n1, containers: [{{name: c, ports: [{{name: http, containerPort: 8080, protocol: TCP}}]}}]}}
status: {{phase: Running, podIP: {ip}, conditions: [{{type: Ready, status: '{ready}'}}]}}
"
            )
        };
        let service = "
apiVersion: v1
kind: Service
metadata: {name: w, namespace: default}
spec:
  clusterIP: 10.96.0.9
  ipFamilies: [IPv4]
  selector: {app: w}
  ports: [{name: a, port: 80, targetPort: http, protocol: TCP}, {name: b, port: 81, protocol: TCP}]
";
        let mut world = World::new(&format!(
            "{service}{}{}",
            pod("p1", "10.0.0.2", "True"),
            pod("p2", "10.0.0.1", "False")
        ));
        world.run(&CONTROLLER, "default/w");
        let show = |e: &Endpoints| {
            let one = |s: &corten_api::core::v1::EndpointSubset| {
                let ips = |l: &[corten_api::core::v1::EndpointAddress]| {
                    l.iter()
                        .map(|a| a.ip.to_string())
                        .collect::<Vec<_>>()
                        .join(",")
                };
                let ports: Vec<String> = s
                    .ports
                    .iter()
                    .map(|p| format!("{}={}", p.name, p.port))
                    .collect();
                format!(
                    "[{}] not ready [{}] {}",
                    ips(&s.addresses),
                    ips(&s.not_ready_addresses),
                    ports.join(",")
                )
            };
            e.subsets.iter().map(one).collect::<Vec<_>>().join("; ")
        };
        expect!["w [10.0.0.2] not ready [10.0.0.1] a=8080,b=81"]
            .assert_eq(&world.list::<Endpoints>(show));
        let key = corten_meta::ObjectKey::new("default", "w");
        world
            .snapshot
            .remove(&corten_meta::GroupResource::of::<Service>(), &key);
        expect!["delete endpoints default/w"].assert_eq(&world.run(&CONTROLLER, "default/w"));
    }
}
