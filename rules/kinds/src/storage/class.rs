//! StorageClasses: defaults, table.

use super::columns;
use crate::rules::Rules;
use crate::{Column, DeleteAnswer, cells};
use corten_api::storage::v1::StorageClass;
use corten_core::{Time, Value};

/// The strategy of StorageClasses.
pub struct StorageClasses;

const DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

impl Rules for StorageClasses {
    type Of = StorageClass;

    fn default(&self, obj: &mut StorageClass) {
        obj.reclaim_policy.get_or_insert_with(|| "Delete".into());
        obj.volume_binding_mode
            .get_or_insert_with(|| "Immediate".into());
    }
    fn columns(&self) -> &'static [Column] {
        &columns::STORAGE_CLASS
    }
    fn cells(&self, obj: &StorageClass, now: &Time) -> Vec<Value> {
        let is_default = DEFAULT
            .iter()
            .any(|key| obj.metadata.annotation(key) == "true");
        let suffix = if is_default { " (default)" } else { "" };
        vec![
            Value::from(format!("{}{suffix}", obj.metadata.name)),
            Value::from(&obj.provisioner),
            Value::from(obj.reclaim_policy.as_ref().map_or("Delete", |p| p)),
            Value::from(obj.volume_binding_mode.as_ref().map_or("Immediate", |m| m)),
            Value::from(obj.allow_volume_expansion.unwrap_or(false)),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
