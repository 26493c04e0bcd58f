//! managedFields after writes that are not an apply.

use super::entries::Entries;
use super::{Request, same_object, settled, untouched};
use crate::Track;
use corten_api::meta::v1::ManagedFieldsEntry;
use corten_core::{List, RawJson, Value, ValueMap};

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

/// The same for objects without managedFields, which come beside them. What is the same in both objects may be left out
/// of them, but for apiVersion, kind and metadata.uid.
pub fn track_entries(
    t: &Track,
    live_entries: &List<ManagedFieldsEntry>,
    new_entries: &List<ManagedFieldsEntry>,
) -> List<ManagedFieldsEntry> {
    let known = match (t.live, new_entries == live_entries) {
        (Some(live), true) => untouched::updated(&request(t), (live, t.new), live_entries),
        _ => None,
    };
    let (entries, same) = match (known, t.live) {
        (Some(entries), Some(live)) => (entries, same_object(t.new, live)),
        _ => match updated(t, starting_entries(t, live_entries, new_entries)) {
            Some((entries, same)) => (entries.written(), same),
            None => return List::NIL,
        },
    };
    // A write that changes nothing but times is none.
    match same && are_same(&entries, live_entries) {
        true => live_entries.clone(),
        false => entries,
    }
}

fn starting_entries(
    t: &Track,
    live: &List<ManagedFieldsEntry>,
    new: &List<ManagedFieldsEntry>,
) -> Entries {
    let reset = matches!(&**new, [one] if *one == ManagedFieldsEntry::default());
    match (t.subresource.is_empty(), reset) {
        (true, true) => return Entries::default(),
        (true, false) => {
            if let Ok(entries) = Entries::read(new)
                && !entries.is_empty()
            {
                return entries;
            }
        }
        (false, _) => {}
    }
    Entries::read(live).unwrap_or_default()
}

/// Whether entries say the same but for their times.
fn are_same(after: &[ManagedFieldsEntry], before: &[ManagedFieldsEntry]) -> bool {
    let bare = |entry: &ManagedFieldsEntry| ManagedFieldsEntry {
        time: None,
        fields_v1: None,
        ..entry.clone()
    };
    let fields = |entry: &ManagedFieldsEntry| entry.fields_v1.as_ref().map(RawJson::to_value);
    after.len() == before.len()
        && after.iter().zip(before).all(|(after, before)| {
            bare(after) == bare(before)
                && (after.fields_v1 == before.fields_v1 || fields(after) == fields(before))
        })
}

/// The same with entries as values.
fn track_bare(t: &Track, live_entries: &Value, new_entries: &Value) -> Value {
    let entries = starting(live_entries, new_entries, t.subresource);
    match updated(t, entries) {
        Some((entries, true)) => settled(live_entries, entries.to_value()),
        Some((entries, false)) => entries.to_value(),
        None => Value::Null,
    }
}

/// The entries after the write, and whether the objects are the same but for what servers set; none when there are to be
/// none.
fn updated(t: &Track, mut entries: Entries) -> Option<(Entries, bool)> {
    let (new, request) = (t.new, request(t));
    let empty;
    let live = match t.live {
        Some(live) => live,
        None => {
            empty = request.empty();
            &empty
        }
    };
    let exists = !live.str_at(&["metadata", "uid"]).is_empty();
    if entries.is_empty() && exists {
        return None;
    }
    request.update(live, new, &mut entries, t.manager).ok()?;
    Some((entries, same_object(new, live)))
}

fn request<'a>(t: &Track<'a>) -> Request<'a> {
    Request {
        schema: t.schema,
        api_version: t.new.str_at(&["apiVersion"]),
        kind: t.new.str_at(&["kind"]),
        subresource: t.subresource,
        manager: t.manager,
        now: *t.now,
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
