//! managedFields after writes that are not an apply.

use corten_api::Object;
use corten_api::meta::v1::ObjectMeta;
use corten_core::{List, Time, Value};
use corten_patch::Track;

use crate::catalog::Served;
use crate::options::WriteOptions;

/// Brings metadata.managedFields up to date with what this write changed.
pub(crate) fn update(
    served: &Served,
    old: Option<&Object>,
    object: &mut Object,
    options: &WriteOptions,
    subresource: &str,
    now: Time,
) {
    // Without a manager the write was an apply, which has kept managedFields itself.
    if options.manager.is_empty() {
        return;
    }
    let given = &object.meta().managed_fields;
    if old.is_some() && given.is_empty() && !given.is_nil() {
        // An empty list is how clients throw all managers away.
        object.meta_mut().managed_fields = corten_core::List::NIL;
        return;
    }
    // Out of the object while it is turned into a tree: they are looked at beside it.
    let given = std::mem::take(&mut object.meta_mut().managed_fields);
    let Some((mut live, mut new)) = trees(served, old, object) else {
        object.meta_mut().managed_fields = given;
        return;
    };
    if served.is_custom() && subresource.is_empty() && served.subresource("status").is_some() {
        // A write of the whole leaves the status alone.
        let trees = std::iter::once(&mut new).chain(live.as_mut());
        for map in trees.filter_map(Value::as_map_mut) {
            map.remove("status");
        }
    }
    let track = Track {
        live: live.as_ref(),
        new: &new,
        schema: served.patch_schema(),
        manager: &options.manager,
        subresource,
        now: &now,
    };
    let none = List::NIL;
    let before = old.filter(|_| live.is_some());
    let before = before.map_or(&none, |old| &old.meta().managed_fields);
    object.meta_mut().managed_fields = corten_patch::track_entries(&track, before, &given);
}

/// Both objects as they are shown, as trees without managedFields. Of built-in kinds only what differs is in them, and
/// what they are.
fn trees(served: &Served, old: Option<&Object>, new: &Object) -> Option<(Option<Value>, Value)> {
    let shown_new = served.served_version(new).ok()?;
    let new = shown_new.as_ref().unwrap_or(new);
    let shown_old = old.and_then(|old| Some((old, served.served_version(old).ok()?)));
    let Some((old, shown_old)) = &shown_old else {
        return Some((None, new.to_value().ok()?));
    };
    let old = shown_old.as_ref().unwrap_or(old);
    let (mut live, mut tree) = match (old.message(), new.message()) {
        (Some(old), Some(new)) => old.differing(new, "managedFields").ok()?,
        _ => (old.to_value().ok()?, new.to_value().ok()?),
    };
    if let Some(meta) = live.get_mut("metadata").and_then(Value::as_map_mut) {
        meta.remove("managedFields");
    }
    if new.message().is_some() {
        for (object, tree) in [(old, &mut live), (new, &mut tree)] {
            tree.set(&["apiVersion"], object.api_version());
            tree.set(&["kind"], object.kind());
            if !object.meta().uid.is_empty() {
                tree.set(&["metadata", "uid"], object.meta().uid.as_str());
            }
        }
    }
    Some((Some(live), tree))
}

/// Gives an object these managedFields. Their texts keep upstream's order of keys, which a tree sorted by text loses.
pub(crate) fn set(object: &mut Object, mut fields: Value) {
    let mut texts = Vec::new();
    for entry in fields.as_list_mut().into_iter().flatten() {
        let fields = entry
            .as_map_mut()
            .and_then(|entry| entry.remove("fieldsV1"));
        let fields = fields.filter(|fields| !fields.is_null());
        texts.push(fields.map(|fields| corten_patch::fields_text(&fields)));
    }
    let mut holder = Value::default();
    holder.set(&["managedFields"], fields);
    let Ok(mut meta) = corten_core::from_value::<ObjectMeta>(&holder) else {
        return;
    };
    for (entry, text) in meta.managed_fields.iter_mut().zip(texts) {
        entry.fields_v1 = text;
    }
    object.meta_mut().managed_fields = meta.managed_fields;
}
