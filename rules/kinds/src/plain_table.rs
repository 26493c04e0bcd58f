//! The table of built-in kinds that have no columns of their own: name and creation time.

use crate::{Column, cells};
use corten_api::meta::v1::ObjectMeta;
use corten_core::Value;

/// `Name` and `Created At`.
pub static COLUMNS: [Column; 2] = [
    cells::NAME,
    cells::column("Created At", "date", cells::CREATED),
];

/// One row.
pub fn cells(meta: &ObjectMeta) -> Vec<Value> {
    vec![
        Value::from(&meta.name),
        Value::from(meta.creation_timestamp.to_string()),
    ]
}
