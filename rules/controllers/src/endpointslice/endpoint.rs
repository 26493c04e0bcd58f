//! One pod as an endpoint of a service: its address, its ports and its conditions.

use super::pack::Group;
use super::placeholder;
use crate::pods;
use corten_api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort};
use corten_api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone,
};
use corten_core::{IntOrString, List, Str};
use std::net::IpAddr;

const ZONE: &str = "topology.kubernetes.io/zone";

/// Whether a pod can be an endpoint at all: it has an address and is not finished for good.
pub fn belongs(pod: &Pod) -> bool {
    let has_address = !pod.status.pod_ip.is_empty() || !pod.status.pod_ips.is_empty();
    has_address && !pods::is_finished(pod)
}

/// The number of the pod's port that a service's port leads to; nothing when a named port does not exist.
fn target(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let protocol = |given: &str| {
        if given.is_empty() {
            "TCP".to_owned()
        } else {
            given.to_owned()
        }
    };
    match &port.target_port {
        IntOrString::Int(0) => Some(port.port),
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) if name.is_empty() => Some(port.port),
        IntOrString::String(name) => {
            let sidecars = pod
                .spec
                .init_containers
                .iter()
                .filter(|c| c.restart_policy.as_ref().is_some_and(|p| p == "Always"));
            let mut ports = pod
                .spec
                .containers
                .iter()
                .chain(sidecars)
                .flat_map(|c| c.ports.iter());
            ports
                .find(|p| p.name == *name && protocol(&p.protocol) == protocol(&port.protocol))
                .map(|p| p.container_port)
        }
    }
}

/// The ports under which a pod serves `service`.
pub fn ports_of(service: &Service, pod: &Pod) -> List<EndpointPort> {
    let ports = service.spec.ports.iter().filter_map(|port| {
        Some(EndpointPort {
            name: Some(port.name.clone()),
            protocol: Some(port.protocol.clone()),
            port: Some(target(pod, port)?),
            app_protocol: port.app_protocol.clone(),
        })
    });
    List::from(ports.collect::<Vec<_>>())
}

fn addresses(pod: &Pod, family: &str) -> List<corten_core::Str> {
    let listed = pod.status.pod_ips.iter().map(|ip| &ip.ip);
    let single = std::iter::once(&pod.status.pod_ip).filter(|_| pod.status.pod_ips.is_empty());
    let fits = |ip: &IpAddr| ip.is_ipv6() == (family == "IPv6");
    listed
        .chain(single)
        .filter_map(|ip| ip.parse().ok())
        .filter(fits)
        .map(|ip| corten_core::Str::from(ip.to_string()))
        .collect()
}

fn endpoint(service: &Service, pod: &Pod, node: Option<&Node>, family: &str) -> Option<Endpoint> {
    let addresses = addresses(pod, family);
    if addresses.is_empty() {
        return None;
    }
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
    let zone = node
        .and_then(|n| n.metadata.labels.get(ZONE))
        .filter(|z| !z.is_empty())
        .cloned();
    let has_name = !pod.spec.hostname.is_empty()
        && pod.spec.subdomain == service.metadata.name
        && pod.metadata.namespace == service.metadata.namespace;
    Some(Endpoint {
        addresses,
        conditions: EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        },
        hostname: has_name.then(|| pod.spec.hostname.clone()),
        target_ref: Some(Box::new(ObjectReference {
            kind: "Pod".into(),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        })),
        node_name: (!pod.spec.node_name.is_empty()).then(|| pod.spec.node_name.clone()),
        hints: hints(service, pod, zone.as_ref()).filter(|_| ready),
        zone,
        ..Default::default()
    })
}

/// Who should use the endpoint, where the service wants traffic to stay close (KEP-4444, KEP-3015).
fn hints(service: &Service, pod: &Pod, zone: Option<&Str>) -> Option<Box<EndpointHints>> {
    let distribution = service.spec.traffic_distribution.as_deref()?;
    let close = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if !close.contains(&distribution) {
        return None;
    }
    let mut hints = EndpointHints::default();
    if let Some(zone) = zone {
        hints.for_zones.push(ForZone { name: zone.clone() });
    }
    let node = &pod.spec.node_name;
    if distribution == "PreferSameNode" && !node.is_empty() {
        hints.for_nodes.push(ForNode { name: node.clone() });
    }
    let any = !hints.for_zones.is_empty() || !hints.for_nodes.is_empty();
    any.then(|| Box::new(hints))
}

/// The endpoints of one family, grouped by the ports that they have in common.
pub(super) fn groups(
    service: &Service,
    pods: &[(&Pod, Option<&Node>)],
    family: &str,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (pod, node) in pods {
        let Some(endpoint) = endpoint(service, pod, *node, family) else {
            continue;
        };
        let ports = ports_of(service, pod);
        match groups.iter_mut().find(|g| g.ports == ports) {
            Some(group) => group.endpoints.push(endpoint),
            None => groups.push(Group {
                ports,
                endpoints: vec![endpoint],
            }),
        }
    }
    if groups.is_empty() {
        groups.push(placeholder());
    }
    groups
}
