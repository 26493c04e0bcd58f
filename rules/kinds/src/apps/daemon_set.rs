//! DaemonSets: defaults, table, and the generation of the template, which lives in an annotation.

use super::{checks, columns};
use crate::checks::Errors;
use crate::core::pod::warnings::of_template;
use crate::core::pod::{default_pod_template, validate_pod_template};
use crate::metadata::{validate_selector, value_of};
use crate::rules::{Generation, Rules, with_status};
use crate::workload::container_cells;
use crate::{Column, Context, FieldError, cells, selectors};
use corten_api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy};
use corten_api::meta::v1::LabelSelector;
use corten_core::{IntOrString, Path, Time, Value, semantic_eq};
use corten_meta::Selector;

/// The strategy of DaemonSets.
pub struct DaemonSets;

/// Counts changes of the template.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(obj: &DaemonSet) -> i64 {
    obj.metadata
        .annotation(TEMPLATE_GENERATION)
        .parse()
        .unwrap_or(0)
}

impl Rules for DaemonSets {
    type Of = DaemonSet;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut DaemonSet) {
        default_pod_template(&mut obj.spec.template);
        let strategy = &mut obj.spec.update_strategy;
        if strategy.type_.is_empty() {
            strategy.type_ = "RollingUpdate".into();
        }
        if strategy.type_ == "RollingUpdate" {
            let rolling = strategy.rolling_update.get_or_insert_default();
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        obj.spec.revision_history_limit.get_or_insert(10);
        // Upstream keeps it as a field of its own, which is there from the start.
        if !obj.metadata.annotations.contains_key(TEMPLATE_GENERATION) {
            obj.metadata.annotations.insert(TEMPLATE_GENERATION, "0");
        }
    }
    fn prepare_create(&self, _cx: &Context, new: &mut DaemonSet) {
        let at_least_one = template_generation(new).max(1);
        new.metadata
            .annotations
            .insert(TEMPLATE_GENERATION, at_least_one.to_string());
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut DaemonSet, old: &DaemonSet) {
        let changed = part != "status" && !semantic_eq(&new.spec.template, &old.spec.template);
        let generation = template_generation(old) + i64::from(changed);
        new.metadata
            .annotations
            .insert(TEMPLATE_GENERATION, generation.to_string());
    }
    fn validate_create(&self, _cx: &Context, new: &DaemonSet) -> Vec<FieldError> {
        let mut errors = Vec::new();
        validate_spec(&mut errors, &new.spec, None);
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &DaemonSet,
        old: &DaemonSet,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if part == "status" {
            validate_status(&mut errors, &new.status);
            let path = Path::Root.f("status");
            let (new, old) = (new.status.collision_count, old.status.collision_count);
            checks::collisions(&mut errors, &path, new, old);
            return errors;
        }
        let path = Path::Root.f("spec");
        let before = old.spec.selector.as_deref();
        checks::selector_kept(
            &mut errors,
            &path.f("selector"),
            new.spec.selector.as_deref(),
            before,
        );
        validate_spec(&mut errors, &new.spec, before);
        errors
    }
    fn warnings(&self, _cx: &Context, new: &DaemonSet, old: Option<&DaemonSet>) -> Vec<String> {
        let before = old.map(|o| &o.spec.template);
        of_template(&new.spec.template, before, "spec.template")
    }
    fn columns(&self) -> &'static [Column] {
        &columns::DAEMON_SET
    }
    fn cells(&self, obj: &DaemonSet, now: &Time) -> Vec<Value> {
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        let status = &obj.status;
        vec![
            Value::from(&obj.metadata.name),
            Value::from(status.desired_number_scheduled),
            Value::from(status.current_number_scheduled),
            Value::from(status.number_ready),
            Value::from(status.updated_number_scheduled),
            Value::from(status.number_available),
            Value::from(cells::labels(&obj.spec.template.spec.node_selector)),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selectors::text(obj.spec.selector.as_deref())),
        ]
    }
}

fn validate_spec(errors: &mut Errors, spec: &DaemonSetSpec, old: Option<&LabelSelector>) {
    let path = Path::Root.f("spec");
    let template = path.f("template");
    let labels = &spec.template.metadata.labels;
    if let Some(selector) = &spec.selector {
        let strict = selectors::strictness(old);
        errors.extend(validate_selector(selector, strict, &path.f("selector")));
    }
    let parsed = Selector::from_label_selector(spec.selector.as_deref());
    if parsed.is_ok_and(|s| !s.matches(labels)) {
        errors.push(checks::labels_do_not_match(&template, labels));
    }
    if let Some(selector) = spec.selector.as_ref().filter(|s| selectors::is_empty(s)) {
        let text = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid(
            path.f("selector"),
            value_of(&**selector),
            text,
        ));
    }
    errors.extend(validate_pod_template(&spec.template, &template));
    checks::always_restarting(errors, &template, &spec.template, "DaemonSet");
    let seconds = i64::from(spec.min_ready_seconds);
    checks::not_negative_all(errors, &path, &[("minReadySeconds", Some(seconds))]);
    validate_strategy(errors, &path.f("updateStrategy"), &spec.update_strategy);
    let limit = spec.revision_history_limit.map(i64::from);
    checks::not_negative_all(errors, &path, &[("revisionHistoryLimit", limit)]);
}

fn validate_strategy(errors: &mut Errors, path: &Path, strategy: &DaemonSetUpdateStrategy) {
    match strategy.type_.as_str() {
        "OnDelete" => return,
        "RollingUpdate" => {}
        _ => {
            let bad = value_of(strategy);
            errors.push(FieldError::not_supported(
                path,
                bad,
                &["RollingUpdate", "OnDelete"],
            ));
            return;
        }
    }
    let path = path.f("rollingUpdate");
    let Some(rolling) = &strategy.rolling_update else {
        errors.push(FieldError::required(path, ""));
        return;
    };
    let zero = IntOrString::Int(0);
    let unavailable = rolling.max_unavailable.as_ref().unwrap_or(&zero);
    let surge = rolling.max_surge.as_ref().unwrap_or(&zero);
    let both = [("maxUnavailable", unavailable), ("maxSurge", surge)];
    for (name, value) in both {
        checks::count_or_percent(errors, &path.f(name), value);
    }
    for (name, value) in both {
        checks::at_most_all(errors, &path.f(name), value);
    }
    match (
        checks::count_of(unavailable) != 0,
        checks::count_of(surge) != 0,
    ) {
        (true, true) => {
            let text = "may not be set when maxUnavailable is non-zero";
            let bad = checks::count_value(surge);
            errors.push(FieldError::invalid(path.f("maxSurge"), bad, text));
        }
        (false, false) => {
            let text = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(path.f("maxUnavailable"), text));
        }
        _ => {}
    }
}

fn validate_status(errors: &mut Errors, status: &DaemonSetStatus) {
    let numbers = [
        (
            "currentNumberScheduled",
            Some(status.current_number_scheduled.into()),
        ),
        (
            "numberMisscheduled",
            Some(status.number_misscheduled.into()),
        ),
        (
            "desiredNumberScheduled",
            Some(status.desired_number_scheduled.into()),
        ),
        ("numberReady", Some(status.number_ready.into())),
        ("observedGeneration", Some(status.observed_generation)),
        (
            "updatedNumberScheduled",
            Some(status.updated_number_scheduled.into()),
        ),
        ("numberAvailable", Some(status.number_available.into())),
        ("numberUnavailable", Some(status.number_unavailable.into())),
        ("collisionCount", status.collision_count.map(i64::from)),
    ];
    checks::not_negative_all(errors, &Path::Root.f("status"), &numbers);
}
