//! ConfigMaps.

use super::columns;
use crate::rules::Rules;
use crate::{Column, cells};
use corten_api::core::v1::ConfigMap;
use corten_core::{Time, Value};

/// The strategy of ConfigMaps.
pub struct ConfigMaps;

impl Rules for ConfigMaps {
    type Of = ConfigMap;

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
