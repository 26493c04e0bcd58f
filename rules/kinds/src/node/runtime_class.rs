//! RuntimeClasses: validation, table.

use super::columns;
use crate::checks::{Errors, dns_label, immutable};
use crate::core::pod::default_resources;
use crate::core::pod::validate::quantities::container_resources;
use crate::metadata::validate_labels;
use crate::rules::Rules;
use crate::{Column, Context, FieldError, cells, internal};
use corten_api::core::v1::ResourceRequirements;
use corten_api::node::v1::RuntimeClass;
use corten_core::{Path, Time, Value};

/// The strategy of RuntimeClasses.
pub struct RuntimeClasses;

impl Rules for RuntimeClasses {
    type Of = RuntimeClass;

    fn default(&self, obj: &mut RuntimeClass) {
        if let Some(overhead) = &mut obj.overhead {
            default_resources(&mut overhead.pod_fixed);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &RuntimeClass) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        _part: &str,
        new: &RuntimeClass,
        old: &RuntimeClass,
    ) -> Vec<FieldError> {
        let mut errors = validate(new);
        let same = new.handler == old.handler;
        immutable(&mut errors, &Path::Root.f("handler"), same, &new.handler);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        &columns::RUNTIME_CLASS
    }
    fn cells(&self, obj: &RuntimeClass, now: &Time) -> Vec<Value> {
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.handler),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn checks_finalizers(&self) -> bool {
        false
    }
}

fn validate(new: &RuntimeClass) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("handler");
    if new.handler.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else {
        dns_label(&mut errors, &path, &new.handler);
    }
    if let Some(overhead) = &new.overhead {
        let resources = ResourceRequirements {
            limits: overhead.pod_fixed.clone(),
            ..ResourceRequirements::default()
        };
        let path = Path::Root.f("overhead");
        container_resources(&mut errors, &path, &resources, &[]);
    }
    if let Some(scheduling) = &new.scheduling {
        let path = Path::Root.f("scheduling");
        errors.extend(validate_labels(
            &scheduling.node_selector,
            &path.f("nodeSelector"),
        ));
        let list = path.f("tolerations");
        crate::core::pod::validate::scheduling::tolerations(
            &mut errors,
            &list,
            &scheduling.tolerations,
        );
        for (i, toleration) in scheduling.tolerations.iter().enumerate() {
            if scheduling.tolerations[..i].contains(toleration) {
                errors.push(FieldError::duplicate(
                    list.i(i),
                    internal::printed(toleration),
                ));
            }
        }
    }
    errors
}
