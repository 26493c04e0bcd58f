//! Nodes: allocatable defaults to capacity; a node may bring its status along when it registers.

use super::columns;
use super::pod::default_resources;
use super::pod::validate::scheduling::EFFECTS;
use crate::checks::{self, Errors};
use crate::error::{quote, verbatim};
use crate::metadata::{validate_label_key, value_of};
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells};
use corten_api::core::v1::Node;
use corten_core::{List, Path, Str, Time, Value};
use std::collections::BTreeSet;

/// The strategy of Nodes.
pub struct Nodes;

impl Rules for Nodes {
    type Of = Node;

    fn default(&self, node: &mut Node) {
        let status = &mut node.status;
        if status.allocatable.is_nil() && !status.capacity.is_nil() {
            status.allocatable = status.capacity.clone();
        }
        default_resources(&mut status.capacity);
        default_resources(&mut status.allocatable);
        // The first of several ranges is also the one range of the older field.
        let spec = &mut node.spec;
        if !spec.pod_cidr.is_empty()
            && spec
                .pod_cidrs
                .first()
                .is_none_or(|first| *first != spec.pod_cidr)
        {
            spec.pod_cidrs = List::from([spec.pod_cidr.clone()]);
        } else if let Some(first) = spec.pod_cidrs.first() {
            spec.pod_cidr = first.clone();
        }
    }
    fn keep_status(&self, new: &mut Node, old: &Node) {
        new.status = old.status.clone();
    }
    fn keep_content(&self, new: &mut Node, old: &Node) {
        new.spec = old.spec.clone();
    }
    fn prepare_create(&self, _cx: &Context, new: &mut Node) {
        new.spec.config_source = None;
        new.status.config = None;
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut Node, old: &Node) {
        if part.is_empty() && old.spec.config_source.is_none() {
            new.spec.config_source = None;
        }
        if part == "status" && old.status.config.is_none() {
            new.status.config = None;
        }
    }
    fn warnings(&self, _cx: &Context, new: &Node, _old: Option<&Node>) -> Vec<String> {
        let mut warnings = Vec::new();
        if new.spec.config_source.is_some() {
            warnings.push("spec.configSource: the feature is removed".to_owned());
        }
        if !new.spec.do_not_use_external_id.is_empty() {
            warnings.push(
                "spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned(),
            );
        }
        warnings
    }
    fn validate_create(&self, _cx: &Context, new: &Node) -> Vec<FieldError> {
        let mut errors = avoided_pods(new);
        errors.extend(taints(new));
        for (i, range) in new.spec.pod_cidrs.iter().enumerate() {
            let path = Path::Root.f("spec");
            checks::cidr(&mut errors, &path.f("podCIDRs").i(i), range, &[]);
        }
        let ranges = &new.spec.pod_cidrs;
        let of_v4 = ranges.iter().filter(|r| !r.contains(':')).count();
        if errors.is_empty() && (of_v4 > 1 || ranges.len() - of_v4 > 1) {
            let text = "may specify no more than one CIDR for each IP family";
            let shown = crate::metadata::value_of_texts(ranges);
            errors.push(FieldError::invalid("spec.podCIDRs", shown, text));
        }
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &Node,
        old: &Node,
    ) -> Vec<FieldError> {
        let mut errors = avoided_pods(new);
        errors.extend(taints(new));
        let text =
            |what: &str| format!("node updates may not change {what} except from \"\" to valid");
        if !old.spec.pod_cidrs.is_empty() && new.spec.pod_cidrs[..] != old.spec.pod_cidrs[..] {
            errors.push(FieldError::forbidden("spec.podCIDRs", text("podCIDR")));
        }
        if !old.spec.provider_id.is_empty() && new.spec.provider_id != old.spec.provider_id {
            errors.push(FieldError::forbidden("spec.providerID", text("providerID")));
        }
        let addresses = &new.status.addresses;
        for (i, address) in addresses
            .iter()
            .enumerate()
            .filter(|(i, a)| addresses[..*i].contains(a))
        {
            let path = Path::Root.f("status");
            errors.push(FieldError::duplicate(
                path.f("addresses").i(i),
                value_of(address),
            ));
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::NODE
    }
    fn cells(&self, node: &Node, now: &Time) -> Vec<Value> {
        let info = &node.status.node_info;
        let ready = node.status.conditions.iter().rfind(|c| c.type_ == "Ready");
        let mut status = match ready {
            Some(c) if c.status == "True" => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        }
        .to_owned();
        if node.spec.unschedulable {
            status.push_str(",SchedulingDisabled");
        }
        let address = |kind: &str| {
            let found = node.status.addresses.iter().find(|a| a.type_ == kind);
            Value::from(found.map_or("<none>", |a| a.address.as_str()))
        };
        let known = |text: &str| {
            if text.is_empty() {
                "<unknown>".to_owned()
            } else {
                text.to_owned()
            }
        };
        let mut kernel = known(&info.kernel_version);
        if !info.architecture.is_empty() {
            kernel = format!("{kernel} ({})", info.architecture);
        }
        vec![
            Value::from(&node.metadata.name),
            Value::from(status),
            Value::from(roles(node)),
            cells::age(&node.metadata.creation_timestamp, now),
            Value::from(&info.kubelet_version),
            address("InternalIP"),
            address("ExternalIP"),
            Value::from(known(&info.os_image)),
            Value::from(kernel),
            Value::from(known(&info.container_runtime_version)),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }
    fn field_values(&self, node: &Node) -> Vec<Str> {
        vec![Str::from_static(if node.spec.unschedulable {
            "true"
        } else {
            "false"
        })]
    }
}

fn roles(node: &Node) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in &node.metadata.labels {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => {
                roles.insert(role);
            }
            None if key == "kubernetes.io/role" && !value.is_empty() => {
                roles.insert(value.as_str());
            }
            _ => {}
        }
    }
    if roles.is_empty() {
        return "<none>".to_owned();
    }
    roles.into_iter().collect::<Vec<_>>().join(",")
}

/// Taints, under the path that upstream gives them.
/// An annotation of long ago that must still be JSON.
fn avoided_pods(node: &Node) -> Errors {
    const KEY: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
    let text = node.metadata.annotation(KEY).as_bytes();
    if text.is_empty() || corten_core::json_text::parse(text).is_ok() {
        return vec![];
    }
    let why =
        super::secret::not_json(text).unwrap_or_else(|| "unexpected end of JSON input".to_owned());
    vec![FieldError::invalid(
        "metadata.annotations.AvoidPods",
        KEY,
        why,
    )]
}

fn taints(node: &Node) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("metadata");
    let path = path.f("taints");
    for (i, taint) in node.spec.taints.iter().enumerate() {
        let at = path.i(i);
        errors.extend(validate_label_key(&taint.key, &at.f("key")));
        let wrong = corten_meta::labels::invalid_value(&taint.value);
        if !wrong.is_empty() {
            errors.push(FieldError::invalid(
                at.f("value"),
                &taint.value,
                wrong.join(";"),
            ));
        }
        checks::one_of(&mut errors, &at.f("effect"), &taint.effect, &EFFECTS);
        let before = &node.spec.taints[..i];
        if before
            .iter()
            .any(|t| t.key == taint.key && t.effect == taint.effect)
        {
            let text = "taints must be unique by key and effect pair";
            let added = taint
                .time_added
                .map_or_else(|| "null".to_owned(), |t| quote(&t.to_string()));
            let shown = verbatim(format!(
                "{{\"Key\":{},\"Value\":{},\"Effect\":{},\"TimeAdded\":{added}}}",
                quote(&taint.key),
                quote(&taint.value),
                quote(&taint.effect)
            ));
            errors.push(FieldError::new(
                crate::ErrorKind::Duplicate,
                &at,
                shown,
                text,
            ));
        }
    }
    errors
}
