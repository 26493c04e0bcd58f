//! A pod as the scheduler sees it: everything that does not depend on a node is worked out once.

use crate::resources::{self, Amounts};
use corten_api::core::v1::Pod;
use corten_core::Str;

/// A host port that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// `0.0.0.0` when the pod names none.
    pub ip: Str,
    /// `TCP` when the pod names none.
    pub protocol: Str,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn collides(&self, other: &HostPort) -> bool {
        let any = |ip: &Str| ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// A pod to be placed.
#[derive(Clone, Debug)]
pub struct PodView<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// What it asks for.
    pub requests: Amounts,
    /// What it counts as when nodes are compared.
    pub assumed: Amounts,
    /// The host ports that it takes.
    pub ports: Vec<HostPort>,
    /// Its priority; more is more important.
    pub priority: i32,
}

impl<'a> PodView<'a> {
    /// Works the pod out.
    pub fn new(pod: &'a Pod) -> PodView<'a> {
        PodView {
            pod,
            requests: resources::requests(pod),
            assumed: resources::assumed_requests(pod),
            ports: host_ports(pod),
            priority: pod.spec.priority.unwrap_or(0),
        }
    }
}

pub(crate) fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let sidecars = pod
        .spec
        .init_containers
        .iter()
        .filter(|c| c.restart_policy.as_ref().is_some_and(|p| p == "Always"));
    let ports = pod
        .spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter())
        .filter(|p| p.host_port > 0);
    let or = |given: &Str, default: &str| {
        if given.is_empty() {
            default.into()
        } else {
            given.clone()
        }
    };
    ports
        .map(|p| HostPort {
            ip: or(&p.host_ip, "0.0.0.0"),
            protocol: or(&p.protocol, "TCP"),
            port: p.host_port,
        })
        .collect()
}
