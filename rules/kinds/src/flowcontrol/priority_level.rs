//! PriorityLevelConfigurations: defaults, generation, table.

use super::{columns, keep_metadata, validation};
use crate::rules::{Generation, Rules, with_status};
use crate::{Column, Context, FieldError, cells};
use corten_api::flowcontrol::v1::PriorityLevelConfiguration;
use corten_core::{Time, Value};

/// The strategy of PriorityLevelConfigurations.
pub struct PriorityLevelConfigurations;

impl Rules for PriorityLevelConfigurations {
    type Of = PriorityLevelConfiguration;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut PriorityLevelConfiguration) {
        if let Some(exempt) = &mut obj.spec.exempt {
            exempt.nominal_concurrency_shares.get_or_insert(0);
            exempt.lendable_percent.get_or_insert(0);
        }
        let Some(limited) = &mut obj.spec.limited else {
            return;
        };
        limited.nominal_concurrency_shares.get_or_insert(30);
        limited.lendable_percent.get_or_insert(0);
        if let Some(queuing) = &mut limited.limit_response.queuing {
            for (field, value) in [
                (&mut queuing.hand_size, 8),
                (&mut queuing.queues, 64),
                (&mut queuing.queue_length_limit, 50),
            ] {
                if *field == 0 {
                    *field = value;
                }
            }
        }
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut PriorityLevelConfiguration,
        old: &PriorityLevelConfiguration,
    ) {
        if part == "status" {
            keep_metadata(&mut new.metadata, &old.metadata);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &PriorityLevelConfiguration) -> Vec<FieldError> {
        validation::level(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &PriorityLevelConfiguration,
        _old: &PriorityLevelConfiguration,
    ) -> Vec<FieldError> {
        match part {
            "" => validation::level(new),
            _ => vec![],
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::PRIORITY_LEVEL_CONFIGURATION
    }
    fn cells(&self, obj: &PriorityLevelConfiguration, now: &Time) -> Vec<Value> {
        let limited = obj.spec.limited.as_ref();
        let queuing = limited.and_then(|l| l.limit_response.queuing.as_ref());
        let number = |n: Option<i32>| n.map_or(Value::from("<none>"), Value::from);
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.spec.type_),
            number(limited.map(|l| l.nominal_concurrency_shares.unwrap_or(0))),
            number(queuing.map(|q| q.queues)),
            number(queuing.map(|q| q.hand_size)),
            number(queuing.map(|q| q.queue_length_limit)),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}
