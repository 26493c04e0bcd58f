//! Field ownership: who owns what, in metadata.managedFields, and how writes change it.

mod apply;
mod entries;
mod last_applied;
mod reset;
mod scale;
mod track;
mod update;

pub use apply::apply;
pub use scale::{managers_from_scale, managers_of_scale};
pub use track::track;

use crate::Schema;
use corten_core::{AnyMessage, Value};
use entries::Entries;

/// What all steps of one write need to know.
#[derive(Clone, Copy)]
struct Request<'a> {
    schema: Schema<'a>,
    api_version: &'a str,
    kind: &'a str,
    subresource: &'a str,
    manager: &'a str,
    now: corten_core::Time,
}

impl<'a> Request<'a> {
    /// A fresh object of the kind: what a create is compared with.
    fn empty(&self) -> Value {
        let mut empty = match self.schema {
            Schema::Table(msg) => AnyMessage::zero(msg)
                .as_ref()
                .to_value()
                .unwrap_or(Value::map()),
            Schema::OpenApi(_) | Schema::Free => Value::map(),
        };
        empty.set(&["apiVersion"], self.api_version);
        empty.set(&["kind"], self.kind);
        empty
    }

    /// The identity of an update by this request's manager, or by another in its place.
    fn updater(&self, manager: &str) -> entries::FieldOwner {
        entries::FieldOwner {
            name: if manager.is_empty() {
                "unknown".into()
            } else {
                manager.into()
            },
            operation: entries::Operation::Update,
            api_version: self.api_version.into(),
            subresource: self.subresource.into(),
        }
    }
}

/// The object with managedFields, or without any.
fn with_entries(mut object: Value, entries: &Entries) -> Value {
    let list = entries.to_value();
    if list.is_null() {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_map_mut) {
            meta.remove("managedFields");
        }
    } else {
        object.set(&["metadata", "managedFields"], list);
    }
    object
}

/// The entries to store: the old ones when only times would change and the objects are otherwise the same, so that a
/// write that changes nothing is none.
fn settled(new: &Value, old: &Value, entries: Value) -> Value {
    let before = &old["metadata"]["managedFields"];
    let (Some(after), Some(then)) = (entries.as_list(), before.as_list()) else {
        return entries;
    };
    let timeless = |list: &[Value]| -> Vec<Value> {
        let mut list = list.to_vec();
        for entry in list.iter_mut().filter_map(Value::as_map_mut) {
            entry.remove("time");
        }
        list
    };
    if after.len() != then.len() || timeless(after) != timeless(then) {
        return entries;
    }
    let bare = |object: &Value| -> Value {
        let mut object = object.clone();
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_map_mut) {
            for server_set in [
                "managedFields",
                "resourceVersion",
                "uid",
                "creationTimestamp",
            ] {
                meta.remove(server_set);
            }
        }
        object
    };
    if bare(new) == bare(old) {
        before.clone()
    } else {
        entries
    }
}
