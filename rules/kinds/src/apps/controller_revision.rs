//! ControllerRevisions: their data never changes.

use super::columns;
use crate::checks::not_negative;
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells};
use corten_api::apps::v1::ControllerRevision;
use corten_core::{Path, Time, Value};

/// The strategy of ControllerRevisions.
pub struct ControllerRevisions;

impl Rules for ControllerRevisions {
    type Of = ControllerRevision;

    fn validate_create(&self, _cx: &Context, new: &ControllerRevision) -> Vec<FieldError> {
        let mut errors = validate_revision(new);
        let path = Path::Root.f("data");
        match new.data.to_value() {
            _ if new.data.is_nil() => {
                errors.push(FieldError::required(path, "data is mandatory"));
            }
            Ok(Value::Null) => errors.push(FieldError::required(path, "data is mandatory")),
            Ok(Value::Map(_)) => {}
            Ok(_) => errors.push(FieldError::required(
                path,
                "data must be a valid JSON object",
            )),
            Err(e) => {
                let text = format!("error parsing data: {e}");
                errors.push(FieldError::invalid(path, "<value omitted>", text));
            }
        }
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ControllerRevision,
        old: &ControllerRevision,
    ) -> Vec<FieldError> {
        let mut errors = validate_revision(new);
        if new.data.as_bytes() != old.data.as_bytes() {
            let bad = new.data.to_value().unwrap_or_default();
            errors.push(FieldError::immutable(Path::Root.f("data"), bad));
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CONTROLLER_REVISION
    }
    fn cells(&self, obj: &ControllerRevision, now: &Time) -> Vec<Value> {
        let owner = obj.metadata.controller_of().map(|owner| {
            let kind = match owner.api_version.rsplit_once('/') {
                Some((group, _)) => format!("{}.{group}", owner.kind),
                None => owner.kind.to_string(),
            };
            format!("{}/{}", kind.to_lowercase(), owner.name)
        });
        vec![
            Value::from(&obj.metadata.name),
            Value::from(owner.unwrap_or_else(|| "<none>".to_owned())),
            Value::from(obj.revision),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}

fn validate_revision(new: &ControllerRevision) -> Vec<FieldError> {
    let mut errors = Vec::new();
    not_negative(&mut errors, &Path::Root.f("revision"), new.revision);
    errors
}
