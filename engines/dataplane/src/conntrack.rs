//! Connection tracking: removing entries that would keep sending packets to where they should no longer go.
//! Only needed for protocols without connections, whose entries live as long as packets come.

use std::net::{IpAddr, SocketAddr};

use corten_netplan::{Family, Flow, Protocol};
use rustix::io::Errno;

use crate::netlink::{self, ACK, Message, Socket, attribute};
use crate::{Error, Netns, Result};

const GET: u16 = 1 << 8 | 1;
const DELETE: u16 = 1 << 8 | 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// Removals sent together: their acknowledgements must fit the receive buffer.
const REMOVALS_MAX: usize = 128;

/// The connection table of one network namespace.
#[derive(Debug)]
pub struct Conntrack {
    socket: Socket,
}

impl Conntrack {
    /// That of the calling thread's namespace.
    pub fn open() -> Result<Self> {
        Ok(Conntrack {
            socket: Socket::open(netlink::Protocol::Netfilter)?,
        })
    }

    /// That of another namespace.
    pub fn open_in(netns: &Netns) -> Result<Self> {
        Ok(Conntrack {
            socket: Socket::open_in(netns, netlink::Protocol::Netfilter)?,
        })
    }

    /// Removes the entries of a family that `stale` picks; answers how many. Reads the whole table.
    pub fn remove(&mut self, family: Family, stale: impl Fn(&Flow) -> bool) -> Result<usize> {
        let fixed = [if family == Family::V4 { 2 } else { 10 }, 0, 0, 0];
        let entries = self
            .socket
            .dump(|| "list connections".into(), GET, &fixed, |_| {})?;
        let stale: Vec<&Message> = entries
            .iter()
            .filter(|m| flow(m).is_some_and(|f| stale(&f)))
            .collect();
        for chunk in stale.chunks(REMOVALS_MAX) {
            let mut run = self.socket.messages();
            for entry in chunk {
                let attributes = entry.body.get(4..).unwrap_or_default();
                run.message(DELETE, ACK, &fixed, |a| {
                    for kind in [ORIGINAL, ZONE, ID] {
                        match attribute(attributes, kind) {
                            Some(value) if kind == ORIGINAL => {
                                a.nest(kind, |a| {
                                    a.raw(value);
                                });
                            }
                            Some(value) => {
                                a.bytes(kind, value);
                            }
                            None => {}
                        }
                    }
                });
            }
            let gone = Errno::NOENT.raw_os_error();
            for outcome in self.socket.acknowledged(run)? {
                if outcome.errno != 0 && outcome.errno != gone {
                    return Err(Error::kernel("remove a connection", outcome.errno));
                }
            }
        }
        Ok(stale.len())
    }
}

fn flow(message: &Message) -> Option<Flow> {
    let attributes = message.body.get(4..)?;
    let original = attribute(attributes, ORIGINAL)?;
    let reply = attribute(attributes, REPLY)?;
    let protocol = match attribute(attribute(original, TUPLE_PROTOCOL)?, NUMBER)?.first()? {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        132 => Protocol::Sctp,
        _ => return None,
    };
    Some(Flow {
        protocol,
        destination: SocketAddr::new(address(original, 2)?, port(original, DESTINATION_PORT)?),
        reply_source: SocketAddr::new(address(reply, 1)?, port(reply, SOURCE_PORT)?),
    })
}

/// The source (1) or destination (2) of a tuple.
fn address(tuple: &[u8], which: u16) -> Option<IpAddr> {
    let ip = attribute(tuple, TUPLE_IP)?;
    if let Some(v4) = attribute(ip, which) {
        let octets: [u8; 4] = v4.try_into().ok()?;
        return Some(IpAddr::from(octets));
    }
    let octets: [u8; 16] = attribute(ip, which + 2)?.try_into().ok()?;
    Some(IpAddr::from(octets))
}

fn port(tuple: &[u8], which: u16) -> Option<u16> {
    let bytes: [u8; 2] = attribute(attribute(tuple, TUPLE_PROTOCOL)?, which)?
        .try_into()
        .ok()?;
    Some(u16::from_be_bytes(bytes))
}
