//! DeviceClasses: generation, validation.

use super::validation;
use crate::rules::{Generation, Rules};
use crate::{Context, DeleteAnswer, FieldError};
use corten_api::resource::v1::DeviceClass;

/// The strategy of DeviceClasses.
pub struct DeviceClasses;

impl Rules for DeviceClasses {
    type Of = DeviceClass;
    const GENERATION: Generation = Generation::Counted;

    fn validate_create(&self, _cx: &Context, new: &DeviceClass) -> Vec<FieldError> {
        validation::device_class(&new.spec)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &DeviceClass,
        _old: &DeviceClass,
    ) -> Vec<FieldError> {
        validation::device_class(&new.spec)
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
