//! Statements as nf_tables expressions. Keys and values lie in 4-byte registers from the first on, each part
//! padded to 4 bytes. Maps written inside a rule become anonymous sets, declared right before it.

use std::net::{IpAddr, SocketAddr};

use corten_netplan::Family;
use corten_netplan::ruleset::{Datum, Field, Is, Name, Statement, Type, Verdict};

use super::wire;
use crate::netlink::Attributes;

const META_MARK: u32 = 3;
const META_IN_LINK: u32 = 6;
const META_OUT_LINK: u32 = 7;
const META_PROTOCOL: u32 = 16;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
const CT_STATE_NEW: u32 = 8;
const CT_STATUS_DNAT: u32 = 0x20;
const FIB_ADDRESS_TYPE: u32 = 3;
const FIB_OF_SOURCE: u32 = 1;
const FIB_OF_DESTINATION: u32 = 2;
const ROUTE_LOCAL: u32 = 2;
const LINK_NAME_LENGTH: usize = 16;
const NAT_DESTINATION: u32 = 1;
const PORTS_FULLY_RANDOM: u32 = 16;
const NUMBER_RANDOM: u32 = 1;
const UPDATE: u32 = 1;

/// A map inside a rule: choices by number.
#[derive(Debug)]
pub enum Choices<'a> {
    Endpoints(&'a [SocketAddr]),
    Chains(&'a [Name]),
}

/// The map that a statement carries, if it does.
pub fn choices(statement: &Statement) -> Option<Choices<'_>> {
    match statement {
        Statement::DnatRandom(endpoints) => Some(Choices::Endpoints(endpoints)),
        Statement::GotoRandom(chains) => Some(Choices::Chains(chains)),
        _ => None,
    }
}

/// The name under which the kernel numbers anonymous maps.
pub const ANONYMOUS_MAP: &str = "__map%d";

/// Writes the expressions of one statement. `map` is the number of the anonymous map declared for it.
pub fn statement(list: &mut Attributes<'_>, statement: &Statement, family: Family, map: u32) {
    match statement {
        Statement::ConnectionNew => connection(list, CT_STATE, CT_STATE_NEW),
        Statement::ConnectionTranslated => connection(list, CT_STATUS, CT_STATUS_DNAT),
        Statement::Protocol(protocol) => {
            meta(list, META_PROTOCOL, wire::REGISTER);
            compare(list, EQUAL, &[protocol.number()]);
        }
        Statement::Address(field, is, cidr) => {
            load(list, &[*field], family);
            let address = address_bytes(&cidr.address());
            if usize::from(cidr.prefix()) < address.len() * 8 {
                mask(list, &cidr.mask());
            }
            compare(list, operator(*is), &address);
        }
        Statement::InLink(name) => link(list, META_IN_LINK, name),
        Statement::OutLink(name) => link(list, META_OUT_LINK, name),
        Statement::SourceLocal => local(list, FIB_OF_SOURCE),
        Statement::DestinationLocal => local(list, FIB_OF_DESTINATION),
        Statement::Lookup(key, is, set) => {
            load(list, key, family);
            expression(list, "lookup", |a| {
                a.text(1, set).be32(2, wire::REGISTER);
                if *is == Is::NotIn {
                    a.be32(5, 1);
                }
            });
        }
        Statement::MarkHas(bits) => {
            meta(list, META_MARK, wire::REGISTER);
            mask(list, &bits.to_ne_bytes());
            compare(list, NOT_EQUAL, &[0; 4]);
        }
        Statement::MarkSet(bits) => mark(list, !bits, *bits),
        Statement::MarkToggle(bits) => mark(list, u32::MAX, *bits),
        Statement::VerdictMap(key, map) => {
            load(list, key, family);
            look_up(list, map, None, wire::REGISTER_VERDICT);
        }
        Statement::Verdict(what) => expression(list, "immediate", |a| {
            a.be32(1, wire::REGISTER_VERDICT)
                .nest(2, |a| verdict(a, what));
        }),
        Statement::GotoRandom(chains) => {
            number(list, chains.len());
            look_up(list, ANONYMOUS_MAP, Some(map), wire::REGISTER_VERDICT);
        }
        Statement::Reject => expression(list, "reject", |a| {
            a.be32(1, 0)
                .bytes(2, &[if family == Family::V4 { 3 } else { 4 }]);
        }),
        Statement::Masquerade => expression(list, "masq", |a| {
            a.be32(1, PORTS_FULLY_RANDOM);
        }),
        Statement::Dnat(_) | Statement::DnatRandom(_) | Statement::DnatMap(..) => {
            translate(list, statement, family, map);
        }
        Statement::Remember(set) => {
            load(list, &[Field::SourceAddress], family);
            expression(list, "dynset", |a| {
                a.text(1, set).be32(3, UPDATE).be32(4, wire::REGISTER);
            });
        }
    }
}

fn translate(list: &mut Attributes<'_>, statement: &Statement, family: Family, map: u32) {
    let port = wire::REGISTER + (family.address_len() / 4) as u32;
    match statement {
        Statement::Dnat(to) => {
            immediate(list, wire::REGISTER, &address_bytes(&to.ip()));
            immediate(list, port, &to.port().to_be_bytes());
        }
        Statement::DnatRandom(endpoints) => {
            number(list, endpoints.len());
            look_up(list, ANONYMOUS_MAP, Some(map), wire::REGISTER);
        }
        Statement::DnatMap(key, map) => {
            load(list, key, family);
            look_up(list, map, None, wire::REGISTER);
        }
        _ => return,
    }
    expression(list, "nat", |a| {
        a.be32(1, NAT_DESTINATION)
            .be32(2, u32::from(wire::family(family)))
            .be32(3, wire::REGISTER)
            .be32(5, port);
    });
}

fn expression(list: &mut Attributes<'_>, name: &str, data: impl FnOnce(&mut Attributes<'_>)) {
    list.nest(wire::LIST_ELEMENT, |a| {
        a.text(wire::EXPRESSION_NAME, name)
            .nest(wire::EXPRESSION_DATA, data);
    });
}

fn load(list: &mut Attributes<'_>, key: &[Field], family: Family) {
    let mut register = wire::REGISTER;
    for field in key {
        let (source, destination, length) = match family {
            Family::V4 => (12, 16, 4),
            Family::V6 => (8, 24, 16),
        };
        match field {
            Field::SourceAddress => payload(list, register, BASE_NETWORK, source, length),
            Field::DestinationAddress => payload(list, register, BASE_NETWORK, destination, length),
            Field::Protocol => meta(list, META_PROTOCOL, register),
            Field::DestinationPort => payload(list, register, BASE_TRANSPORT, 2, 2),
        }
        register += match field {
            Field::SourceAddress | Field::DestinationAddress => length / 4,
            Field::Protocol | Field::DestinationPort => 1,
        };
    }
}

fn payload(list: &mut Attributes<'_>, register: u32, base: u32, offset: u32, length: u32) {
    expression(list, "payload", |a| {
        a.be32(1, register)
            .be32(2, base)
            .be32(3, offset)
            .be32(4, length);
    });
}

fn meta(list: &mut Attributes<'_>, key: u32, register: u32) {
    expression(list, "meta", |a| {
        a.be32(1, register).be32(2, key);
    });
}

fn link(list: &mut Attributes<'_>, key: u32, name: &str) {
    let mut padded = [0; LINK_NAME_LENGTH];
    for (to, from) in padded
        .iter_mut()
        .zip(name.bytes().take(LINK_NAME_LENGTH - 1))
    {
        *to = from;
    }
    meta(list, key, wire::REGISTER);
    compare(list, EQUAL, &padded);
}

fn local(list: &mut Attributes<'_>, of: u32) {
    expression(list, "fib", |a| {
        a.be32(1, wire::REGISTER)
            .be32(2, FIB_ADDRESS_TYPE)
            .be32(3, of);
    });
    compare(list, EQUAL, &ROUTE_LOCAL.to_ne_bytes());
}

fn connection(list: &mut Attributes<'_>, key: u32, bit: u32) {
    expression(list, "ct", |a| {
        a.be32(1, wire::REGISTER).be32(2, key);
    });
    mask(list, &bit.to_ne_bytes());
    compare(list, NOT_EQUAL, &[0; 4]);
}

fn mark(list: &mut Attributes<'_>, and: u32, xor: u32) {
    meta(list, META_MARK, wire::REGISTER);
    bits(list, &and.to_ne_bytes(), &xor.to_ne_bytes());
    expression(list, "meta", |a| {
        a.be32(2, META_MARK).be32(3, wire::REGISTER);
    });
}

fn mask(list: &mut Attributes<'_>, and: &[u8]) {
    bits(list, and, &vec![0; and.len()]);
}

fn bits(list: &mut Attributes<'_>, and: &[u8], xor: &[u8]) {
    expression(list, "bitwise", |a| {
        a.be32(1, wire::REGISTER)
            .be32(2, wire::REGISTER)
            .be32(3, and.len() as u32);
        a.nest(4, |a| value(a, and)).nest(5, |a| value(a, xor));
    });
}

fn compare(list: &mut Attributes<'_>, operator: u32, with: &[u8]) {
    expression(list, "cmp", |a| {
        a.be32(1, wire::REGISTER)
            .be32(2, operator)
            .nest(3, |a| value(a, with));
    });
}

fn operator(is: Is) -> u32 {
    match is {
        Is::In => EQUAL,
        Is::NotIn => NOT_EQUAL,
    }
}

fn immediate(list: &mut Attributes<'_>, register: u32, with: &[u8]) {
    expression(list, "immediate", |a| {
        a.be32(1, register).nest(2, |a| value(a, with));
    });
}

fn number(list: &mut Attributes<'_>, below: usize) {
    expression(list, "numgen", |a| {
        a.be32(1, wire::REGISTER)
            .be32(2, below as u32)
            .be32(3, NUMBER_RANDOM)
            .be32(4, 0);
    });
}

fn look_up(list: &mut Attributes<'_>, map: &str, id: Option<u32>, into: u32) {
    expression(list, "lookup", |a| {
        a.text(1, map).be32(2, wire::REGISTER).be32(3, into);
        if let Some(id) = id {
            a.be32(4, id);
        }
    });
}

/// Writes a value as nested data.
pub fn value(data: &mut Attributes<'_>, bytes: &[u8]) {
    data.bytes(wire::DATA_VALUE, bytes);
}

/// Writes a verdict as nested data.
pub fn verdict(data: &mut Attributes<'_>, verdict: &Verdict) {
    let (code, chain) = match verdict {
        Verdict::Accept => (wire::VERDICT_ACCEPT, None),
        Verdict::Drop => (wire::VERDICT_DROP, None),
        Verdict::Return => (wire::VERDICT_RETURN, None),
        Verdict::Jump(chain) => (wire::VERDICT_JUMP, Some(chain)),
        Verdict::Goto(chain) => (wire::VERDICT_GOTO, Some(chain)),
    };
    data.nest(wire::DATA_IS_VERDICT, |a| {
        a.be32(wire::VERDICT_CODE, code);
        if let Some(chain) = chain {
            a.text(wire::VERDICT_CHAIN, chain);
        }
    });
}

/// A key or value as bytes: a single part as it is, several each padded to 4 bytes.
pub fn data_bytes(parts: &[Datum]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16);
    for part in parts {
        match part {
            Datum::Address(ip) => bytes.extend(address_bytes(ip)),
            Datum::Protocol(protocol) => bytes.push(protocol.number()),
            Datum::Port(port) => bytes.extend(port.to_be_bytes()),
        }
        if parts.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// The number of `nft`'s data type and the length in bytes of a key or value.
pub fn type_of(parts: &[Type], family: Family) -> (u32, u32) {
    let (mut number, mut length) = (0, 0);
    for part in parts {
        let (kind, bytes) = match (part, family) {
            (Type::Address, Family::V4) => (wire::TYPE_IPV4, 4),
            (Type::Address, Family::V6) => (wire::TYPE_IPV6, 16),
            (Type::Protocol, _) => (wire::TYPE_PROTOCOL, 1),
            (Type::Port, _) => (wire::TYPE_PORT, 2),
        };
        number = number << wire::TYPE_BITS | kind;
        length += if parts.len() > 1 {
            u32::next_multiple_of(bytes, 4)
        } else {
            bytes
        };
    }
    (number, length)
}

fn address_bytes(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
