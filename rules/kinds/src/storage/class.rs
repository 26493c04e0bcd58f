//! StorageClasses: defaults, table.

use super::columns;
use crate::apps::checks;
use crate::checks::{Errors, immutable, known, qualified_name};
use crate::core::pod::warnings::deprecated_node_label;
use crate::error::IMMUTABLE;
use crate::metadata::validate_label_key;
use crate::rules::Rules;
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::core::v1::TopologySelectorTerm;
use corten_api::storage::v1::StorageClass;
use corten_core::{Path, Time, Value};
use std::collections::{BTreeMap, BTreeSet};

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
    fn warnings(
        &self,
        _cx: &Context,
        new: &StorageClass,
        _old: Option<&StorageClass>,
    ) -> Vec<String> {
        let mut warnings = Vec::new();
        for (i, term) in new.allowed_topologies.iter().enumerate() {
            for (j, expression) in term.match_label_expressions.iter().enumerate() {
                if let Some(text) = deprecated_node_label(&expression.key) {
                    warnings.push(format!(
                        "allowedTopologies[{i}].matchLabelExpressions[{j}].key: {text}"
                    ));
                }
            }
        }
        warnings
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
    topologies(
        &mut errors,
        &Path::Root.f("allowedTopologies"),
        &new.allowed_topologies,
    );
    errors
}

fn topologies(errors: &mut Errors, path: &Path, terms: &[TopologySelectorTerm]) {
    let mut seen: Vec<BTreeMap<&str, BTreeSet<&str>>> = Vec::new();
    for (i, term) in terms.iter().enumerate() {
        let at = path.i(i);
        let at = at.f("matchLabelExpressions");
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (n, expression) in term.match_label_expressions.iter().enumerate() {
            let at = at.i(n);
            if expression.values.is_empty() {
                errors.push(FieldError::required(at.f("values"), ""));
            }
            let mut set = BTreeSet::new();
            for (v, value) in expression.values.iter().enumerate() {
                if !set.insert(value.as_str()) {
                    errors.push(FieldError::duplicate(at.f("values").i(v), value));
                }
            }
            errors.extend(validate_label_key(&expression.key, &at.f("key")));
            if values.insert(&expression.key, set).is_some() {
                errors.push(FieldError::duplicate(at.f("key"), &expression.key));
            }
        }
        if seen.contains(&values) {
            errors.push(FieldError::duplicate(&at, ""));
        }
        seen.push(values);
    }
}
