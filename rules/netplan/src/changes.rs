//! The differences between two versions of a resource: costs what changed, as versions share what did not.

use std::sync::Arc;

use corten_api::Object;
use corten_meta::{ObjectKey, Table};
use imbl::ordmap::DiffItem;

/// The objects that differ, as they are in the later version; `None` for those that are gone.
pub fn changes(before: &Table, after: &Table) -> Vec<(ObjectKey, Option<Arc<Object>>)> {
    let changes = before.diff(after).map(|item| match item {
        DiffItem::Add(key, object)
        | DiffItem::Update {
            new: (key, object), ..
        } => (key.clone(), Some(object.clone())),
        DiffItem::Remove(key, _) => (key.clone(), None),
    });
    changes.collect()
}
