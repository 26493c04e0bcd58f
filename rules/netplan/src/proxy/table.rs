//! The part of the table that does not depend on Services: hooks, dispatch, masquerading, refusals. Names and order of
//! the hooks are those of upstream's nftables mode, so that its documentation of them holds here too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ruleset::{
    Chain, ChainKind, Datum, Element, Field, Hook, Is, Rule, Ruleset, Set, Statement as S, Type,
    Verdict,
};
use crate::{Cidr, Family};

use super::{Masquerade, Node, NodePortAddresses, ProxyConfig};

pub const SERVICE_IPS: &str = "service-ips";
pub const SERVICE_NODE_PORTS: &str = "service-nodeports";
pub const CLUSTER_IPS: &str = "cluster-ips";
pub const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
pub const NO_ENDPOINT_NODE_PORTS: &str = "no-endpoint-nodeports";
pub const FIREWALL_IPS: &str = "firewall-ips";
pub const HAIRPIN: &str = "hairpin-connections";
pub const REJECT: &str = "reject-chain";
const NODE_PORT_IPS: &str = "nodeport-ips";

/// The table of one family without any Service.
pub fn skeleton(config: &ProxyConfig, node: &Node, family: Family) -> Ruleset {
    let mut rules = Ruleset::new(family, &config.table);
    sets(&mut rules);
    hooks(&mut rules);
    checks(&mut rules, config, node);
    services(&mut rules, config, node);
    let mark = config.masquerade_mark;
    let hairpin = [
        Field::SourceAddress,
        Field::DestinationAddress,
        Field::Protocol,
        Field::DestinationPort,
    ];
    rules.chain(
        "masquerading",
        Chain::regular(vec![
            vec![S::MarkHas(mark), S::MarkToggle(mark), S::Masquerade],
            vec![
                S::ConnectionTranslated,
                S::Lookup(hairpin.into(), Is::In, HAIRPIN.into()),
                S::Masquerade,
            ],
        ]),
    );
    rules.chain(REJECT, Chain::regular(vec![vec![S::Reject]]));
    if let Some(addresses) = node.node_port_ips(family) {
        rules.set(NODE_PORT_IPS, Set::of(&[Type::Address]));
        for ip in addresses {
            rules.element(NODE_PORT_IPS, vec![Datum::Address(ip)], Element::Present);
        }
    }
    rules
}

fn sets(rules: &mut Ruleset) {
    let full = [Type::Address, Type::Protocol, Type::Port];
    let short = [Type::Protocol, Type::Port];
    rules.set(CLUSTER_IPS, Set::of(&[Type::Address]));
    rules.set(
        HAIRPIN,
        Set::of(&[Type::Address, Type::Address, Type::Protocol, Type::Port]),
    );
    for map in [SERVICE_IPS, NO_ENDPOINT_SERVICES, FIREWALL_IPS] {
        rules.set(map, Set::verdicts(&full));
    }
    for map in [SERVICE_NODE_PORTS, NO_ENDPOINT_NODE_PORTS] {
        rules.set(map, Set::verdicts(&short));
    }
}

fn hooks(rules: &mut Ruleset) {
    let new = |chain: &str| vec![S::ConnectionNew, S::Verdict(Verdict::Jump(chain.into()))];
    let all = |chain: &str| vec![S::Verdict(Verdict::Jump(chain.into()))];
    let (nodeports, services) = (
        new("nodeport-endpoints-check"),
        new("service-endpoints-check"),
    );
    let (firewall, cluster_ips) = (new("firewall-check"), new("cluster-ips-check"));
    let filter = |hook, priority, rules| Chain::base(ChainKind::Filter, hook, priority, rules);
    let nat = |hook, priority, rules| Chain::base(ChainKind::Nat, hook, priority, rules);
    let base = [
        (
            "filter-prerouting-pre-dnat",
            filter(Hook::Prerouting, -110, vec![firewall.clone()]),
        ),
        (
            "filter-output-pre-dnat",
            filter(Hook::Output, -110, vec![firewall]),
        ),
        (
            "filter-input",
            filter(Hook::Input, 0, vec![nodeports, services.clone()]),
        ),
        (
            "filter-forward",
            filter(
                Hook::Forward,
                0,
                vec![services.clone(), cluster_ips.clone()],
            ),
        ),
        (
            "filter-output",
            filter(Hook::Output, 0, vec![services, cluster_ips]),
        ),
        (
            "nat-prerouting",
            nat(Hook::Prerouting, -100, vec![all("services")]),
        ),
        ("nat-output", nat(Hook::Output, -100, vec![all("services")])),
        (
            "nat-postrouting",
            nat(Hook::Postrouting, 100, vec![all("masquerading")]),
        ),
    ];
    for (name, chain) in base {
        rules.chain(name, chain);
    }
}

fn full() -> Vec<Field> {
    vec![
        Field::DestinationAddress,
        Field::Protocol,
        Field::DestinationPort,
    ]
}

fn checks(rules: &mut Ruleset, config: &ProxyConfig, node: &Node) {
    let lookup = |map: &str| Chain::regular(vec![vec![S::VerdictMap(full(), map.into())]]);
    rules.chain("service-endpoints-check", lookup(NO_ENDPOINT_SERVICES));
    rules.chain("firewall-check", lookup(FIREWALL_IPS));
    let mut nodeports = node_port_condition(node, rules.family);
    nodeports.push(S::VerdictMap(
        vec![Field::Protocol, Field::DestinationPort],
        NO_ENDPOINT_NODE_PORTS.into(),
    ));
    rules.chain("nodeport-endpoints-check", Chain::regular(vec![nodeports]));
    // A cluster IP's other ports are refused; packets to addresses without a Service are dropped.
    let mut cluster = vec![vec![to_cluster_ip(), S::Reject]];
    for cidr in config
        .service_cidrs
        .iter()
        .filter(|cidr| cidr.family() == rules.family)
    {
        cluster.push(vec![
            S::Address(Field::DestinationAddress, Is::In, *cidr),
            S::Verdict(Verdict::Drop),
        ]);
    }
    rules.chain("cluster-ips-check", Chain::regular(cluster));
}

fn services(rules: &mut Ruleset, config: &ProxyConfig, node: &Node) {
    let mut chain: Vec<Rule> = Vec::new();
    let cidrs = pod_cidrs(config, rules.family);
    match config.masquerade {
        Masquerade::All => chain.push(vec![to_cluster_ip(), S::MarkSet(config.masquerade_mark)]),
        Masquerade::OffCluster if !cidrs.is_empty() => {
            let mut rule = vec![to_cluster_ip()];
            rule.extend(
                cidrs
                    .iter()
                    .map(|cidr| S::Address(Field::SourceAddress, Is::NotIn, *cidr)),
            );
            rule.push(S::MarkSet(config.masquerade_mark));
            chain.push(rule);
        }
        Masquerade::OffCluster => {}
    }
    chain.push(vec![S::VerdictMap(full(), SERVICE_IPS.into())]);
    let mut nodeports = Vec::new();
    if node.node_ports == NodePortAddresses::All {
        nodeports.push(S::DestinationLocal);
    }
    nodeports.extend(node_port_condition(node, rules.family));
    nodeports.push(S::VerdictMap(
        vec![Field::Protocol, Field::DestinationPort],
        SERVICE_NODE_PORTS.into(),
    ));
    chain.push(nodeports);
    rules.chain("services", Chain::regular(chain));
}

fn to_cluster_ip() -> S {
    S::Lookup(vec![Field::DestinationAddress], Is::In, CLUSTER_IPS.into())
}

fn node_port_condition(node: &Node, family: Family) -> Rule {
    match node.node_ports {
        NodePortAddresses::All => vec![S::Address(
            Field::DestinationAddress,
            Is::NotIn,
            loopback(family),
        )],
        NodePortAddresses::Primary | NodePortAddresses::These(_) => {
            vec![S::Lookup(
                vec![Field::DestinationAddress],
                Is::In,
                NODE_PORT_IPS.into(),
            )]
        }
    }
}

fn loopback(family: Family) -> Cidr {
    let cidr = match family {
        Family::V4 => Cidr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
        Family::V6 => Cidr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
    };
    cidr.expect("the lengths are in range")
}

/// The prefixes of pods in one family.
pub fn pod_cidrs(config: &ProxyConfig, family: Family) -> Vec<Cidr> {
    config
        .cluster_cidrs
        .iter()
        .copied()
        .filter(|cidr| cidr.family() == family)
        .collect()
}
