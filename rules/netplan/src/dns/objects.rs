//! The objects through which pods reach a DNS server that runs on nodes: the Service `kube-dns` without a selector, and
//! one EndpointSlice for each node's server. Packets take the ordinary way of Services; nothing else has to know.

use std::net::SocketAddr;

use corten_api::core::v1::{Service, ServicePort};
use corten_api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};

use crate::input::LABEL_SERVICE_NAME;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "kube-dns";
const PORTS: [(&str, &str); 2] = [("dns", "UDP"), ("dns-tcp", "TCP")];

/// The Service at `cluster_ip`, port 53.
pub fn service(cluster_ip: std::net::IpAddr) -> Service {
    let mut service = Service::default();
    service.metadata.namespace = NAMESPACE.into();
    service.metadata.name = NAME.into();
    for (key, value) in [
        ("k8s-app", NAME),
        ("kubernetes.io/cluster-service", "true"),
        ("kubernetes.io/name", "CoreDNS"),
    ] {
        service.metadata.labels.insert(key, value);
    }
    service.spec.cluster_ip = cluster_ip.to_string().into();
    service.spec.cluster_ips.push(cluster_ip.to_string());
    for (name, protocol) in PORTS {
        let port = ServicePort {
            name: name.into(),
            protocol: protocol.into(),
            port: 53,
            target_port: corten_core::IntOrString::Int(53),
            ..ServicePort::default()
        };
        service.spec.ports.push(port);
    }
    service
}

/// The slice that says that a node's server listens at `listen`, an address that pods reach (not loopback).
pub fn slice(node: &str, listen: SocketAddr) -> EndpointSlice {
    let mut slice = EndpointSlice::default();
    slice.metadata.namespace = NAMESPACE.into();
    slice.metadata.name = format!("{NAME}-{node}").into();
    slice.metadata.labels.insert(LABEL_SERVICE_NAME, NAME);
    slice
        .metadata
        .labels
        .insert("endpointslice.kubernetes.io/managed-by", "corten-dns");
    slice.address_type = if listen.is_ipv4() { "IPv4" } else { "IPv6" }.into();
    let mut endpoint = Endpoint {
        node_name: Some(node.into()),
        ..Endpoint::default()
    };
    endpoint.addresses.push(listen.ip().to_string());
    endpoint.conditions.ready = Some(true);
    endpoint.conditions.serving = Some(true);
    endpoint.conditions.terminating = Some(false);
    slice.endpoints.push(endpoint);
    for (name, protocol) in PORTS {
        let port = EndpointPort {
            name: Some(name.into()),
            protocol: Some(protocol.into()),
            port: Some(i32::from(listen.port())),
            ..EndpointPort::default()
        };
        slice.ports.push(port);
    }
    slice
}
