//! What all kinds share: the split of spec and status, generation, and the strategy of kinds without a file of their own
//! (custom resources above all). Invariant: a status that only its subresource may write never comes in another way.

use crate::{Column, Context, Strategy, cells};
use corten_api::apiextensions::v1::CustomResourceDefinition;
use corten_api::{Dynamic, Kind, Object};
use corten_core::{Ref, Time, Value};

/// The strategy of kinds that have none of their own.
pub struct Generic;

impl Strategy for Generic {
    fn prepare_create(&self, cx: &Context, new: &mut Object) {
        match new {
            Object::Dynamic(object) => {
                object.metadata.generation = 1;
                if has_status(cx, object) {
                    object.body.remove("status");
                }
            }
            typed => set_status(typed, None),
        }
    }

    fn prepare_update(&self, cx: &Context, part: &str, new: &mut Object, old: &Object) {
        match (new, old) {
            (Object::Dynamic(new), Object::Dynamic(old)) => update_dynamic(cx, part, new, old),
            (new, old) if part == "status" => keep_all_but_status(new, old),
            (new, old) => set_status(new, Some(old)),
        }
    }

    fn checks_finalizers(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn cells(&self, obj: &Object, _now: &Time) -> Vec<Value> {
        let created = obj.meta().creation_timestamp;
        vec![
            Value::from(&obj.meta().name),
            Value::from(created.to_string()),
        ]
    }
}

static COLUMNS: [Column; 2] = [
    cells::NAME,
    Column {
        name: "Created At",
        kind: "date",
        format: "",
        description: cells::CREATED,
        priority: 0,
    },
];

/// Whether the definition of a custom resource gives this version a status subresource.
fn has_status(cx: &Context, object: &Dynamic) -> bool {
    let (group, version) = object
        .api_version
        .rsplit_once('/')
        .unwrap_or(("", &object.api_version));
    cx.snapshot
        .list::<CustomResourceDefinition>()
        .find(|d| d.spec.group == group && d.spec.names.kind == object.kind)
        .and_then(|d| d.spec.versions.iter().find(|v| v.name == version))
        .and_then(|v| v.subresources.as_ref())
        .is_some_and(|s| s.status.is_some())
}

fn update_dynamic(cx: &Context, part: &str, new: &mut Dynamic, old: &Dynamic) {
    if part == "status" {
        let status = new.body.remove("status");
        new.body = old.body.clone();
        match status {
            Some(status) => new.body.insert("status", status),
            None => new.body.remove("status"),
        };
        let managed = std::mem::take(&mut new.metadata.managed_fields);
        let version = std::mem::take(&mut new.metadata.resource_version);
        new.metadata = old.metadata.clone();
        new.metadata.managed_fields = managed;
        new.metadata.resource_version = version;
        return;
    }
    let split = has_status(cx, new);
    if split {
        match old.body.get("status") {
            Some(status) => new.body.insert("status", status.clone()),
            None => new.body.remove("status"),
        };
    }
    new.metadata.generation = old.metadata.generation + i64::from(body_changed(new, old, split));
}

fn body_changed(new: &Dynamic, old: &Dynamic, split: bool) -> bool {
    let counts = |key: &str| !(split && key == "status");
    let members = |d: &Dynamic| d.body.keys().filter(|k| counts(k)).count();
    members(new) != members(old)
        || new
            .body
            .iter()
            .any(|(k, v)| counts(k) && old.body.get(k) != Some(v))
}

/// Replaces the status by that of `old`, or by nothing, for kinds without a struct at hand.
fn set_status(new: &mut Object, old: Option<&Object>) {
    if new.message().is_none_or(|m| m.get("status").is_none()) {
        return;
    }
    let (Ok(mut value), before) = (new.to_value(), old.and_then(|o| o.to_value().ok())) else {
        return;
    };
    let Some(map) = value.as_map_mut() else {
        return;
    };
    match before.as_ref().and_then(|b| b.get("status")) {
        Some(status) => map.insert("status", status.clone()),
        None => map.remove("status"),
    };
    if let Ok(object) = Object::from_value(&value) {
        *new = object;
    }
}

fn keep_all_but_status(new: &mut Object, old: &Object) {
    let (Ok(value), Ok(mut kept)) = (new.to_value(), old.to_value()) else {
        return;
    };
    let Some(map) = kept.as_map_mut() else { return };
    match value.get("status") {
        Some(status) => map.insert("status", status.clone()),
        None => map.remove("status"),
    };
    if let Ok(mut object) = Object::from_value(&kept) {
        std::mem::swap(object.meta_mut(), new.meta_mut());
        *new = object;
    }
}

/// Whether anything but metadata and status differs, nil and empty being the same.
pub fn content_changed<K: Kind>(new: &K, old: &K) -> bool {
    let (new, old) = (corten_core::MsgRef::new(new), corten_core::MsgRef::new(old));
    let skipped = |key: &str| matches!(key, "apiVersion" | "kind" | "metadata" | "status");
    let mut rest = (0..new.msg().json.len()).filter(|&i| !skipped(new.msg().json[i].key));
    rest.any(|i| differs(new.json(i), old.json(i)))
}

fn differs(new: Ref, old: Ref) -> bool {
    match (new, old) {
        (Ref::Nil, Ref::Nil) => false,
        (Ref::Bool(a), Ref::Bool(b)) => a != b,
        (Ref::I32(a), Ref::I32(b)) => a != b,
        (Ref::I64(a), Ref::I64(b)) => a != b,
        (Ref::F64(a), Ref::F64(b)) => a != b,
        (Ref::Str(a), Ref::Str(b)) => a != b,
        (Ref::Bin(a), Ref::Bin(b)) => **a != **b,
        (Ref::Quantity(a), Ref::Quantity(b)) => a != b,
        (Ref::Time(a), Ref::Time(b)) => a != b,
        (Ref::MicroTime(a), Ref::MicroTime(b)) => a != b,
        (Ref::Duration(a), Ref::Duration(b)) => a != b,
        (Ref::IntOrString(a), Ref::IntOrString(b)) => a != b,
        (Ref::Raw(a), Ref::Raw(b)) => a.as_bytes() != b.as_bytes(),
        (Ref::Msg(a), Ref::Msg(b)) => !a.semantic_eq(b),
        (Ref::List(a), Ref::List(b)) => {
            a.len() != b.len() || a.iter().zip(b.iter()).any(|(a, b)| differs(a, b))
        }
        (Ref::Map(a), Ref::Map(b)) => {
            a.len() != b.len()
                || a.iter()
                    .zip(b.iter())
                    .any(|((k, a), (l, b))| k != l || differs(a, b))
        }
        _ => true,
    }
}
