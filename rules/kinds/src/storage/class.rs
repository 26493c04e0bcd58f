//! StorageClasses: defaults, table.

use super::columns;
use crate::apps::checks;
use crate::checks::{Errors, immutable, known, qualified_name};
use crate::error::IMMUTABLE;
use crate::rules::Rules;
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::storage::v1::StorageClass;
use corten_core::{Path, Time, Value};

/// The strategy of StorageClasses.
pub struct StorageClasses;

const DEFAULT: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

impl Rules for StorageClasses {
    type Of = StorageClass;

    fn default(&self, obj: &mut StorageClass) {
        obj.reclaim_policy.get_or_insert_with(|| "Delete".into());
        obj.volume_binding_mode
            .get_or_insert_with(|| "Immediate".into());
    }
    fn validate_create(&self, _cx: &Context, new: &StorageClass) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &StorageClass,
        old: &StorageClass,
    ) -> Vec<FieldError> {
        let mut errors = validate(new);
        let (a, b) = (&new.parameters, &old.parameters);
        let same = a.len() == b.len() && a.iter().all(|(k, v)| b.get(k) == Some(v));
        if !same {
            let bad = checks::labels_value(a);
            let path = Path::Root.f("parameters");
            errors.push(checks::invalid_or_null(&path, bad, IMMUTABLE));
        }
        let same = new.provisioner == old.provisioner;
        immutable(
            &mut errors,
            &Path::Root.f("provisioner"),
            same,
            &new.provisioner,
        );
        for (name, new, old) in [
            ("reclaimPolicy", &new.reclaim_policy, &old.reclaim_policy),
            (
                "volumeBindingMode",
                &new.volume_binding_mode,
                &old.volume_binding_mode,
            ),
        ] {
            let bad = Value::from(new.as_ref().map(Value::from));
            immutable(&mut errors, &Path::Root.f(name), new == old, bad);
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::STORAGE_CLASS
    }
    fn cells(&self, obj: &StorageClass, now: &Time) -> Vec<Value> {
        let is_default = DEFAULT
            .iter()
            .any(|key| obj.metadata.annotation(key) == "true");
        let suffix = if is_default { " (default)" } else { "" };
        vec![
            Value::from(format!("{}{suffix}", obj.metadata.name)),
            Value::from(&obj.provisioner),
            Value::from(obj.reclaim_policy.as_ref().map_or("Delete", |p| p)),
            Value::from(obj.volume_binding_mode.as_ref().map_or("Immediate", |m| m)),
            Value::from(obj.allow_volume_expansion.unwrap_or(false)),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}

fn validate(new: &StorageClass) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("provisioner");
    if new.provisioner.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        qualified_name(&mut errors, &path, &new.provisioner.to_lowercase());
    }
    let path = Path::Root.f("parameters");
    if new.parameters.len() > 512 {
        errors.push(FieldError::too_long(path, 512));
    } else {
        if new.parameters.contains_key("") {
            errors.push(FieldError::invalid(path, "", "field can not be empty."));
        }
        let size: usize = new.parameters.iter().map(|(k, v)| k.len() + v.len()).sum();
        if size > 256 << 10 {
            errors.push(FieldError::too_long(path, 256 << 10));
        }
    }
    if let Some(policy) = new.reclaim_policy.as_ref().filter(|p| !p.is_empty()) {
        known(
            &mut errors,
            &Path::Root.f("reclaimPolicy"),
            policy,
            &["Delete", "Retain"],
        );
    }
    if let Some(mode) = &new.volume_binding_mode {
        let modes = ["Immediate", "WaitForFirstConsumer"];
        known(
            &mut errors,
            &Path::Root.f("volumeBindingMode"),
            mode,
            &modes,
        );
    }
    errors
}
