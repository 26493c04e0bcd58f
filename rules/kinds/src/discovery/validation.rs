//! What is wrong with an EndpointSlice. Invariant: endpoints that did not change are let through.

use crate::checks::{
    Errors, canonical_ip, dns_label, dns_subdomain, endpoint_ip, parse_ip, qualified_name,
};
use crate::error::FieldError;
use crate::names;
use corten_api::discovery::v1::{Endpoint, EndpointHints, EndpointPort, EndpointSlice};
use corten_core::{Path, Str, semantic_eq};
use std::net::IpAddr;

const PORTS_MAX: usize = 20_000;
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const HINTS_MAX: usize = 8;

/// A slice, new or changed.
pub(super) fn slice(new: &EndpointSlice, old: Option<&EndpointSlice>) -> Errors {
    let mut errors = Vec::new();
    let known = ["FQDN", "IPv4", "IPv6"];
    crate::checks::one_of(
        &mut errors,
        &Path::Root.f("addressType"),
        &new.address_type,
        &known,
    );
    ports(&mut errors, &Path::Root.f("ports"), &new.ports);
    let mut found = Vec::new();
    endpoints(&mut found, &Path::Root.f("endpoints"), new);
    let same = |old: &EndpointSlice| {
        let pairs = old.endpoints.iter().zip(new.endpoints.iter());
        old.endpoints.len() == new.endpoints.len()
            && pairs.into_iter().all(|(a, b)| semantic_eq(a, b))
    };
    if !found.is_empty() && !old.is_some_and(same) {
        errors.append(&mut found);
    }
    errors
}

fn ports(errors: &mut Errors, path: &Path, ports: &[EndpointPort]) {
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many(path, ports.len(), PORTS_MAX));
        return;
    }
    let mut seen: Vec<&str> = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.i(i);
        let name = port.name.as_deref().unwrap_or("");
        if !name.is_empty() {
            dns_label(errors, &path.f("name"), name);
        }
        if seen.contains(&name) {
            errors.push(FieldError::duplicate(path.f("name"), name));
        } else {
            seen.push(name);
        }
        match &port.protocol {
            None => errors.push(FieldError::required(path.f("protocol"), "")),
            Some(protocol) => {
                let known = ["SCTP", "TCP", "UDP"];
                crate::checks::known(errors, &path.f("protocol"), protocol, &known);
            }
        }
        if let Some(protocol) = &port.app_protocol {
            qualified_name(errors, &path.f("appProtocol"), protocol);
        }
    }
}

fn endpoints(errors: &mut Errors, path: &Path, slice: &EndpointSlice) {
    if slice.endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many(
            path,
            slice.endpoints.len(),
            ENDPOINTS_MAX,
        ));
        return;
    }
    for (i, endpoint) in slice.endpoints.iter().enumerate() {
        let path = path.i(i);
        addresses(errors, &path.f("addresses"), endpoint, &slice.address_type);
        if let Some(node) = &endpoint.node_name {
            dns_subdomain(errors, &path.f("nodeName"), node);
        }
        if let Some(hostname) = &endpoint.hostname {
            dns_label(errors, &path.f("hostname"), hostname);
        }
        if let Some(hints_) = &endpoint.hints {
            hints(errors, &path.f("hints"), hints_);
        }
    }
}

fn addresses(errors: &mut Errors, path: &Path, endpoint: &Endpoint, kind: &str) {
    let count = endpoint.addresses.len();
    if count == 0 {
        errors.push(FieldError::required(
            path,
            "must contain at least 1 address",
        ));
    } else if count > ADDRESSES_MAX {
        errors.push(FieldError::too_many(path, count, ADDRESSES_MAX));
    }
    for (i, address) in endpoint.addresses.iter().enumerate() {
        let at = path.i(i);
        match kind {
            "IPv4" | "IPv6" => {
                let before = errors.len();
                canonical_ip(errors, &at, address);
                if errors.len() > before {
                    continue;
                }
                let fits = match parse_ip(address) {
                    Some(IpAddr::V4(_)) => kind == "IPv4",
                    Some(IpAddr::V6(_)) => kind == "IPv6",
                    None => false,
                };
                if !fits {
                    let text = format!("must be an {kind} address");
                    errors.push(FieldError::invalid(path, address, text));
                }
                endpoint_ip(errors, &at, address);
            }
            "FQDN" => domain_name(errors, &at, address),
            _ => {}
        }
    }
}

fn domain_name(errors: &mut Errors, path: &Path, name: &str) {
    if name.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let wrong = names::dns_subdomain(name);
    if !wrong.is_empty() {
        errors.push(FieldError::invalid(path, name, wrong.join(",")));
        return;
    }
    if !name.contains('.') {
        let text = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid(path, name, text));
        return;
    }
    for label in name.split('.') {
        let wrong = names::dns_label(label);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(path, label, wrong.join(",")));
            return;
        }
    }
}

fn hints(errors: &mut Errors, path: &Path, hints: &EndpointHints) {
    let zones: Vec<&Str> = hints.for_zones.iter().map(|z| &z.name).collect();
    let nodes: Vec<&Str> = hints.for_nodes.iter().map(|n| &n.name).collect();
    let lists: [(&str, &[&Str], fn(&str) -> Vec<String>); 2] = [
        ("forZones", &zones, corten_meta::labels::invalid_value),
        ("forNodes", &nodes, names::dns_subdomain),
    ];
    for (field, list, wrong) in lists {
        let path = path.f(field);
        if list.len() > HINTS_MAX {
            errors.push(FieldError::too_many(path, list.len(), HINTS_MAX));
            return;
        }
        for (i, name) in list.iter().enumerate() {
            let path = path.i(i);
            if list[..i].contains(name) {
                errors.push(FieldError::duplicate(path.f("name"), *name));
            }
            let found = wrong(name).into_iter();
            errors.extend(found.map(|m| FieldError::invalid(path.f("name"), *name, m)));
        }
    }
}
