//! The pod network's nftables table: host ports, hairpin and outgoing masquerading, and the guard that keeps pods from
//! the node's loopback addresses. One table per network, named like its bridge.

use std::net::{IpAddr, Ipv4Addr};

use corten_netplan::ruleset::{
    Chain, ChainKind, Datum, Element, ElementKey, Field, Hook, Is, Name, Ruleset, Set,
    Statement as S, Type, Verdict,
};
use corten_netplan::{Cidr, Family};

use super::PodNetworkConfig;
use super::leases::Lease;

const PORTS: &str = "host-ports";
const PORTS_OF_ANY: &str = "host-ports-any";
const HAIRPIN: &str = "hairpin";

/// The table without pods.
pub fn empty(config: &PodNetworkConfig) -> Ruleset {
    let bridge: Name = config.bridge.as_str().into();
    let loopback =
        Cidr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8).expect("8 bits are in range");
    let mut rules = Ruleset::new(Family::V4, &config.bridge);
    host_ports(&mut rules);
    // The bridge accepts loopback addresses (route_localnet) only for answers to host ports.
    let guard = vec![
        S::InLink(bridge.clone()),
        S::Address(Field::DestinationAddress, Is::In, loopback),
        S::Verdict(Verdict::Drop),
    ];
    rules.chain(
        "guard",
        Chain::base(ChainKind::Filter, Hook::Prerouting, -300, vec![guard]),
    );
    rules.set(HAIRPIN, Set::of(&[Type::Address, Type::Address]));
    let pair = vec![Field::SourceAddress, Field::DestinationAddress];
    let masquerading = vec![
        vec![
            S::ConnectionTranslated,
            S::Lookup(pair, Is::In, HAIRPIN.into()),
            S::Masquerade,
        ],
        vec![
            S::OutLink(bridge),
            S::Address(Field::SourceAddress, Is::In, loopback),
            S::Masquerade,
        ],
        vec![
            S::Address(Field::SourceAddress, Is::In, config.pod_cidr),
            S::Address(Field::DestinationAddress, Is::NotIn, config.cluster_cidr),
            S::Masquerade,
        ],
    ];
    rules.chain(
        "postrouting",
        Chain::base(ChainKind::Nat, Hook::Postrouting, 100, masquerading),
    );
    rules
}

/// Destination NAT for host ports: those of one address first.
fn host_ports(rules: &mut Ruleset) {
    let target = [Type::Address, Type::Port];
    rules.set(
        PORTS,
        Set::map(&[Type::Address, Type::Protocol, Type::Port], &target),
    );
    rules.set(
        PORTS_OF_ANY,
        Set::map(&[Type::Protocol, Type::Port], &target),
    );
    let short = vec![Field::Protocol, Field::DestinationPort];
    let full = vec![
        Field::DestinationAddress,
        Field::Protocol,
        Field::DestinationPort,
    ];
    let lookups = vec![
        vec![S::DnatMap(full, PORTS.into())],
        vec![S::DestinationLocal, S::DnatMap(short, PORTS_OF_ANY.into())],
    ];
    rules.chain("host-ports", Chain::regular(lookups));
    let to_ports = || vec![vec![S::Verdict(Verdict::Jump("host-ports".into()))]];
    rules.chain(
        "prerouting",
        Chain::base(ChainKind::Nat, Hook::Prerouting, -100, to_ports()),
    );
    rules.chain(
        "output",
        Chain::base(ChainKind::Nat, Hook::Output, -100, to_ports()),
    );
}

/// Adds what a pod needs. A host port that another pod has already stays with that one.
pub fn add(rules: &mut Ruleset, lease: &Lease) {
    for (key, element) in elements(lease) {
        rules.elements.entry(key).or_insert(element);
    }
}

/// Removes what a pod needed, and nothing of other pods.
pub fn remove(rules: &mut Ruleset, lease: &Lease) {
    for (key, element) in elements(lease) {
        if rules.elements.get(&key) == Some(&element) {
            rules.elements.remove(&key);
        }
    }
}

fn elements(lease: &Lease) -> Vec<(ElementKey, Element)> {
    let ip = Datum::Address(IpAddr::V4(lease.ip));
    let mut elements = vec![(
        ElementKey {
            set: HAIRPIN.into(),
            key: vec![ip, ip],
        },
        Element::Present,
    )];
    for port in &lease.host_ports {
        let (protocol, number) = (Datum::Protocol(port.protocol), Datum::Port(port.host_port));
        let key = match port.host_ip {
            Some(host) if !host.is_unspecified() => {
                let key = vec![Datum::Address(IpAddr::V4(host)), protocol, number];
                ElementKey {
                    set: PORTS.into(),
                    key,
                }
            }
            _ => ElementKey {
                set: PORTS_OF_ANY.into(),
                key: vec![protocol, number],
            },
        };
        elements.push((
            key,
            Element::Data(vec![ip, Datum::Port(port.container_port)]),
        ));
    }
    elements
}
