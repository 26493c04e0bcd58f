//! ResourceClaims and ResourceClaimTemplates: defaults, status, table.

use super::{columns, validation};
use crate::metadata::reset_for_status;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::resource::v1::{
    AllocatedDeviceStatus, DeviceRequestAllocationResult, ResourceClaim, ResourceClaimSpec,
    ResourceClaimStatus, ResourceClaimTemplate,
};
use corten_core::{Str, Time, Value};

/// The strategy of ResourceClaims.
pub struct ResourceClaims;
/// The strategy of ResourceClaimTemplates.
pub struct ResourceClaimTemplates;

fn default_count(mode: &mut Str, count: &mut i64) {
    if mode.is_empty() {
        *mode = "ExactCount".into();
    }
    if *mode == "ExactCount" && *count == 0 {
        *count = 1;
    }
}

fn default_claim(spec: &mut ResourceClaimSpec) {
    for request in &mut spec.devices.requests {
        if let Some(exactly) = &mut request.exactly {
            default_count(&mut exactly.allocation_mode, &mut exactly.count);
            default_tolerations(&mut exactly.tolerations);
        }
        for sub in &mut request.first_available {
            default_count(&mut sub.allocation_mode, &mut sub.count);
            default_tolerations(&mut sub.tolerations);
        }
    }
}

fn default_tolerations(tolerations: &mut [corten_api::resource::v1::DeviceToleration]) {
    for toleration in tolerations {
        if toleration.operator.is_empty() {
            toleration.operator = "Equal".into();
        }
    }
}

impl Rules for ResourceClaims {
    type Of = ResourceClaim;
    with_status!();

    fn default(&self, obj: &mut ResourceClaim) {
        default_claim(&mut obj.spec);
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut ResourceClaim,
        old: &ResourceClaim,
    ) {
        if part == "status" {
            reset_for_status(&mut new.metadata, &old.metadata);
            drop_deallocated(&mut new.status, &old.status);
        }
    }
    fn validate_create(&self, cx: &Context, new: &ResourceClaim) -> Vec<FieldError> {
        let mut errors = validation::admin_access(cx, &new.metadata.namespace, &new.spec.devices);
        errors.extend(validation::claim(new));
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &ResourceClaim,
        old: &ResourceClaim,
    ) -> Vec<FieldError> {
        match part {
            "status" => validation::status_update(new, old),
            _ => validation::claim_update(new, old),
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::RESOURCE_CLAIM
    }
    fn cells(&self, obj: &ResourceClaim, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(state(obj)),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}

/// What devices say of themselves goes when they are no longer allocated.
fn drop_deallocated(new: &mut ResourceClaimStatus, old: &ResourceClaimStatus) {
    let results = |status: &ResourceClaimStatus| {
        let allocation = status.allocation.as_ref();
        allocation
            .map(|a| a.devices.results.clone())
            .unwrap_or_default()
    };
    let (now, before) = (results(new), results(old));
    let names = |all: &[DeviceRequestAllocationResult], d: &AllocatedDeviceStatus| {
        all.iter().any(|r| {
            (&r.driver, &r.pool, &r.device, &r.share_id)
                == (&d.driver, &d.pool, &d.device, &d.share_id)
        })
    };
    let kept = |d: &&AllocatedDeviceStatus| !names(&before, d) || names(&now, d);
    if !new.devices.iter().all(|d| kept(&d)) {
        new.devices = new.devices.iter().filter(kept).cloned().collect();
        if new.devices.is_empty() {
            new.devices = Default::default();
        }
    }
}

fn state(obj: &ResourceClaim) -> String {
    let deleted = obj.metadata.deleting();
    let allocated = obj.status.allocation.is_some();
    let states: Vec<&str> = [
        (deleted, "deleted"),
        (!allocated && !deleted, "pending"),
        (allocated, "allocated"),
        (allocated && !obj.status.reserved_for.is_empty(), "reserved"),
    ]
    .into_iter()
    .filter_map(|(holds, text)| holds.then_some(text))
    .collect();
    states.join(",")
}

impl Rules for ResourceClaimTemplates {
    type Of = ResourceClaimTemplate;

    fn default(&self, obj: &mut ResourceClaimTemplate) {
        default_claim(&mut obj.spec.spec);
    }
    fn validate_create(&self, cx: &Context, new: &ResourceClaimTemplate) -> Vec<FieldError> {
        let devices = &new.spec.spec.devices;
        let mut errors = validation::admin_access(cx, &new.metadata.namespace, devices);
        errors.extend(validation::template(new));
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ResourceClaimTemplate,
        old: &ResourceClaimTemplate,
    ) -> Vec<FieldError> {
        validation::template_update(new, old)
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
