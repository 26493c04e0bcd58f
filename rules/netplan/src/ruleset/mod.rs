//! A typed model of one nftables table, limited to what plans need: base and regular chains, rules made of a closed set
//! of statements, sets and maps with typed keys. A `Ruleset` is a value: cloning is cheap and two versions differ in
//! time proportional to what changed. It leaves out counters, intervals, quotas and everything else unused.

mod text;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::OrdMap;

use crate::{Cidr, Family, Protocol};

/// The name of a chain, a set or a map; at most 255 bytes.
pub type Name = Arc<str>;

/// The desired content of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The family of the table and of every address in it.
    pub family: Family,
    /// The table's name.
    pub table: Name,
    /// Chains by name.
    pub chains: OrdMap<Name, Arc<Chain>>,
    /// Sets and maps by name.
    pub sets: OrdMap<Name, Arc<Set>>,
    /// Elements of the sets and maps that are not filled by packets.
    pub elements: OrdMap<ElementKey, Element>,
}

impl Ruleset {
    /// An empty table.
    pub fn new(family: Family, table: &str) -> Self {
        Ruleset {
            family,
            table: table.into(),
            chains: OrdMap::new(),
            sets: OrdMap::new(),
            elements: OrdMap::new(),
        }
    }

    /// Sets what a chain holds.
    pub fn chain(&mut self, name: &str, chain: Chain) {
        self.chains.insert(name.into(), Arc::new(chain));
    }

    /// Declares a set or map.
    pub fn set(&mut self, name: &str, set: Set) {
        self.sets.insert(name.into(), Arc::new(set));
    }

    /// Adds an element, in the place of one with the same key.
    pub fn element(&mut self, set: &str, key: Vec<Datum>, element: Element) {
        self.elements.insert(
            ElementKey {
                set: set.into(),
                key,
            },
            element,
        );
    }
}

/// A chain: its rules, and where it hangs if it is a base chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
}

impl Chain {
    /// A regular chain.
    pub fn regular(rules: Vec<Rule>) -> Self {
        Chain { base: None, rules }
    }

    /// A base chain with policy accept.
    pub fn base(kind: ChainKind, hook: Hook, priority: i32, rules: Vec<Rule>) -> Self {
        Chain {
            base: Some(Base {
                kind,
                hook,
                priority,
            }),
            rules,
        }
    }
}

/// Where a base chain hangs. Its policy is accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    pub kind: ChainKind,
    pub hook: Hook,
    /// Lower runs earlier; destination NAT is -100, filters 0, source NAT 100.
    pub priority: i32,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    Filter,
    Nat,
}

/// A netfilter hook of the IP families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

/// Statements that are evaluated from the left until one does not match.
pub type Rule = Vec<Statement>;

/// A part of a packet or its context that can be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    SourceAddress,
    DestinationAddress,
    Protocol,
    DestinationPort,
}

/// Whether something must be so or must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    In,
    NotIn,
}

/// One statement of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// The packet opens a connection (`ct state new`).
    ConnectionNew,
    /// The connection's destination was translated (`ct status dnat`).
    ConnectionTranslated,
    /// The packet's protocol.
    Protocol(Protocol),
    /// An address is or is not in a prefix. The field is one of the addresses.
    Address(Field, Is, Cidr),
    /// The packet came in through this link.
    InLink(Name),
    /// The packet goes out through this link.
    OutLink(Name),
    /// The source is an address of this host.
    SourceLocal,
    /// The destination is an address of this host.
    DestinationLocal,
    /// The fields together are or are not in a set.
    Lookup(Vec<Field>, Is, Name),
    /// Any bit of the mask is set in the packet's mark.
    MarkHas(u32),
    /// Sets the bits of the mask in the packet's mark.
    MarkSet(u32),
    /// Inverts the bits of the mask in the packet's mark.
    MarkToggle(u32),
    /// The verdict that a map gives for the fields; goes on if it gives none.
    VerdictMap(Vec<Field>, Name),
    /// A verdict.
    Verdict(Verdict),
    /// One of these chains, at random, without return.
    GotoRandom(Vec<Name>),
    /// Refuses with "port unreachable".
    Reject,
    /// Source NAT to the address of the outgoing link, source ports at random.
    Masquerade,
    /// Destination NAT to an address and port.
    Dnat(SocketAddr),
    /// Destination NAT to one of these, at random; not empty.
    DnatRandom(Vec<SocketAddr>),
    /// Destination NAT to the address and port that a map gives for the fields; goes on if it gives none.
    DnatMap(Vec<Field>, Name),
    /// Adds the source address to a set with a timeout, or renews it there.
    Remember(Name),
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(Name),
    Goto(Name),
}

/// A set (no value) or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    pub key: Vec<Type>,
    pub value: ValueType,
    /// Seconds after which elements go; such a set is filled by `Statement::Remember` and has no planned elements.
    pub timeout: Option<u32>,
}

impl Set {
    /// A set of keys.
    pub fn of(key: &[Type]) -> Self {
        Set {
            key: key.to_vec(),
            value: ValueType::None,
            timeout: None,
        }
    }

    /// A map from keys to verdicts.
    pub fn verdicts(key: &[Type]) -> Self {
        Set {
            key: key.to_vec(),
            value: ValueType::Verdict,
            timeout: None,
        }
    }

    /// A map from keys to data.
    pub fn map(key: &[Type], value: &[Type]) -> Self {
        Set {
            key: key.to_vec(),
            value: ValueType::Data(value.to_vec()),
            timeout: None,
        }
    }

    /// A set that packets fill with source addresses.
    pub fn remembered(timeout: u32) -> Self {
        Set {
            key: vec![Type::Address],
            value: ValueType::None,
            timeout: Some(timeout),
        }
    }
}

/// The type of one part of a key or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// An address of the table's family.
    Address,
    Protocol,
    Port,
}

/// What a map's elements lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueType {
    None,
    Verdict,
    Data(Vec<Type>),
}

/// One part of a key or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Datum {
    Address(IpAddr),
    Protocol(Protocol),
    Port(u16),
}

/// The identity of an element: its set and key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ElementKey {
    pub set: Name,
    pub key: Vec<Datum>,
}

/// What an element's key leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Element {
    /// In a set: nothing.
    Present,
    Verdict(Verdict),
    Data(Vec<Datum>),
}
