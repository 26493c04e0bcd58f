//! ReplicaSets: defaults, table and scale.

use super::{checks, columns};
use crate::checks::Errors;
use crate::core::pod::default_pod_template;
use crate::core::pod::warnings::of_template;
use crate::rules::{Generation, Rules, with_status};
use crate::workload::{container_cells, name_warning};
use crate::{Column, Context, FieldError, Scale, cells, selectors};
use corten_api::apps::v1::{ReplicaSet, ReplicaSetSpec, ReplicaSetStatus};
use corten_core::{Path, Time, Value};

/// The strategy of ReplicaSets.
pub struct ReplicaSets;

impl Rules for ReplicaSets {
    type Of = ReplicaSet;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut ReplicaSet) {
        default_pod_template(&mut obj.spec.template);
        obj.spec.replicas.get_or_insert(1);
    }
    fn warnings(&self, _cx: &Context, new: &ReplicaSet, old: Option<&ReplicaSet>) -> Vec<String> {
        let name = old
            .is_none()
            .then(|| name_warning(&new.metadata.name))
            .flatten();
        let before = old.map(|o| &o.spec.template);
        let template = of_template(&new.spec.template, before, "spec.template");
        name.into_iter().chain(template).collect()
    }
    fn validate_create(&self, _cx: &Context, new: &ReplicaSet) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_spec(&mut errors, &new.spec);
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &ReplicaSet,
        old: &ReplicaSet,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if part == "status" {
            validate_status(&mut errors, &new.status);
            return errors;
        }
        validate_spec(&mut errors, &new.spec);
        let path = Path::Root.f("spec");
        let (new, old) = (new.spec.selector.as_deref(), old.spec.selector.as_deref());
        checks::selector_kept(&mut errors, &path.f("selector"), new, old);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::REPLICA_SET
    }
    fn cells(&self, obj: &ReplicaSet, now: &Time) -> Vec<Value> {
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.replicas.unwrap_or(0)),
            Value::from(obj.status.replicas),
            Value::from(obj.status.ready_replicas),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selectors::text(obj.spec.selector.as_deref())),
        ]
    }
    fn scale(&self, obj: &ReplicaSet) -> Option<Scale> {
        Some(Scale {
            replicas: obj.spec.replicas.unwrap_or(0),
            status_replicas: obj.status.replicas,
            selector: selectors::scale_text(obj.spec.selector.as_deref()),
        })
    }
    fn set_scale(&self, obj: &mut ReplicaSet, replicas: i32) {
        obj.spec.replicas = Some(replicas);
    }
}

fn validate_spec(errors: &mut Errors, spec: &ReplicaSetSpec) {
    let path = Path::Root.f("spec");
    let numbers = [
        ("replicas", spec.replicas.map(i64::from)),
        ("minReadySeconds", Some(i64::from(spec.min_ready_seconds))),
    ];
    checks::not_negative_all(errors, &path, &numbers);
    let selector = spec.selector.as_deref();
    checks::selector(errors, &path.f("selector"), selector, "deployment");
    checks::replica_template(errors, &path, selector, &spec.template);
}

fn validate_status(errors: &mut Errors, status: &ReplicaSetStatus) {
    let path = Path::Root.f("status");
    let numbers = [
        ("replicas", Some(status.replicas.into())),
        (
            "fullyLabeledReplicas",
            Some(status.fully_labeled_replicas.into()),
        ),
        ("readyReplicas", Some(status.ready_replicas.into())),
        ("availableReplicas", Some(status.available_replicas.into())),
        ("observedGeneration", Some(status.observed_generation)),
        (
            "terminatingReplicas",
            status.terminating_replicas.map(i64::from),
        ),
    ];
    checks::not_negative_all(errors, &path, &numbers);
    let parts = [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    let text = "cannot be greater than status.replicas";
    checks::not_greater(errors, &path, &parts, status.replicas, text);
    let text = "cannot be greater than readyReplicas";
    checks::not_greater(errors, &path, &parts[2..], status.ready_replicas, text);
}
