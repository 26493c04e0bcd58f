//! Deployments: defaults, generation (annotations count, because they are copied to ReplicaSets), table and scale.

use super::{checks, columns};
use crate::checks::Errors;
use crate::core::pod::default_pod_template;
use crate::core::pod::warnings::of_template;
use crate::metadata::value_of;
use crate::rules::{Generation, Rules, with_status};
use crate::workload::{container_cells, name_warning};
use crate::{Column, Context, FieldError, Scale, cells, selectors};
use corten_api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, DeploymentStrategy};
use corten_core::{IntOrString, Path, Time, Value, semantic_eq};
use corten_meta::Selector;

/// The strategy of Deployments.
pub struct Deployments;

impl Rules for Deployments {
    type Of = Deployment;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut Deployment) {
        default_pod_template(&mut obj.spec.template);
        let spec = &mut obj.spec;
        spec.replicas.get_or_insert(1);
        let strategy = &mut spec.strategy;
        if strategy.type_.is_empty() {
            strategy.type_ = "RollingUpdate".into();
        }
        if strategy.type_ == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling
                .max_unavailable
                .get_or_insert_with(|| IntOrString::from("25%"));
            rolling
                .max_surge
                .get_or_insert_with(|| IntOrString::from("25%"));
        }
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut Deployment, old: &Deployment) {
        if part == "status" {
            new.metadata.labels = old.metadata.labels.clone();
        }
    }
    fn is_new_generation(&self, new: &Deployment, old: &Deployment) -> bool {
        let (a, b) = (&new.metadata.annotations, &old.metadata.annotations);
        !semantic_eq(&new.spec, &old.spec)
            || a.len() != b.len()
            || a.iter().any(|(k, v)| b.get(k) != Some(v))
    }
    fn warnings(&self, _cx: &Context, new: &Deployment, old: Option<&Deployment>) -> Vec<String> {
        let name = old
            .is_none()
            .then(|| name_warning(&new.metadata.name))
            .flatten();
        let before = old.map(|o| &o.spec.template);
        let template = of_template(&new.spec.template, before, "spec.template");
        name.into_iter().chain(template).collect()
    }
    fn validate_create(&self, _cx: &Context, new: &Deployment) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_spec(&mut errors, &new.spec);
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &Deployment,
        old: &Deployment,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if part == "status" {
            validate_status(&mut errors, &new.status);
            let path = Path::Root.f("status");
            let (new, old) = (new.status.collision_count, old.status.collision_count);
            checks::collisions(&mut errors, &path, new, old);
            return errors;
        }
        validate_spec(&mut errors, &new.spec);
        let path = Path::Root.f("spec");
        let (new, old) = (new.spec.selector.as_deref(), old.spec.selector.as_deref());
        checks::selector_kept(&mut errors, &path.f("selector"), new, old);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::DEPLOYMENT
    }
    fn cells(&self, obj: &Deployment, now: &Time) -> Vec<Value> {
        let selector = Selector::from_label_selector(obj.spec.selector.as_deref());
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        vec![
            Value::from(&obj.metadata.name),
            Value::from(format!(
                "{}/{}",
                obj.status.ready_replicas,
                obj.spec.replicas.unwrap_or(0)
            )),
            Value::from(obj.status.updated_replicas),
            Value::from(obj.status.available_replicas),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selector.map_or("<invalid>".to_owned(), |s| s.to_string())),
        ]
    }
    fn scale(&self, obj: &Deployment) -> Option<Scale> {
        Some(Scale {
            replicas: obj.spec.replicas.unwrap_or(0),
            status_replicas: obj.status.replicas,
            selector: selectors::scale_text(obj.spec.selector.as_deref()),
        })
    }
    fn set_scale(&self, obj: &mut Deployment, replicas: i32) {
        obj.spec.replicas = Some(replicas);
    }
}

fn validate_spec(errors: &mut Errors, spec: &DeploymentSpec) {
    let path = Path::Root.f("spec");
    let replicas = spec.replicas.map(i64::from);
    checks::not_negative_all(errors, &path, &[("replicas", replicas)]);
    let selector = spec.selector.as_deref();
    checks::selector(errors, &path.f("selector"), selector, "deployment");
    checks::replica_template(errors, &path, selector, &spec.template);
    validate_strategy(errors, &path.f("strategy"), &spec.strategy);
    let numbers = [
        ("minReadySeconds", Some(i64::from(spec.min_ready_seconds))),
        (
            "revisionHistoryLimit",
            spec.revision_history_limit.map(i64::from),
        ),
        (
            "progressDeadlineSeconds",
            spec.progress_deadline_seconds.map(i64::from),
        ),
    ];
    checks::not_negative_all(errors, &path, &numbers);
    if let Some(deadline) = spec
        .progress_deadline_seconds
        .filter(|d| *d <= spec.min_ready_seconds)
    {
        let text = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid(
            path.f("progressDeadlineSeconds"),
            deadline,
            text,
        ));
    }
}

fn validate_strategy(errors: &mut Errors, path: &Path, strategy: &DeploymentStrategy) {
    let inner = path.f("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("Recreate", Some(_)) => {
            let text = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(&inner, text));
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            let text = "this should be defaulted and never be nil";
            errors.push(FieldError::required(&inner, text));
        }
        ("RollingUpdate", Some(rolling)) => {
            let zero = IntOrString::Int(0);
            let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
            let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
            checks::count_or_percent(errors, &inner.f("maxUnavailable"), unavailable);
            checks::count_or_percent(errors, &inner.f("maxSurge"), surge);
            if checks::count_of(unavailable) == 0 && checks::count_of(surge) == 0 {
                let bad = checks::count_value(unavailable);
                let text = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(inner.f("maxUnavailable"), bad, text));
            }
            checks::at_most_all(errors, &inner.f("maxUnavailable"), unavailable);
        }
        _ => {
            let bad = value_of(strategy);
            errors.push(FieldError::not_supported(
                path,
                bad,
                &["Recreate", "RollingUpdate"],
            ));
        }
    }
}

fn validate_status(errors: &mut Errors, status: &DeploymentStatus) {
    let path = Path::Root.f("status");
    let numbers = [
        ("observedGeneration", Some(status.observed_generation)),
        ("replicas", Some(status.replicas.into())),
        ("updatedReplicas", Some(status.updated_replicas.into())),
        ("readyReplicas", Some(status.ready_replicas.into())),
        ("availableReplicas", Some(status.available_replicas.into())),
        (
            "unavailableReplicas",
            Some(status.unavailable_replicas.into()),
        ),
        (
            "terminatingReplicas",
            status.terminating_replicas.map(i64::from),
        ),
        ("collisionCount", status.collision_count.map(i64::from)),
    ];
    checks::not_negative_all(errors, &path, &numbers);
    let parts = [
        ("updatedReplicas", status.updated_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ];
    let text = "cannot be greater than status.replicas";
    checks::not_greater(errors, &path, &parts, status.replicas, text);
    let text = "cannot be greater than readyReplicas";
    checks::not_greater(errors, &path, &parts[2..], status.ready_replicas, text);
}
