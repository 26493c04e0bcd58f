//! CSIStorageCapacities: the plain table.

use crate::rules::Rules;
use crate::{Column, plain_table};
use corten_api::storage::v1::CSIStorageCapacity;
use corten_core::{Time, Value};

/// The strategy of CSIStorageCapacities.
pub struct CsiStorageCapacities;

impl Rules for CsiStorageCapacities {
    type Of = CSIStorageCapacity;

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
