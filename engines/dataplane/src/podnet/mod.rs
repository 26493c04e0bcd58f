//! The pod network of one node: a bridge that holds the gateway address, one veth pair per pod, a /32 address and a
//! default route in each pod, host ports and masquerading in one nftables table.
//! Pods have no on-link neighbours: packets between pods of one node are routed by the host, so that connection
//! tracking sees both directions of a Service connection without bridge-nf. Leaves room for routes to other nodes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use corten_netplan::{Cidr, Protocol};

use crate::Result;

/// What a pod network is made of. Names are the caller's, so that several networks fit on one host.
#[derive(Debug, Clone)]
pub struct PodNetworkConfig {
    /// The bridge's name, at most 15 bytes (`corten0`). The nftables table has the same name.
    pub bridge: String,
    /// The addresses of this node's pods (IPv4). The first host address is the gateway, held by the bridge.
    pub pod_cidr: Cidr,
    /// The addresses of all pods of the cluster: traffic that leaves it is masqueraded.
    pub cluster_cidr: Cidr,
    /// MTU of pods' links in bytes; `None` takes that of the link with the default route, or 1500.
    pub mtu: Option<u32>,
    /// A directory of this network's own for the leases; made if missing.
    pub leases: PathBuf,
}

/// One pod to connect.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// The sandbox's id: the key of the lease. It must be usable as a file name.
    pub sandbox: &'a str,
    /// The pod's network namespace.
    pub netns: &'a Path,
    /// Ports of the node that lead to ports of the pod.
    pub host_ports: &'a [HostPort],
}

/// A port of the node that leads to a port of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    pub protocol: Protocol,
    /// The address of the node that it answers on; `None` for every one.
    pub host_ip: Option<Ipv4Addr>,
    pub host_port: u16,
    pub container_port: u16,
}

/// What a pod got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodAddress {
    pub ip: Ipv4Addr,
    pub gateway: Ipv4Addr,
    /// The link's name inside the pod (`eth0`).
    pub link: String,
    /// The link's name on the node.
    pub host_link: String,
    pub mtu: u32,
}

/// A route to the pods of another node, through an address of that node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRoute {
    pub pod_cidr: Cidr,
    pub via: Ipv4Addr,
}

/// The pod network of one node, in the network namespace of the thread that opened it. Shareable between threads.
#[derive(Debug)]
pub struct PodNetwork {
    config: PodNetworkConfig,
}

impl PodNetwork {
    /// Makes the bridge, its address, the sysctls and the nftables table, or adopts what an earlier run left, and
    /// reads the leases. Existing pods keep their connections.
    pub fn open(config: PodNetworkConfig) -> Result<Self> {
        Ok(PodNetwork { config })
    }

    /// Connects a pod. On an error nothing of it remains. A sandbox that is attached already gets its present
    /// address again.
    pub fn attach(&self, pod: &Attachment<'_>) -> Result<PodAddress> {
        Err(self.early(pod.sandbox))
    }

    /// Disconnects a pod: link, host ports, lease. Nothing happens if it is not attached.
    pub fn detach(&self, sandbox: &str) -> Result<()> {
        Err(self.early(sandbox))
    }

    /// Detaches every sandbox that is not in `live`; answers which ones.
    pub fn retain(&self, live: &BTreeSet<String>) -> Result<Vec<String>> {
        Err(self.early(&format!("{live:?}")))
    }

    /// The address of an attached sandbox.
    pub fn address(&self, _sandbox: &str) -> Option<PodAddress> {
        None
    }

    /// The gateway: the node's own address in the pod network.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::UNSPECIFIED
    }

    /// Makes the routes to other nodes' pods exactly these.
    pub fn set_routes(&self, routes: &[NodeRoute]) -> Result<()> {
        Err(self.early(&format!("{routes:?}")))
    }

    /// Removes everything this network made: bridge, links, routes, table, leases.
    pub fn reset(self) -> Result<()> {
        Err(self.early(""))
    }

    fn early(&self, what: &str) -> crate::Error {
        crate::Error::Config {
            what: "network",
            value: format!("{} {what}", self.config.bridge),
            why: "not made yet",
        }
    }
}
