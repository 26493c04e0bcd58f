//! PodDisruptionBudgets: generation, table.

use super::columns;
use crate::apps::checks;
use crate::checks::{Errors, known};
use crate::metadata::{validate_conditions, validate_selector};
use crate::rules::{Generation, Rules, with_status};
use crate::selectors;
use crate::{Column, Context, FieldError, cells, internal, names};
use corten_api::meta::v1::LabelSelector;
use corten_api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use corten_core::{IntOrString, Path, Time, Value};

/// The strategy of PodDisruptionBudgets.
pub struct PodDisruptionBudgets;

impl Rules for PodDisruptionBudgets {
    type Of = PodDisruptionBudget;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn validate_create(&self, _cx: &Context, new: &PodDisruptionBudget) -> Vec<FieldError> {
        validate(&new.spec, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &PodDisruptionBudget,
        old: &PodDisruptionBudget,
    ) -> Vec<FieldError> {
        if part == "status" {
            let status = &new.status;
            let numbers = [
                (
                    "disruptionsAllowed",
                    Some(status.disruptions_allowed.into()),
                ),
                ("currentHealthy", Some(status.current_healthy.into())),
                ("desiredHealthy", Some(status.desired_healthy.into())),
                ("expectedPods", Some(status.expected_pods.into())),
            ];
            let mut errors = Vec::new();
            let path = Path::Root.f("status");
            errors.extend(validate_conditions(
                &status.conditions,
                &path.f("conditions"),
            ));
            checks::not_negative_all(&mut errors, &path, &numbers);
            return errors;
        }
        validate(&new.spec, old.spec.selector.as_deref())
    }
    fn columns(&self) -> &'static [Column] {
        &columns::POD_DISRUPTION_BUDGET
    }
    fn cells(&self, obj: &PodDisruptionBudget, now: &Time) -> Vec<Value> {
        let text = |v: &Option<IntOrString>| v.as_ref().map_or("N/A".to_owned(), |v| v.to_string());
        vec![
            Value::from(&obj.metadata.name),
            Value::from(text(&obj.spec.min_available)),
            Value::from(text(&obj.spec.max_unavailable)),
            Value::from(obj.status.disruptions_allowed),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
    fn invalid_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }
}

fn validate(spec: &PodDisruptionBudgetSpec, old: Option<&LabelSelector>) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    if spec.min_available.is_some() && spec.max_unavailable.is_some() {
        let text = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(&path, internal::printed(spec), text));
    }
    for (name, value) in [
        ("minAvailable", &spec.min_available),
        ("maxUnavailable", &spec.max_unavailable),
    ] {
        if let Some(value) = value {
            checks::count_or_percent(&mut errors, &path.f(name), value);
            checks::at_most_all(&mut errors, &path.f(name), value);
        }
    }
    if let Some(selector) = &spec.selector {
        let strict = selectors::strictness(old);
        errors.extend(validate_selector(selector, strict, &path.f("selector")));
    }
    if let Some(policy) = &spec.unhealthy_pod_eviction_policy {
        let supported = ["AlwaysAllow", "IfHealthyBudget"];
        known(
            &mut errors,
            &path.f("unhealthyPodEvictionPolicy"),
            policy,
            &supported,
        );
    }
    errors
}
