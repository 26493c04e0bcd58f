//! ReplicationControllers: selector and labels default to the template's; they can be scaled.

use super::columns;
use super::pod::default_pod_template;
use super::pod::validate_pod_template;
use super::podtemplate::container_names;
use crate::checks::{Errors, not_negative};
use crate::core::pod::warnings::of_template;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, Generation, Propagation, Scale, cells};
use corten_api::core::v1::ReplicationController;
use corten_core::{Path, Str, Time, Value};
use corten_meta::Selector;

/// The strategy of ReplicationControllers.
pub struct ReplicationControllers;

impl Rules for ReplicationControllers {
    type Of = ReplicationController;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, controller: &mut ReplicationController) {
        controller.spec.replicas.get_or_insert(1);
        let Some(template) = &mut controller.spec.template else {
            return;
        };
        let labels = &template.metadata.labels;
        if !labels.is_nil() {
            if controller.spec.selector.is_empty() {
                controller.spec.selector = labels.clone();
            }
            if controller.metadata.labels.is_empty() {
                controller.metadata.labels = labels.clone();
            }
        }
        default_pod_template(template);
    }
    fn validate_create(&self, _cx: &Context, new: &ReplicationController) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &ReplicationController,
        _old: &ReplicationController,
    ) -> Vec<FieldError> {
        if part == "status" {
            validate_status(new)
        } else {
            validate(new)
        }
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &ReplicationController,
        old: Option<&ReplicationController>,
    ) -> Vec<String> {
        let Some(template) = &new.spec.template else {
            return vec![];
        };
        let before = old.and_then(|o| o.spec.template.as_deref());
        of_template(template, before, "spec.template")
    }
    fn columns(&self) -> &'static [Column] {
        &columns::REPLICATION_CONTROLLER
    }
    fn cells(&self, controller: &ReplicationController, now: &Time) -> Vec<Value> {
        let (names, images) = controller
            .spec
            .template
            .as_ref()
            .map(|t| container_names(&t.spec))
            .unwrap_or_default();
        vec![
            Value::from(&controller.metadata.name),
            Value::from(controller.spec.replicas.unwrap_or(0)),
            Value::from(controller.status.replicas),
            Value::from(controller.status.ready_replicas),
            cells::age(&controller.metadata.creation_timestamp, now),
            Value::from(names),
            Value::from(images),
            Value::from(cells::labels(&controller.spec.selector)),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn field_values(&self, controller: &ReplicationController) -> Vec<Str> {
        vec![controller.status.replicas.to_string().into()]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Status
    }
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }
    fn scale(&self, controller: &ReplicationController) -> Option<Scale> {
        let pairs: Vec<String> = controller
            .spec
            .selector
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        Some(Scale {
            replicas: controller.spec.replicas.unwrap_or(0),
            status_replicas: controller.status.replicas,
            selector: pairs.join(","),
        })
    }
    fn set_scale(&self, controller: &mut ReplicationController, replicas: i32) {
        controller.spec.replicas = Some(replicas);
    }
}

fn validate(controller: &ReplicationController) -> Errors {
    let mut errors = Vec::new();
    let (spec, path) = (&controller.spec, Path::Root.f("spec"));
    not_negative(
        &mut errors,
        &path.f("minReadySeconds"),
        i64::from(spec.min_ready_seconds),
    );
    if spec.selector.is_empty() {
        errors.push(FieldError::required(path.f("selector"), ""));
    }
    match spec.replicas {
        None => errors.push(FieldError::required(path.f("replicas"), "")),
        Some(replicas) => not_negative(&mut errors, &path.f("replicas"), i64::from(replicas)),
    }
    let at = path.f("template");
    let Some(template) = &spec.template else {
        errors.push(FieldError::required(&at, ""));
        return errors;
    };
    let labels = &template.metadata.labels;
    if !spec.selector.is_empty() && !Selector::from_map(&spec.selector).matches(labels) {
        let shown = labels
            .iter()
            .map(|(k, v)| (k.clone(), Value::from(v)))
            .collect();
        let text = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            at.f("metadata").f("labels"),
            Value::Map(shown),
            text,
        ));
    }
    errors.extend(validate_pod_template(template, &at));
    if template.spec.restart_policy != "Always" {
        let at = at.f("spec");
        errors.push(FieldError::not_supported(
            at.f("restartPolicy"),
            &template.spec.restart_policy,
            &["Always"],
        ));
    }
    if template.spec.active_deadline_seconds.is_some() {
        let text = "activeDeadlineSeconds in ReplicationController is not Supported";
        errors.push(FieldError::forbidden(
            at.f("spec").f("activeDeadlineSeconds"),
            text,
        ));
    }
    errors
}

fn validate_status(controller: &ReplicationController) -> Errors {
    let mut errors = Vec::new();
    let (status, path) = (&controller.status, Path::Root.f("status"));
    let counts = [
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    not_negative(&mut errors, &path.f("replicas"), i64::from(status.replicas));
    for (name, count) in counts {
        not_negative(&mut errors, &path.f(name), i64::from(count));
    }
    not_negative(
        &mut errors,
        &path.f("observedGeneration"),
        status.observed_generation,
    );
    for (name, count) in counts.into_iter().filter(|(_, c)| *c > status.replicas) {
        errors.push(FieldError::invalid(
            path.f(name),
            count,
            "cannot be greater than status.replicas",
        ));
    }
    if status.available_replicas > status.ready_replicas {
        let text = "cannot be greater than readyReplicas";
        errors.push(FieldError::invalid(
            path.f("availableReplicas"),
            status.available_replicas,
            text,
        ));
    }
    errors
}
