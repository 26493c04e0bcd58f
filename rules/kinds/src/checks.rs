//! Checks that validation of many kinds shares: enumerations, numbers, names, ports, addresses.
//! Each adds what it finds to a list. Messages are upstream's.

use crate::error::{FieldError, NEGATIVE};
use crate::names;
use corten_core::{IntOrString, Path, Str, Value};
use corten_meta::labels;
use std::net::IpAddr;

/// What validation found so far.
pub type Errors = Vec<FieldError>;

/// Adds one `Invalid` per message.
pub fn invalid_each(errors: &mut Errors, path: &Path, value: &str, messages: Vec<String>) {
    errors.extend(
        messages
            .into_iter()
            .map(|m| FieldError::invalid(path, value, m)),
    );
}

/// The value must be one of `supported` (in the order that the message shows); an empty one is `Required`.
pub fn one_of(errors: &mut Errors, path: &Path, value: &str, supported: &[&str]) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        known(errors, path, value, supported);
    }
}

/// The value must be one of `supported`.
pub fn known(errors: &mut Errors, path: &Path, value: &str, supported: &[&str]) {
    if !supported.contains(&value) {
        errors.push(FieldError::not_supported(path, value, supported));
    }
}

/// The value must be given.
pub fn required(errors: &mut Errors, path: &Path, value: &str) {
    if value.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
}

/// The number must be 0 or more.
pub fn not_negative(errors: &mut Errors, path: &Path, value: i64) {
    if value < 0 {
        errors.push(FieldError::invalid(path, value, NEGATIVE));
    }
}

/// The number must be 1 or more.
pub fn positive(errors: &mut Errors, path: &Path, value: i64) {
    if value <= 0 {
        errors.push(FieldError::invalid(
            path,
            value,
            "must be greater than zero",
        ));
    }
}

/// A DNS-1123 label.
pub fn dns_label(errors: &mut Errors, path: &Path, value: &str) {
    invalid_each(errors, path, value, names::dns_label(value));
}

/// A DNS-1123 subdomain.
pub fn dns_subdomain(errors: &mut Errors, path: &Path, value: &str) {
    invalid_each(errors, path, value, names::dns_subdomain(value));
}

/// A qualified name: a label key and the like.
pub fn qualified_name(errors: &mut Errors, path: &Path, value: &str) {
    invalid_each(errors, path, value, labels::invalid_key(value));
}

/// A port number.
pub fn port_number(errors: &mut Errors, path: &Path, value: i64) {
    errors.extend(
        names::port_number(value)
            .into_iter()
            .map(|m| FieldError::invalid(path, value, m)),
    );
}

/// The number of a port, or its name.
pub fn port(errors: &mut Errors, path: &Path, value: &IntOrString) {
    match value {
        IntOrString::Int(number) => port_number(errors, path, i64::from(*number)),
        IntOrString::String(name) => invalid_each(errors, path, name, names::port_name(name)),
    }
}

/// The address, also with leading zeros, which upstream still reads (as decimal) in older fields.
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let number = |p: &&str| {
        (!p.is_empty() && p.len() <= 16 && p.bytes().all(|b| b.is_ascii_digit()))
            .then(|| p.trim_start_matches('0').to_owned())
    };
    let parts: Option<Vec<String>> = parts.iter().map(number).collect();
    let parts: Vec<String> = parts?
        .into_iter()
        .map(|p| if p.is_empty() { "0".to_owned() } else { p })
        .collect();
    parts.join(".").parse().ok()
}

/// An address in a field that takes older spellings when they were there before.
pub fn ip(errors: &mut Errors, path: &Path, value: &str, before: &[Str]) {
    if before.iter().any(|b| b == value) {
        return;
    }
    match parse_ip(value) {
        None => errors.push(FieldError::invalid(
            path,
            value,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        )),
        Some(_) => strict_ip(errors, path, value),
    }
}

fn strict_ip(errors: &mut Errors, path: &Path, value: &str) {
    match value.parse::<IpAddr>() {
        Err(_) => errors.push(FieldError::invalid(path, value, "must not have leading 0s")),
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            errors.push(FieldError::invalid(
                path,
                value,
                "must not be an IPv4-mapped IPv6 address",
            ));
        }
        Ok(_) => {}
    }
}

/// An address in its only spelling, as newer fields want it.
pub fn canonical_ip(errors: &mut Errors, path: &Path, value: &str) {
    let found = errors.len();
    ip(errors, path, value, &[]);
    if let (true, Ok(ip)) = (errors.len() == found, value.parse::<IpAddr>())
        && ip.to_string() != value
    {
        let text = format!("must be in canonical form (\"{ip}\")");
        errors.push(FieldError::invalid(path, value, text));
    }
}

/// What users are warned of in an address that is taken all the same; `field` is where it stands.
pub fn ip_warning(field: &str, value: &str) -> Option<String> {
    match (value.parse::<IpAddr>(), parse_ip(value)) {
        (Err(_), Some(_)) => Some(format!(
            "{field}: non-standard IP address \"{value}\" will be considered invalid in a future Kubernetes release: \
             use \"{}\"",
            parse_ip(value)?
        )),
        (Ok(IpAddr::V6(v6)), _) if v6.to_ipv4_mapped().is_some() => Some(format!(
            "{field}: non-standard IP address \"{value}\" will be considered invalid in a future Kubernetes release: \
             use \"{}\"",
            v6.to_ipv4_mapped()?
        )),
        (Ok(IpAddr::V6(v6)), _) if v6.to_string() != value => Some(format!(
            "{field}: IPv6 address \"{value}\" should be in RFC 5952 canonical format (\"{v6}\")"
        )),
        _ => None,
    }
}

/// An address that endpoints may have.
pub fn endpoint_ip(errors: &mut Errors, path: &Path, value: &str) {
    let Some(ip) = parse_ip(value) else {
        errors.push(FieldError::invalid(
            path,
            value,
            "must be a valid IP address",
        ));
        return;
    };
    let (link_local, multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] == 0xff02),
    };
    let mut say = |wrong: bool, text: String| {
        if wrong {
            errors.push(FieldError::invalid(path, value, text));
        }
    };
    say(
        ip.is_unspecified(),
        format!("may not be unspecified ({value})"),
    );
    say(
        ip.is_loopback(),
        "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
    );
    say(
        link_local,
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
    );
    say(
        multicast,
        "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
    );
}

/// A range of addresses: `10.0.0.0/8`.
pub fn cidr(errors: &mut Errors, path: &Path, value: &str, before: &[Str]) {
    if before.iter().any(|b| b.trim() == value) {
        return;
    }
    let parsed = value.split_once('/').and_then(|(address, bits)| {
        let address = parse_ip(address)?;
        let bits: u8 = bits.parse().ok()?;
        let max = if address.is_ipv4() { 32 } else { 128 };
        (bits <= max).then_some((address, bits))
    });
    let Some((address, bits)) = parsed else {
        let text = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        errors.push(FieldError::invalid(path, value, text));
        return;
    };
    let found = errors.len();
    let host = value.split_once('/').map_or("", |(h, _)| h);
    match host.parse::<IpAddr>() {
        Err(_) => errors.push(FieldError::invalid(
            path,
            value,
            "must not have leading 0s in IP or prefix length",
        )),
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            errors.push(FieldError::invalid(
                path,
                value,
                "must not have an IPv4-mapped IPv6 address",
            ));
        }
        Ok(_) => {}
    }
    let base = network(address, bits);
    if errors.len() == found && base != address {
        let text = "must not have bits set beyond the prefix length";
        errors.push(FieldError::invalid(path, value, text));
    }
}

fn network(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((u32::from(v4) & mask).to_be_bytes())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            IpAddr::from((u128::from(v6) & mask).to_be_bytes())
        }
    }
}

/// A path without `..`.
pub fn no_backsteps(errors: &mut Errors, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(FieldError::invalid(path, value, "must not contain '..'"));
    }
}

/// A relative path without `..`.
pub fn descending_path(errors: &mut Errors, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.push(FieldError::invalid(path, value, "must be a relative path"));
    }
    no_backsteps(errors, path, value);
}

/// A relative path that does not begin with `..`, which is reserved for the writer of volumes.
pub fn file_path(errors: &mut Errors, path: &Path, value: &str) {
    descending_path(errors, path, value);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(FieldError::invalid(path, value, "must not start with '..'"));
    }
}

/// The permission bits of a file.
pub fn file_mode(errors: &mut Errors, path: &Path, mode: Option<i32>) {
    if let Some(mode) = mode.filter(|m| !(0..=0o777).contains(m)) {
        let text = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(path, mode, text));
    }
}

/// The value must not have changed.
pub fn immutable(errors: &mut Errors, path: &Path, same: bool, value: impl Into<Value>) {
    if !same {
        errors.push(FieldError::immutable(path, value));
    }
}
