//! A table as text in nftables' own syntax, close to what `nft list table` prints: fixtures compare it.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use super::{
    Base, ChainKind, Datum, Element, Field, Hook, Is, Ruleset, Set, Statement, Type, ValueType,
    Verdict,
};
use crate::{Cidr, Family};

impl Display for Ruleset {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", family(self.family), self.table)?;
        for (name, set) in &self.sets {
            self.write_set(f, name, set)?;
        }
        for (name, chain) in &self.chains {
            writeln!(f, "\tchain {name} {{")?;
            if let Some(base) = chain.base {
                writeln!(f, "\t\t{base}")?;
            }
            for rule in &chain.rules {
                let text: Vec<String> = rule.iter().map(|s| statement(s, self.family)).collect();
                writeln!(f, "\t\t{}", text.join(" "))?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl Ruleset {
    fn write_set(&self, f: &mut Formatter<'_>, name: &str, set: &Set) -> fmt::Result {
        let what = if set.value == ValueType::None {
            "set"
        } else {
            "map"
        };
        writeln!(f, "\t{what} {name} {{")?;
        let key = types(&set.key, self.family);
        match &set.value {
            ValueType::None => writeln!(f, "\t\ttype {key}")?,
            ValueType::Verdict => writeln!(f, "\t\ttype {key} : verdict")?,
            ValueType::Data(value) => {
                writeln!(f, "\t\ttype {key} : {}", types(value, self.family))?
            }
        }
        if let Some(seconds) = set.timeout {
            writeln!(
                f,
                "\t\tsize 65535\n\t\tflags dynamic,timeout\n\t\ttimeout {}",
                duration(seconds)
            )?;
        }
        for (key, element) in self.elements.iter().filter(|(key, _)| &*key.set == name) {
            match element {
                Element::Present => writeln!(f, "\t\t{}", data(&key.key))?,
                Element::Verdict(verdict) => writeln!(f, "\t\t{} : {verdict}", data(&key.key))?,
                Element::Data(value) => writeln!(f, "\t\t{} : {}", data(&key.key), data(value))?,
            }
        }
        writeln!(f, "\t}}")
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ChainKind::Filter => "filter",
            ChainKind::Nat => "nat",
        };
        let hook = match self.hook {
            Hook::Prerouting => "prerouting",
            Hook::Input => "input",
            Hook::Forward => "forward",
            Hook::Output => "output",
            Hook::Postrouting => "postrouting",
        };
        write!(
            f,
            "type {kind} hook {hook} priority {}; policy accept;",
            self.priority
        )
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Return => f.write_str("return"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
            Verdict::Goto(chain) => write!(f, "goto {chain}"),
        }
    }
}

impl Display for Datum {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Datum::Address(ip) => ip.fmt(f),
            Datum::Protocol(protocol) => protocol.fmt(f),
            Datum::Port(port) => port.fmt(f),
        }
    }
}

fn statement(statement: &Statement, of: Family) -> String {
    match statement {
        Statement::ConnectionNew => "ct state new".into(),
        Statement::ConnectionTranslated => "ct status dnat".into(),
        Statement::Protocol(protocol) => format!("meta l4proto {protocol}"),
        Statement::Address(what, is, cidr) => {
            format!("{}{} {}", field(*what, of), differs(*is), prefix(cidr))
        }
        Statement::InLink(link) => format!("iifname \"{link}\""),
        Statement::OutLink(link) => format!("oifname \"{link}\""),
        Statement::SourceLocal => "fib saddr type local".into(),
        Statement::DestinationLocal => "fib daddr type local".into(),
        Statement::Lookup(key, is, set) => format!("{}{} @{set}", fields(key, of), differs(*is)),
        Statement::MarkHas(mask) => format!("meta mark & {mask:#010x} != 0x00000000"),
        Statement::MarkSet(mask) => format!("meta mark set meta mark | {mask:#010x}"),
        Statement::MarkToggle(mask) => format!("meta mark set meta mark ^ {mask:#010x}"),
        Statement::VerdictMap(key, map) => format!("{} vmap @{map}", fields(key, of)),
        Statement::Verdict(verdict) => verdict.to_string(),
        Statement::GotoRandom(chains) => {
            let choices: Vec<String> = chains
                .iter()
                .enumerate()
                .map(|(i, c)| format!("{i} : goto {c}"))
                .collect();
            format!(
                "numgen random mod {} vmap {{ {} }}",
                chains.len(),
                choices.join(", ")
            )
        }
        Statement::Reject => "reject".into(),
        Statement::Masquerade => "masquerade fully-random".into(),
        Statement::Dnat(to) => format!("dnat to {to}"),
        Statement::DnatRandom(to) => {
            let choices: Vec<String> = to
                .iter()
                .enumerate()
                .map(|(i, to)| format!("{i} : {}", pair(to)))
                .collect();
            let addr = family(of);
            format!(
                "dnat {addr} to numgen random mod {} map {{ {} }}",
                to.len(),
                choices.join(", ")
            )
        }
        Statement::DnatMap(key, map) => {
            format!("dnat {} to {} map @{map}", family(of), fields(key, of))
        }
        Statement::Remember(set) => {
            format!("update @{set} {{ {} }}", field(Field::SourceAddress, of))
        }
    }
}

fn family(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn differs(is: Is) -> &'static str {
    match is {
        Is::In => "",
        Is::NotIn => " !=",
    }
}

fn prefix(cidr: &Cidr) -> String {
    let full = usize::from(cidr.prefix()) == cidr.family().address_len() * 8;
    if full {
        cidr.address().to_string()
    } else {
        cidr.to_string()
    }
}

fn pair(to: &SocketAddr) -> String {
    format!("{} . {}", to.ip(), to.port())
}

fn field(what: Field, of: Family) -> String {
    match what {
        Field::SourceAddress => format!("{} saddr", family(of)),
        Field::DestinationAddress => format!("{} daddr", family(of)),
        Field::Protocol => "meta l4proto".into(),
        Field::DestinationPort => "th dport".into(),
    }
}

fn fields(key: &[Field], of: Family) -> String {
    let parts: Vec<String> = key.iter().map(|part| field(*part, of)).collect();
    parts.join(" . ")
}

fn types(key: &[Type], of: Family) -> String {
    let parts: Vec<&str> = key
        .iter()
        .map(|part| match (part, of) {
            (Type::Address, Family::V4) => "ipv4_addr",
            (Type::Address, Family::V6) => "ipv6_addr",
            (Type::Protocol, _) => "inet_proto",
            (Type::Port, _) => "inet_service",
        })
        .collect();
    parts.join(" . ")
}

fn data(parts: &[Datum]) -> String {
    let parts: Vec<String> = parts.iter().map(Datum::to_string).collect();
    parts.join(" . ")
}

fn duration(seconds: u32) -> String {
    let mut text = String::new();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        let count = match unit {
            "d" => seconds / size,
            "h" => seconds % 86_400 / size,
            "m" => seconds % 3_600 / size,
            _ => seconds % 60,
        };
        if count > 0 {
            text += &format!("{count}{unit}");
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}
