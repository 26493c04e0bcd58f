//! The proxy's plan: Services and EndpointSlices to the packet filter of one node, with the behaviour of upstream's
//! nftables mode. The planner keeps what it read, so that a change costs what depends on the changed Service.
//! Invariant: the plan is a function of the present objects, not of the order in which they came.

mod choice;
mod datagrams;
mod service;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use corten_api::Object;
use corten_api::core::v1::Service;
use corten_api::discovery::v1::EndpointSlice;
use corten_api::networking::v1::ServiceCIDR;
use corten_core::Str;

use corten_meta::{GroupResource, ObjectKey, Snapshot, Table as Objects};

use crate::changes::changes;
use crate::input::{ServiceInfo, SliceInfo};
use crate::ruleset::{Element, ElementKey, Ruleset};
use crate::{Cidr, Family, Protocol};

pub use datagrams::Datagrams;

use choice::Frontends;
use service::{Fragment, PortPlan, Rank};

const LABEL_ZONE: &str = "topology.kubernetes.io/zone";

/// What holds for the whole cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// The name of the table, of which there is one in each family.
    pub table: String,
    /// The families to plan for.
    pub families: Vec<Family>,
    /// The addresses of pods; others count as outside the cluster.
    pub cluster_cidrs: Vec<Cidr>,
    /// The addresses that Services can get; packets to one without a Service are dropped.
    pub service_cidrs: Vec<Cidr>,
    /// Which packets to cluster IPs get the node as their source.
    pub masquerade: Masquerade,
    /// The bit of packets' marks that stands for masquerading.
    pub masquerade_mark: u32,
}

impl ProxyConfig {
    /// IPv4, pods and Services in the given prefixes, all else as upstream's defaults.
    pub fn new(table: &str, cluster_cidr: Cidr, service_cidr: Cidr) -> Self {
        ProxyConfig {
            table: table.to_owned(),
            families: vec![Family::V4],
            cluster_cidrs: vec![cluster_cidr],
            service_cidrs: vec![service_cidr],
            masquerade: Masquerade::OffCluster,
            masquerade_mark: 0x4000,
        }
    }
}

/// Which packets to cluster IPs are masqueraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masquerade {
    All,
    /// Those that do not come from a pod.
    OffCluster,
}

/// The node that the plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub name: String,
    /// The value of the label `topology.kubernetes.io/zone`, or empty.
    pub zone: String,
    pub ips: Vec<IpAddr>,
    pub node_ports: NodePortAddresses,
}

/// The node's addresses that answer on node ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// Every one but loopback.
    All,
    /// The node's first address of each family.
    Primary,
    These(Vec<IpAddr>),
}

impl Node {
    /// A node without a zone that answers on its primary addresses.
    pub fn new(name: &str, ips: Vec<IpAddr>) -> Self {
        Node {
            name: name.to_owned(),
            zone: String::new(),
            ips,
            node_ports: NodePortAddresses::Primary,
        }
    }

    /// This node with the zone and the internal addresses that its object says, as far as it says any.
    fn updated(&self, object: &corten_api::core::v1::Node) -> Self {
        let internal = object
            .status
            .addresses
            .iter()
            .filter(|address| address.type_ == "InternalIP");
        let ips: Vec<IpAddr> = internal
            .filter_map(|address| crate::parse_ip(&address.address))
            .collect();
        let zone = object
            .metadata
            .labels
            .get(LABEL_ZONE)
            .map(Str::to_string)
            .unwrap_or_default();
        Node {
            zone,
            ips: if ips.is_empty() {
                self.ips.clone()
            } else {
                ips
            },
            ..self.clone()
        }
    }

    /// The addresses of a family that answer on node ports; `None` for all.
    fn node_port_ips(&self, family: Family) -> Option<Vec<IpAddr>> {
        let of_family = |ips: &[IpAddr]| -> Vec<IpAddr> {
            ips.iter()
                .copied()
                .filter(|ip| Family::of(ip) == family && !ip.is_loopback())
                .collect()
        };
        match &self.node_ports {
            NodePortAddresses::All => None,
            NodePortAddresses::Primary => Some(of_family(&self.ips).into_iter().take(1).collect()),
            NodePortAddresses::These(ips) => Some(of_family(ips)),
        }
    }
}

/// What should be.
#[derive(Debug, Clone)]
pub struct ProxyPlan {
    /// One table for each family.
    pub rulesets: Vec<Ruleset>,
    /// Flows to forget, after the tables are in place.
    pub datagrams: Datagrams,
    /// What to answer on health check ports, by port.
    pub health: BTreeMap<u16, ServiceHealth>,
}

/// What a node tells a load balancer about a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceHealth {
    pub service: ObjectKey,
    /// Ready endpoints on this node.
    pub local_endpoints: usize,
}

/// Plans for one node.
#[derive(Debug)]
pub struct ProxyPlanner {
    config: ProxyConfig,
    node: Node,
    services: BTreeMap<ObjectKey, ServiceInfo>,
    slices: BTreeMap<ObjectKey, BTreeMap<Str, SliceInfo>>,
    /// The Service that each slice counted for, by namespace and name of the slice.
    slice_owners: BTreeMap<ObjectKey, ObjectKey>,
    changed: BTreeSet<ObjectKey>,
    seen_services: Objects,
    seen_slices: Objects,
    tables: Vec<Table>,
    health: BTreeMap<ObjectKey, (u16, usize)>,
}

/// A family's table and what it is put together from.
#[derive(Debug)]
struct Table {
    ruleset: Ruleset,
    fragments: BTreeMap<ObjectKey, Fragment>,
    claims: BTreeMap<ElementKey, BTreeMap<(Rank, ObjectKey), Element>>,
}

impl ProxyPlanner {
    /// A planner without Services.
    pub fn new(config: ProxyConfig, node: Node) -> Self {
        let tables = config
            .families
            .iter()
            .map(|family| Table::empty(&config, &node, *family))
            .collect();
        ProxyPlanner {
            config,
            node,
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            slice_owners: BTreeMap::new(),
            changed: BTreeSet::new(),
            seen_services: Objects::default(),
            seen_slices: Objects::default(),
            tables,
            health: BTreeMap::new(),
        }
    }

    /// Takes in what a snapshot's Services and EndpointSlices have different from the one before: costs what changed.
    /// The node's own object and the ServiceCIDRs count too, where the snapshot has them.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        let table = |resource| snapshot.table(&resource).cloned().unwrap_or_default();
        let services: Objects = table(GroupResource::of::<Service>());
        for (key, object) in changes(&self.seen_services, &services) {
            self.set_service(key, object.as_deref().and_then(Object::downcast_ref));
        }
        self.seen_services = services;
        let slices: Objects = table(GroupResource::of::<EndpointSlice>());
        for (key, object) in changes(&self.seen_slices, &slices) {
            self.set_slice(
                &key.namespace,
                &key.name,
                object.as_deref().and_then(Object::downcast_ref),
            );
        }
        self.seen_slices = slices;
        if let Some(node) = snapshot.get::<corten_api::core::v1::Node>("", &self.node.name) {
            self.set_node(self.node.updated(node));
        }
        let cidrs = snapshot
            .list::<ServiceCIDR>()
            .flat_map(|object| object.spec.cidrs.iter());
        let mut cidrs: Vec<Cidr> = cidrs.filter_map(|cidr| cidr.parse().ok()).collect();
        if !cidrs.is_empty() {
            cidrs.sort();
            cidrs.dedup();
            self.set_service_cidrs(cidrs);
        }
    }

    /// Takes in a Service as it is now; `None` if it is gone.
    pub fn set_service(&mut self, name: ObjectKey, service: Option<&Service>) {
        let info = service.and_then(ServiceInfo::read);
        if self.services.get(&name) == info.as_ref() {
            return;
        }
        match info {
            Some(info) => self.services.insert(name.clone(), info),
            None => self.services.remove(&name),
        };
        self.changed.insert(name);
    }

    /// Takes in an EndpointSlice as it is now; `None` if it is gone.
    pub fn set_slice(&mut self, namespace: &str, name: &str, slice: Option<&EndpointSlice>) {
        let key = ObjectKey::new(namespace, name);
        let owner = slice.and_then(SliceInfo::service_of);
        let before = match &owner {
            Some(owner) => self.slice_owners.insert(key.clone(), owner.clone()),
            None => self.slice_owners.remove(&key),
        };
        if let Some(before) = before.filter(|before| Some(before) != owner.as_ref())
            && let Some(slices) = self.slices.get_mut(&before)
        {
            slices.remove(&key.name);
            if slices.is_empty() {
                self.slices.remove(&before);
            }
            self.changed.insert(before);
        }
        if let (Some(owner), Some(slice)) = (owner, slice) {
            let info = SliceInfo::read(slice);
            let slices = self.slices.entry(owner.clone()).or_default();
            if slices.get(&key.name) != Some(&info) {
                slices.insert(key.name, info);
                self.changed.insert(owner);
            }
        }
    }

    /// Takes in the node as it is now. If it changed, everything is planned anew.
    pub fn set_node(&mut self, node: Node) {
        if self.node != node {
            self.node = node;
            self.start_over();
        }
    }

    /// Takes in the prefixes that Services can get. If they changed, everything is planned anew.
    pub fn set_service_cidrs(&mut self, cidrs: Vec<Cidr>) {
        if self.config.service_cidrs != cidrs {
            self.config.service_cidrs = cidrs;
            self.start_over();
        }
    }

    /// What should be now.
    pub fn plan(&mut self) -> ProxyPlan {
        let mut datagrams = Datagrams::default();
        for name in std::mem::take(&mut self.changed) {
            self.plan_service(&name, &mut datagrams);
        }
        let health = self
            .health
            .iter()
            .map(|(service, (port, local_endpoints))| {
                (
                    *port,
                    ServiceHealth {
                        service: service.clone(),
                        local_endpoints: *local_endpoints,
                    },
                )
            });
        ProxyPlan {
            rulesets: self
                .tables
                .iter()
                .map(|table| table.ruleset.clone())
                .collect(),
            datagrams,
            health: health.collect(),
        }
    }

    fn start_over(&mut self) {
        self.changed.extend(self.services.keys().cloned());
        let families = self.config.families.iter();
        self.tables = families
            .map(|family| Table::empty(&self.config, &self.node, *family))
            .collect();
    }

    fn plan_service(&mut self, name: &ObjectKey, datagrams: &mut Datagrams) {
        self.health.remove(name);
        let nothing = BTreeMap::new();
        let slices = self.slices.get(name).unwrap_or(&nothing);
        let service = self.services.get(name);
        let mut local_ready = BTreeSet::new();
        for table in &mut self.tables {
            let mut fragment = Fragment::default();
            if let Some(service) = service {
                let family = table.ruleset.family;
                let frontends = Frontends::of(service, family);
                for port in service
                    .ports
                    .iter()
                    .filter(|_| frontends.cluster_ip.is_some())
                {
                    let endpoints = choice::endpoints(slices.values(), port, family, &self.node);
                    let external = frontends.external(port);
                    let choice = choice::choose(&endpoints, service, external, &self.node);
                    let (config, node) = (&self.config, &self.node);
                    let plan = PortPlan {
                        name,
                        service,
                        port,
                        frontends: &frontends,
                        choice: &choice,
                        family,
                        config,
                        node,
                    };
                    plan.write(&mut fragment);
                    local_ready.extend(
                        endpoints
                            .iter()
                            .filter(|e| e.local && e.is_ready())
                            .map(|e| e.at.ip()),
                    );
                    if port.protocol == Protocol::Udp {
                        let serving = endpoints
                            .iter()
                            .filter(|e| e.serves())
                            .map(|e| e.at)
                            .collect();
                        note_datagrams(datagrams, &frontends, port, &serving);
                    }
                }
            }
            table.put(name, fragment);
        }
        if let Some(port) = service.and_then(|service| service.health_check_node_port) {
            self.health.insert(name.clone(), (port, local_ready.len()));
        }
    }
}

/// A Service without endpoints needs nothing: its packets are refused.
fn note_datagrams(
    datagrams: &mut Datagrams,
    frontends: &Frontends,
    port: &crate::input::PortInfo,
    serving: &BTreeSet<SocketAddr>,
) {
    if serving.is_empty() {
        return;
    }
    let external = frontends
        .external_ips
        .iter()
        .chain(&frontends.load_balancer_ips);
    for ip in frontends.cluster_ip.iter().chain(external) {
        datagrams.service(*ip, port.port, serving);
    }
    if let Some(node_port) = port.node_port {
        datagrams.node_port(node_port, serving);
    }
}

impl Table {
    fn empty(config: &ProxyConfig, node: &Node, family: Family) -> Self {
        Table {
            ruleset: table::skeleton(config, node, family),
            fragments: BTreeMap::new(),
            claims: BTreeMap::new(),
        }
    }

    /// Puts a Service's part in the place of what it had.
    fn put(&mut self, name: &ObjectKey, fragment: Fragment) {
        let before = self.fragments.remove(name).unwrap_or_default();
        for (chain, _) in &before.chains {
            if !fragment.chains.iter().any(|(kept, _)| kept == chain) {
                self.ruleset.chains.remove(chain);
            }
        }
        for (set, _) in &before.sets {
            if !fragment.sets.iter().any(|(kept, _)| kept == set) {
                self.ruleset.sets.remove(set);
            }
        }
        for (chain, content) in &fragment.chains {
            if self
                .ruleset
                .chains
                .get(chain)
                .is_none_or(|now| **now != *content)
            {
                self.ruleset
                    .chains
                    .insert(chain.clone(), Arc::new(content.clone()));
            }
        }
        for (set, content) in &fragment.sets {
            if !self.ruleset.sets.contains_key(set) {
                self.ruleset
                    .sets
                    .insert(set.clone(), Arc::new(content.clone()));
            }
        }
        let mut touched = BTreeSet::new();
        for claim in &before.elements {
            if let Some(claims) = self.claims.get_mut(&claim.key) {
                claims.remove(&(claim.rank, name.clone()));
            }
            touched.insert(&claim.key);
        }
        for claim in &fragment.elements {
            let claims = self.claims.entry(claim.key.clone()).or_default();
            claims.insert((claim.rank, name.clone()), claim.element.clone());
            touched.insert(&claim.key);
        }
        for key in touched {
            settle(&mut self.claims, &mut self.ruleset, key);
        }
        if fragment != Fragment::default() {
            self.fragments.insert(name.clone(), fragment);
        }
    }
}

/// Makes an element what the first claim says.
fn settle(
    claims: &mut BTreeMap<ElementKey, BTreeMap<(Rank, ObjectKey), Element>>,
    ruleset: &mut Ruleset,
    key: &ElementKey,
) {
    match claims.get(key).and_then(|claims| claims.values().next()) {
        Some(element) => {
            if ruleset.elements.get(key) != Some(element) {
                ruleset.elements.insert(key.clone(), element.clone());
            }
        }
        None => {
            claims.remove(key);
            ruleset.elements.remove(key);
        }
    }
}
