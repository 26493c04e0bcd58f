//! ResourceSlices: defaults, generation, table. The time a taint was added is the time of the request that brings it.

use super::{columns, slice_validation};
use crate::rules::{Generation, Rules};
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::resource::v1::ResourceSlice;
use corten_core::{Quantity, QuantityFormat, Str, Time, Value};

/// The strategy of ResourceSlices.
pub struct ResourceSlices;

fn date_taints(slice: &mut ResourceSlice, now: Time) {
    for taint in slice
        .spec
        .devices
        .iter_mut()
        .flat_map(|d| d.taints.iter_mut())
    {
        taint.time_added.get_or_insert(now);
    }
}

impl Rules for ResourceSlices {
    type Of = ResourceSlice;
    const GENERATION: Generation = Generation::Counted;

    fn default(&self, obj: &mut ResourceSlice) {
        for device in &mut obj.spec.devices {
            for mapping in device.node_allocatable_resource_mappings.values_mut() {
                mapping
                    .allocation_multiplier
                    .get_or_insert_with(|| Quantity::new(1, QuantityFormat::DecimalSi));
            }
        }
    }
    fn prepare_create(&self, cx: &Context, new: &mut ResourceSlice) {
        date_taints(new, cx.now);
    }
    fn prepare_update(
        &self,
        cx: &Context,
        _part: &str,
        new: &mut ResourceSlice,
        _old: &ResourceSlice,
    ) {
        date_taints(new, cx.now);
    }
    fn validate_create(&self, _cx: &Context, new: &ResourceSlice) -> Vec<FieldError> {
        slice_validation::spec(&new.spec, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ResourceSlice,
        old: &ResourceSlice,
    ) -> Vec<FieldError> {
        slice_validation::spec(&new.spec, Some(&old.spec))
    }
    fn columns(&self) -> &'static [Column] {
        &columns::RESOURCE_SLICE
    }
    fn cells(&self, obj: &ResourceSlice, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.node_name.as_ref().map_or("", |n| n)),
            Value::from(&obj.spec.driver),
            Value::from(&obj.spec.pool.name),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["spec.nodeName", "spec.driver"]
    }
    fn field_values(&self, obj: &ResourceSlice) -> Vec<Str> {
        vec![
            obj.spec.node_name.clone().unwrap_or_default(),
            obj.spec.driver.clone(),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
