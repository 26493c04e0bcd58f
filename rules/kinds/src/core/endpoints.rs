//! Endpoints, the older form of EndpointSlices.

use super::columns;
use crate::checks::{self, Errors};
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells};
use corten_api::core::v1::{EndpointAddress, EndpointPort, Endpoints};
use corten_core::{Path, Time, Value};

const SHOWN_MAX: usize = 3;

/// The strategy of Endpoints.
pub struct EndpointsOfServices;

impl Rules for EndpointsOfServices {
    type Of = Endpoints;

    fn default(&self, endpoints: &mut Endpoints) {
        for port in endpoints
            .subsets
            .iter_mut()
            .flat_map(|s| s.ports.iter_mut())
        {
            if port.protocol.is_empty() {
                port.protocol = "TCP".into();
            }
        }
    }
    fn validate_create(&self, _cx: &Context, new: &Endpoints) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &Endpoints,
        old: &Endpoints,
    ) -> Vec<FieldError> {
        let same = corten_core::semantic_eq(&bare(new), &bare(old));
        if same { vec![] } else { validate(new) }
    }
    fn warnings(&self, _cx: &Context, new: &Endpoints, _old: Option<&Endpoints>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (i, subset) in new.subsets.iter().enumerate() {
            for (name, list) in [
                ("addresses", &subset.addresses),
                ("notReadyAddresses", &subset.not_ready_addresses),
            ] {
                for (n, address) in list.iter().enumerate() {
                    let field = format!("subsets[{i}].{name}[{n}].ip");
                    warnings.extend(checks::ip_warning(&field, &address.ip));
                }
            }
        }
        warnings
    }
    fn columns(&self) -> &'static [Column] {
        &columns::ENDPOINTS
    }
    fn cells(&self, endpoints: &Endpoints, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&endpoints.metadata.name),
            Value::from(shown(endpoints)),
            cells::age(&endpoints.metadata.creation_timestamp, now),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
}

fn shown(endpoints: &Endpoints) -> String {
    if endpoints.subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut all = Vec::new();
    for subset in endpoints.subsets.iter() {
        let ips = subset.addresses.iter().map(|a| &a.ip);
        if subset.ports.is_empty() {
            all.extend(ips.map(|ip| ip.to_string()));
            continue;
        }
        for port in subset.ports.iter() {
            let host = |ip: &str| {
                if ip.contains(':') {
                    format!("[{ip}]:{}", port.port)
                } else {
                    format!("{ip}:{}", port.port)
                }
            };
            all.extend(ips.clone().map(|ip| host(ip)));
        }
    }
    let more = all.len().saturating_sub(SHOWN_MAX);
    all.truncate(SHOWN_MAX);
    let text = all.join(",");
    if more > 0 {
        format!("{text} + {more} more...")
    } else {
        text
    }
}

/// Without metadata, for comparison.
fn bare(endpoints: &Endpoints) -> Endpoints {
    Endpoints {
        subsets: endpoints.subsets.clone(),
        ..Endpoints::default()
    }
}

fn validate(endpoints: &Endpoints) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("subsets");
    for (i, subset) in endpoints.subsets.iter().enumerate() {
        let at = path.i(i);
        if subset.addresses.is_empty() && subset.not_ready_addresses.is_empty() {
            errors.push(FieldError::required(
                &at,
                "must specify `addresses` or `notReadyAddresses`",
            ));
        }
        for (name, list) in [
            ("addresses", &subset.addresses),
            ("notReadyAddresses", &subset.not_ready_addresses),
        ] {
            for (j, each) in list.iter().enumerate() {
                address(&mut errors, &at.f(name).i(j), each);
            }
        }
        for (j, each) in subset.ports.iter().enumerate() {
            port(
                &mut errors,
                &at.f("ports").i(j),
                each,
                subset.ports.len() > 1,
            );
        }
    }
    errors
}

fn address(errors: &mut Errors, path: &Path, address: &EndpointAddress) {
    checks::ip(errors, &path.f("ip"), &address.ip, &[]);
    if !address.hostname.is_empty() {
        checks::dns_label(errors, &path.f("hostname"), &address.hostname);
    }
    if let Some(node) = &address.node_name {
        checks::dns_subdomain(errors, &path.f("nodeName"), node);
    }
    checks::endpoint_ip(errors, &path.f("ip"), &address.ip);
}

fn port(errors: &mut Errors, path: &Path, port: &EndpointPort, many: bool) {
    if !port.name.is_empty() {
        checks::dns_label(errors, &path.f("name"), &port.name);
    } else if many {
        errors.push(FieldError::required(path.f("name"), ""));
    }
    checks::port_number(errors, &path.f("port"), i64::from(port.port));
    checks::one_of(
        errors,
        &path.f("protocol"),
        &port.protocol,
        &["SCTP", "TCP", "UDP"],
    );
    if let Some(protocol) = &port.app_protocol {
        checks::qualified_name(errors, &path.f("appProtocol"), protocol);
    }
}
