//! NetworkPolicies: defaults, generation, table.

use super::columns;
use crate::checks::{Errors, cidr, known, parse_ip, port_number};
use crate::metadata::{SelectorValues, validate_selector};
use crate::names;
use crate::rules::{Generation, Rules};
use crate::{Column, Context, FieldError, cells, selectors};
use corten_api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use corten_core::{IntOrString, Path, Str, Time, Value};

/// The strategy of NetworkPolicies.
pub struct NetworkPolicies;

impl Rules for NetworkPolicies {
    type Of = NetworkPolicy;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut NetworkPolicy) {
        let spec = &mut obj.spec;
        let inward = spec.ingress.iter_mut().flat_map(|r| r.ports.iter_mut());
        let outward = spec.egress.iter_mut().flat_map(|r| r.ports.iter_mut());
        for port in inward.chain(outward) {
            port.protocol.get_or_insert_with(|| "TCP".into());
        }
        if spec.policy_types.is_empty() {
            spec.policy_types.push("Ingress");
            if !spec.egress.is_empty() {
                spec.policy_types.push("Egress");
            }
        }
    }
    fn validate_create(&self, _cx: &Context, new: &NetworkPolicy) -> Vec<FieldError> {
        validate(&new.spec, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &NetworkPolicy,
        old: &NetworkPolicy,
    ) -> Vec<FieldError> {
        validate(&new.spec, Some(&old.spec))
    }
    fn columns(&self) -> &'static [Column] {
        &columns::NETWORK_POLICY
    }
    fn cells(&self, obj: &NetworkPolicy, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(selectors::text(Some(&obj.spec.pod_selector))),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}

fn peers(spec: &NetworkPolicySpec) -> impl Iterator<Item = &NetworkPolicyPeer> {
    let inward = spec.ingress.iter().flat_map(|r| r.from.iter());
    inward.chain(spec.egress.iter().flat_map(|r| r.to.iter()))
}

fn validate(spec: &NetworkPolicySpec, old: Option<&NetworkPolicySpec>) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let strict = selectors::strictness(old.map(|o| &o.pod_selector));
    errors.extend(validate_selector(
        &spec.pod_selector,
        strict,
        &path.f("podSelector"),
    ));
    let blocks = old
        .into_iter()
        .flat_map(peers)
        .filter_map(|p| p.ip_block.as_ref());
    let before: Vec<Str> = blocks
        .flat_map(|b| std::iter::once(&b.cidr).chain(b.except.iter()))
        .cloned()
        .collect();
    let stored = Stored {
        strict,
        cidrs: &before,
    };
    let inward = spec.ingress.iter().map(|r| (&r.ports, &r.from));
    for (i, (ports, peers)) in inward.enumerate() {
        let path = path.f("ingress");
        validate_rule(&mut errors, &path.i(i), ("from", ports, peers), &stored);
    }
    let outward = spec.egress.iter().map(|r| (&r.ports, &r.to));
    for (i, (ports, peers)) in outward.enumerate() {
        let path = path.f("egress");
        validate_rule(&mut errors, &path.i(i), ("to", ports, peers), &stored);
    }
    let path = path.f("policyTypes");
    if spec.policy_types.len() > 2 {
        let bad = crate::metadata::value_of_texts(&spec.policy_types);
        let text = "may not specify more than two policyTypes";
        errors.push(FieldError::invalid(path, bad, text));
        return errors;
    }
    for (i, kind) in spec.policy_types.iter().enumerate() {
        known(&mut errors, &path.i(i), kind, &["Ingress", "Egress"]);
    }
    errors
}

/// What the stored object had, which is let through.
struct Stored<'a> {
    strict: SelectorValues,
    cidrs: &'a [Str],
}

fn validate_rule(
    errors: &mut Errors,
    path: &Path,
    (name, ports, peers): (&str, &[NetworkPolicyPort], &[NetworkPolicyPeer]),
    stored: &Stored,
) {
    for (i, port) in ports.iter().enumerate() {
        let path = path.f("ports");
        validate_port(errors, &path.i(i), port);
    }
    for (i, peer) in peers.iter().enumerate() {
        let path = path.f(name);
        validate_peer(errors, &path.i(i), peer, stored);
    }
}

fn validate_port(errors: &mut Errors, path: &Path, port: &NetworkPolicyPort) {
    if let Some(protocol) = &port.protocol {
        known(
            errors,
            &path.f("protocol"),
            protocol,
            &["TCP", "UDP", "SCTP"],
        );
    }
    let end_path = path.f("endPort");
    match (&port.port, port.end_port) {
        (Some(IntOrString::Int(number)), end) => {
            port_number(errors, &path.f("port"), i64::from(*number));
            let Some(end) = end else { return };
            if end < *number {
                let text = "must be greater than or equal to `port`";
                errors.push(FieldError::invalid(&end_path, *number, text));
            }
            port_number(errors, &end_path, i64::from(end));
        }
        (Some(IntOrString::String(name)), end) => {
            if let Some(end) = end {
                let text = "may not be specified when `port` is non-numeric";
                errors.push(FieldError::invalid(end_path, end, text));
            }
            let wrong = names::port_name(name).into_iter();
            errors.extend(wrong.map(|m| FieldError::invalid(path.f("port"), name, m)));
        }
        (None, Some(end)) => {
            let text = "may not be specified when `port` is not specified";
            errors.push(FieldError::invalid(end_path, end, text));
        }
        (None, None) => {}
    }
}

fn validate_peer(errors: &mut Errors, path: &Path, peer: &NetworkPolicyPeer, stored: &Stored) {
    let mut count = 0;
    for (name, selector) in [
        ("podSelector", &peer.pod_selector),
        ("namespaceSelector", &peer.namespace_selector),
    ] {
        if let Some(selector) = selector {
            count += 1;
            errors.extend(validate_selector(selector, stored.strict, &path.f(name)));
        }
    }
    if let Some(block) = &peer.ip_block {
        count += 1;
        validate_block(errors, &path.f("ipBlock"), block, stored);
    }
    if count == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    } else if count > 1 && peer.ip_block.is_some() {
        let text = "may not specify both ipBlock and another peer";
        errors.push(FieldError::forbidden(path, text));
    }
}

fn validate_block(errors: &mut Errors, path: &Path, block: &IPBlock, stored: &Stored) {
    if block.cidr.is_empty() {
        errors.push(FieldError::required(path.f("cidr"), ""));
        return;
    }
    cidr(errors, &path.f("cidr"), &block.cidr, stored.cidrs);
    let Some(outer) = parse_range(&block.cidr) else {
        return;
    };
    let path = path.f("except");
    for (i, except) in block.except.iter().enumerate() {
        let path = path.i(i);
        cidr(errors, &path, except, stored.cidrs);
        if parse_range(except).is_some_and(|inner| !outer.holds_more_than(&inner)) {
            let text = "must be a strict subset of `cidr`";
            errors.push(FieldError::invalid(path, except, text));
        }
    }
}

/// A range of addresses as bits from the left.
struct Range {
    bits: u128,
    length: u32,
    width: u32,
}

fn parse_range(text: &str) -> Option<Range> {
    let (address, length) = text.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    let (bits, width) = match parse_ip(address)? {
        std::net::IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        std::net::IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    (length <= width).then_some(Range {
        bits,
        length,
        width,
    })
}

impl Range {
    fn holds_more_than(&self, inner: &Range) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
        self.width == inner.width
            && self.length < inner.length
            && self.bits & mask == inner.bits & mask
    }
}
