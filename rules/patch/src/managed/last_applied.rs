//! The way over from kubectl's client-side apply: its annotation says what kubectl owned already, and is kept current.

use super::Request;
use super::update::Contested;
use crate::typed::{Duplicates, compare, to_set, validate};
use corten_core::Value;

/// The manager that client-side apply becomes.
pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Bytes that all annotations of an object may have.
const ANNOTATIONS_MAX: usize = 256 * 1024;

fn annotation(object: &Value) -> &str {
    object.str_at(&["metadata", "annotations", ANNOTATION])
}

/// The conflicts that remain when fields that kubectl applied on the client, and that still have its values, are none.
pub(super) fn left(request: &Request, live: &Value, contested: Contested) -> Contested {
    let Some(allowed) = allowed(request, live) else {
        return contested;
    };
    let rest = contested
        .into_iter()
        .map(|(manager, set)| (manager, set.difference(&allowed)));
    rest.filter(|(_, set)| !set.is_empty()).collect()
}

fn allowed(request: &Request, live: &Value) -> Option<crate::fields::FieldSet> {
    let last = corten_core::json_text::parse(annotation(live).as_bytes()).ok()?;
    let root = request.root();
    if last.str_at(&["apiVersion"]) != request.api_version
        || validate(root, &last, Duplicates::Refused).is_err()
        || validate(root, live, Duplicates::Refused).is_err()
    {
        return None;
    }
    let differing = compare(root, &last, live).ok()?;
    let set = to_set(root, &last).difference(&differing.modified);
    Some(
        set.difference(&differing.added)
            .difference(&differing.removed),
    )
}

/// Writes the applied configuration into the annotation, when the object has it.
pub(super) fn refresh(object: &mut Value, config: &Value) {
    if annotation(object).is_empty() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = config
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"))
        .and_then(Value::as_map_mut)
    {
        annotations.remove(ANNOTATION);
    }
    let text = format!("{config}\n");
    object.set(&["metadata", "annotations", ANNOTATION], text);
    let Some(annotations) = object
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"))
        .and_then(Value::as_map_mut)
    else {
        return;
    };
    let size: usize = annotations
        .iter()
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum();
    if size > ANNOTATIONS_MAX {
        annotations.remove(ANNOTATION);
    }
}
