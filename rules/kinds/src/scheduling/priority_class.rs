//! PriorityClasses: defaults and table.

use super::columns;
use crate::rules::{Generation, Rules};
use crate::{Column, Context, FieldError, cells};
use corten_api::scheduling::v1::PriorityClass;
use corten_core::{Path, Time, Value};

/// The strategy of PriorityClasses.
pub struct PriorityClasses;

impl Rules for PriorityClasses {
    type Of = PriorityClass;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut PriorityClass) {
        obj.preemption_policy
            .get_or_insert_with(|| "PreemptLowerPriority".into());
    }
    fn is_new_generation(&self, _new: &PriorityClass, _old: &PriorityClass) -> bool {
        false
    }
    fn validate_create(&self, _cx: &Context, new: &PriorityClass) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &PriorityClass,
        old: &PriorityClass,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if new.value != old.value {
            let text = "may not be changed in an update.";
            errors.push(FieldError::forbidden(Path::Root.f("value"), text));
        }
        if new.preemption_policy != old.preemption_policy {
            let bad = new.preemption_policy.as_ref().map(Value::from);
            errors.push(FieldError::immutable(Path::Root.f("preemptionPolicy"), bad));
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::PRIORITY_CLASS
    }
    fn cells(&self, obj: &PriorityClass, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.value),
            Value::from(obj.global_default),
            cells::age(&obj.metadata.creation_timestamp, now),
            Value::from(obj.preemption_policy.as_ref().map_or("", |p| p)),
        ]
    }
}

const USER_MAX: i32 = 1_000_000_000;
const SYSTEM: [(&str, i32); 2] = [
    ("system-node-critical", 2_000_001_000),
    ("system-cluster-critical", 2_000_000_000),
];

fn validate(new: &PriorityClass) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let name = new.metadata.name.as_str();
    if name.starts_with("system-") {
        if let Some(why) = not_of_the_system(new, name) {
            let text = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
            );
            errors.push(FieldError::forbidden(
                Path::Root.f("metadata").f("name"),
                text,
            ));
        }
    } else if new.value > USER_MAX {
        let text = format!("maximum allowed value of a user defined priority is {USER_MAX}");
        errors.push(FieldError::forbidden(Path::Root.f("value"), text));
    }
    if let Some(policy) = &new.preemption_policy {
        let known = ["PreemptLowerPriority", "Never"];
        crate::checks::one_of(
            &mut errors,
            &Path::Root.f("preemptionPolicy"),
            policy,
            &known,
        );
    }
    errors
}

fn not_of_the_system(new: &PriorityClass, name: &str) -> Option<String> {
    let Some((_, value)) = SYSTEM.iter().find(|(known, _)| *known == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if *value != new.value {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    new.global_default
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}
