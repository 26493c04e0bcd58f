//! The part of the table that one Service needs in one family: chains for its ports, sets for affinity, and elements of
//! the shared sets and maps.

use std::net::{IpAddr, SocketAddr};

use corten_meta::ObjectKey;

use crate::Family;
use crate::input::{PortInfo, ServiceInfo, TrafficPolicy};
use crate::ruleset::{
    Chain, Datum, Element, ElementKey, Field, Is, Name, Rule, Set, Statement as S, Verdict,
};

use super::choice::{Choice, Frontends};
use super::{Node, ProxyConfig, table};

/// What one Service adds to a table. Elements may be claimed by several Services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    pub chains: Vec<(Name, Chain)>,
    pub sets: Vec<(Name, Set)>,
    pub elements: Vec<Claim>,
}

/// An element that a Service wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub key: ElementKey,
    pub element: Element,
    pub rank: Rank,
}

/// Which of several claims of different Services counts: a cluster IP cannot be taken by someone's external IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    ClusterIp,
    External,
}

/// What is known while a port's part is written.
#[derive(Debug)]
pub struct PortPlan<'a> {
    pub name: &'a ObjectKey,
    pub service: &'a ServiceInfo,
    pub port: &'a PortInfo,
    pub frontends: &'a Frontends,
    pub choice: &'a Choice,
    pub family: Family,
    pub config: &'a ProxyConfig,
    pub node: &'a Node,
}

impl PortPlan<'_> {
    /// Writes the port's part.
    pub fn write(&self, fragment: &mut Fragment) {
        let choice = self.choice;
        let cluster = self.chain_name("service");
        let local = self.chain_name("local");
        for (chain, endpoints) in [(&cluster, &choice.cluster), (&local, &choice.local)] {
            if !endpoints.is_empty() {
                fragment
                    .chains
                    .push((chain.clone(), Chain::regular(self.balance(endpoints))));
            }
        }
        if self.service.affinity.is_some() {
            self.affinity(fragment);
        }
        for at in &choice.here {
            let ip = Datum::Address(at.ip());
            let key = vec![
                ip,
                ip,
                Datum::Protocol(self.port.protocol),
                Datum::Port(at.port()),
            ];
            fragment.claim(table::HAIRPIN, key, Element::Present, Rank::External);
        }
        self.internal(fragment, &cluster, &local);
        if self.frontends.external(self.port) {
            self.external(fragment, &cluster, &local);
        }
    }

    /// The cluster IP: to the endpoints, or refused if there are none at all, or dropped if only none is here.
    fn internal(&self, fragment: &mut Fragment, cluster: &Name, local: &Name) {
        let Some(ip) = self.frontends.cluster_ip else {
            return;
        };
        fragment.claim(
            table::CLUSTER_IPS,
            vec![Datum::Address(ip)],
            Element::Present,
            Rank::ClusterIp,
        );
        let (chain, reachable) = match self.service.internal {
            TrafficPolicy::Cluster => (cluster, self.choice.any),
            TrafficPolicy::Local => (local, !self.choice.local.is_empty()),
        };
        if reachable {
            fragment.claim(
                table::SERVICE_IPS,
                self.key(ip),
                goto(chain),
                Rank::ClusterIp,
            );
        } else {
            fragment.claim(
                table::NO_ENDPOINT_SERVICES,
                self.key(ip),
                self.refusal(),
                Rank::ClusterIp,
            );
        }
    }

    /// External IPs, load balancer IPs and the node port.
    fn external(&self, fragment: &mut Fragment, cluster: &Name, local: &Name) {
        let (frontends, choice) = (self.frontends, self.choice);
        let chain = self.chain_name("external");
        let reachable = match self.service.external {
            TrafficPolicy::Cluster => choice.any,
            TrafficPolicy::Local => !choice.local.is_empty(),
        };
        if choice.any {
            let rules = self.external_rules(cluster, local, reachable);
            fragment.chains.push((chain.clone(), Chain::regular(rules)));
        }
        let mut keys: Vec<(&str, &str, Vec<Datum>)> = Vec::new();
        for ip in frontends
            .external_ips
            .iter()
            .chain(&frontends.load_balancer_ips)
        {
            keys.push((
                table::SERVICE_IPS,
                table::NO_ENDPOINT_SERVICES,
                self.key(*ip),
            ));
        }
        if let Some(node_port) = self.port.node_port {
            let key = vec![Datum::Protocol(self.port.protocol), Datum::Port(node_port)];
            keys.push((
                table::SERVICE_NODE_PORTS,
                table::NO_ENDPOINT_NODE_PORTS,
                key,
            ));
        }
        for (to, refused, key) in keys {
            if choice.any {
                fragment.claim(to, key.clone(), goto(&chain), Rank::External);
            }
            if !reachable {
                fragment.claim(refused, key, self.refusal(), Rank::External);
            }
        }
        self.firewall(fragment);
    }

    fn external_rules(&self, cluster: &Name, local: &Name, reachable: bool) -> Vec<Rule> {
        let mark = S::MarkSet(self.config.masquerade_mark);
        let go = |chain: &Name| S::Verdict(Verdict::Goto(chain.clone()));
        let mut rules = Vec::new();
        let to = match self.service.external {
            TrafficPolicy::Cluster => {
                // The endpoint may be on another node: its answer has to come back through here.
                rules.push(vec![mark]);
                cluster
            }
            TrafficPolicy::Local => {
                // Pods and the node itself reach every endpoint, as if their packets had gone out to the load balancer
                // and come back.
                if !self.choice.cluster.is_empty() {
                    for cidr in table::pod_cidrs(self.config, self.family) {
                        rules.push(vec![
                            S::Address(Field::SourceAddress, Is::In, cidr),
                            go(cluster),
                        ]);
                    }
                    rules.push(vec![S::SourceLocal, mark]);
                    rules.push(vec![S::SourceLocal, go(cluster)]);
                }
                local
            }
        };
        if reachable {
            rules.push(vec![go(to)]);
        }
        rules
    }

    /// Restricts load balancer IPs to the source ranges.
    fn firewall(&self, fragment: &mut Fragment) {
        let Frontends {
            load_balancer_ips,
            source_ranges,
            ..
        } = self.frontends;
        if load_balancer_ips.is_empty() || source_ranges.is_empty() {
            return;
        }
        let chain = self.chain_name("firewall");
        let allow = |cidr| {
            vec![
                S::Address(Field::SourceAddress, Is::In, cidr),
                S::Verdict(Verdict::Return),
            ]
        };
        let mut rules: Vec<Rule> = source_ranges.iter().copied().map(allow).collect();
        // A load balancer IP may be an address of this node: what the node sends there then comes from there.
        let node_allowed = self
            .node
            .ips
            .iter()
            .any(|ip| source_ranges.iter().any(|range| range.contains(ip)));
        if node_allowed {
            let bits = (self.family.address_len() * 8) as u8;
            let own = load_balancer_ips
                .iter()
                .filter_map(|ip| crate::Cidr::new(*ip, bits));
            rules.extend(own.map(allow));
        }
        rules.push(vec![S::Verdict(Verdict::Drop)]);
        for ip in load_balancer_ips {
            fragment.claim(
                table::FIREWALL_IPS,
                self.key(*ip),
                goto(&chain),
                Rank::External,
            );
        }
        fragment.chains.push((chain, Chain::regular(rules)));
    }

    /// The rules that spread connections over endpoints.
    fn balance(&self, endpoints: &[SocketAddr]) -> Vec<Rule> {
        let protocol = S::Protocol(self.port.protocol);
        if self.service.affinity.is_none() {
            return match endpoints {
                [only] => vec![vec![protocol, S::Dnat(*only)]],
                several => vec![vec![protocol, S::DnatRandom(several.to_vec())]],
            };
        }
        let seen = vec![Field::SourceAddress];
        let mut rules: Vec<Rule> = endpoints
            .iter()
            .map(|at| {
                let known = S::Lookup(seen.clone(), Is::In, self.affinity_name(*at));
                vec![
                    known,
                    S::Verdict(Verdict::Goto(self.endpoint_name("endpoint", *at))),
                ]
            })
            .collect();
        let chains = endpoints
            .iter()
            .map(|at| self.endpoint_name("endpoint", *at))
            .collect();
        rules.push(vec![S::GotoRandom(chains)]);
        rules
    }

    /// A chain and a set of clients for each endpoint.
    fn affinity(&self, fragment: &mut Fragment) {
        let Some(seconds) = self.service.affinity else {
            return;
        };
        let mut endpoints: Vec<SocketAddr> = self
            .choice
            .cluster
            .iter()
            .chain(&self.choice.local)
            .copied()
            .collect();
        endpoints.sort();
        endpoints.dedup();
        for at in endpoints {
            let clients = self.affinity_name(at);
            let rules = vec![
                vec![S::Remember(clients.clone())],
                vec![S::Protocol(self.port.protocol), S::Dnat(at)],
            ];
            fragment
                .chains
                .push((self.endpoint_name("endpoint", at), Chain::regular(rules)));
            fragment.sets.push((clients, Set::remembered(seconds)));
        }
    }

    fn refusal(&self) -> Element {
        if self.choice.any {
            Element::Verdict(Verdict::Drop)
        } else {
            goto(&table::REJECT.into())
        }
    }

    fn key(&self, ip: IpAddr) -> Vec<Datum> {
        vec![
            Datum::Address(ip),
            Datum::Protocol(self.port.protocol),
            Datum::Port(self.port.port),
        ]
    }

    /// `<what>-<namespace>/<name>/<protocol>/<port>`: unique among Services, at most 143 bytes.
    fn chain_name(&self, what: &str) -> Name {
        let ObjectKey { namespace, name } = self.name;
        format!(
            "{what}-{namespace}/{name}/{}/{}",
            self.port.protocol, self.port.port
        )
        .into()
    }

    fn endpoint_name(&self, what: &str, at: SocketAddr) -> Name {
        let ip = at.ip().to_string().replace(':', ".");
        format!("{}__{ip}/{}", self.chain_name(what), at.port()).into()
    }

    /// The set's duration is in its name: a set cannot change, only be replaced by another.
    fn affinity_name(&self, at: SocketAddr) -> Name {
        let seconds = self.service.affinity.unwrap_or_default();
        format!("{}/{seconds}", self.endpoint_name("affinity", at)).into()
    }
}

impl Fragment {
    fn claim(&mut self, set: &str, key: Vec<Datum>, element: Element, rank: Rank) {
        let key = ElementKey {
            set: set.into(),
            key,
        };
        if !self.elements.iter().any(|claim| claim.key == key) {
            self.elements.push(Claim { key, element, rank });
        }
    }
}

fn goto(chain: &Name) -> Element {
    Element::Verdict(Verdict::Goto(chain.clone()))
}
