//! What the records are looked up in: Services, their endpoints, and who has an address. Kept up to date by the
//! differences between snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use corten_api::Object;
use corten_api::core::v1::{Namespace, Service};
use corten_api::discovery::v1::EndpointSlice;
use corten_core::Str;
use corten_meta::{GroupResource, ObjectKey, Snapshot, Table};

use crate::changes::changes;
use crate::input::SliceInfo;
use crate::{Protocol, parse_ip};

use super::dashed;

/// A Service as its records need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    pub target: Target,
    pub ports: Vec<Port>,
}

/// Where a Service's name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Addresses(Vec<IpAddr>),
    /// To its endpoints.
    Headless,
    Alias(String),
}

/// A named port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub name: Str,
    pub protocol: Protocol,
    pub number: u16,
}

/// A ready endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    pub ip: IpAddr,
    /// Its hostname, or its address with dashes.
    pub hostname: Str,
    pub ports: Vec<Port>,
}

/// The look-up tables.
#[derive(Debug, Clone, Default)]
pub struct Index {
    namespaces: Table,
    seen_services: Table,
    seen_slices: Table,
    services: BTreeMap<ObjectKey, ServiceRecord>,
    /// By Service and then by slice.
    endpoints: BTreeMap<ObjectKey, BTreeMap<Str, Vec<Endpoint>>>,
    slice_owners: BTreeMap<ObjectKey, ObjectKey>,
    services_at: BTreeMap<IpAddr, BTreeSet<ObjectKey>>,
    /// Services with an endpoint at an address; counted, as several slices may have it.
    services_behind: BTreeMap<IpAddr, BTreeMap<ObjectKey, usize>>,
}

impl Index {
    /// Takes in what a snapshot has different.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        let table = |resource| snapshot.table(&resource).cloned().unwrap_or_default();
        self.namespaces = table(GroupResource::of::<Namespace>());
        let services = table(GroupResource::of::<Service>());
        for (key, object) in changes(&self.seen_services, &services) {
            self.set_service(key, object.as_deref().and_then(Object::downcast_ref));
        }
        self.seen_services = services;
        let slices = table(GroupResource::of::<EndpointSlice>());
        for (key, object) in changes(&self.seen_slices, &slices) {
            self.set_slice(key, object.as_deref().and_then(Object::downcast_ref));
        }
        self.seen_slices = slices;
    }

    /// Whether there is a namespace of this name.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.contains_key(&ObjectKey::new("", name))
    }

    /// A Service.
    pub fn service(&self, key: &ObjectKey) -> Option<&ServiceRecord> {
        self.services.get(key)
    }

    /// A Service's ready endpoints.
    pub fn endpoints(&self, key: &ObjectKey) -> impl Iterator<Item = &Endpoint> {
        self.endpoints
            .get(key)
            .into_iter()
            .flat_map(|slices| slices.values().flatten())
    }

    /// The Services that have a cluster IP.
    pub fn services_at(&self, ip: &IpAddr) -> impl Iterator<Item = &ObjectKey> {
        self.services_at.get(ip).into_iter().flatten()
    }

    /// The Services with a ready endpoint at an address.
    pub fn services_behind(&self, ip: &IpAddr) -> impl Iterator<Item = &ObjectKey> {
        self.services_behind
            .get(ip)
            .into_iter()
            .flat_map(BTreeMap::keys)
    }

    fn set_service(&mut self, key: ObjectKey, service: Option<&Service>) {
        let record = service.and_then(read_service);
        let before = match &record {
            Some(record) => self.services.insert(key.clone(), record.clone()),
            None => self.services.remove(&key),
        };
        for ip in cluster_ips(before.as_ref()) {
            if let Some(keys) = self.services_at.get_mut(ip) {
                keys.remove(&key);
                if keys.is_empty() {
                    self.services_at.remove(ip);
                }
            }
        }
        for ip in cluster_ips(record.as_ref()) {
            self.services_at.entry(*ip).or_default().insert(key.clone());
        }
    }

    fn set_slice(&mut self, key: ObjectKey, slice: Option<&EndpointSlice>) {
        if let Some(owner) = self.slice_owners.remove(&key) {
            self.remove_slice(&owner, &key.name);
        }
        let Some((slice, owner)) =
            slice.and_then(|slice| Some((slice, SliceInfo::service_of(slice)?)))
        else {
            return;
        };
        let endpoints = read_slice(slice);
        for endpoint in &endpoints {
            *self
                .services_behind
                .entry(endpoint.ip)
                .or_default()
                .entry(owner.clone())
                .or_default() += 1;
        }
        self.endpoints
            .entry(owner.clone())
            .or_default()
            .insert(key.name.clone(), endpoints);
        self.slice_owners.insert(key, owner);
    }

    fn remove_slice(&mut self, owner: &ObjectKey, name: &str) {
        let Some(slices) = self.endpoints.get_mut(owner) else {
            return;
        };
        for endpoint in slices.remove(name).into_iter().flatten() {
            let Some(owners) = self.services_behind.get_mut(&endpoint.ip) else {
                continue;
            };
            if let Some(count) = owners.get_mut(owner) {
                *count -= 1;
                if *count == 0 {
                    owners.remove(owner);
                }
            }
            if owners.is_empty() {
                self.services_behind.remove(&endpoint.ip);
            }
        }
        if slices.is_empty() {
            self.endpoints.remove(owner);
        }
    }
}

fn cluster_ips(service: Option<&ServiceRecord>) -> &[IpAddr] {
    match service.map(|service| &service.target) {
        Some(Target::Addresses(ips)) => ips,
        _ => &[],
    }
}

fn read_service(service: &Service) -> Option<ServiceRecord> {
    let spec = &service.spec;
    let target = if spec.type_ == "ExternalName" {
        Target::Alias(
            spec.external_name
                .trim_end_matches('.')
                .to_ascii_lowercase(),
        )
    } else if spec.cluster_ip == "None" {
        Target::Headless
    } else {
        let mut ips: Vec<IpAddr> = spec
            .cluster_ips
            .iter()
            .filter_map(|ip| parse_ip(ip))
            .collect();
        if ips.is_empty() {
            ips.push(parse_ip(&spec.cluster_ip)?);
        }
        Target::Addresses(ips)
    };
    let ports = spec.ports.iter().filter_map(|port| {
        Some(Port {
            name: port.name.clone(),
            protocol: Protocol::from_api(&port.protocol)?,
            number: u16::try_from(port.port).ok()?,
        })
    });
    Some(ServiceRecord {
        target,
        ports: ports.collect(),
    })
}

fn read_slice(slice: &EndpointSlice) -> Vec<Endpoint> {
    let info = SliceInfo::read(slice);
    let port = |p: &crate::input::EndpointPort| Port {
        name: p.name.clone(),
        protocol: p.protocol,
        number: p.port,
    };
    let ports: Vec<Port> = info.ports.iter().map(port).collect();
    let ready = info.endpoints.into_iter().filter(|endpoint| endpoint.ready);
    let endpoint = |endpoint: crate::input::EndpointInfo| Endpoint {
        ip: endpoint.ip,
        hostname: endpoint.hostname.unwrap_or_else(|| dashed(&endpoint.ip)),
        ports: ports.clone(),
    };
    ready.map(endpoint).collect()
}
