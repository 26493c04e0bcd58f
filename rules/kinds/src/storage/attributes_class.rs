//! VolumeAttributesClasses: table.

use super::columns;
use crate::rules::Rules;
use crate::{Column, DeleteAnswer, cells};
use corten_api::storage::v1::VolumeAttributesClass;
use corten_core::{Time, Value};

/// The strategy of VolumeAttributesClasses.
pub struct VolumeAttributesClasses;

impl Rules for VolumeAttributesClasses {
    type Of = VolumeAttributesClass;

    fn columns(&self) -> &'static [Column] {
        &columns::VOLUME_ATTRIBUTES_CLASS
    }
    fn cells(&self, obj: &VolumeAttributesClass, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.driver_name),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
