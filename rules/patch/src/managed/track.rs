//! managedFields after writes that are not an apply.

use super::entries::Entries;
use super::{Request, settled};
use crate::Track;
use corten_core::{Value, ValueMap};

/// managedFields after a create, update or patch that was not an apply: a list, or null when there are none.
///
/// A client that sets the list itself is believed, except through subresources; `[{}]` removes all entries. An object that
/// exists without entries stays without. An object that does not fit its schema loses them.
pub fn track(t: &Track) -> Value {
    let entries = |object: &Value| object["metadata"]["managedFields"].clone();
    let live = t.live.map(without_entries);
    let bare = Track {
        live: live.as_ref(),
        new: &without_entries(t.new),
        ..*t
    };
    let live_entries = t.live.map_or(Value::Null, entries);
    track_bare(&bare, &live_entries, &entries(t.new))
}

/// The same for objects without managedFields, which come beside them.
pub fn track_bare(t: &Track, live_entries: &Value, new_entries: &Value) -> Value {
    let new = t.new;
    let request = Request {
        schema: t.schema,
        api_version: new.str_at(&["apiVersion"]),
        kind: new.str_at(&["kind"]),
        subresource: t.subresource,
        manager: t.manager,
        now: *t.now,
    };
    let empty;
    let live = match t.live {
        Some(live) => live,
        None => {
            empty = request.empty();
            &empty
        }
    };
    let mut entries = starting(live_entries, new_entries, t.subresource);
    let exists = !live.str_at(&["metadata", "uid"]).is_empty();
    if entries.is_empty() && exists {
        return Value::Null;
    }
    match request.update(live, new, &mut entries, t.manager) {
        Ok(()) => settled((new, live), live_entries, entries.to_value()),
        Err(_) => Value::Null,
    }
}

/// The entries that the write starts from.
fn starting(live: &Value, new: &Value, subresource: &str) -> Entries {
    if !subresource.is_empty() {
        return Entries::parse(live).unwrap_or_default();
    }
    let sent = new.as_list();
    let reset = match sent {
        Some([]) => true,
        Some([one]) => one.as_map().is_some_and(ValueMap::is_empty),
        _ => false,
    };
    if reset {
        return Entries::default();
    }
    match Entries::parse(new) {
        Ok(entries) if !entries.is_empty() => entries,
        _ => Entries::parse(live).unwrap_or_default(),
    }
}

fn without_entries(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_map_mut) {
        meta.remove("managedFields");
    }
    object
}
