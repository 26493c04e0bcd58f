//! ServiceCIDRs: status, table.

use super::columns;
use crate::metadata::reset_for_status;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, cells};
use corten_api::networking::v1::ServiceCIDR;
use corten_core::{Time, Value};

/// The strategy of ServiceCIDRs.
pub struct ServiceCidrs;

impl Rules for ServiceCidrs {
    type Of = ServiceCIDR;
    with_status!();

    fn prepare_update(&self, _cx: &Context, part: &str, new: &mut ServiceCIDR, old: &ServiceCIDR) {
        if part == "status" {
            reset_for_status(&mut new.metadata, &old.metadata);
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::SERVICE_CIDR
    }
    fn cells(&self, obj: &ServiceCIDR, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(obj.spec.cidrs.join(",")),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}
