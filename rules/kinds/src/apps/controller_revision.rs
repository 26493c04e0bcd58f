//! ControllerRevisions: table.

use super::columns;
use crate::rules::Rules;
use crate::{Column, cells};
use corten_api::apps::v1::ControllerRevision;
use corten_core::{Time, Value};

/// The strategy of ControllerRevisions.
pub struct ControllerRevisions;

impl Rules for ControllerRevisions {
    type Of = ControllerRevision;

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
