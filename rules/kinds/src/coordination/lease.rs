//! Leases: table; fields of coordinated leader election, which is off by default, are not written.

use super::columns;
use crate::rules::Rules;
use crate::{Column, Context, cells};
use corten_api::coordination::v1::Lease;
use corten_core::{Time, Value};

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
}
