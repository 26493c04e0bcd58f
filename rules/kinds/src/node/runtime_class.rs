//! RuntimeClasses: table.

use super::columns;
use crate::core::pod::default_resources;
use crate::rules::Rules;
use crate::{Column, cells};
use corten_api::node::v1::RuntimeClass;
use corten_core::{Time, Value};

/// The strategy of RuntimeClasses.
pub struct RuntimeClasses;

impl Rules for RuntimeClasses {
    type Of = RuntimeClass;

    fn default(&self, obj: &mut RuntimeClass) {
        if let Some(overhead) = &mut obj.overhead {
            default_resources(&mut overhead.pod_fixed);
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::RUNTIME_CLASS
    }
    fn cells(&self, obj: &RuntimeClass, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.handler),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn unconditional_update(&self) -> bool {
        false
    }
}
