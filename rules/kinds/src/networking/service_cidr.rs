//! ServiceCIDRs: status, table.

use super::columns;
use crate::checks::{Errors, cidr};
use crate::metadata::reset_for_status;
use crate::metadata::value_of_texts;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, FieldError, cells};
use corten_api::networking::v1::ServiceCIDR;
use corten_core::{Path, Str, Time, Value};

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
    fn validate_create(&self, _cx: &Context, new: &ServiceCIDR) -> Vec<FieldError> {
        validate(&new.spec.cidrs)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ServiceCIDR,
        old: &ServiceCIDR,
    ) -> Vec<FieldError> {
        let (new, old) = (&new.spec.cidrs, &old.spec.cidrs);
        let path = Path::Root.f("spec");
        let path = path.f("cidrs");
        if new.len() != old.len() && !(old.len() == 1 && new.len() == 2) {
            return vec![FieldError::immutable(path, value_of_texts(new))];
        }
        let pairs = new.iter().zip(old.iter()).enumerate();
        let mut errors: Errors = pairs
            .filter(|(_, (new, old))| new != old)
            .map(|(i, (new, _))| FieldError::immutable(path.i(i), new))
            .collect();
        if new.len() != old.len() {
            errors.extend(validate(new));
        }
        errors
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

fn validate(cidrs: &[Str]) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let path = path.f("cidrs");
    if cidrs.is_empty() {
        errors.push(FieldError::required(path, "at least one CIDR required"));
        return errors;
    }
    if cidrs.len() > 2 {
        let text = "may only hold up to 2 values";
        let shown = Value::Map([("CIDRs", value_of_texts(cidrs))].into_iter().collect());
        errors.push(FieldError::invalid(path, shown, text));
        return errors;
    }
    for (i, range) in cidrs.iter().enumerate() {
        cidr(&mut errors, &path.i(i), range, &[]);
    }
    if cidrs.len() == 2 && cidrs[0].contains(':') == cidrs[1].contains(':') && errors.is_empty() {
        let text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(path, value_of_texts(cidrs), text));
    }
    errors
}
