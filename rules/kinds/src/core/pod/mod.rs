//! Pods: how they come to be, what each of their subresources can change, how they are shown and deleted.

mod cells;
mod defaults;
mod gates;
mod prepare;
mod resources;
pub(crate) mod validate;
pub mod warnings;

pub use defaults::{
    default_pod, default_pod_spec, default_pod_template, default_resources, default_volume,
    pull_policy,
};
pub(crate) use gates::drop_closed;
pub use resources::{aggregate, is_sidecar, qos_class};
pub use validate::validate_pod_template;

use super::columns;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, names};
use corten_api::core::v1::Pod;
use corten_core::{Str, Time, Value, semantic_eq};

/// The strategy of Pods.
pub struct Pods;

impl Rules for Pods {
    type Of = Pod;
    const GENERATION: crate::Generation = crate::Generation::Counted;
    with_status!();

    fn default(&self, pod: &mut Pod) {
        default_pod(pod);
    }
    fn prepare_create(&self, _cx: &Context, new: &mut Pod) {
        prepare::create(new);
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut Pod, old: &Pod) {
        prepare::update(part, new, old);
    }
    fn is_new_generation(&self, new: &Pod, old: &Pod) -> bool {
        !semantic_eq(&new.spec, &old.spec)
    }
    fn warnings(&self, _cx: &Context, new: &Pod, old: Option<&Pod>) -> Vec<String> {
        if old.is_some_and(|old| semantic_eq(&old.spec, &new.spec)) {
            return vec![];
        }
        let mut all = Vec::new();
        let wrong = names::dns_label(&new.metadata.name);
        if old.is_none() && !wrong.is_empty() {
            all.push(format!(
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label \
                 is recommended: [{}]",
                wrong.join(" ")
            ));
        }
        all.extend(warnings::of_pod(&new.spec, &new.metadata));
        all
    }
    fn validate_create(&self, _cx: &Context, new: &Pod) -> Vec<FieldError> {
        validate::pod_create(new)
    }
    fn validate_update(&self, _cx: &Context, part: &str, new: &Pod, old: &Pod) -> Vec<FieldError> {
        match part {
            "" => validate::pod_update(new, old),
            "status" => validate::status_update(new, old),
            "ephemeralcontainers" => validate::ephemeral_update(new, old),
            "resize" => validate::resize(new, old),
            _ => vec![],
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::POD
    }
    fn cells(&self, pod: &Pod, now: &Time) -> Vec<Value> {
        cells::cells(pod, now)
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }
    fn field_values(&self, pod: &Pod) -> Vec<Str> {
        let ip = pod
            .status
            .pod_ips
            .first()
            .map_or(Str::EMPTY, |ip| ip.ip.clone());
        vec![
            pod.spec.node_name.clone(),
            pod.spec.restart_policy.clone(),
            pod.spec.scheduler_name.clone(),
            pod.spec.service_account_name.clone(),
            Str::from_static(if pod.spec.host_network {
                "true"
            } else {
                "false"
            }),
            pod.status.phase.clone(),
            ip.clone(),
            ip,
            pod.status.nominated_node_name.clone(),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
    fn grace(&self, pod: &Pod, asked: Option<i64>) -> Option<i64> {
        let wanted = asked
            .or(pod.spec.termination_grace_period_seconds)
            .unwrap_or(0);
        let finished = matches!(pod.status.phase.as_str(), "Failed" | "Succeeded");
        if pod.spec.node_name.is_empty() || finished {
            return Some(0);
        }
        Some(if wanted < 0 { 1 } else { wanted })
    }
}
