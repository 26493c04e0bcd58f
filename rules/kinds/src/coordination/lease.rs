//! Leases: table; fields of coordinated leader election, which is off by default, are not written.

use super::columns;
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells};
use corten_api::coordination::v1::{Lease, LeaseSpec};
use corten_core::{Path, Time, Value};

/// The strategy of Leases.
pub struct Leases;

impl Rules for Leases {
    type Of = Lease;

    fn prepare_create(&self, _cx: &Context, new: &mut Lease) {
        new.spec.strategy = None;
        new.spec.preferred_holder = None;
    }
    fn prepare_update(&self, _cx: &Context, _part: &str, new: &mut Lease, old: &Lease) {
        if old.spec.strategy.is_none() {
            new.spec.strategy = None;
        }
        if old.spec.preferred_holder.is_none() {
            new.spec.preferred_holder = None;
        }
    }
    fn validate_create(&self, _cx: &Context, new: &Lease) -> Vec<FieldError> {
        validate(&new.spec)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &Lease,
        _old: &Lease,
    ) -> Vec<FieldError> {
        validate(&new.spec)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::LEASE
    }
    fn cells(&self, obj: &Lease, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.holder_identity.as_ref().map_or("", |h| h)),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
}

fn validate(spec: &LeaseSpec) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    if let Some(seconds) = spec.lease_duration_seconds.filter(|s| *s <= 0) {
        let text = "must be greater than 0";
        errors.push(FieldError::invalid(
            path.f("leaseDurationSeconds"),
            seconds,
            text,
        ));
    }
    if let Some(count) = spec.lease_transitions.filter(|c| *c < 0) {
        let text = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(path.f("leaseTransitions"), count, text));
    }
    if spec
        .preferred_holder
        .as_ref()
        .is_some_and(|h| !h.is_empty())
        && spec.strategy.is_none()
    {
        let text = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(path.f("preferredHolder"), text));
    }
    errors
}
