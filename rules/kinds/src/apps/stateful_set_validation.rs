//! What is wrong with a StatefulSet. Invariant: what an update cannot change is not checked again on updates.

use super::checks;
use crate::checks::{Errors, dns_label};
use crate::core::claim::validate_claim_spec;
use crate::core::pod::validate_pod_template;
use crate::error::FieldError;
use crate::metadata::{validate_annotations, validate_labels, value_of};
use corten_api::apps::v1::{
    RollingUpdateStatefulSetStrategy, StatefulSetSpec, StatefulSetStatus, StatefulSetUpdateStrategy,
};
use corten_api::core::v1::{PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume};
use corten_core::{Path, Value, semantic_eq};
use corten_meta::Selector;

/// A new specification.
pub(super) fn create(spec: &StatefulSetSpec) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    policies(&mut errors, &path, spec);
    for (i, claim) in spec.volume_claim_templates.iter().enumerate() {
        let path = path.f("volumeClaimTemplates");
        let path = path.i(i);
        errors.extend(validate_claim_spec(&claim.spec, &path.f("spec")));
    }
    numbers(&mut errors, &path, spec);
    if !spec.service_name.is_empty() {
        dns_label(&mut errors, &path.f("serviceName"), &spec.service_name);
    }
    selector_and_template(&mut errors, &path, spec, Template::Checked);
    errors
}

/// A changed specification.
pub(super) fn update(new: &StatefulSetSpec, old: &StatefulSetSpec) -> Errors {
    let path = Path::Root.f("spec");
    let template = if lenient(old, Template::Checked).is_empty() {
        Template::Checked
    } else {
        Template::Unchecked
    };
    let mut errors = lenient(new, template);
    let mut clone = new.clone();
    clone.replicas = old.replicas;
    clone.template = old.template.clone();
    clone.update_strategy = old.update_strategy.clone();
    clone.min_ready_seconds = old.min_ready_seconds;
    clone.ordinals = old.ordinals.clone();
    clone.revision_history_limit = old.revision_history_limit;
    clone.persistent_volume_claim_retention_policy =
        old.persistent_volume_claim_retention_policy.clone();
    if !semantic_eq(&clone, old) {
        let text = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                    'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                    'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden(&path, text));
    }
    errors
}

/// Whether the template itself is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Template {
    Checked,
    /// The stored one was wrong already.
    Unchecked,
}

fn lenient(spec: &StatefulSetSpec, template: Template) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    policies(&mut errors, &path, spec);
    numbers(&mut errors, &path, spec);
    selector_and_template(&mut errors, &path, spec, template);
    errors
}

fn policies(errors: &mut Errors, path: &Path, spec: &StatefulSetSpec) {
    let management = path.f("podManagementPolicy");
    match spec.pod_management_policy.as_str() {
        "OrderedReady" | "Parallel" => {}
        "" => errors.push(FieldError::required(management, "")),
        other => {
            let text = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid(management, other, text));
        }
    }
    strategy(errors, &path.f("updateStrategy"), &spec.update_strategy);
    if let Some(policy) = &spec.persistent_volume_claim_retention_policy {
        let path = path.f("persistentVolumeClaimRetentionPolicy");
        for (name, value) in [
            ("whenDeleted", &policy.when_deleted),
            ("whenScaled", &policy.when_scaled),
        ] {
            crate::checks::known(errors, &path.f(name), value, &["Retain", "Delete"]);
        }
    }
}

fn strategy(errors: &mut Errors, path: &Path, strategy: &StatefulSetUpdateStrategy) {
    let inner = path.f("rollingUpdate");
    match (strategy.type_.as_str(), &strategy.rolling_update) {
        ("", _) => errors.push(FieldError::required(path, "")),
        ("OnDelete", Some(rolling)) => {
            let text = "only allowed for updateStrategy 'RollingUpdate'";
            let unavailable = rolling.max_unavailable.as_ref().map(checks::count_value);
            let members = [
                ("Partition", Value::from(rolling.partition.unwrap_or(0))),
                ("MaxUnavailable", Value::from(unavailable)),
            ];
            errors.push(checks::invalid_struct(&inner, &members, text));
        }
        ("OnDelete", None) | ("RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => rolling_update(errors, &inner, rolling),
        _ => {
            let text = "must be 'RollingUpdate' or 'OnDelete'";
            errors.push(FieldError::invalid(path, value_of(strategy), text));
        }
    }
}

fn rolling_update(errors: &mut Errors, path: &Path, rolling: &RollingUpdateStatefulSetStrategy) {
    let partition = rolling.partition.map(i64::from);
    checks::not_negative_all(errors, path, &[("partition", partition)]);
    if let Some(unavailable) = &rolling.max_unavailable {
        let path = path.f("maxUnavailable");
        checks::count_or_percent(errors, &path, unavailable);
        if checks::count_of(unavailable) == 0 {
            let bad = checks::count_value(unavailable);
            errors.push(FieldError::invalid(&path, bad, "cannot be 0"));
        }
        checks::at_most_all(errors, &path, unavailable);
    }
}

fn numbers(errors: &mut Errors, path: &Path, spec: &StatefulSetSpec) {
    let numbers = [
        ("replicas", spec.replicas.map(i64::from)),
        ("minReadySeconds", Some(spec.min_ready_seconds.into())),
        (
            "ordinals.start",
            spec.ordinals.as_ref().map(|o| o.start.into()),
        ),
    ];
    checks::not_negative_all(errors, path, &numbers);
}

fn selector_and_template(
    errors: &mut Errors,
    path: &Path,
    spec: &StatefulSetSpec,
    checked: Template,
) {
    let selector = spec.selector.as_deref();
    checks::selector(errors, &path.f("selector"), selector, "statefulset");
    match Selector::from_label_selector(selector) {
        Err(_) => {
            let bad = selector.map(value_of).unwrap_or_default();
            errors.push(FieldError::invalid(path.f("selector"), bad, ""));
        }
        Ok(selector) => template(errors, &path.f("template"), spec, &selector, checked),
    }
    checks::always_restarting(errors, &path.f("template"), &spec.template, "StatefulSet");
}

fn template(
    errors: &mut Errors,
    path: &Path,
    spec: &StatefulSetSpec,
    selector: &Selector,
    checked: Template,
) {
    let metadata = &spec.template.metadata;
    if !selector.is_everything() && !selector.matches(&metadata.labels) {
        errors.push(checks::labels_do_not_match(path, &metadata.labels));
    }
    if checked == Template::Checked {
        errors.extend(validate_pod_template(&as_created(spec), path));
    }
    errors.extend(validate_labels(&metadata.labels, &path.f("labels")));
    errors.extend(validate_annotations(
        &metadata.annotations,
        &path.f("annotations"),
    ));
}

/// The template with what the controller fills in: its own names, and a volume for each claim.
fn as_created(spec: &StatefulSetSpec) -> PodTemplateSpec {
    let mut template = spec.template.clone();
    template.spec.subdomain = Default::default();
    template.spec.hostname = Default::default();
    if spec.volume_claim_templates.is_empty() {
        return template;
    }
    let mut volumes: Vec<Volume> = Vec::new();
    for claim in &spec.volume_claim_templates {
        let name = &claim.metadata.name;
        if volumes.iter().any(|v| v.name == *name) {
            continue;
        }
        let mut volume = Volume {
            name: name.clone(),
            ..Default::default()
        };
        volume.volume_source.persistent_volume_claim =
            Some(Box::new(PersistentVolumeClaimVolumeSource {
                claim_name: name.clone(),
                ..Default::default()
            }));
        volumes.push(volume);
    }
    let own = spec.template.spec.volumes.iter();
    let own: Vec<Volume> = own
        .filter(|v| volumes.iter().all(|c| c.name != v.name))
        .cloned()
        .collect();
    volumes.extend(own);
    template.spec.volumes = volumes.into();
    template
}

/// A changed status.
pub(super) fn status(new: &StatefulSetStatus, old: &StatefulSetStatus) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("status");
    let numbers = [
        ("replicas", Some(new.replicas.into())),
        ("readyReplicas", Some(new.ready_replicas.into())),
        ("currentReplicas", Some(new.current_replicas.into())),
        ("updatedReplicas", Some(new.updated_replicas.into())),
        ("availableReplicas", Some(new.available_replicas.into())),
        ("observedGeneration", Some(new.observed_generation)),
        ("collisionCount", new.collision_count.map(i64::from)),
    ];
    checks::not_negative_all(&mut errors, &path, &numbers);
    let parts = [
        ("readyReplicas", new.ready_replicas),
        ("currentReplicas", new.current_replicas),
        ("updatedReplicas", new.updated_replicas),
        ("availableReplicas", new.available_replicas),
    ];
    let text = "cannot be greater than status.replicas";
    checks::not_greater(&mut errors, &path, &parts, new.replicas, text);
    let text = "cannot be greater than status.readyReplicas";
    checks::not_greater(&mut errors, &path, &parts[3..], new.ready_replicas, text);
    checks::collisions(&mut errors, &path, new.collision_count, old.collision_count);
    errors
}
