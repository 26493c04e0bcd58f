//! What is wrong with an Ingress. Invariant: what was stored before a check existed is let through on updates.

use crate::checks::{Errors, dns_label, dns_subdomain, ip, parse_ip};
use crate::error::FieldError;
use crate::names;
use corten_api::core::v1::TypedLocalObjectReference;
use corten_api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, IngressBackend, IngressLoadBalancerStatus, IngressSpec,
    IngressTLS,
};
use corten_core::{Path, Str, Value};

/// A new specification.
pub(super) fn create(new: &IngressSpec) -> Errors {
    spec(new, None)
}

/// A changed specification.
pub(super) fn update(new: &IngressSpec, old: &IngressSpec) -> Errors {
    spec(new, Some(old))
}

fn spec(new: &IngressSpec, old: Option<&IngressSpec>) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    if new.rules.is_empty() && new.default_backend.is_none() {
        let text = "either `defaultBackend` or `rules` must be specified";
        let bad = (!new.rules.is_nil()).then(|| Value::List(vec![]));
        errors.push(crate::apps::checks::invalid_or_null(&path, bad, text));
    }
    if let Some(backend_) = &new.default_backend {
        backend(&mut errors, &path.f("defaultBackend"), backend_);
    }
    rules(&mut errors, &path.f("rules"), new, old);
    let secrets_kept = old.is_some_and(|o| o.tls.iter().any(|t| !fine_secret(&t.secret_name)));
    for (i, entry) in new.tls.iter().enumerate() {
        let path = path.f("tls");
        tls(&mut errors, &path.i(i), entry);
        if !secrets_kept && !entry.secret_name.is_empty() {
            let path = path.i(i);
            dns_subdomain(&mut errors, &path.f("secretName"), &entry.secret_name);
        }
    }
    if let Some(class) = &new.ingress_class_name {
        dns_subdomain(&mut errors, &path.f("ingressClassName"), class);
    }
    errors
}

fn fine_secret(name: &str) -> bool {
    name.is_empty() || names::dns_subdomain(name).is_empty()
}

fn host(errors: &mut Errors, path: &Path, host: &str) {
    let wrong = if host.contains('*') {
        names::wildcard_subdomain(host)
    } else {
        names::dns_subdomain(host)
    };
    errors.extend(
        wrong
            .into_iter()
            .map(|m| FieldError::invalid(path, host, m)),
    );
}

fn rules(errors: &mut Errors, path: &Path, new: &IngressSpec, old: Option<&IngressSpec>) {
    let wildcards_kept = old.is_some_and(|old| {
        old.rules
            .iter()
            .filter(|r| r.host.contains('*'))
            .any(|rule| {
                let mut found = Vec::new();
                if let Some(http_) = &rule.ingress_rule_value.http {
                    http(&mut found, path, http_);
                }
                !found.is_empty()
            })
    });
    for (i, rule) in new.rules.iter().enumerate() {
        let path = path.i(i);
        if !rule.host.is_empty() {
            if parse_ip(&rule.host).is_some() {
                let text = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(path.f("host"), &rule.host, text));
            }
            host(errors, &path.f("host"), &rule.host);
        }
        let skip = wildcards_kept && rule.host.contains('*');
        if let Some(http_) = rule.ingress_rule_value.http.as_ref().filter(|_| !skip) {
            http(errors, &path.f("http"), http_);
        }
    }
}

fn http(errors: &mut Errors, path: &Path, value: &HTTPIngressRuleValue) {
    let path = path.f("paths");
    if value.paths.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    for (i, entry) in value.paths.iter().enumerate() {
        http_path(errors, &path.i(i), entry);
    }
}

fn http_path(errors: &mut Errors, path: &Path, entry: &HTTPIngressPath) {
    let Some(kind) = &entry.path_type else {
        errors.push(FieldError::required(
            path.f("pathType"),
            "pathType must be specified",
        ));
        return;
    };
    let text = entry.path.as_str();
    let mut wrong = |detail: String| errors.push(FieldError::invalid(path.f("path"), text, detail));
    let absolute = text.starts_with('/');
    match kind.as_str() {
        "Exact" | "Prefix" => {
            if !absolute {
                wrong("must be an absolute path".to_owned());
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if text.contains(part) {
                    wrong(format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if text.ends_with(end) {
                    wrong(format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !absolute {
                wrong("must be an absolute path".to_owned());
            }
        }
        _ => {
            let known = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(path.f("pathType"), kind, &known));
        }
    }
    backend(errors, &path.f("backend"), &entry.backend);
}

fn backend(errors: &mut Errors, path: &Path, backend: &IngressBackend) {
    let service = match (&backend.resource, &backend.service) {
        (Some(_), Some(_)) => {
            let text = "cannot set both resource and service backends";
            errors.push(FieldError::invalid(path, "", text));
            return;
        }
        (None, None) => {
            let text = "resource or service backend is required";
            errors.push(FieldError::invalid(path, "", text));
            return;
        }
        (Some(resource), None) => {
            reference(errors, &path.f("resource"), resource);
            return;
        }
        (None, Some(service)) => service,
    };
    let inner = path.f("service");
    if service.name.is_empty() {
        errors.push(FieldError::required(inner.f("name"), ""));
    } else {
        dns_label(errors, &inner.f("name"), &service.name);
    }
    let (name, number) = (&service.port.name, service.port.number);
    let inner = inner.f("port");
    match (!name.is_empty(), number != 0) {
        (true, true) => {
            errors.push(FieldError::invalid(
                path,
                "",
                "cannot set both port name & port number",
            ));
        }
        (true, false) => {
            let wrong = names::port_name(name).into_iter();
            errors.extend(wrong.map(|m| FieldError::invalid(inner.f("name"), name, m)));
        }
        (false, true) => crate::checks::port_number(errors, &inner.f("number"), number.into()),
        (false, false) => {
            errors.push(FieldError::required(
                path,
                "port name or number is required",
            ));
        }
    }
}

/// A kind and name that may be a segment of a path.
pub(super) fn kind_and_name(errors: &mut Errors, path: &Path, kind: &str, name: &str) {
    for (field, value) in [("kind", kind), ("name", name)] {
        if value.is_empty() {
            errors.push(FieldError::required(path.f(field), ""));
        } else {
            let wrong = names::path_segment(value, false).into_iter();
            errors.extend(wrong.map(|m| FieldError::invalid(path.f(field), value, m)));
        }
    }
}

fn reference(errors: &mut Errors, path: &Path, reference: &TypedLocalObjectReference) {
    if let Some(group) = &reference.api_group {
        dns_subdomain(errors, &path.f("apiGroup"), group);
    }
    kind_and_name(errors, path, &reference.kind, &reference.name);
}

fn tls(errors: &mut Errors, path: &Path, entry: &IngressTLS) {
    let path = path.f("hosts");
    for (i, name) in entry.hosts.iter().enumerate() {
        host(errors, &path.i(i), name);
    }
}

/// A changed status.
pub(super) fn status(new: &IngressLoadBalancerStatus, old: &IngressLoadBalancerStatus) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("status");
    let path = path.f("loadBalancer");
    let path = path.f("ingress");
    let before: Vec<Str> = old.ingress.iter().map(|i| i.ip.clone()).collect();
    for (i, entry) in new.ingress.iter().enumerate() {
        let path = path.i(i);
        if !entry.ip.is_empty() {
            ip(&mut errors, &path.f("ip"), &entry.ip, &before);
        }
        if !entry.hostname.is_empty() {
            let path = path.f("hostname");
            dns_subdomain(&mut errors, &path, &entry.hostname);
            if parse_ip(&entry.hostname).is_some() {
                let text = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(path, &entry.hostname, text));
            }
        }
    }
    errors
}
