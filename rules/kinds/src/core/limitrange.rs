//! LimitRanges: for containers, the default limit is the maximum, the default request the default limit or the minimum.

use super::pod::default_resources;
use crate::rules::Rules;
use crate::{Column, cells};
use corten_api::core::v1::{LimitRange, LimitRangeItem};
use corten_core::{Map, Quantity, Time, Value};

/// The strategy of LimitRanges.
pub struct LimitRanges;

static COLUMNS: [Column; 2] = [
    cells::NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        description: cells::CREATED,
        priority: 0,
    },
];

impl Rules for LimitRanges {
    type Of = LimitRange;

    fn default(&self, range: &mut LimitRange) {
        range.spec.limits.iter_mut().for_each(default_item);
    }
    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn cells(&self, range: &LimitRange, _now: &Time) -> Vec<Value> {
        vec![
            Value::from(&range.metadata.name),
            Value::from(range.metadata.creation_timestamp.to_string()),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
}

fn add_missing(into: &mut Map<Quantity>, from: &Map<Quantity>) {
    for (name, amount) in from {
        if !into.contains_key(name) {
            into.insert(name.clone(), amount.clone());
        }
    }
}

fn default_item(item: &mut LimitRangeItem) {
    if item.type_ == "Container" {
        add_missing(&mut item.default, &item.max);
        add_missing(&mut item.default_request, &item.default);
        add_missing(&mut item.default_request, &item.min);
    }
    for list in [
        &mut item.max,
        &mut item.min,
        &mut item.default,
        &mut item.default_request,
        &mut item.max_limit_request_ratio,
    ] {
        default_resources(list);
    }
}
