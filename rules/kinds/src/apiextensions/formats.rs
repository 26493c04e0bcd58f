//! The formats of texts that schemas may name, and whether a text has one. A format that is not known says nothing.

use corten_cel::text_format;

/// Whether a format means something.
pub(super) fn is_known(format: &str) -> bool {
    matches!(
        format,
        "bsonobjectid"
            | "uri"
            | "email"
            | "hostname"
            | "ipv4"
            | "ipv6"
            | "cidr"
            | "mac"
            | "uuid"
            | "uuid3"
            | "uuid4"
            | "uuid5"
            | "ssn"
            | "hexcolor"
            | "rgbcolor"
            | "byte"
            | "password"
            | "date"
            | "duration"
            | "date-time"
            | "datetime"
            | "k8s-short-name"
            | "k8s-long-name"
    )
}

/// Whether a text has a format that is known.
pub(super) fn matches(format: &str, text: &str) -> bool {
    let hex = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_hexdigit());
    match format {
        "uri" | "uuid" | "byte" | "date" | "duration" => text_format(format, text),
        "date-time" | "datetime" => text_format("datetime", text),
        "uuid3" => uuid(text, "3"),
        "uuid4" => uuid(text, "4"),
        "uuid5" => uuid(text, "5"),
        "bsonobjectid" => text.len() == 24 && hex(text),
        "email" => email(text),
        "hostname" => hostname(text),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(address, bits)| {
            let most = if address.contains(':') { 128 } else { 32 };
            address.parse::<std::net::IpAddr>().is_ok()
                && bits.parse::<u32>().is_ok_and(|b| b <= most)
        }),
        "mac" => mac(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && hex(digits)
        }
        "rgbcolor" => rgb(text),
        "ssn" => {
            let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
            digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit())
        }
        "k8s-short-name" => crate::names::dns_label(text).is_empty(),
        "k8s-long-name" => crate::names::dns_subdomain(text).is_empty(),
        _ => true,
    }
}

fn uuid(text: &str, version: &str) -> bool {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let variant = version == "3"
        || digits
            .get(16..17)
            .is_some_and(|c| matches!(c, "8" | "9" | "a" | "b" | "A" | "B"));
    text_format("uuid", text) && digits.get(12..13) == Some(version) && variant
}

fn email(text: &str) -> bool {
    let address = match (text.rfind('<'), text.ends_with('>')) {
        (Some(start), true) => &text[start + 1..text.len() - 1],
        _ => text,
    };
    address.rsplit_once('@').is_some_and(|(local, host)| {
        let plain = |t: &str| !t.is_empty() && !t.contains([' ', '@', '<', '>', ',', ';']);
        plain(local) && plain(host) && !local.starts_with('.') && !local.ends_with('.')
    })
}

fn hostname(text: &str) -> bool {
    let label = |l: &str| {
        let outer = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric());
        l.len() <= 63
            && l.chars().all(|c| c.is_alphanumeric() || c == '-')
            && outer(l.chars().next())
            && outer(l.chars().last())
    };
    text.len() <= 255 && text.split('.').all(label)
}

fn mac(text: &str) -> bool {
    let separated = |separator: char, size: usize| {
        let parts: Vec<&str> = text.split(separator).collect();
        let bytes = parts.len() * size / 2;
        matches!(bytes, 6 | 8 | 20)
            && parts
                .iter()
                .all(|p| p.len() == size && p.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    separated(':', 2) || separated('-', 2) || separated('.', 4)
}

fn rgb(text: &str) -> bool {
    let inner = text.strip_prefix("rgb(").and_then(|t| t.strip_suffix(')'));
    inner.is_some_and(|inner| {
        let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
        parts.len() == 3 && parts.iter().all(|p| p.parse::<u8>().is_ok())
    })
}
