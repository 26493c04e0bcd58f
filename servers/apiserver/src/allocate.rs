//! Service addresses and node ports: chosen from what the store holds and committed together with the service, under
//! one lock, so that no two services ever share one. Each cluster IP is also an IPAddress object, as upstream keeps it.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use corten_api::core::v1::Service;
use corten_api::networking::v1::{IPAddress, ParentReference, ServiceCIDR};
use corten_api::{Kind, Object};
use corten_client::Status;
use corten_core::Value;
use corten_kinds::FieldError;
use corten_meta::Snapshot;
use corten_store::{Key, Op, Precondition};
use tokio::sync::MutexGuard;

use crate::catalog::Served;
use crate::families::{self, family_of};
use crate::server::Server;
use crate::write::Aim;
use crate::{commit, metadata, node_ports};

/// Where addresses and ports come from.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// First address and prefix length of the service network; more than one for dual stack.
    pub services: Vec<(IpAddr, u8)>,
    /// Node ports.
    pub node_ports: RangeInclusive<u16>,
}

/// What goes into the transaction beside the service, and the lock that is held until it is committed.
#[derive(Default)]
pub(crate) struct Allocation<'a> {
    pub ops: Vec<Op>,
    _held: Option<MutexGuard<'a, ()>>,
}

/// Fills in a new service.
pub(crate) async fn for_create<'a>(
    server: &'a Server,
    served: &Served,
    object: &mut Object,
    dry_run: bool,
) -> Result<Allocation<'a>, Status> {
    if object.downcast_ref::<Service>().is_none() {
        return Ok(Allocation::default());
    }
    let held = server.allocation.lock().await;
    let mut ops = assign(server, served, object, None, dry_run)?;
    if !dry_run && let Some(service) = object.downcast_ref::<Service>() {
        let taken = without(service, &Service::default());
        ops.extend(node_ports::book(server, &taken, &BTreeSet::new())?);
    }
    Ok(Allocation {
        ops,
        _held: Some(held),
    })
}

/// Fills in what an update asks for and gives back what it no longer needs.
pub(crate) async fn for_update<'a>(
    server: &'a Server,
    served: &Served,
    aim: &Aim<'_>,
    object: &mut Object,
    old: &Object,
    dry_run: bool,
) -> Result<Allocation<'a>, Status> {
    let (Some(before), true) = (old.downcast_ref::<Service>(), aim.subresource.is_empty()) else {
        return Ok(Allocation::default());
    };
    let held = server.allocation.lock().await;
    carry(object, before);
    let mut ops = assign(server, served, object, Some(before), dry_run)?;
    let kept = object
        .downcast_ref::<Service>()
        .map(addresses)
        .unwrap_or_default();
    for address in addresses(before).into_iter().filter(|a| !kept.contains(a)) {
        ops.extend(release(server, &address));
    }
    if !dry_run && let Some(now) = object.downcast_ref::<Service>() {
        ops.extend(node_ports::book(
            server,
            &without(now, before),
            &unused(server, before, &without(before, now)),
        )?);
    }
    Ok(Allocation {
        ops,
        _held: Some(held),
    })
}

/// What goes away with a deleted service.
pub(crate) fn for_delete(server: &Server, _served: &Served, object: &Object) -> Vec<Op> {
    let Some(service) = object.downcast_ref::<Service>() else {
        return Vec::new();
    };
    let mut ops: Vec<Op> = addresses(service)
        .iter()
        .flat_map(|a| release(server, a))
        .collect();
    let nothing = Service::default();
    let given_back = unused(server, service, &without(service, &nothing));
    // An allocation that cannot be written stays taken: better than a service that cannot be deleted.
    ops.extend(
        node_ports::book(server, &BTreeSet::new(), &given_back)
            .ok()
            .flatten(),
    );
    ops
}

/// The node ports that one service has and another has not.
fn without(service: &Service, other: &Service) -> BTreeSet<u16> {
    let other: BTreeSet<u16> = ports(other).into_iter().map(|(port, _)| port).collect();
    let own = ports(service).into_iter().map(|(port, _)| port);
    own.filter(|port| !other.contains(port)).collect()
}

/// Those of a service's ports that no other service has for another protocol.
fn unused(server: &Server, service: &Service, own: &BTreeSet<u16>) -> BTreeSet<u16> {
    let view = server.typed.view();
    let mut left = own.clone();
    if !left.is_empty() {
        for other in view.snapshot.list::<Service>() {
            if other.metadata.uid != service.metadata.uid {
                left.retain(|port| !ports(other).iter().any(|(used, _)| used == port));
            }
        }
    }
    left
}

/// Keeps addresses and ports that an update leaves out.
fn carry(object: &mut Object, before: &Service) {
    let Some(service) = object.downcast_mut::<Service>() else {
        return;
    };
    let external = |s: &Service| s.spec.type_ == "ExternalName";
    if external(service) || external(before) {
        return;
    }
    if service.spec.cluster_ip.is_empty() && service.spec.cluster_ips.is_empty() {
        service.spec.cluster_ip = before.spec.cluster_ip.clone();
        service.spec.cluster_ips = before.spec.cluster_ips.clone();
    }
    let needs = |s: &Service| matches!(s.spec.type_.as_str(), "NodePort" | "LoadBalancer");
    if needs(service) && needs(before) {
        for port in service.spec.ports.iter_mut().filter(|p| p.node_port == 0) {
            let same = before
                .spec
                .ports
                .iter()
                .find(|b| b.port == port.port && b.protocol == port.protocol);
            if let Some(same) = same {
                port.node_port = same.node_port;
            }
        }
        if service.spec.health_check_node_port == 0 {
            service.spec.health_check_node_port = before.spec.health_check_node_port;
        }
    }
}

fn assign(
    server: &Server,
    served: &Served,
    object: &mut Object,
    before: Option<&Service>,
    dry_run: bool,
) -> Result<Vec<Op>, Status> {
    let view = server.typed.view();
    let Some(service) = object.downcast_mut::<Service>() else {
        return Ok(Vec::new());
    };
    let name = service.metadata.name.to_string();
    let own_uid = service.metadata.uid.clone();
    let refuse = |error: FieldError| metadata::invalid(served, &name, &[error]);
    match before {
        Some(before) => corten_kinds::core::service::normalize(service, before),
        None if !service.spec.cluster_ip.is_empty() && service.spec.cluster_ips.is_empty() => {
            let ip = service.spec.cluster_ip.clone();
            service.spec.cluster_ips.push(ip);
        }
        None => {}
    }
    families::settle(service, before, &server.config.ranges)
        .map_err(|errors| metadata::invalid(served, &name, &errors))?;
    let mut used_ports = HashSet::new();
    let mut used_ips = HashSet::new();
    for other in view
        .snapshot
        .list::<Service>()
        .filter(|s| s.metadata.uid != own_uid)
    {
        used_ips.extend(addresses(other));
        used_ports.extend(ports(other));
    }
    used_ports.extend(taken_elsewhere(server, before));
    if dry_run {
        // Upstream looks at nothing that is taken, and at no range of ports, when nothing is to be kept.
        used_ips.clear();
        used_ports.clear();
    }
    assign_ports(server, service, &used_ports, before, dry_run).map_err(&refuse)?;
    let had = before.map(addresses).unwrap_or_default();
    let space = Space {
        snapshot: &view.snapshot,
        networks: networks(server, &view.snapshot, dry_run),
        used: used_ips,
        had: &had,
        dry_run,
    };
    for asked in space.asked(service) {
        space.check(&asked).map_err(&refuse)?;
    }
    assign_addresses(server, service, &space)?;
    if dry_run {
        return Ok(Vec::new());
    }
    let new: Vec<String> = addresses(service)
        .into_iter()
        .filter(|a| !had.contains(a))
        .collect();
    let service = service.clone();
    new.iter()
        .map(|address| claim(server, &service, address))
        .collect()
}

/// Node ports that other servers have taken, also for services that are not seen yet.
fn taken_elsewhere(server: &Server, before: Option<&Service>) -> Vec<(u16, String)> {
    if !server.store.is_remote() {
        return Vec::new();
    }
    let own = before.map(ports).unwrap_or_default();
    let mut taken = Vec::new();
    for port in node_ports::taken(server) {
        if !own.iter().any(|(own, _)| *own == port) {
            taken.extend(["TCP", "UDP", "SCTP"].map(|protocol| (port, protocol.to_owned())));
        }
    }
    taken
}

/// The cluster IPs of a service.
fn addresses(service: &Service) -> Vec<String> {
    let mut all: Vec<String> = service
        .spec
        .cluster_ips
        .iter()
        .map(|a| a.to_string())
        .collect();
    if all.is_empty() {
        all.push(service.spec.cluster_ip.to_string());
    }
    all.retain(|a| !a.is_empty() && a != "None");
    all
}

fn ports(service: &Service) -> Vec<(u16, String)> {
    let listed = service
        .spec
        .ports
        .iter()
        .map(|p| (p.node_port as u16, p.protocol.to_string()));
    let health = (service.spec.health_check_node_port as u16, "TCP".to_owned());
    listed.chain([health]).filter(|(p, _)| *p != 0).collect()
}

/// Which addresses can be given to a service.
struct Space<'a> {
    snapshot: &'a Snapshot,
    networks: Vec<(IpAddr, u8)>,
    /// Addresses of other services.
    used: HashSet<String>,
    /// Addresses that the service has already.
    had: &'a [String],
    dry_run: bool,
}

/// The ranges that addresses come from: those of the cluster's ServiceCIDRs, except of one that goes or is not ready. When
/// nothing is to be kept, upstream looks at the configured ranges alone.
fn networks(server: &Server, snapshot: &Snapshot, dry_run: bool) -> Vec<(IpAddr, u8)> {
    if dry_run {
        return server.config.ranges.services.clone();
    }
    let usable = |cidr: &&ServiceCIDR| {
        let ready = cidr.status.conditions.iter().find(|c| c.type_ == "Ready");
        !cidr.metadata.deleting() && ready.is_none_or(|c| c.status == "True")
    };
    let ranges = snapshot.list::<ServiceCIDR>().filter(usable);
    ranges
        .flat_map(|cidr| cidr.spec.cidrs.iter())
        .filter_map(|text| {
            let (base, prefix) = text.split_once('/')?;
            Some((base.parse().ok()?, prefix.parse().ok()?))
        })
        .collect()
}

impl Space<'_> {
    /// Addresses that the service asks for and does not have yet.
    fn asked(&self, service: &Service) -> Vec<String> {
        let mut asked = addresses(service);
        if service.spec.type_ == "ExternalName" {
            asked.clear();
        }
        asked.retain(|a| !self.had.contains(a));
        asked
    }

    fn is_taken(&self, address: &str) -> bool {
        !self.dry_run
            && (self.used.contains(address)
                || self.snapshot.get::<IPAddress>("", address).is_some())
    }

    /// Whether an address that is asked for can be given.
    fn check(&self, asked: &str) -> Result<(), FieldError> {
        let refuse = |why: &str| {
            let value = Value::List(vec![Value::from(asked)]);
            let text = format!("failed to allocate IP {asked}: {why}");
            Err(FieldError::invalid("spec.clusterIPs", value, text))
        };
        let Ok(ip) = asked.parse::<IpAddr>() else {
            return refuse("the provided network does not match the current range");
        };
        let gives = |range: &&(IpAddr, u8)| contains(**range, ip) && !is_end(**range, ip);
        if self.networks.iter().any(|range| gives(&range)) {
            return match self.is_taken(asked) {
                true => refuse("provided IP is already allocated"),
                false => Ok(()),
            };
        }
        let same_family = |range: &&(IpAddr, u8)| range.0.is_ipv4() == ip.is_ipv4();
        match self.networks.iter().find(same_family) {
            Some(range) if self.dry_run => refuse(&format!(
                "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {}/{}",
                range.0, range.1
            )),
            _ => refuse("the provided network does not match the current range"),
        }
    }

    /// A free address of a family.
    fn choose(&self, family: &str, random: u64) -> Option<IpAddr> {
        let ranges = self.networks.iter().filter(|r| family == family_of(r.0));
        ranges
            .filter_map(|range| choose(*range, &|ip| self.is_taken(ip), random))
            .next()
    }
}

fn assign_addresses(
    server: &Server,
    service: &mut Service,
    space: &Space<'_>,
) -> Result<(), Status> {
    if service.spec.type_ == "ExternalName" || service.spec.cluster_ip == "None" {
        return Ok(());
    }
    if service.spec.cluster_ip.is_empty() && service.spec.cluster_ips.is_empty() {
        let families = service.spec.ip_families.clone();
        for family in families.iter() {
            let chosen = space.choose(family, server.random()).ok_or_else(|| {
                let name = &service.metadata.name;
                Status::internal(format!(
                    "failed to allocate a serviceIP for Service {:?}: range is full",
                    name.as_str()
                ))
            })?;
            service.spec.cluster_ips.push(chosen.to_string().as_str());
        }
    }
    if service.spec.cluster_ip.is_empty() {
        service.spec.cluster_ip = service
            .spec
            .cluster_ips
            .first()
            .cloned()
            .unwrap_or_default();
    } else if service.spec.cluster_ips.is_empty() {
        let ip = service.spec.cluster_ip.clone();
        service.spec.cluster_ips.push(ip);
    }
    Ok(())
}

/// Whether an address is the first of its network, or the last of one of IPv4.
fn is_end(range: (IpAddr, u8), ip: IpAddr) -> bool {
    let bits = host_bits(range);
    let last = (1_u128 << bits.min(127)) - 1;
    let offset = number(ip) & last;
    bits > 1 && (offset == 0 || (ip.is_ipv4() && offset == last))
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    }
}

fn host_bits((base, prefix): (IpAddr, u8)) -> u32 {
    (if base.is_ipv4() { 32 } else { 128 }) - u32::from(prefix)
}

fn contains(range: (IpAddr, u8), ip: IpAddr) -> bool {
    let bits = host_bits(range);
    range.0.is_ipv4() == ip.is_ipv4()
        && (bits >= 128 || number(range.0) >> bits == number(ip) >> bits)
}

/// A free address, looked for from a random place in the upper part of the range (the lower part is for those who ask).
fn choose(range: (IpAddr, u8), is_taken: &dyn Fn(&str) -> bool, random: u64) -> Option<IpAddr> {
    let bits = host_bits(range).min(20);
    let size = 1u64 << bits;
    let base = number(range.0);
    // Network and (for IPv4) broadcast addresses are not given out.
    let last = if range.0.is_ipv4() {
        size.saturating_sub(2)
    } else {
        size - 1
    };
    let reserved = (size / 16).clamp(16, 256).min(last);
    let make = |offset: u64| match range.0 {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from((base as u32).wrapping_add(offset as u32))),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(base + u128::from(offset))),
    };
    let span = last.saturating_sub(reserved);
    let upper = (0..span).map(|i| reserved + 1 + (random % span.max(1) + i) % span);
    upper
        .chain(1..=reserved)
        .map(make)
        .find(|ip| !is_taken(&ip.to_string()))
}

fn assign_ports(
    server: &Server,
    service: &mut Service,
    used: &HashSet<(u16, String)>,
    before: Option<&Service>,
    dry_run: bool,
) -> Result<(), FieldError> {
    let wants = match service.spec.type_.as_str() {
        "NodePort" => true,
        "LoadBalancer" => service
            .spec
            .allocate_load_balancer_node_ports
            .unwrap_or(true),
        _ => false,
    };
    let mut taken = used.clone();
    let own = before.map(ports).unwrap_or_default();
    for (index, port) in service.spec.ports.iter_mut().enumerate() {
        let asked = (port.node_port as u16, port.protocol.to_string());
        if asked.0 != 0 && !own.contains(&asked) && taken.contains(&asked) {
            return Err(FieldError::invalid(
                format!("spec.ports[{index}].nodePort"),
                Value::Int(i64::from(asked.0)),
                "provided port is already allocated",
            ));
        }
        if asked.0 != 0 && wants && !dry_run && !server.config.ranges.node_ports.contains(&asked.0)
        {
            let range = &server.config.ranges.node_ports;
            return Err(FieldError::invalid(
                format!("spec.ports[{index}].nodePort"),
                Value::Int(i64::from(asked.0)),
                format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    range.start(),
                    range.end()
                ),
            ));
        }
        if asked.0 != 0 {
            taken.insert(asked);
        }
    }
    if !wants {
        return Ok(());
    }
    for port in service.spec.ports.iter_mut().filter(|p| p.node_port == 0) {
        let protocol = port.protocol.to_string();
        let chosen = choose_port(server, &taken, &protocol)?;
        taken.insert((chosen, protocol));
        port.node_port = i32::from(chosen);
    }
    let local =
        service.spec.external_traffic_policy == "Local" && service.spec.type_ == "LoadBalancer";
    if local && service.spec.health_check_node_port == 0 {
        service.spec.health_check_node_port = i32::from(choose_port(server, &taken, "TCP")?);
    }
    Ok(())
}

fn choose_port(
    server: &Server,
    taken: &HashSet<(u16, String)>,
    protocol: &str,
) -> Result<u16, FieldError> {
    let range = &server.config.ranges.node_ports;
    let size = u64::from(range.end() - range.start()) + 1;
    let random = server.random() % size;
    (0..size)
        .map(|i| range.start() + ((random + i) % size) as u16)
        .find(|p| !taken.contains(&(*p, protocol.to_owned())))
        .ok_or_else(|| {
            FieldError::invalid(
                "spec.ports[0].nodePort",
                Value::Int(0),
                "failed to allocate a nodePort: range is full",
            )
        })
}

/// The IPAddress object that stands for a cluster IP; it must not exist yet.
fn claim(server: &Server, service: &Service, address: &str) -> Result<Op, Status> {
    let catalog = server.catalog();
    let served = catalog
        .stored_kind(IPAddress::GROUP, IPAddress::KIND)
        .ok_or_else(|| Status::internal("IP addresses are not served"))?;
    let mut object = IPAddress::named(address);
    object.metadata.uid = server.uid().into();
    object.metadata.creation_timestamp = server.now();
    object
        .metadata
        .labels
        .insert("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
    let family = if address.contains(':') {
        "IPv6"
    } else {
        "IPv4"
    };
    object
        .metadata
        .labels
        .insert("ipaddress.kubernetes.io/ip-family", family);
    object.spec.parent_ref = Some(Box::new(ParentReference {
        resource: "services".into(),
        namespace: service.metadata.namespace.clone(),
        name: service.metadata.name.clone(),
        ..ParentReference::default()
    }));
    let key = Key::cluster(&served.storage, address);
    Ok(Op::Put(
        // Another API server on the same etcd may give the same address.
        commit::put(&served, key, object.into())?.when(Precondition::MustNotExist),
    ))
}

fn release(server: &Server, address: &str) -> Option<Op> {
    let served = server
        .catalog()
        .stored_kind(IPAddress::GROUP, IPAddress::KIND)?;
    Some(Op::Delete(
        Key::cluster(&served.storage, address),
        Precondition::Any,
    ))
}
