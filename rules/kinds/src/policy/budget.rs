//! PodDisruptionBudgets: generation, table.

use super::columns;
use crate::rules::{Generation, Rules, with_status};
use crate::{Column, cells};
use corten_api::policy::v1::PodDisruptionBudget;
use corten_core::{IntOrString, Time, Value};

/// The strategy of PodDisruptionBudgets.
pub struct PodDisruptionBudgets;

impl Rules for PodDisruptionBudgets {
    type Of = PodDisruptionBudget;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

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
}
