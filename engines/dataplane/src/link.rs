//! Links, addresses and routes over rtnetlink: the few forms that the pod network needs.
//! Requests that belong together travel as one run of messages.

use std::net::{IpAddr, Ipv4Addr};

use corten_netplan::{Cidr, Family};
use rustix::io::Errno;

use crate::netlink::{
    ACK, Attributes, CREATE, EXCLUSIVE, Message, Protocol, REPLACE, Socket, attribute, read_text,
    read_u32,
};
use crate::{Error, Netns, Result};

const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

const LINK_ADDRESS: u16 = 1;
const LINK_NAME: u16 = 3;
const LINK_MTU: u16 = 4;
const LINK_MASTER: u16 = 10;
const LINK_INFO: u16 = 18;
const LINK_NETNS: u16 = 28;
const LINK_GROUP: u16 = 27;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_PORT_KIND: u16 = 4;
const INFO_PORT_DATA: u16 = 5;
const PORT_HAIRPIN: u16 = 4;
const VETH_PEER: u16 = 1;
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const ROUTE_DESTINATION: u16 = 1;
const ROUTE_LINK: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_ON_LINK: u32 = 4;

const IPV4: u8 = 2;
const UP: u32 = 1;
const TABLE_MAIN: u8 = 254;
const UNICAST: u8 = 1;
/// The loopback link's number in every network namespace.
const LOOPBACK: u32 = 1;

/// The group of links that are about to be removed together.
const DOOMED: u32 = 0x00c0_47e4;

/// The protocol number that marks routes as made here.
pub const ROUTE_PROTOCOL: u8 = 0xc7;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
}

/// A pair of links: one end here, at a bridge, the other in a pod.
#[derive(Debug)]
pub struct Pair<'a> {
    pub name: &'a str,
    pub bridge: u32,
    pub mtu: u32,
    pub peer: &'a str,
    pub peer_address: [u8; 6],
    pub peer_netns: &'a Netns,
}

/// A route of the main table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    pub to: Cidr,
    pub via: Option<Ipv4Addr>,
    pub link: Option<u32>,
    pub protocol: u8,
}

/// The links and routes of one network namespace.
#[derive(Debug)]
pub struct Links {
    socket: Socket,
}

impl Links {
    /// Those of the calling thread's namespace.
    pub fn open() -> Result<Self> {
        Ok(Links {
            socket: Socket::open(Protocol::Route)?,
        })
    }

    /// Those of another namespace.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        Ok(Links {
            socket: Socket::open_in(netns, Protocol::Route)?,
        })
    }

    /// The link of a name, if there is one.
    pub fn find(&mut self, name: &str) -> Result<Option<Link>> {
        let attempt = || format!("show link {name}");
        let answer = self
            .socket
            .get(attempt, GET_LINK, &link_header(0, 0), |a| {
                a.text(LINK_NAME, name);
            })?;
        Ok(answer.as_ref().and_then(link))
    }

    /// Every link.
    pub fn all(&mut self) -> Result<Vec<Link>> {
        let answer =
            self.socket
                .dump(|| "list links".into(), GET_LINK, &link_header(0, 0), |_| {})?;
        Ok(answer.iter().filter_map(link).collect())
    }

    /// Makes a bridge without spanning tree, with a fixed hardware address, and sets it up.
    pub fn add_bridge(&mut self, name: &str, address: [u8; 6], mtu: u32) -> Result<()> {
        let attempt = || format!("add bridge {name}");
        self.socket.request(
            attempt,
            NEW_LINK,
            CREATE | EXCLUSIVE,
            &link_header(0, UP),
            |a| {
                a.text(LINK_NAME, name)
                    .u32(LINK_MTU, mtu)
                    .bytes(LINK_ADDRESS, &address);
                a.nest(LINK_INFO, |a| {
                    a.text(INFO_KIND, "bridge");
                });
            },
        )
    }

    /// Makes a pair, this end up: one message. An earlier link of the same name is removed first.
    pub fn add_pair(&mut self, pair: &Pair<'_>) -> Result<()> {
        match self.try_add_pair(pair) {
            Err(error) if error.errno() == Some(Errno::EXIST.raw_os_error()) => {
                self.remove(pair.name)?;
                self.try_add_pair(pair)
            }
            result => result,
        }
    }

    fn try_add_pair(&mut self, pair: &Pair<'_>) -> Result<()> {
        use std::os::fd::{AsFd, AsRawFd};
        let netns = pair.peer_netns.as_fd().as_raw_fd() as u32;
        let mut run = self.socket.messages();
        run.message(
            NEW_LINK,
            ACK | CREATE | EXCLUSIVE,
            &link_header(0, UP),
            |a| {
                a.text(LINK_NAME, pair.name)
                    .u32(LINK_MTU, pair.mtu)
                    .u32(LINK_MASTER, pair.bridge);
                a.nest(LINK_INFO, |a| {
                    a.text(INFO_KIND, "veth").nest(INFO_DATA, |a| {
                        a.nest(VETH_PEER, |a| {
                            // It cannot be made up: it has no peer yet at that moment.
                            a.raw(&link_header(0, 0))
                                .text(LINK_NAME, pair.peer)
                                .u32(LINK_MTU, pair.mtu);
                            a.bytes(LINK_ADDRESS, &pair.peer_address)
                                .u32(LINK_NETNS, netns);
                        });
                    });
                });
            },
        );
        // Where bridge-nf is on, destination NAT happens before the bridge decides: a pod that reaches itself through a
        // Service then leaves by the port it came from.
        run.message(NEW_LINK, ACK, &link_header(0, 0), |a| {
            a.text(LINK_NAME, pair.name).nest(LINK_INFO, |a| {
                a.text(INFO_PORT_KIND, "bridge").nest(INFO_PORT_DATA, |a| {
                    a.bytes(PORT_HAIRPIN, &[1]);
                });
            });
        });
        match self
            .socket
            .acknowledged(run)?
            .iter()
            .find(|outcome| outcome.errno != 0)
        {
            None => Ok(()),
            Some(refused) => Err(Error::kernel(
                format!("add link pair {}", pair.name),
                refused.errno,
            )),
        }
    }

    /// Removes links together: the kernel waits for its readers once instead of once for each. Names that do not exist
    /// are passed over.
    pub fn remove_all(&mut self, names: &[String]) -> Result<()> {
        if let [] | [_] = names {
            return names.iter().try_for_each(|name| self.remove(name));
        }
        let mut run = self.socket.messages();
        for name in names {
            run.message(NEW_LINK, ACK, &link_header(0, 0), |a| {
                a.text(LINK_NAME, name).u32(LINK_GROUP, DOOMED);
            });
        }
        run.message(DEL_LINK, ACK, &link_header(0, 0), |a| {
            a.u32(LINK_GROUP, DOOMED);
        });
        let gone = Errno::NODEV.raw_os_error();
        match self
            .socket
            .acknowledged(run)?
            .iter()
            .find(|o| o.errno != 0 && o.errno != gone)
        {
            None => Ok(()),
            Some(refused) => Err(Error::kernel("remove links", refused.errno)),
        }
    }

    /// Removes a link; nothing happens if there is none of that name.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let attempt = || format!("remove link {name}");
        let removed = self
            .socket
            .request(attempt, DEL_LINK, 0, &link_header(0, 0), |a| {
                a.text(LINK_NAME, name);
            });
        match removed {
            Err(error) if error.errno() == Some(Errno::NODEV.raw_os_error()) => Ok(()),
            result => result,
        }
    }

    /// Adds an address to a link; nothing happens if it has it.
    pub fn add_address(&mut self, link: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let attempt = || format!("add address {address}/{prefix}");
        let header = address_header(link, prefix);
        self.socket
            .request(attempt, NEW_ADDRESS, CREATE | REPLACE, &header, |a| {
                write_address(a, address)
            })
    }

    /// Sets up a pod's side: loopback, its address, and the gateway as the only neighbour. One run of messages.
    pub fn configure_pod(&mut self, link: u32, address: Ipv4Addr, gateway: Ipv4Addr) -> Result<()> {
        let mut run = self.socket.messages();
        run.message(NEW_LINK, ACK, &link_header(LOOPBACK, UP), |_| {});
        run.message(NEW_LINK, ACK, &link_header(link, UP), |_| {});
        run.message(
            NEW_ADDRESS,
            ACK | CREATE | REPLACE,
            &address_header(link, 32),
            |a| write_address(a, address),
        );
        let header = route_header(0, ROUTE_PROTOCOL, ROUTE_ON_LINK);
        run.message(NEW_ROUTE, ACK | CREATE | REPLACE, &header, |a| {
            a.u32(ROUTE_LINK, link)
                .bytes(ROUTE_GATEWAY, &gateway.octets());
        });
        let attempts = [
            "set up the pod's loopback",
            "set up the pod's link",
            "add the pod's address",
            "add the pod's default route",
        ];
        for (outcome, attempt) in self.socket.acknowledged(run)?.iter().zip(attempts) {
            if outcome.errno != 0 {
                return Err(Error::kernel(attempt, outcome.errno));
            }
        }
        Ok(())
    }

    /// The IPv4 routes of the main table.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        let header = [IPV4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let answer = self
            .socket
            .dump(|| "list routes".into(), GET_ROUTE, &header, |_| {})?;
        Ok(answer.iter().filter_map(route).collect())
    }

    /// Adds a route made here, in the place of one to the same prefix.
    pub fn add_route(&mut self, to: &Cidr, via: Ipv4Addr) -> Result<()> {
        let attempt = || format!("add route to {to} via {via}");
        let header = route_header(to.prefix(), ROUTE_PROTOCOL, 0);
        self.socket
            .request(attempt, NEW_ROUTE, CREATE | REPLACE, &header, |a| {
                write_destination(a, to);
                a.bytes(ROUTE_GATEWAY, &via.octets());
            })
    }

    /// Removes a route made here; nothing happens if there is none.
    pub fn remove_route(&mut self, to: &Cidr) -> Result<()> {
        let attempt = || format!("remove route to {to}");
        let header = route_header(to.prefix(), ROUTE_PROTOCOL, 0);
        match self
            .socket
            .request(attempt, DEL_ROUTE, 0, &header, |a| write_destination(a, to))
        {
            Err(error) if error.errno() == Some(Errno::SRCH.raw_os_error()) => Ok(()),
            result => result,
        }
    }
}

fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn address_header(link: u32, prefix: u8) -> [u8; 8] {
    let [a, b, c, d] = link.to_ne_bytes();
    [IPV4, prefix, 0, 0, a, b, c, d]
}

fn route_header(prefix: u8, protocol: u8, flags: u32) -> [u8; 12] {
    let [a, b, c, d] = flags.to_ne_bytes();
    [
        IPV4, prefix, 0, 0, TABLE_MAIN, protocol, 0, UNICAST, a, b, c, d,
    ]
}

fn write_address(a: &mut Attributes<'_>, address: Ipv4Addr) {
    a.bytes(ADDRESS_LOCAL, &address.octets())
        .bytes(ADDRESS, &address.octets());
}

fn write_destination(a: &mut Attributes<'_>, to: &Cidr) {
    if let IpAddr::V4(address) = to.address() {
        a.bytes(ROUTE_DESTINATION, &address.octets());
    }
}

fn link(message: &Message) -> Option<Link> {
    let attributes = message.body.get(16..)?;
    Some(Link {
        index: message.body.get(4..8).and_then(read_u32)?,
        name: attribute(attributes, LINK_NAME)
            .and_then(read_text)?
            .to_owned(),
        mtu: attribute(attributes, LINK_MTU)
            .and_then(read_u32)
            .unwrap_or(1500),
        master: attribute(attributes, LINK_MASTER).and_then(read_u32),
    })
}

fn route(message: &Message) -> Option<Route> {
    let header = message.body.get(..12)?;
    if header[0] != IPV4 || header[4] != TABLE_MAIN || header[7] != UNICAST {
        return None;
    }
    let attributes = &message.body[12..];
    let address = |kind| {
        let bytes: [u8; 4] = attribute(attributes, kind)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    };
    let to = address(ROUTE_DESTINATION).unwrap_or(Ipv4Addr::UNSPECIFIED);
    Some(Route {
        to: Cidr::new(IpAddr::V4(to), header[1]).filter(|c| c.family() == Family::V4)?,
        via: address(ROUTE_GATEWAY),
        link: attribute(attributes, ROUTE_LINK).and_then(read_u32),
        protocol: header[5],
    })
}
