//! ConfigMaps.

use super::columns;
use crate::checks::{Errors, invalid_each};
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells, names};
use corten_api::core::v1::ConfigMap;
use corten_core::{Path, Time, Value};

/// Bytes that a ConfigMap or Secret can hold.
pub(super) const SIZE_MAX: usize = 1 << 20;
/// What an update of something frozen is told.
pub(super) const FROZEN: &str = "field is immutable when `immutable` is set";

/// The strategy of ConfigMaps.
pub struct ConfigMaps;

impl Rules for ConfigMaps {
    type Of = ConfigMap;

    fn validate_create(&self, _cx: &Context, new: &ConfigMap) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &ConfigMap,
        old: &ConfigMap,
    ) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if old.immutable == Some(true) {
            for (name, same) in [
                ("immutable", new.immutable == Some(true)),
                ("data", new.data.iter().eq(old.data.iter())),
                (
                    "binaryData",
                    new.binary_data.iter().eq(old.binary_data.iter()),
                ),
            ] {
                if !same {
                    errors.push(FieldError::forbidden(name, FROZEN));
                }
            }
        }
        errors.extend(validate(new));
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CONFIG_MAP
    }
    fn cells(&self, map: &ConfigMap, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&map.metadata.name),
            Value::from((map.data.len() + map.binary_data.len()) as i64),
            cells::age(&map.metadata.creation_timestamp, now),
        ]
    }
}

fn validate(map: &ConfigMap) -> Errors {
    let mut errors = Vec::new();
    let mut size = 0;
    let (data, binary) = (Path::Root.f("data"), Path::Root.f("binaryData"));
    for (key, value) in &map.data {
        invalid_each(&mut errors, &data.k(key), key, names::config_key(key));
        if map.binary_data.contains_key(key) {
            let text = "duplicate of key present in binaryData";
            errors.push(FieldError::invalid(data.k(key), key, text));
        }
        size += value.len();
    }
    for (key, value) in &map.binary_data {
        invalid_each(&mut errors, &binary.k(key), key, names::config_key(key));
        size += value.len();
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long("", SIZE_MAX));
    }
    errors
}
