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
    let manager = options.manager.as_str();
    let Ok(new) = object.to_value() else { return };
    let live = old.and_then(|o| o.to_value().ok());
    let schema = served.patch_schema();
    let fields = corten_patch::track(&Track {
        live: live.as_ref(),
        new: &new,
        schema,
        manager,
        subresource,
        now: &now,
    });
    let mut holder = Value::default();
    holder.set(&["managedFields"], fields);
    if let Ok(meta) = corten_core::from_value::<ObjectMeta>(&holder) {
        object.meta_mut().managed_fields = meta.managed_fields;
    }
}
