//! UDP has no connections that end: a tracked flow goes on to an endpoint that is gone, or to a Service's address from
//! before it had endpoints. This names the flows that have to be forgotten after a change.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::{Flow, Protocol};

/// Where datagrams to the changed Services may go. Empty if no flow can be stale.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Datagrams {
    services: BTreeMap<(IpAddr, u16), BTreeSet<SocketAddr>>,
    node_ports: BTreeMap<u16, BTreeSet<SocketAddr>>,
}

impl Datagrams {
    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.node_ports.is_empty()
    }

    /// Whether a flow leads from a changed Service to something that does not serve it.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        if flow.protocol != Protocol::Udp {
            return false;
        }
        let to = flow.destination;
        let serving = self
            .services
            .get(&(to.ip(), to.port()))
            .or_else(|| self.node_ports.get(&to.port()));
        serving.is_some_and(|serving| !serving.contains(&flow.reply_source))
    }

    pub(super) fn service(&mut self, ip: IpAddr, port: u16, serving: &BTreeSet<SocketAddr>) {
        self.services.insert((ip, port), serving.clone());
    }

    pub(super) fn node_port(&mut self, port: u16, serving: &BTreeSet<SocketAddr>) {
        self.node_ports.insert(port, serving.clone());
    }
}
