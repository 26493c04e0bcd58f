//! Addresses as the plan needs them: families, prefixes, protocols. Parsing is lenient where upstream's is
//! (leading zeros in IPv4), since stored objects may hold such text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP family; each has its own table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(ip: &IpAddr) -> Self {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The length of an address in bytes.
    pub fn address_len(self) -> usize {
        match self {
            Family::V4 => 4,
            Family::V6 => 16,
        }
    }
}

/// A transport protocol that Services can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// From the API's spelling; an empty one is TCP. `None` for what Services cannot name.
    pub fn from_api(name: &str) -> Option<Self> {
        match name {
            "TCP" | "" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    /// The protocol's number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }

    /// The lower-case name, as nftables and DNS spell it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads an address as the API stores them: IPv4 parts may have leading zeros, an IPv4-mapped IPv6 address is IPv4.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text
            .parse::<Ipv6Addr>()
            .ok()
            .map(|ip| IpAddr::V6(ip).to_canonical());
    }
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts
        .next()
        .is_none()
        .then(|| IpAddr::V4(Ipv4Addr::from(octets)))
}

/// A prefix of addresses. The host bits are always zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// The prefix of `prefix` bits that `address` is in; `None` if the family has fewer bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let address = match address {
            IpAddr::V4(ip) if prefix <= 32 => {
                IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask32(prefix)))
            }
            IpAddr::V6(ip) if prefix <= 128 => {
                IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask128(prefix)))
            }
            _ => return None,
        };
        Some(Cidr { address, prefix })
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The number of fixed bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The family.
    pub fn family(&self) -> Family {
        Family::of(&self.address)
    }

    /// Whether `ip` is of this family and in the prefix.
    pub fn contains(&self, ip: &IpAddr) -> bool {
        Cidr::new(*ip, self.prefix).is_some_and(|c| c.address == self.address)
    }

    /// The mask's bytes, as long as an address.
    pub fn mask(&self) -> Vec<u8> {
        match self.address {
            IpAddr::V4(_) => mask32(self.prefix).to_be_bytes().to_vec(),
            IpAddr::V6(_) => mask128(self.prefix).to_be_bytes().to_vec(),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Text that is not an address with a prefix length.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an address with a prefix length")]
pub struct NotCidr(pub String);

impl FromStr for Cidr {
    type Err = NotCidr;

    fn from_str(text: &str) -> Result<Self, NotCidr> {
        let parsed = text.split_once('/').and_then(|(ip, prefix)| {
            let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
            Cidr::new(parse_ip(ip)?, prefix.parse().ok().filter(|_| digits)?)
        });
        parsed.ok_or_else(|| NotCidr(text.to_owned()))
    }
}

fn mask32(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let cidr: Cidr = "10.244.3.7/16".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.244.0.0/16");
        assert!(cidr.contains(&"10.244.255.1".parse().unwrap()));
        assert!(!cidr.contains(&"10.245.0.1".parse().unwrap()));
        assert!(!cidr.contains(&"fd00::1".parse().unwrap()));
        assert_eq!("0.0.0.0/0".parse::<Cidr>().unwrap().mask(), [0; 4]);
        assert_eq!(
            "fd00::1/64".parse::<Cidr>().unwrap().to_string(),
            "fd00::/64"
        );
        for bad in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/+8", "10.0.0/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sloppy_addresses() {
        assert_eq!(parse_ip("010.0.0.01"), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(
            parse_ip("::ffff:10.0.0.1"),
            Some("10.0.0.1".parse().unwrap())
        );
        assert_eq!(parse_ip("10.0.0.256"), None);
        assert_eq!(parse_ip(""), None);
    }
}
