//! Ownership through the scale subresource: an object's replicas field is the scale's spec.replicas.

use super::entries::{Entries, Entry};
use crate::fields::{FieldSet, PathElement};
use corten_core::Value;

const SCALE: &str = "autoscaling/v1";
const SCALE_REPLICAS: &[&str] = &["spec", "replicas"];

fn path(steps: &[&str]) -> Vec<PathElement> {
    steps
        .iter()
        .map(|step| PathElement::Field((*step).into()))
        .collect()
}

/// managedFields of the Scale of an object with the managedFields `parent`, whose replicas are at `replicas`.
/// Null when nobody owns them or the entries are damaged.
pub fn managers_of_scale(parent: &Value, replicas: &[&str]) -> Value {
    let replicas = path(replicas);
    let mut out = Entries::default();
    for (manager, entry) in Entries::parse(parent).unwrap_or_default().0 {
        if entry.set.has(&replicas) {
            let set = FieldSet::of(&[SCALE_REPLICAS]);
            out.0.insert(manager, Entry::new(set, SCALE, entry.time));
        }
    }
    out.to_value()
}

/// managedFields of the object after a write of its Scale: `scale` are the Scale's then, `api_version` is the object's.
pub fn managers_from_scale(
    parent: &Value,
    scale: &Value,
    api_version: &str,
    replicas: &[&str],
) -> Value {
    let steps = path(replicas);
    let mut scaled = Entries::default();
    for (mut manager, entry) in Entries::parse(scale).unwrap_or_default().0 {
        if manager.api_version == SCALE {
            manager.api_version = api_version.into();
        }
        scaled.0.insert(manager, entry);
    }
    let mut out = Entries::default();
    for (manager, mut entry) in Entries::parse(parent).unwrap_or_default().0 {
        if entry.set.has(&steps) && scaled.0.remove(&manager).is_none() {
            entry.subtract(&FieldSet::of(&[replicas]));
        }
        out.0.insert(manager, entry);
    }
    for (manager, entry) in scaled.0 {
        if entry.set.has(&path(SCALE_REPLICAS)) {
            let set = FieldSet::of(&[replicas]);
            // Upstream loses the time on this way.
            out.0.insert(manager, Entry::new(set, api_version, None));
        }
    }
    out.drop_empty();
    out.to_value()
}
