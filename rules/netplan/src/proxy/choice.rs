//! Which endpoints of a Service port take its traffic: readiness, termination, traffic policies, topology hints.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use corten_core::Str;

use crate::input::{EndpointInfo, PortInfo, ServiceInfo, SliceInfo, TrafficPolicy};
use crate::{Cidr, Family};

use super::Node;

/// An endpoint of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub at: SocketAddr,
    pub local: bool,
    ready: bool,
    serving: bool,
    terminating: bool,
    zone_hints: Vec<Str>,
    node_hints: Vec<Str>,
}

impl Endpoint {
    /// Whether it answers, be it on its way out or not.
    pub fn serves(&self) -> bool {
        self.serving
    }

    /// Whether it is ready.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    fn serves_last(&self) -> bool {
        self.serving && self.terminating
    }
}

/// The endpoints that one port's traffic goes to, sorted by address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// For the traffic policy Cluster.
    pub cluster: Vec<SocketAddr>,
    /// For the traffic policy Local.
    pub local: Vec<SocketAddr>,
    /// Those of either that run on this node.
    pub here: Vec<SocketAddr>,
    /// Whether any endpoint anywhere could take the traffic.
    pub any: bool,
}

/// What a family of a Service can be reached by.
#[derive(Debug)]
pub struct Frontends {
    pub cluster_ip: Option<IpAddr>,
    pub external_ips: Vec<IpAddr>,
    pub load_balancer_ips: Vec<IpAddr>,
    pub source_ranges: Vec<Cidr>,
}

impl Frontends {
    /// Those of one family.
    pub fn of(service: &ServiceInfo, family: Family) -> Self {
        let only = |ips: &[IpAddr]| -> Vec<IpAddr> {
            let mut ips: Vec<IpAddr> = ips
                .iter()
                .copied()
                .filter(|ip| Family::of(ip) == family)
                .collect();
            ips.sort();
            ips.dedup();
            ips
        };
        Frontends {
            cluster_ip: service
                .cluster_ips
                .iter()
                .copied()
                .find(|ip| Family::of(ip) == family),
            external_ips: only(&service.external_ips),
            load_balancer_ips: only(&service.load_balancer_ips),
            source_ranges: service
                .source_ranges
                .iter()
                .copied()
                .filter(|r| r.family() == family)
                .collect(),
        }
    }

    /// Whether a port can be reached by anything but the cluster IP.
    pub fn external(&self, port: &PortInfo) -> bool {
        port.node_port.is_some()
            || !self.external_ips.is_empty()
            || !self.load_balancer_ips.is_empty()
    }
}

/// The endpoints of one port and family, one for each address, whatever their state.
pub fn endpoints<'a>(
    slices: impl Iterator<Item = &'a SliceInfo>,
    port: &PortInfo,
    family: Family,
    node: &Node,
) -> Vec<Endpoint> {
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    for slice in slices {
        let ports = slice
            .ports
            .iter()
            .filter(|p| p.name == port.name && p.protocol == port.protocol);
        for number in ports.map(|p| p.port) {
            for info in slice
                .endpoints
                .iter()
                .filter(|e| Family::of(&e.ip) == family)
            {
                let at = SocketAddr::new(info.ip, number);
                // An address may be in two slices for a moment, or belong to a pod on its way out and already to a new
                // one: the one that is not terminating counts.
                if !info.terminating || !found.contains_key(&at) {
                    found.insert(at, resolve(info, at, node));
                }
            }
        }
    }
    found.into_values().collect()
}

fn resolve(info: &EndpointInfo, at: SocketAddr, node: &Node) -> Endpoint {
    Endpoint {
        at,
        local: info
            .node
            .as_deref()
            .is_some_and(|name| !name.is_empty() && *name == node.name),
        ready: info.ready,
        serving: info.serving,
        terminating: info.terminating,
        zone_hints: info.zone_hints.clone(),
        node_hints: info.node_hints.clone(),
    }
}

/// Chooses among the endpoints of a port.
pub fn choose(
    endpoints: &[Endpoint],
    service: &ServiceInfo,
    external: bool,
    node: &Node,
) -> Choice {
    let uses_cluster = service.internal == TrafficPolicy::Cluster || external;
    let uses_local = service.internal == TrafficPolicy::Local
        || (service.external == TrafficPolicy::Local && external);
    let mut choice = Choice::default();
    let mut reached: Vec<&Endpoint> = Vec::new();
    if uses_cluster {
        let preference = Preference::of(endpoints, node);
        let ready = |e: &&Endpoint| e.ready && preference.admits(e, node);
        let chosen = first_filled(endpoints, [&ready, &|e| e.serves_last()]);
        choice.any = !chosen.is_empty();
        choice.cluster = chosen.iter().map(|e| e.at).collect();
        reached.extend(chosen);
    }
    if uses_local {
        choice.any |= endpoints.iter().any(|e| e.ready || e.serves_last());
        let chosen = first_filled(
            endpoints,
            [&|e| e.local && e.ready, &|e| e.local && e.serves_last()],
        );
        choice.local = chosen.iter().map(|e| e.at).collect();
        reached.extend(chosen);
    }
    choice.here = reached.iter().filter(|e| e.local).map(|e| e.at).collect();
    choice.here.sort();
    choice.here.dedup();
    choice
}

/// What the first condition that any endpoint meets picks.
fn first_filled<'a>(
    endpoints: &'a [Endpoint],
    conditions: [&dyn Fn(&&Endpoint) -> bool; 2],
) -> Vec<&'a Endpoint> {
    let picked = |condition: &dyn Fn(&&Endpoint) -> bool| {
        endpoints.iter().filter(condition).collect::<Vec<_>>()
    };
    match picked(conditions[0]) {
        chosen if chosen.is_empty() => picked(conditions[1]),
        chosen => chosen,
    }
}

/// Which hints count: only if every ready endpoint has one of the kind and one is for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Preference {
    Any,
    SameNode,
    SameZone,
}

impl Preference {
    fn of(endpoints: &[Endpoint], node: &Node) -> Self {
        let ready = || endpoints.iter().filter(|e| e.ready);
        let counts = |hints: fn(&Endpoint) -> &Vec<Str>, here: &str| {
            ready().all(|e| !hints(e).is_empty())
                && ready().any(|e| hints(e).iter().any(|hint| hint == here))
        };
        if counts(|e| &e.node_hints, &node.name) {
            Preference::SameNode
        } else if counts(|e| &e.zone_hints, &node.zone) {
            Preference::SameZone
        } else {
            Preference::Any
        }
    }

    fn admits(self, endpoint: &Endpoint, node: &Node) -> bool {
        match self {
            Preference::Any => true,
            Preference::SameNode => endpoint.node_hints.iter().any(|hint| *hint == node.name),
            Preference::SameZone => endpoint.zone_hints.iter().any(|hint| *hint == node.zone),
        }
    }
}
