//! CSIDrivers: defaults, generation (counted from the first change on), table.

use super::{columns, validation};
use crate::rules::Rules;
use crate::{Column, Context, DeleteAnswer, FieldError, cells};
use corten_api::storage::v1::CSIDriver;
use corten_core::{Time, Value, semantic_eq};

/// The strategy of CSIDrivers.
pub struct CsiDrivers;

impl Rules for CsiDrivers {
    type Of = CSIDriver;

    fn default(&self, obj: &mut CSIDriver) {
        let spec = &mut obj.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy
            .get_or_insert_with(|| "ReadWriteOnceWithFSType".into());
        if spec.volume_lifecycle_modes.is_empty() {
            spec.volume_lifecycle_modes.push("Persistent");
        }
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
    }
    fn prepare_create(&self, _cx: &Context, new: &mut CSIDriver) {
        new.spec.prevent_pod_scheduling_if_missing = None;
    }
    fn prepare_update(&self, _cx: &Context, _part: &str, new: &mut CSIDriver, old: &CSIDriver) {
        if old.spec.prevent_pod_scheduling_if_missing.is_none() {
            new.spec.prevent_pod_scheduling_if_missing = None;
        }
        let changed = !semantic_eq(&new.spec, &old.spec);
        new.metadata.generation = old.metadata.generation + i64::from(changed);
    }
    fn warnings(&self, _cx: &Context, new: &CSIDriver, old: Option<&CSIDriver>) -> Vec<String> {
        if old.is_some_and(|o| o.spec.token_requests == new.spec.token_requests)
            || new.spec.token_requests.is_empty()
            || new.spec.service_account_token_in_secrets.is_some()
        {
            return vec![];
        }
        vec![
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent \
             possible logging of tokens in volume attributes"
                .to_owned(),
        ]
    }
    fn validate_create(&self, _cx: &Context, new: &CSIDriver) -> Vec<FieldError> {
        validation::driver(&new.spec)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &CSIDriver,
        old: &CSIDriver,
    ) -> Vec<FieldError> {
        validation::driver_update(new, old)
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CSI_DRIVER
    }
    fn cells(&self, obj: &CSIDriver, now: &Time) -> Vec<Value> {
        let spec = &obj.spec;
        let modes = spec.volume_lifecycle_modes.join(",");
        let audiences: Vec<&str> = spec
            .token_requests
            .iter()
            .map(|t| t.audience.as_str())
            .collect();
        let tokens = if spec.token_requests.is_nil() {
            "<unset>".to_owned()
        } else {
            audiences.join(",")
        };
        vec![
            Value::from(&obj.metadata.name),
            Value::from(spec.attach_required.unwrap_or(true)),
            Value::from(spec.pod_info_on_mount.unwrap_or(false)),
            Value::from(spec.storage_capacity.unwrap_or(false)),
            Value::from(tokens),
            Value::from(spec.requires_republish.unwrap_or(false)),
            Value::from(if modes.is_empty() {
                "<none>".to_owned()
            } else {
                modes
            }),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}
