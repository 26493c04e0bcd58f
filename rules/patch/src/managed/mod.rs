//! Field ownership: who owns what, in metadata.managedFields, and how writes change it.

mod apply;
mod entries;
mod last_applied;
mod reset;
mod scale;
mod track;
mod untouched;
mod update;

pub use apply::apply;
pub use scale::{managers_from_scale, managers_of_scale};
pub use track::{track, track_entries};

use crate::Schema;
use corten_core::{AnyMessage, Str, Value, ValueMap};
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

/// The entries to store when the objects are otherwise the same: those `before` when only times would change, so that a
/// write that changes nothing is none.
fn settled(before: &Value, entries: Value) -> Value {
    let (Some(after), Some(then)) = (entries.as_list(), before.as_list()) else {
        return entries;
    };
    let same_entries = after.len() == then.len()
        && after
            .iter()
            .zip(then)
            .all(|(a, b)| same_without(a, b, &["time"]));
    if same_entries {
        before.clone()
    } else {
        entries
    }
}

/// Whether two objects say the same, but for what only servers set.
fn same_object(new: &Value, old: &Value) -> bool {
    let (Some(a), Some(b)) = (new.as_map(), old.as_map()) else {
        return new == old;
    };
    let set_by_servers = [
        "managedFields",
        "resourceVersion",
        "uid",
        "creationTimestamp",
    ];
    a.len() == b.len()
        && a.iter().zip(b.iter()).all(|((k, v), (l, w))| {
            k == l
                && match k.as_str() {
                    "metadata" => same_without(v, w, &set_by_servers),
                    _ => v == w,
                }
        })
}

/// Whether two objects have the same members besides these.
fn same_without(a: &Value, b: &Value, without: &[&str]) -> bool {
    let (Some(left), Some(right)) = (a.as_map(), b.as_map()) else {
        return a == b;
    };
    fn members<'v>(
        map: &'v ValueMap,
        without: &[&str],
    ) -> impl Iterator<Item = (&'v Str, &'v Value)> {
        map.iter()
            .filter(move |(name, _)| !without.contains(&name.as_str()))
    }
    members(left, without).eq(members(right, without))
}
