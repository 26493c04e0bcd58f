//! PriorityClasses: defaults and table.

use super::columns;
use crate::rules::{Generation, Rules};
use crate::{Column, cells};
use corten_api::scheduling::v1::PriorityClass;
use corten_core::{Time, Value};

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
