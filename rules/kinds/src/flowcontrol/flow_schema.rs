//! FlowSchemas: defaults, generation, table.

use super::{columns, keep_metadata, validation};
use crate::rules::{Generation, Rules, with_status};
use crate::{Column, Context, FieldError, cells};
use corten_api::flowcontrol::v1::FlowSchema;
use corten_core::{Time, Value};

/// The strategy of FlowSchemas.
pub struct FlowSchemas;

impl Rules for FlowSchemas {
    type Of = FlowSchema;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut FlowSchema) {
        if obj.spec.matching_precedence == 0 {
            obj.spec.matching_precedence = 1000;
        }
    }
    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut FlowSchema, old: &FlowSchema) {
        if part == "status" {
            keep_metadata(&mut new.metadata, &old.metadata);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &FlowSchema) -> Vec<FieldError> {
        validation::schema(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &FlowSchema,
        _old: &FlowSchema,
    ) -> Vec<FieldError> {
        match part {
            "" => validation::schema(new),
            _ => vec![],
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::FLOW_SCHEMA
    }
    fn cells(&self, obj: &FlowSchema, now: &Time) -> Vec<Value> {
        let method = obj.spec.distinguisher_method.as_ref();
        let dangling = obj.status.conditions.iter().find(|c| c.type_ == "Dangling");
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.spec.priority_level_configuration.name),
            Value::from(obj.spec.matching_precedence),
            Value::from(method.map_or("<none>", |m| &m.type_)),
            cells::age(&obj.metadata.creation_timestamp, now),
            Value::from(dangling.map_or("?", |c| &c.status)),
        ]
    }
}
