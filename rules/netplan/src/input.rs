//! What the plans read of Services and EndpointSlices, with addresses parsed. Text that is no address, or of a form
//! that validation would refuse today, is passed over: a bad object must not harm the others.

use std::net::IpAddr;

use corten_api::core::v1::Service;
use corten_api::discovery::v1::{self as discovery, EndpointSlice};
use corten_core::Str;
use corten_meta::ObjectKey;

use crate::{Cidr, Protocol, parse_ip};

/// The label of an EndpointSlice that names its Service.
pub const LABEL_SERVICE_NAME: &str = "kubernetes.io/service-name";
/// The label of a Service that another proxy takes care of.
const LABEL_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The label of a Service that no proxy takes care of.
const LABEL_HEADLESS: &str = "service.kubernetes.io/headless";
/// Seconds that session affinity lasts if the Service does not say.
const AFFINITY_SECONDS_DEFAULT: u32 = 10_800;

/// Which endpoints traffic may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// Any in the cluster.
    Cluster,
    /// Only those on the node that took the packet.
    Local,
}

/// A Service that packets can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceInfo {
    pub ports: Vec<PortInfo>,
    pub cluster_ips: Vec<IpAddr>,
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses that reach the node as they are (mode VIP).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Sources that load balancer addresses are open to; empty for all.
    pub source_ranges: Vec<Cidr>,
    /// Seconds that a client keeps its endpoint.
    pub affinity: Option<u32>,
    pub external: TrafficPolicy,
    pub internal: TrafficPolicy,
    /// The port on which the node tells load balancers whether it has endpoints.
    pub health_check_node_port: Option<u16>,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortInfo {
    pub name: Str,
    pub protocol: Protocol,
    pub port: u16,
    pub node_port: Option<u16>,
}

/// The endpoints of one EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceInfo {
    pub ports: Vec<EndpointPort>,
    pub endpoints: Vec<EndpointInfo>,
}

/// A port that every endpoint of a slice has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPort {
    pub name: Str,
    pub protocol: Protocol,
    pub port: u16,
}

/// One endpoint of a slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointInfo {
    pub ip: IpAddr,
    pub hostname: Option<Str>,
    pub node: Option<Str>,
    pub ready: bool,
    pub serving: bool,
    pub terminating: bool,
    pub zone_hints: Vec<Str>,
    pub node_hints: Vec<Str>,
}

impl ServiceInfo {
    /// Reads a Service. `None` if nothing can be sent to it: headless, without an address yet, an external name, or
    /// marked as another proxy's or nobody's.
    pub fn read(service: &Service) -> Option<Self> {
        let spec = &service.spec;
        if [LABEL_PROXY_NAME, LABEL_HEADLESS]
            .iter()
            .any(|label| service.metadata.labels.contains_key(label))
        {
            return None;
        }
        if spec.cluster_ip.is_empty() || spec.cluster_ip == "None" || spec.type_ == "ExternalName" {
            return None;
        }
        let mut cluster_ips = addresses(&spec.cluster_ips);
        if cluster_ips.is_empty() {
            cluster_ips.extend(parse_ip(&spec.cluster_ip));
        }
        let balanced = spec.type_ == "LoadBalancer" || spec.type_ == "NodePort";
        let external_local =
            spec.external_traffic_policy == "Local" && (balanced || !spec.external_ips.is_empty());
        let internal_local = spec.internal_traffic_policy.as_deref() == Some("Local");
        let checked = spec.type_ == "LoadBalancer" && external_local;
        let health_check_node_port = port(spec.health_check_node_port).filter(|_| checked);
        let vip = |mode: &Option<Str>| mode.as_deref().is_none_or(|mode| mode == "VIP");
        let ingress = service.status.load_balancer.ingress.iter();
        Some(ServiceInfo {
            ports: ports(service),
            cluster_ips,
            external_ips: addresses(&spec.external_ips),
            load_balancer_ips: ingress
                .filter(|i| vip(&i.ip_mode))
                .filter_map(|i| parse_ip(&i.ip))
                .collect(),
            source_ranges: source_ranges(&spec.load_balancer_source_ranges),
            affinity: (spec.session_affinity == "ClientIP").then(|| {
                let config = spec
                    .session_affinity_config
                    .as_ref()
                    .and_then(|c| c.client_ip.as_ref());
                let seconds = config
                    .and_then(|c| c.timeout_seconds)
                    .and_then(|s| u32::try_from(s).ok());
                seconds
                    .filter(|s| *s > 0)
                    .unwrap_or(AFFINITY_SECONDS_DEFAULT)
            }),
            external: policy(external_local),
            internal: policy(internal_local),
            health_check_node_port,
        })
    }
}

impl SliceInfo {
    /// Reads an EndpointSlice. Slices of FQDNs have no endpoints that packets can be sent to.
    pub fn read(slice: &EndpointSlice) -> Self {
        let ports = slice.ports.iter().filter_map(|p| {
            Some(EndpointPort {
                name: p.name.clone()?,
                protocol: Protocol::from_api(p.protocol.as_deref().unwrap_or("TCP"))?,
                port: port(p.port?)?,
            })
        });
        let endpoints = slice
            .endpoints
            .iter()
            .filter(|_| slice.address_type != "FQDN");
        SliceInfo {
            ports: ports.collect(),
            endpoints: endpoints.filter_map(endpoint).collect(),
        }
    }

    /// The Service that a slice belongs to, if its label names one.
    pub fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
        let name = slice
            .metadata
            .labels
            .get(LABEL_SERVICE_NAME)
            .filter(|name| !name.is_empty())?;
        Some(ObjectKey {
            namespace: slice.metadata.namespace.clone(),
            name: name.clone(),
        })
    }
}

fn endpoint(endpoint: &discovery::Endpoint) -> Option<EndpointInfo> {
    let conditions = &endpoint.conditions;
    let (mut zone_hints, mut node_hints) = (Vec::new(), Vec::new());
    if let Some(hints) = &endpoint.hints {
        zone_hints.extend(hints.for_zones.iter().map(|zone| zone.name.clone()));
        node_hints.extend(hints.for_nodes.iter().map(|node| node.name.clone()));
    }
    Some(EndpointInfo {
        ip: parse_ip(endpoint.addresses.first()?)?,
        hostname: endpoint.hostname.clone().filter(|name| !name.is_empty()),
        node: endpoint.node_name.clone(),
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        zone_hints,
        node_hints,
    })
}

/// The ports of a Service, one for each number and protocol.
fn ports(service: &Service) -> Vec<PortInfo> {
    let mut ports: Vec<PortInfo> = Vec::new();
    for p in service.spec.ports.iter() {
        let (Some(protocol), Some(number)) = (Protocol::from_api(&p.protocol), port(p.port)) else {
            continue;
        };
        if !ports
            .iter()
            .any(|known| known.protocol == protocol && known.port == number)
        {
            ports.push(PortInfo {
                name: p.name.clone(),
                protocol,
                port: number,
                node_port: port(p.node_port),
            });
        }
    }
    ports
}

/// An empty range of a family means that all of it is allowed, as a range of the whole family does.
fn source_ranges(ranges: &[Str]) -> Vec<Cidr> {
    let mut ranges: Vec<Cidr> = ranges
        .iter()
        .filter_map(|text| text.trim().parse().ok())
        .collect();
    let open: Vec<_> = ranges
        .iter()
        .filter(|range| range.prefix() == 0)
        .map(Cidr::family)
        .collect();
    ranges.retain(|range| !open.contains(&range.family()));
    ranges
}

fn addresses(texts: &[Str]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| parse_ip(text)).collect()
}

fn policy(local: bool) -> TrafficPolicy {
    if local {
        TrafficPolicy::Local
    } else {
        TrafficPolicy::Cluster
    }
}

fn port(number: i32) -> Option<u16> {
    u16::try_from(number).ok().filter(|number| *number != 0)
}
