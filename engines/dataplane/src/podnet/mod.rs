//! The pod network of one node: a bridge that holds the gateway address, one veth pair per pod, a /32 address and a
//! default route in each pod, host ports and masquerading in one nftables table.
//! Pods have no on-link neighbours: packets between pods of one node are routed by the host, so that connection
//! tracking sees both directions of a Service connection without bridge-nf. Leaves room for routes to other nodes.

mod leases;
mod table;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use corten_netplan::ruleset::Ruleset;
use corten_netplan::{Cidr, Family, Flow, Protocol};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::link::{Links, Pair, ROUTE_PROTOCOL, Route};
use crate::{Conntrack, Error, Netns, PacketFilter, Result, sysctl};
use leases::{Lease, Leases};

const POD_LINK: &str = "eth0";
/// Links removed together: the acknowledgements must fit the socket's receive buffer.
const REMOVALS_MAX: usize = 128;

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
    gateway: Ipv4Addr,
    mtu: u32,
    bridge: u32,
    leases: Mutex<Leases>,
    links: Mutex<Links>,
    removal: Mutex<Links>,
    /// Links to remove: whoever holds `removal` next takes all of them.
    doomed: Mutex<Vec<String>>,
    filter: Mutex<Filter>,
}

/// The table and its owner. Locked last.
#[derive(Debug)]
struct Filter {
    kernel: PacketFilter,
    table: Ruleset,
    connections: Conntrack,
}

impl PodNetwork {
    /// Makes the bridge, its address, the sysctls and the nftables table, or adopts what an earlier run left, and
    /// reads the leases. Existing pods keep their connections.
    pub fn open(config: PodNetworkConfig) -> Result<Self> {
        let (network, size) = check(&config)?;
        let gateway = Ipv4Addr::from(network + 1);
        let mut links = Links::open()?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => default_mtu(&mut links)?,
        };
        let bridge = match links.find(&config.bridge)? {
            Some(bridge) => bridge,
            None => {
                links.add_bridge(&config.bridge, hardware_address(gateway), mtu)?;
                let missing = Error::Malformed {
                    attempt: "show the new bridge",
                };
                links.find(&config.bridge)?.ok_or(missing)?
            }
        };
        links.add_address(bridge.index, gateway, config.pod_cidr.prefix())?;
        // The host routes between pods of one bridge; it must not tell them to take a shorter way, there is none.
        let own = format!("ipv4/conf/{}", config.bridge);
        sysctl::set("ipv4/ip_forward", "1")?;
        sysctl::set("ipv4/conf/all/send_redirects", "0")?;
        sysctl::set(&format!("{own}/send_redirects"), "0")?;
        sysctl::set(&format!("{own}/route_localnet"), "1")?;
        let leases = Leases::open(config.leases.clone(), config.pod_cidr, network, size)?;
        let mut table = table::empty(&config);
        for (_, lease) in leases.iter() {
            table::add(&mut table, lease);
        }
        let mut kernel = PacketFilter::open()?;
        kernel.apply(&table)?;
        let filter = Filter {
            kernel,
            table,
            connections: Conntrack::open()?,
        };
        Ok(PodNetwork {
            gateway,
            mtu,
            bridge: bridge.index,
            leases: Mutex::new(leases),
            links: Mutex::new(links),
            removal: Mutex::new(Links::open()?),
            doomed: Mutex::new(Vec::new()),
            filter: Mutex::new(filter),
            config,
        })
    }

    /// Connects a pod. On an error nothing of it remains. A sandbox that has a lease is connected anew, with the same
    /// address.
    pub fn attach(&self, pod: &Attachment<'_>) -> Result<PodAddress> {
        let lease = {
            let mut leases = self.leases.lock();
            if let Some(old) = leases.get(pod.sandbox).cloned() {
                self.filter
                    .lock()
                    .change(|table| table::remove(table, &old))?;
            }
            leases.take(pod.sandbox, pod.host_ports)?
        };
        match self.connect(pod, &lease) {
            Ok(address) => Ok(address),
            Err(error) => {
                // The first error says what went wrong; what cannot be undone now goes with `detach` or `retain`.
                let _ = self.detach(pod.sandbox);
                Err(error)
            }
        }
    }

    fn connect(&self, pod: &Attachment<'_>, lease: &Lease) -> Result<PodAddress> {
        let netns = Netns::open(pod.netns)?;
        let mut inside = Links::open_in(&netns)?;
        let address = self.describe(pod.sandbox, lease.ip);
        self.links.lock().add_pair(&Pair {
            name: &address.host_link,
            bridge: self.bridge,
            mtu: self.mtu,
            peer: POD_LINK,
            peer_address: hardware_address(lease.ip),
            peer_netns: &netns,
        })?;
        let missing = Error::Malformed {
            attempt: "show the pod's link",
        };
        let link = inside.find(POD_LINK)?.ok_or(missing)?;
        inside.configure_pod(link.index, lease.ip, self.gateway)?;
        let mut filter = self.filter.lock();
        filter.change(|table| table::add(table, lease))?;
        filter.forget_datagrams(&lease.host_ports, lease.ip)?;
        Ok(address)
    }

    /// Disconnects a pod: link, host ports, lease. Nothing happens if it is not attached.
    pub fn detach(&self, sandbox: &str) -> Result<()> {
        self.detach_all(&[sandbox.to_owned()])
    }

    /// Detaches every sandbox that is not in `live`; answers which ones.
    pub fn retain(&self, live: &BTreeSet<String>) -> Result<Vec<String>> {
        let leases = self.leases.lock();
        let gone: Vec<String> = leases
            .iter()
            .map(|(id, _)| id.clone())
            .filter(|id| !live.contains(id))
            .collect();
        drop(leases);
        for together in gone.chunks(REMOVALS_MAX) {
            self.detach_all(together)?;
        }
        Ok(gone)
    }

    fn detach_all(&self, sandboxes: &[String]) -> Result<()> {
        let leases = self.leases.lock();
        let attached = |id: &String| leases.get(id).map(|lease| (id.clone(), lease.clone()));
        let gone: Vec<(String, Lease)> = sandboxes.iter().filter_map(attached).collect();
        drop(leases);
        if gone.is_empty() {
            return Ok(());
        }
        self.filter.lock().change(|table| {
            gone.iter()
                .for_each(|(_, lease)| table::remove(table, lease))
        })?;
        self.remove_links(gone.iter().map(|(id, _)| self.link_name(id)))?;
        let mut leases = self.leases.lock();
        gone.iter().try_for_each(|(id, _)| leases.release(id))
    }

    /// Removing a link makes the kernel wait for its readers for milliseconds, during which others queue up: the next
    /// one removes theirs along with its own. What could not be removed stays queued, so each of them sees the error.
    fn remove_links(&self, names: impl Iterator<Item = String>) -> Result<()> {
        self.doomed.lock().extend(names);
        let mut removal = self.removal.lock();
        let taken = std::mem::take(&mut *self.doomed.lock());
        let removed = taken
            .chunks(REMOVALS_MAX)
            .try_for_each(|together| removal.remove_all(together));
        if removed.is_err() {
            self.doomed.lock().extend(taken);
        }
        removed
    }

    /// The address of an attached sandbox.
    pub fn address(&self, sandbox: &str) -> Option<PodAddress> {
        let ip = self.leases.lock().get(sandbox)?.ip;
        Some(self.describe(sandbox, ip))
    }

    /// The gateway: the node's own address in the pod network.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Makes the routes to other nodes' pods exactly these. Routes within the cluster's CIDR that were made here
    /// earlier and are not among them go.
    pub fn set_routes(&self, routes: &[NodeRoute]) -> Result<()> {
        let mut links = self.links.lock();
        let ours = |route: &Route| {
            route.protocol == ROUTE_PROTOCOL
                && self.config.cluster_cidr.contains(&route.to.address())
        };
        let present: Vec<Route> = links.routes()?.into_iter().filter(ours).collect();
        for route in present
            .iter()
            .filter(|have| !routes.iter().any(|want| want.pod_cidr == have.to))
        {
            links.remove_route(&route.to)?;
        }
        for want in routes {
            if !present
                .iter()
                .any(|have| have.to == want.pod_cidr && have.via == Some(want.via))
            {
                links.add_route(&want.pod_cidr, want.via)?;
            }
        }
        Ok(())
    }

    /// Removes everything this network made: links, routes, bridge, table, leases.
    pub fn reset(self) -> Result<()> {
        self.set_routes(&[])?;
        self.retain(&BTreeSet::new())?;
        let mut links = self.links.lock();
        for port in links
            .all()?
            .iter()
            .filter(|link| link.master == Some(self.bridge))
        {
            links.remove(&port.name)?;
        }
        links.remove(&self.config.bridge)?;
        let mut filter = self.filter.lock();
        let Filter { kernel, table, .. } = &mut *filter;
        kernel.remove(table)
    }

    fn describe(&self, sandbox: &str, ip: Ipv4Addr) -> PodAddress {
        PodAddress {
            ip,
            gateway: self.gateway,
            link: POD_LINK.to_owned(),
            host_link: self.link_name(sandbox),
            mtu: self.mtu,
        }
    }

    /// The name of a sandbox's link on the node: unique by a hash, since names have at most 15 bytes.
    fn link_name(&self, sandbox: &str) -> String {
        let digest = Sha256::new()
            .chain_update(&self.config.bridge)
            .chain_update([0])
            .chain_update(sandbox)
            .finalize();
        let hex: String = digest
            .iter()
            .take(6)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("veth{}", &hex[..11])
    }
}

impl Filter {
    /// Changes the table; if the kernel refuses, it stays as it was.
    fn change(&mut self, edit: impl FnOnce(&mut Ruleset)) -> Result<()> {
        let mut next = self.table.clone();
        edit(&mut next);
        self.kernel.apply(&next)?;
        self.table = next;
        Ok(())
    }

    /// Makes datagrams to new host ports find their pod although older ones went elsewhere.
    fn forget_datagrams(&mut self, ports: &[HostPort], pod: Ipv4Addr) -> Result<()> {
        if !ports.iter().any(|port| port.protocol == Protocol::Udp) {
            return Ok(());
        }
        let stale = |flow: &Flow| {
            flow.protocol == Protocol::Udp
                && flow.reply_source.ip() != pod
                && ports.iter().any(|port| {
                    port.protocol == Protocol::Udp && port.host_port == flow.destination.port()
                })
        };
        self.connections.remove(Family::V4, stale)?;
        Ok(())
    }
}

/// The network's number and size in addresses.
fn check(config: &PodNetworkConfig) -> Result<(u32, u32)> {
    let refuse = |what, value: &dyn std::fmt::Display, why| {
        Err(Error::Config {
            what,
            value: value.to_string(),
            why,
        })
    };
    let named = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if !(1..=15).contains(&config.bridge.len()) || !config.bridge.chars().all(named) {
        return refuse(
            "bridge name",
            &config.bridge,
            "a link's name has 1 to 15 visible characters",
        );
    }
    if config.cluster_cidr.family() != Family::V4 {
        return refuse(
            "cluster CIDR",
            &config.cluster_cidr,
            "pods have IPv4 addresses",
        );
    }
    match config.pod_cidr.address() {
        IpAddr::V4(network) if (8..=29).contains(&config.pod_cidr.prefix()) => {
            Ok((network.into(), 1 << (32 - config.pod_cidr.prefix())))
        }
        _ => refuse(
            "pod CIDR",
            &config.pod_cidr,
            "it must be IPv4 with a prefix of 8 to 29 bits",
        ),
    }
}

/// A locally administered address that follows from the IP address, so that neighbours' caches are never wrong.
fn hardware_address(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

fn default_mtu(links: &mut Links) -> Result<u32> {
    let default = links
        .routes()?
        .into_iter()
        .find(|route| route.to.prefix() == 0)
        .and_then(|route| route.link);
    let found = links
        .all()?
        .into_iter()
        .find(|link| Some(link.index) == default);
    Ok(found.map_or(1500, |link| link.mtu))
}
