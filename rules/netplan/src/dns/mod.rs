//! The cluster's DNS records: what a question about Services, endpoints and pods is answered with, after the
//! Kubernetes DNS specification 1.1.0 and CoreDNS's kubernetes plugin where that leaves room.
//! Invariant: an answer is a function of the present objects and the question. It leaves out messages, caches and other
//! zones (`corten-dns`).

mod index;
pub mod objects;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_core::Str;
use corten_meta::{ObjectKey, Snapshot};

use crate::Family;
use index::{Endpoint, Index, ServiceRecord, Target};

/// The version of the specification that the records follow.
pub const SPECIFICATION: &str = "1.1.0";

/// A type of records that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
    Cname,
    Ns,
    Ptr,
    Soa,
    Srv,
    Txt,
    /// A type that no name here has.
    Other,
}

/// What a record says. Names are complete, in lower case, without the closing dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    Ns(String),
    Ptr(String),
    Srv {
        weight: u16,
        port: u16,
        target: String,
    },
    Txt(String),
    Soa,
}

impl Data {
    fn address(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Data::A(ip),
            IpAddr::V6(ip) => Data::Aaaa(ip),
        }
    }
}

/// What a question is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Records of the name asked for, and addresses of the names in them.
    Found {
        records: Vec<Data>,
        additional: Vec<(String, Data)>,
    },
    /// The name is another name of something outside.
    Alias(String),
    /// The name exists but has no such records.
    NoData,
    /// There is no such name.
    NoName,
    /// The name is in another zone.
    Elsewhere,
}

impl Answer {
    fn records(records: Vec<Data>) -> Self {
        match records.is_empty() {
            true => Answer::NoData,
            false => Answer::Found {
                records,
                additional: Vec::new(),
            },
        }
    }
}

/// The records of a cluster.
#[derive(Debug, Clone)]
pub struct Records {
    /// The cluster's domain in lower case, without dots at its ends.
    zone: String,
    /// The address of the cluster's DNS Service, if known: that of the zone's name server.
    server: Vec<IpAddr>,
    serial: u32,
    index: Index,
}

impl Records {
    /// The records of a cluster of which nothing is known yet.
    pub fn new(zone: &str, server: Vec<IpAddr>) -> Self {
        Records {
            zone: zone.trim_matches('.').to_ascii_lowercase(),
            server,
            serial: 0,
            index: Index::default(),
        }
    }

    /// The cluster's domain.
    pub fn zone(&self) -> &str {
        &self.zone
    }

    /// The version of the zone.
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Takes in Services, EndpointSlices and Namespaces that differ from the snapshot before: costs what changed.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        // Serial numbers are compared modulo 2^32.
        self.serial = snapshot.revision().0 as u32;
        self.index.observe(snapshot);
    }

    /// Answers a question. The name is complete, with or without its closing dot, in any case.
    pub fn answer(&self, name: &str, kind: Kind) -> Answer {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(ip) = reverse_address(&name) {
            return self.reverse(ip, kind);
        }
        let Some(inside) = name.strip_suffix(&self.zone) else {
            return Answer::Elsewhere;
        };
        let labels: Vec<&str> = match inside.strip_suffix('.') {
            Some(inside) => inside.split('.').rev().collect(),
            None if inside.is_empty() => Vec::new(),
            None => return Answer::Elsewhere,
        };
        match labels[..] {
            [] => self.apex(kind),
            ["dns-version"] => only(kind, Kind::Txt, Data::Txt(SPECIFICATION.into())),
            ["dns"] | ["svc"] | ["pod"] => Answer::NoData,
            ["dns", "ns"] => addresses(self.server.iter().copied(), kind),
            ["svc" | "pod", namespace] => self.in_namespace(namespace, || Answer::NoData),
            ["pod", namespace, pod] => self.in_namespace(namespace, || pod_address(pod, kind)),
            ["svc", namespace, ref rest @ ..] => self.service(namespace, rest, kind),
            _ => Answer::NoName,
        }
    }

    fn apex(&self, kind: Kind) -> Answer {
        match kind {
            Kind::Soa => Answer::records(vec![Data::Soa]),
            Kind::Ns => {
                let server = self.name("ns.dns");
                let additional = self
                    .server
                    .iter()
                    .map(|ip| (server.clone(), Data::address(*ip)))
                    .collect();
                Answer::Found {
                    records: vec![Data::Ns(server)],
                    additional,
                }
            }
            _ => Answer::NoData,
        }
    }

    fn in_namespace(&self, namespace: &str, answer: impl FnOnce() -> Answer) -> Answer {
        if self.index.has_namespace(namespace) {
            answer()
        } else {
            Answer::NoName
        }
    }

    /// `labels` are those below the namespace, the Service's name first.
    fn service(&self, namespace: &str, labels: &[&str], kind: Kind) -> Answer {
        let Some((name, rest)) = labels.split_first() else {
            return Answer::NoName;
        };
        let key = ObjectKey::new(namespace, *name);
        let Some(service) = self.index.service(&key) else {
            return Answer::NoName;
        };
        if let Target::Alias(alias) = &service.target {
            return if rest.is_empty() {
                Answer::Alias(alias.clone())
            } else {
                Answer::NoName
            };
        }
        match rest {
            [] => self.service_itself(&key, service, kind),
            [protocol] if protocol.starts_with('_') => {
                let named = self
                    .ports(&key, service)
                    .any(|p| format!("_{}", p.protocol) == *protocol);
                if named {
                    Answer::NoData
                } else {
                    Answer::NoName
                }
            }
            [hostname] => {
                let endpoints = self.index.endpoints(&key);
                let mut named = endpoints
                    .filter(|e| e.hostname == *hostname)
                    .map(|e| e.ip)
                    .peekable();
                if named.peek().is_none() {
                    Answer::NoName
                } else {
                    addresses(named, kind)
                }
            }
            [protocol, port] => {
                let (Some(protocol), Some(port)) =
                    (protocol.strip_prefix('_'), port.strip_prefix('_'))
                else {
                    return Answer::NoName;
                };
                self.ports_named(
                    &key,
                    service,
                    |p| p.name == *port && p.protocol.name() == protocol,
                    kind,
                )
            }
            _ => Answer::NoName,
        }
    }

    fn service_itself(&self, key: &ObjectKey, service: &ServiceRecord, kind: Kind) -> Answer {
        if kind == Kind::Srv {
            return match self.ports_named(key, service, |_| true, kind) {
                Answer::NoName => Answer::NoData,
                answer => answer,
            };
        }
        match &service.target {
            Target::Addresses(ips) => addresses(ips.iter().copied(), kind),
            // Without a ready endpoint the name does not exist.
            _ => {
                let mut ips = self.index.endpoints(key).map(|e| e.ip).peekable();
                if ips.peek().is_none() {
                    Answer::NoName
                } else {
                    addresses(ips, kind)
                }
            }
        }
    }

    /// The ports that a Service has; a headless one has those of its endpoints.
    fn ports<'a>(
        &'a self,
        key: &ObjectKey,
        service: &'a ServiceRecord,
    ) -> impl Iterator<Item = index::Port> + 'a {
        let mut ports: BTreeSet<index::Port> = BTreeSet::new();
        match service.target {
            Target::Addresses(_) => ports.extend(service.ports.iter().cloned()),
            _ => ports.extend(
                self.index
                    .endpoints(key)
                    .flat_map(|e| e.ports.iter().cloned()),
            ),
        }
        ports.into_iter()
    }

    fn ports_named(
        &self,
        key: &ObjectKey,
        service: &ServiceRecord,
        wanted: impl Fn(&index::Port) -> bool,
        kind: Kind,
    ) -> Answer {
        let of_service = self.name(&format!("{}.{}.svc", key.name, key.namespace));
        let mut found: BTreeSet<(String, u16)> = BTreeSet::new();
        let mut additional: BTreeSet<(String, Data)> = BTreeSet::new();
        match &service.target {
            Target::Addresses(ips) => {
                found.extend(
                    service
                        .ports
                        .iter()
                        .filter(|p| wanted(p))
                        .map(|p| (of_service.clone(), p.number)),
                );
                additional.extend(
                    ips.iter()
                        .map(|ip| (of_service.clone(), Data::address(*ip))),
                );
            }
            _ => {
                for endpoint in self.index.endpoints(key) {
                    let target = format!("{}.{of_service}", endpoint.hostname);
                    for port in endpoint.ports.iter().filter(|p| wanted(p)) {
                        found.insert((target.clone(), port.number));
                        additional.insert((target.clone(), Data::address(endpoint.ip)));
                    }
                }
            }
        }
        if found.is_empty() {
            return Answer::NoName;
        }
        if kind != Kind::Srv {
            return Answer::NoData;
        }
        let weight = (100 / found.len()).max(1) as u16;
        let records = found
            .into_iter()
            .map(|(target, port)| Data::Srv {
                weight,
                port,
                target,
            })
            .collect();
        Answer::Found {
            records,
            additional: additional.into_iter().collect(),
        }
    }

    /// The Service that has an address, or else the endpoints that have it.
    fn reverse(&self, ip: IpAddr, kind: Kind) -> Answer {
        let of = |key: &ObjectKey| self.name(&format!("{}.{}.svc", key.name, key.namespace));
        let mut names: BTreeSet<String> = self.index.services_at(&ip).map(of).collect();
        if names.is_empty() {
            let endpoints = self.index.services_behind(&ip).flat_map(|key| {
                let here = self.index.endpoints(key).filter(|e| e.ip == ip);
                here.map(move |e: &Endpoint| format!("{}.{}", e.hostname, of(key)))
            });
            names.extend(endpoints);
        }
        match (names.is_empty(), kind) {
            (true, _) => Answer::Elsewhere,
            (false, Kind::Ptr) => Answer::records(names.into_iter().map(Data::Ptr).collect()),
            (false, _) => Answer::NoData,
        }
    }

    fn name(&self, inside: &str) -> String {
        format!("{inside}.{}", self.zone)
    }
}

fn only(kind: Kind, its: Kind, data: Data) -> Answer {
    if kind == its {
        Answer::records(vec![data])
    } else {
        Answer::NoData
    }
}

fn addresses(ips: impl Iterator<Item = IpAddr>, kind: Kind) -> Answer {
    let family = match kind {
        Kind::A => Family::V4,
        Kind::Aaaa => Family::V6,
        _ => return Answer::NoData,
    };
    let ips: BTreeSet<IpAddr> = ips.filter(|ip| Family::of(ip) == family).collect();
    Answer::records(ips.into_iter().map(Data::address).collect())
}

/// `10-244-0-5` is its own address, whether there is such a pod or not.
fn pod_address(label: &str, kind: Kind) -> Answer {
    let v4 = label.replace('-', ".").parse().map(IpAddr::V4);
    match v4.or_else(|_| label.replace('-', ":").parse().map(IpAddr::V6)) {
        Ok(ip) => addresses(std::iter::once(ip), kind),
        Err(_) => Answer::NoName,
    }
}

/// The address that a name under `in-addr.arpa` or `ip6.arpa` stands for, if it is a whole one.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(v4) = name.strip_suffix(".in-addr.arpa") {
        let octets: Vec<u8> = v4
            .split('.')
            .rev()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        return <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    }
    let nibbles: Vec<u8> = name
        .strip_suffix(".ip6.arpa")?
        .split('.')
        .rev()
        .map(|nibble| {
            u8::from_str_radix(nibble, 16)
                .ok()
                .filter(|_| nibble.len() == 1)
        })
        .collect::<Option<_>>()?;
    let octets: Vec<u8> = nibbles
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, nibble| byte << 4 | nibble))
        .collect();
    <[u8; 16]>::try_from(octets)
        .ok()
        .filter(|_| nibbles.len() == 32)
        .map(IpAddr::from)
}

/// The label of an endpoint that has no hostname of its own.
fn dashed(ip: &IpAddr) -> Str {
    ip.to_string().replace(['.', ':'], "-").into()
}
