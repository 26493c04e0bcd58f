//! managedFields after writes that are not an apply.

use corten_api::Object;
use corten_api::meta::v1::ObjectMeta;
use corten_core::{Time, Value};
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
    let shown = |object: &Object| {
        let shown = served.served_version(object).ok()?;
        shown.as_ref().unwrap_or(object).to_value().ok()
    };
    let Some(new) = shown(object) else { return };
    let live = old.and_then(shown);
    let fields = corten_patch::track(&Track {
        live: live.as_ref(),
        new: &new,
        schema: served.patch_schema(),
        manager: &options.manager,
        subresource,
        now: &now,
    });
    set(object, &fields);
}

/// Gives an object these managedFields. Their texts keep upstream's order of keys, which a tree sorted by text loses.
pub(crate) fn set(object: &mut Object, fields: &Value) {
    let mut holder = Value::default();
    holder.set(&["managedFields"], fields.clone());
    let Ok(mut meta) = corten_core::from_value::<ObjectMeta>(&holder) else {
        return;
    };
    let listed = fields.as_list().unwrap_or_default();
    for (entry, value) in meta.managed_fields.iter_mut().zip(listed) {
        let text = &value["fieldsV1"];
        if !text.is_null() {
            entry.fields_v1 = Some(corten_patch::fields_text(text));
        }
    }
    object.meta_mut().managed_fields = meta.managed_fields;
}
