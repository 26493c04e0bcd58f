//! CSINodes: validation, table.

use super::{columns, validation};
use crate::rules::Rules;
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::storage::v1::CSINode;
use corten_core::{Time, Value};

/// The strategy of CSINodes.
pub struct CsiNodes;

impl Rules for CsiNodes {
    type Of = CSINode;

    fn validate_create(&self, _cx: &Context, new: &CSINode) -> Vec<FieldError> {
        validation::node(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &CSINode,
        old: &CSINode,
    ) -> Vec<FieldError> {
        validation::node_update(new, old)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CSI_NODE
    }
    fn cells(&self, obj: &CSINode, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.drivers.len() as i64),
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
