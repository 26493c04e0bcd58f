//! DeviceClasses: generation.

use crate::DeleteAnswer;
use crate::rules::{Generation, Rules};
use corten_api::resource::v1::DeviceClass;

/// The strategy of DeviceClasses.
pub struct DeviceClasses;

impl Rules for DeviceClasses {
    type Of = DeviceClass;
    const GENERATION: Generation = Generation::Counted;

    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
