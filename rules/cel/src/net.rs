//! IP addresses and networks: parsing with upstream's refusals, and what addresses are for.

use std::net::IpAddr;

use crate::val::Val;

type Made<'a> = Result<Val<'a>, String>;

/// A network: an address and how many of its bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address as written.
    pub address: IpAddr,
    /// The length of the prefix, in bits.
    pub bits: u8,
}

fn mapped(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// The address as Go prints it.
pub(crate) fn ip_text(ip: &IpAddr) -> String {
    ip.to_string()
}

/// Parses an address.
pub(crate) fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if let Some((address, zone)) = text.split_once('%')
        && !zone.is_empty()
        && address.parse::<std::net::Ipv6Addr>().is_ok()
    {
        return Err(format!(
            "IP address {text:?} with zone value is not allowed"
        ));
    }
    let address: IpAddr = text.parse().map_err(|_| {
        format!(
            "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): {}",
            reason(text)
        )
    })?;
    if mapped(&address) {
        return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
    }
    Ok(address)
}

/// Why Go does not take a text for an address.
fn reason(text: &str) -> String {
    let octets: Vec<&str> = text.split('.').collect();
    if text.contains(':') {
        return if let Some(at) = text.find(":::") {
            format!(
                "each colon-separated field must have at least one digit (at {:?})",
                &text[at + 2..]
            )
        } else if text.matches("::").count() > 1 {
            format!(
                "multiple :: in address (at {:?})",
                text.rsplit("::")
                    .next()
                    .map_or("", |_| &text[text.rfind("::").unwrap_or(0)..])
            )
        } else if let Some(at) = text.find(|c: char| !c.is_ascii_hexdigit() && c != ':') {
            format!("unexpected character (at {:?})", &text[at..])
        } else {
            "address string too short".into()
        };
    }
    if octets.len() < 2 {
        return "unable to parse IP".into();
    }
    for octet in &octets {
        if octet.is_empty() {
            return format!("IPv4 field must have at least one digit (at {:?})", "");
        }
        if octet.len() > 1 && octet.starts_with('0') {
            return "IPv4 field has octet with leading zero".into();
        }
        if octet.parse::<u16>().is_ok_and(|v| v > 255) {
            return "IPv4 field has value >255".into();
        }
        if !octet.bytes().all(|b| b.is_ascii_digit()) {
            return "unexpected character".to_owned() + &format!(" (at {octet:?})");
        }
    }
    if octets.len() > 4 {
        "IPv4 address too long".into()
    } else {
        "IPv4 address too short".into()
    }
}

impl Cidr {
    /// Parses `address/bits`.
    pub(crate) fn parse(text: &str) -> Result<Cidr, String> {
        let fail = |why: String| {
            format!(
                "network address parse error during conversion from string: netip.ParsePrefix({text:?}): {why}"
            )
        };
        let (address, bits) = text.rsplit_once('/').ok_or_else(|| fail("no '/'".into()))?;
        let parsed: IpAddr = address
            .parse()
            .map_err(|_| fail(format!("ParseAddr({address:?}): {}", reason(address))))?;
        let leading = bits.len() > 1 && bits.starts_with('0');
        let most = if parsed.is_ipv4() { 32 } else { 128 };
        let number: Option<u8> = bits
            .parse()
            .ok()
            .filter(|_| !leading && !bits.starts_with('+'));
        let bits = match number {
            None => return Err(fail(format!("bad bits after slash: {bits:?}"))),
            Some(bits) if bits > most => return Err(fail("prefix length out of range".into())),
            Some(bits) => bits,
        };
        if mapped(&parsed) {
            return Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"));
        }
        Ok(Cidr {
            address: parsed,
            bits,
        })
    }

    pub(crate) fn text(self) -> String {
        format!("{}/{}", self.address, self.bits)
    }

    /// Bytes of its address: the size that costs go by.
    pub(crate) const fn size(self) -> u64 {
        (self.bits as u64).div_ceil(8)
    }

    fn masked(self) -> Cidr {
        let address = match self.address {
            IpAddr::V4(a) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4((u32::from(a) & mask).into())
            }
            IpAddr::V6(a) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                IpAddr::V6((u128::from(a) & mask).into())
            }
        };
        Cidr { address, ..self }
    }

    fn contains(self, address: IpAddr) -> bool {
        let other = Cidr {
            address,
            bits: self.bits,
        };
        address.is_ipv4() == self.address.is_ipv4()
            && other.masked().address == self.masked().address
    }
}

/// Calls a member function on an address.
pub(crate) fn ip_member<'a>(function: &str, ip: IpAddr) -> Option<Made<'a>> {
    let v6 = |f: fn(&std::net::Ipv6Addr) -> bool| matches!(&ip, IpAddr::V6(a) if f(a));
    let v4 = |f: fn(&std::net::Ipv4Addr) -> bool| matches!(&ip, IpAddr::V4(a) if f(a));
    let link_local =
        v4(std::net::Ipv4Addr::is_link_local) || v6(|a| a.segments()[0] & 0xffc0 == 0xfe80);
    Some(Ok(Val::Bool(match function {
        "family" => return Some(Ok(Val::Int(if ip.is_ipv4() { 4 } else { 6 }))),
        "isUnspecified" => ip.is_unspecified(),
        "isLoopback" => ip.is_loopback(),
        "isLinkLocalMulticast" => {
            v4(|a| a.octets()[..3] == [224, 0, 0]) || v6(|a| a.segments()[0] & 0xff0f == 0xff02)
        }
        "isLinkLocalUnicast" => link_local,
        "isGlobalUnicast" => {
            !ip.is_unspecified()
                && !ip.is_loopback()
                && !ip.is_multicast()
                && !link_local
                && !v4(std::net::Ipv4Addr::is_broadcast)
        }
        _ => return None,
    })))
}

/// Calls a member function on a network.
pub(crate) fn cidr_member<'a>(function: &str, cidr: Cidr, args: &[Val<'a>]) -> Option<Made<'a>> {
    Some(match (function, args) {
        ("ip", []) => Ok(Val::Ip(cidr.address)),
        ("prefixLength", []) => Ok(Val::Int(i64::from(cidr.bits))),
        ("masked", []) => Ok(Val::Cidr(cidr.masked())),
        ("containsIP", [Val::Ip(ip)]) => Ok(Val::Bool(cidr.contains(*ip))),
        ("containsIP", [Val::Str(text)]) => parse_ip(text).map(|ip| Val::Bool(cidr.contains(ip))),
        ("containsCIDR", [Val::Cidr(other)]) => Ok(Val::Bool(covers(cidr, *other))),
        ("containsCIDR", [Val::Str(text)]) => Cidr::parse(text)
            .map(|other| Val::Bool(covers(cidr, other)))
            .map_err(|e| format!("network address parse error during conversion from string: {e}")),
        _ => return None,
    })
}

fn covers(cidr: Cidr, other: Cidr) -> bool {
    cidr.bits <= other.bits && cidr.contains(other.address)
}
