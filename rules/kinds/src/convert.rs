//! Conversion between the served versions of a kind. Kinds whose versions differ in more than their name bring a
//! function of their own; all others are read from their members, which have the same names.

use corten_api::Object;
use corten_core::Value;
use corten_meta::GroupVersionKind;

/// The object in another version of its kind; the same version gives it back unchanged.
///
/// # Errors
/// When the version is not built in, or the object does not fit it.
pub fn convert(obj: Object, to: &GroupVersionKind) -> Result<Object, String> {
    let from = obj.gvk();
    if (from.group, from.version, from.kind)
        == (to.group.as_str(), to.version.as_str(), to.kind.as_str())
    {
        return Ok(obj);
    }
    match (from.group, from.kind) {
        ("autoscaling", "HorizontalPodAutoscaler") => return crate::autoscaling::convert(obj, to),
        ("" | "events.k8s.io", "Event") => return crate::events::convert(obj, to),
        ("resource.k8s.io", _) => return crate::resource::convert(obj, to),
        _ => {}
    }
    let text = |e: corten_core::ConvertError| {
        format!("cannot convert {from} to {}: {e}", to.api_version())
    };
    let mut value = obj.to_value().map_err(text)?;
    value.set(&["apiVersion"], Value::from(to.api_version()));
    Object::from_value(&value).map_err(text)
}
