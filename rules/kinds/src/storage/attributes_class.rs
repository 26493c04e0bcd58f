//! VolumeAttributesClasses: validation, table.

use super::{columns, validation};
use crate::rules::Rules;
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::storage::v1::VolumeAttributesClass;
use corten_core::{Time, Value};

/// The strategy of VolumeAttributesClasses.
pub struct VolumeAttributesClasses;

impl Rules for VolumeAttributesClasses {
    type Of = VolumeAttributesClass;

    fn validate_create(&self, _cx: &Context, new: &VolumeAttributesClass) -> Vec<FieldError> {
        validation::attributes(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &VolumeAttributesClass,
        old: &VolumeAttributesClass,
    ) -> Vec<FieldError> {
        validation::attributes_update(new, old)
    }
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
