//! VolumeAttachments: status, table.

use super::{columns, validation};
use crate::metadata::reset_for_status;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::storage::v1::VolumeAttachment;
use corten_core::{Time, Value};

/// The strategy of VolumeAttachments.
pub struct VolumeAttachments;

impl Rules for VolumeAttachments {
    type Of = VolumeAttachment;
    with_status!();

    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut VolumeAttachment,
        old: &VolumeAttachment,
    ) {
        if part == "status" {
            reset_for_status(&mut new.metadata, &old.metadata);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &VolumeAttachment) -> Vec<FieldError> {
        validation::attachment(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &VolumeAttachment,
        old: &VolumeAttachment,
    ) -> Vec<FieldError> {
        validation::attachment_update(new, old)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::VOLUME_ATTACHMENT
    }
    fn cells(&self, obj: &VolumeAttachment, now: &Time) -> Vec<Value> {
        let volume = obj.spec.source.persistent_volume_name.as_ref();
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.spec.attacher),
            Value::from(volume.map_or("", |v| v)),
            Value::from(&obj.spec.node_name),
            Value::from(obj.status.attached),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
