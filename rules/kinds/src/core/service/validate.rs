//! What is wrong with a Service, with upstream's paths and words.

use super::{has_health_port, is_external};
use crate::checks::{self, Errors, known, one_of};
use crate::error::{FieldError, quote, verbatim};
use crate::metadata::{validate_labels, value_of_texts};
use corten_api::core::v1::{Service, ServicePort, ServiceSpec};
use corten_core::{Path, Str, Value};
use std::net::IpAddr;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

fn is_headless(spec: &ServiceSpec) -> bool {
    matches!(&spec.cluster_ips[..], [only] if only == "None")
}

/// A new service, or an update against `old`.
pub(super) fn service(new: &Service, old: Option<&Service>) -> Errors {
    let mut errors = Vec::new();
    let annotations = &new.metadata.annotations;
    if let (Some(mode), Some(hints)) = (annotations.get(MODE), annotations.get(HINTS))
        && mode != hints
    {
        let at = Path::Root.f("metadata");
        let text = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(FieldError::invalid(at.f("annotations").k(MODE), mode, text));
    }
    let path = Path::Root.f("spec");
    let spec = &new.spec;
    by_type(&mut errors, &path, spec);
    for (i, port) in spec.ports.iter().enumerate() {
        let others = &spec.ports[..i];
        service_port(
            &mut errors,
            &path.f("ports").i(i),
            port,
            others,
            spec.ports.len() > 1,
        );
    }
    errors.extend(validate_labels(&spec.selector, &path.f("selector")));
    affinity(&mut errors, &path, spec);
    addresses(&mut errors, &path, spec, old.map(|o| &o.spec));
    let before = old.map_or(&[][..], |o| &o.spec.external_ips);
    for (i, ip) in spec.external_ips.iter().enumerate() {
        let (at, found) = (path.f("externalIPs"), errors.len());
        checks::ip(&mut errors, &at.i(i), ip, before);
        if errors.len() == found {
            checks::endpoint_ip(&mut errors, &at.i(i), ip);
        }
    }
    one_of(
        &mut errors,
        &path.f("type"),
        &spec.type_,
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
    );
    same_ports(&mut errors, &path.f("ports"), spec);
    load_balancer(&mut errors, &path, spec, old.map(|o| &o.spec));
    traffic(&mut errors, &path, spec);
    errors
}

fn by_type(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let headless = is_headless(spec);
    if spec.ports.is_empty() && !headless && spec.type_ != "ExternalName" {
        errors.push(FieldError::required(path.f("ports"), ""));
    }
    match spec.type_.as_str() {
        "LoadBalancer" | "NodePort" if headless => {
            let text = format!("may not be set to 'None' for {} services", spec.type_);
            errors.push(FieldError::invalid(path.f("clusterIPs").i(0), "None", text));
        }
        "ExternalName" => {
            for (name, set) in [
                ("clusterIPs", !spec.cluster_ips.is_empty()),
                ("ipFamilies", !spec.ip_families.is_empty()),
                ("ipFamilyPolicy", spec.ip_family_policy.is_some()),
            ] {
                if set {
                    errors.push(FieldError::forbidden(
                        path.f(name),
                        "may not be set for ExternalName services",
                    ));
                }
            }
            let name = spec
                .external_name
                .strip_suffix('.')
                .unwrap_or(&spec.external_name);
            if name.is_empty() {
                errors.push(FieldError::required(path.f("externalName"), ""));
            } else {
                checks::dns_subdomain(errors, &path.f("externalName"), name);
            }
        }
        _ => {}
    }
}

fn service_port(
    errors: &mut Errors,
    path: &Path,
    port: &ServicePort,
    others: &[ServicePort],
    many: bool,
) {
    if port.name.is_empty() {
        if many {
            errors.push(FieldError::required(path.f("name"), ""));
        }
    } else {
        checks::dns_label(errors, &path.f("name"), &port.name);
        if others.iter().any(|o| o.name == port.name) {
            errors.push(FieldError::duplicate(path.f("name"), &port.name));
        }
    }
    checks::port_number(errors, &path.f("port"), i64::from(port.port));
    one_of(
        errors,
        &path.f("protocol"),
        &port.protocol,
        &["SCTP", "TCP", "UDP"],
    );
    checks::port(errors, &path.f("targetPort"), &port.target_port);
    if let Some(protocol) = &port.app_protocol {
        checks::qualified_name(errors, &path.f("appProtocol"), protocol);
    }
}

fn affinity(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    one_of(
        errors,
        &path.f("sessionAffinity"),
        &spec.session_affinity,
        &["ClientIP", "None"],
    );
    let at = path.f("sessionAffinityConfig");
    let config = spec.session_affinity_config.as_deref();
    match spec.session_affinity.as_str() {
        "None" if config.is_some() => {
            errors.push(FieldError::forbidden(
                &at,
                "must not be set when session affinity is None",
            ));
        }
        "ClientIP" => {
            let seconds = config
                .and_then(|c| c.client_ip.as_ref())
                .and_then(|c| c.timeout_seconds);
            if let Some(seconds) = seconds.filter(|s| !(1..=86400).contains(s)) {
                let text = "must be greater than 0 and less than 86400";
                errors.push(FieldError::invalid(
                    at.f("clientIP").f("timeoutSeconds"),
                    seconds,
                    text,
                ));
            }
        }
        _ => {}
    }
}

/// What is wrong with a service's own addresses and families, before any are given to it.
pub(super) fn own_addresses(service: &Service, old: Option<&Service>) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    addresses(&mut errors, &path, &service.spec, old.map(|o| &o.spec));
    errors
}

fn addresses(errors: &mut Errors, path: &Path, spec: &ServiceSpec, old: Option<&ServiceSpec>) {
    if spec.type_ == "ExternalName" {
        return;
    }
    let (ips, at) = (&spec.cluster_ips, path.f("clusterIPs"));
    let shown = || value_of_texts(ips);
    match (spec.cluster_ip.is_empty(), ips.first()) {
        (false, None) => errors.push(FieldError::required(&at, "")),
        (false, Some(first)) if *first != spec.cluster_ip => {
            errors.push(FieldError::invalid(
                &at,
                shown(),
                "first value must match `clusterIP`",
            ));
        }
        (true, Some(_)) => {
            errors.push(FieldError::invalid(
                &at,
                shown(),
                "must be empty when `clusterIP` is not specified",
            ));
        }
        _ => {}
    }
    let families = path.f("ipFamilies");
    for (i, family) in spec.ip_families.iter().enumerate() {
        known(errors, &families.i(i), family, &["IPv4", "IPv6"]);
        if spec.ip_families[..i].contains(family) {
            errors.push(FieldError::duplicate(families.i(i), family));
        }
    }
    if let Some(policy) = &spec.ip_family_policy {
        let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
        known(errors, &path.f("ipFamilyPolicy"), policy, &policies);
    }
    let found = errors.len();
    for (i, ip) in ips.iter().enumerate() {
        if i == 0 && ip == "None" {
            if ips.len() > 1 {
                errors.push(FieldError::invalid(
                    &at,
                    shown(),
                    "'None' must be the first and only value",
                ));
            }
            continue;
        }
        checks::ip(
            errors,
            &at.i(i),
            ip,
            old.map_or(&[][..], |o| &o.cluster_ips),
        );
    }
    let valid = errors.len() == found;
    if ips.len() > 2 {
        errors.push(FieldError::invalid(
            &at,
            shown(),
            "may only hold up to 2 values",
        ));
    }
    if valid {
        address_families(errors, &at, spec);
    }
}

fn address_families(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let ips: Vec<Option<IpAddr>> = spec
        .cluster_ips
        .iter()
        .map(|ip| checks::parse_ip(ip))
        .collect();
    let is_v4 = |ip: &Option<IpAddr>| ip.is_some_and(|ip| ip.is_ipv4());
    if ips.len() > 1 && (ips.iter().all(is_v4) || !ips.iter().any(is_v4)) {
        let text = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(
            path,
            value_of_texts(&spec.cluster_ips),
            text,
        ));
    }
    if is_headless(spec) {
        return;
    }
    for (i, (ip, family)) in ips.iter().zip(spec.ip_families.iter()).enumerate() {
        if (family == "IPv4") != is_v4(ip) {
            let text = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(FieldError::invalid(path.i(i), &spec.cluster_ips[i], text));
        }
    }
}

fn same_ports(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    for (i, port) in spec.ports.iter().enumerate() {
        if spec.type_ == "ClusterIP" && port.node_port != 0 {
            let text = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(path.i(i).f("nodePort"), text));
        }
    }
    let again = |i: usize, same: fn(&ServicePort, &ServicePort) -> bool| {
        spec.ports[..i]
            .iter()
            .any(|o| o.protocol == spec.ports[i].protocol && same(o, &spec.ports[i]))
    };
    for (i, port) in spec
        .ports
        .iter()
        .enumerate()
        .filter(|(_, p)| p.node_port != 0)
    {
        if again(i, |a, b| a.node_port == b.node_port) {
            errors.push(FieldError::duplicate(
                path.i(i).f("nodePort"),
                port.node_port,
            ));
        }
    }
    for (i, port) in spec.ports.iter().enumerate() {
        if again(i, |a, b| a.port == b.port) {
            errors.push(FieldError::duplicate(path.i(i), internal_port(port)));
        }
    }
}

/// A port as upstream's internal struct prints.
fn internal_port(port: &ServicePort) -> Value {
    verbatim(format!(
        "{{\"Name\":\"\",\"Protocol\":{},\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
        quote(&port.protocol),
        port.port
    ))
}

fn load_balancer(errors: &mut Errors, path: &Path, spec: &ServiceSpec, old: Option<&ServiceSpec>) {
    let balanced = spec.type_ == "LoadBalancer";
    let only = "may only be used when `type` is 'LoadBalancer'";
    if !spec.load_balancer_source_ranges.is_empty() {
        let at = path.f("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(FieldError::forbidden(&at, only));
        }
        let before: &[Str] = old.map_or(&[][..], |o| &o.load_balancer_source_ranges);
        for (i, range) in spec.load_balancer_source_ranges.iter().enumerate() {
            checks::cidr(errors, &at.i(i), range.trim(), before);
        }
    }
    let at = path.f("allocateLoadBalancerNodePorts");
    match (balanced, spec.allocate_load_balancer_node_ports) {
        (false, Some(_)) => errors.push(FieldError::forbidden(&at, only)),
        (true, None) => errors.push(FieldError::required("allocateLoadBalancerNodePorts", "")),
        _ => {}
    }
    if let Some(class) = &spec.load_balancer_class {
        let at = path.f("loadBalancerClass");
        if balanced {
            checks::qualified_name(errors, &at, class);
        } else {
            errors.push(FieldError::forbidden(&at, only));
        }
    }
}

fn traffic(errors: &mut Errors, path: &Path, spec: &ServiceSpec) {
    let (at, policy) = (
        path.f("externalTrafficPolicy"),
        &spec.external_traffic_policy,
    );
    if is_external(spec) {
        one_of(errors, &at, policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        errors.push(FieldError::invalid(
            &at,
            policy,
            "may only be set for externally-accessible services",
        ));
    }
    let at = path.f("healthCheckNodePort");
    if !has_health_port(spec) {
        if spec.health_check_node_port != 0 {
            let text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&at, spec.health_check_node_port, text));
        }
    } else if spec.health_check_node_port != 0 {
        // Zero is not an error here: the port may be assigned with the write.
        checks::port_number(errors, &at, i64::from(spec.health_check_node_port));
    }
    let at = path.f("internalTrafficPolicy");
    match &spec.internal_traffic_policy {
        None if matches!(
            spec.type_.as_str(),
            "NodePort" | "LoadBalancer" | "ClusterIP"
        ) =>
        {
            errors.push(FieldError::required(&at, ""));
        }
        None => {}
        Some(policy) => known(errors, &at, policy, &["Cluster", "Local"]),
    }
    if let Some(distribution) = &spec.traffic_distribution {
        let supported = ["PreferClose", "PreferSameZone", "PreferSameNode"];
        known(
            errors,
            &path.f("trafficDistribution"),
            distribution,
            &supported,
        );
    }
}

/// An update: what cannot change, then the service as it would be.
pub(super) fn update(new: &Service, old: &Service) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let named = new.spec.type_ == "ExternalName" || old.spec.type_ == "ExternalName";
    let (headless, was_headless) = (is_headless(&new.spec), is_headless(&old.spec));
    let one_has_address = !headless || !was_headless;
    if !named && one_has_address {
        fixed_list(
            &mut errors,
            &path,
            "clusterIPs",
            &new.spec.cluster_ips,
            &old.spec,
        );
    }
    if !named && !headless && !was_headless {
        fixed_list(
            &mut errors,
            &path,
            "ipFamilies",
            &new.spec.ip_families,
            &old.spec,
        );
    }
    if new.spec.type_ == "LoadBalancer" && old.spec.type_ == "LoadBalancer" {
        let (class, before) = (&new.spec.load_balancer_class, &old.spec.load_balancer_class);
        if class != before {
            let shown = class.as_ref().map_or(Value::Null, Value::from);
            errors.push(FieldError::invalid(
                path.f("loadBalancerClass"),
                shown,
                "may not change once set",
            ));
        }
    }
    if has_health_port(&new.spec)
        && has_health_port(&old.spec)
        && new.spec.health_check_node_port != old.spec.health_check_node_port
    {
        errors.push(FieldError::forbidden(
            path.f("healthCheckNodePort"),
            "field is immutable",
        ));
    }
    errors.extend(service(new, Some(old)));
    errors
}

/// The first element stays; the second may be released when the service becomes single-stack.
fn fixed_list(errors: &mut Errors, path: &Path, key: &str, new: &[Str], old: &ServiceSpec) {
    let (before, what): (&[Str], &str) = if key == "clusterIPs" {
        (&old.cluster_ips, "clusterIP")
    } else {
        (&old.ip_families, "ipFamily")
    };
    let at = path.f(key);
    let shown = || value_of_texts(new);
    if new.len() == before.len() {
        for (i, _) in before.iter().enumerate().filter(|(i, b)| **b != new[*i]) {
            let i = if key == "clusterIPs" { i } else { 0 };
            errors.push(FieldError::invalid(
                at.i(i),
                shown(),
                "may not change once set",
            ));
        }
        return;
    }
    if new.is_empty() {
        errors.push(FieldError::invalid(
            at.i(0),
            shown(),
            format!("primary {what} can not be unset"),
        ));
    } else if before.first().is_some_and(|b| *b != new[0]) {
        errors.push(FieldError::invalid(
            at.i(0),
            shown(),
            "may not change once set",
        ));
    }
}

/// An update of the status.
pub(super) fn status(new: &Service, old: &Service) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("status");
    let path = path.f("loadBalancer");
    let path = path.f("ingress");
    let list = &new.status.load_balancer.ingress;
    if new.spec.type_ != "LoadBalancer" && !list.is_empty() {
        errors.push(FieldError::forbidden(
            &path,
            "may only be used when `spec.type` is 'LoadBalancer'",
        ));
        return errors;
    }
    let before: Vec<Str> = old
        .status
        .load_balancer
        .ingress
        .iter()
        .map(|i| i.ip.clone())
        .collect();
    for (i, ingress) in list.iter().enumerate() {
        let at = path.i(i);
        if !ingress.ip.is_empty() {
            checks::ip(&mut errors, &at.f("ip"), &ingress.ip, &before);
        }
        match &ingress.ip_mode {
            None if !ingress.ip.is_empty() => {
                errors.push(FieldError::required(
                    at.f("ipMode"),
                    "must be specified when `ip` is set",
                ));
            }
            None => {}
            Some(_) if ingress.ip.is_empty() => {
                errors.push(FieldError::forbidden(
                    at.f("ipMode"),
                    "may not be specified when `ip` is not set",
                ));
            }
            Some(mode) => known(&mut errors, &at.f("ipMode"), mode, &["Proxy", "VIP"]),
        }
        if !ingress.hostname.is_empty() {
            checks::dns_subdomain(&mut errors, &at.f("hostname"), &ingress.hostname);
            if checks::parse_ip(&ingress.hostname).is_some() {
                let text = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(
                    at.f("hostname"),
                    &ingress.hostname,
                    text,
                ));
            }
        }
    }
    errors
}
