//! managedFields after writes that are not an apply.

use corten_api::Object;
use corten_api::meta::v1::{ManagedFieldsEntry, ObjectMeta};
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
    let new_entries = std::mem::take(&mut object.meta_mut().managed_fields);
    let new = bare(served, object);
    let new_fields = tree(&new_entries);
    object.meta_mut().managed_fields = new_entries;
    let Some(new) = new else { return };
    let live = old.and_then(|old| {
        let mut copy = old.clone();
        let entries = std::mem::take(&mut copy.meta_mut().managed_fields);
        Some((bare(served, &copy)?, tree(&entries)))
    });
    let track = Track {
        live: live.as_ref().map(|(live, _)| live),
        new: &new,
        schema: served.patch_schema(),
        manager: &options.manager,
        subresource,
        now: &now,
    };
    let live_fields = live.as_ref().map_or(&Value::Null, |(_, fields)| fields);
    let fields = corten_patch::track_bare(&track, live_fields, &new_fields);
    set(object, fields);
}

/// An object as it is shown, as a tree.
fn bare(served: &Served, object: &Object) -> Option<Value> {
    let shown = served.served_version(object).ok()?;
    shown.as_ref().unwrap_or(object).to_value().ok()
}

/// managedFields as a tree; null when there are none.
fn tree(entries: &List<ManagedFieldsEntry>) -> Value {
    let holder = ObjectMeta {
        managed_fields: entries.clone(),
        ..ObjectMeta::default()
    };
    let tree = corten_core::to_value(&holder).unwrap_or_default();
    tree["managedFields"].clone()
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
