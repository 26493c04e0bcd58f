//! CSIStorageCapacities: validation, the plain table.

use super::validation;
use crate::rules::Rules;
use crate::{Column, Context, FieldError, plain_table};
use corten_api::storage::v1::CSIStorageCapacity;
use corten_core::{Time, Value};

/// The strategy of CSIStorageCapacities.
pub struct CsiStorageCapacities;

impl Rules for CsiStorageCapacities {
    type Of = CSIStorageCapacity;

    fn validate_create(&self, _cx: &Context, new: &CSIStorageCapacity) -> Vec<FieldError> {
        validation::capacity(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &CSIStorageCapacity,
        old: &CSIStorageCapacity,
    ) -> Vec<FieldError> {
        validation::capacity_update(new, old)
    }
    fn columns(&self) -> &'static [Column] {
        &plain_table::COLUMNS
    }
    fn cells(&self, obj: &CSIStorageCapacity, _now: &Time) -> Vec<Value> {
        plain_table::cells(&obj.metadata)
    }
    fn unconditional_update(&self) -> bool {
        false
    }
}
