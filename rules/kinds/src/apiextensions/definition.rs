//! CustomResourceDefinitions: defaults, stored versions, table.

use super::validation;
use crate::rules::{Generation, Rules, with_status};
use crate::{Column, Context, FieldError, FixedName, plain_table};
use corten_api::apiextensions::v1::{CustomResourceConversion, CustomResourceDefinition};
use corten_core::{Time, Value};

/// The strategy of CustomResourceDefinitions.
pub struct CustomResourceDefinitions;

impl Rules for CustomResourceDefinitions {
    type Of = CustomResourceDefinition;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn fixed_name(&self, new: &CustomResourceDefinition) -> Option<FixedName> {
        Some(validation::name(new))
    }
    fn default(&self, obj: &mut CustomResourceDefinition) {
        let spec = &mut obj.spec;
        if spec.names.singular.is_empty() {
            spec.names.singular = spec.names.kind.to_lowercase().into();
        }
        if spec.names.list_kind.is_empty() && !spec.names.kind.is_empty() {
            spec.names.list_kind = format!("{}List", spec.names.kind).into();
        }
        let conversion = spec.conversion.get_or_insert_with(|| {
            Box::new(CustomResourceConversion {
                strategy: "None".into(),
                ..Default::default()
            })
        });
        let client = conversion
            .webhook
            .as_mut()
            .and_then(|w| w.client_config.as_mut());
        if let Some(service) = client.and_then(|c| c.service.as_mut()) {
            service.port.get_or_insert(443);
        }
        if obj.status.stored_versions.is_empty() {
            add_stored_version(obj);
        }
    }
    fn prepare_create(&self, _cx: &Context, new: &mut CustomResourceDefinition) {
        add_stored_version(new);
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut CustomResourceDefinition,
        _old: &CustomResourceDefinition,
    ) {
        if part.is_empty() {
            add_stored_version(new);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &CustomResourceDefinition) -> Vec<FieldError> {
        validation::create(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &CustomResourceDefinition,
        old: &CustomResourceDefinition,
    ) -> Vec<FieldError> {
        match part {
            "status" => validation::names(&new.status.accepted_names, "status", "acceptedNames"),
            _ => validation::update(new, old),
        }
    }
    fn columns(&self) -> &'static [Column] {
        &plain_table::COLUMNS
    }
    fn cells(&self, obj: &CustomResourceDefinition, _now: &Time) -> Vec<Value> {
        plain_table::cells(&obj.metadata)
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
}

fn add_stored_version(obj: &mut CustomResourceDefinition) {
    let Some(version) = obj.spec.versions.iter().find(|v| v.storage) else {
        return;
    };
    if !obj.status.stored_versions.contains(&version.name) {
        obj.status.stored_versions.push(version.name.clone());
    }
}
