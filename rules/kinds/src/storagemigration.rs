//! StorageVersionMigrations: which resource is written again, and how far that is.
//!
//! Invariant: what is migrated never changes, and neither does an outcome. Leaves out the migration, which a controller
//! carries out.

use crate::cells::{NAME, column};
use crate::checks::Errors;
use crate::metadata::{reset_for_status, validate_conditions};
use crate::rules::{Rules, with_status};
use crate::{Column, Context, FieldError, names};
use corten_api::storagemigration::v1beta1::{
    StorageVersionMigration, StorageVersionMigrationStatus,
};
use corten_core::{Path, Time, Value, semantic_eq};

/// The strategy of StorageVersionMigrations.
pub struct StorageVersionMigrations;

static COLUMNS: [Column; 3] = [
    Column { format: "", ..NAME },
    column("Resource", "string", "GroupResource to migrate"),
    column("Status", "string", "Status of the migration"),
];

impl Rules for StorageVersionMigrations {
    type Of = StorageVersionMigration;
    with_status!();

    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut StorageVersionMigration,
        old: &StorageVersionMigration,
    ) {
        if part == "status" {
            reset_for_status(&mut new.metadata, &old.metadata);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &StorageVersionMigration) -> Vec<FieldError> {
        validate(new)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &StorageVersionMigration,
        old: &StorageVersionMigration,
    ) -> Vec<FieldError> {
        if part == "status" {
            return validate_status(&new.status, &old.status);
        }
        let mut errors = validate(new);
        if !semantic_eq(&new.spec, &old.spec) {
            let shown = crate::metadata::value_of(&new.spec);
            errors.push(FieldError::immutable("spec", shown));
        }
        errors
    }
    fn unconditional_update(&self) -> bool {
        false
    }
    fn columns(&self) -> &'static [Column] {
        &COLUMNS
    }
    fn cells(&self, obj: &StorageVersionMigration, _now: &Time) -> Vec<Value> {
        let resource = &obj.spec.resource;
        let shown = match resource.group.is_empty() {
            true => resource.resource.to_string(),
            false => format!("{}.{}", resource.resource, resource.group),
        };
        let known = ["Running", "Failed", "Succeeded"];
        let conditions = obj.status.conditions.iter().rev();
        let mut true_ones = conditions.filter(|c| c.status == "True");
        let state = true_ones.find(|c| known.contains(&c.type_.as_str()));
        vec![
            Value::from(&obj.metadata.name),
            Value::from(shown),
            Value::from(state.map_or("Unknown", |c| c.type_.as_str())),
        ]
    }
}

fn validate(new: &StorageVersionMigration) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let path = path.f("resource");
    let (group, resource) = (&new.spec.resource.group, &new.spec.resource.resource);
    if resource.is_empty() {
        let text = "resource is required to be set";
        errors.push(FieldError::required(path.f("resource"), text));
    } else {
        let wrong = names::dns_1035_label(resource);
        if !wrong.is_empty() {
            let at = path.f("resource");
            errors.push(FieldError::invalid(at, resource, wrong.join(",")));
        }
    }
    let wrong = names::dns_subdomain(group);
    if !group.is_empty() && !wrong.is_empty() {
        errors.push(FieldError::invalid(path.f("group"), group, wrong.join(",")));
    }
    errors
}

fn is_true(status: &StorageVersionMigrationStatus, kind: &str) -> bool {
    let mut conditions = status.conditions.iter();
    conditions.any(|c| c.type_ == kind && c.status == "True")
}

fn validate_status(
    new: &StorageVersionMigrationStatus,
    old: &StorageVersionMigrationStatus,
) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("status");
    let version = new.resource_version.as_str();
    let well_formed = !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
    if !well_formed {
        errors.push(FieldError::invalid(
            path.f("resourceVersion"),
            version,
            format!("resource version is not well formed: {version}"),
        ));
    }
    let conditions = path.f("conditions");
    errors.extend(validate_conditions(&new.conditions, &conditions));
    if !old.resource_version.is_empty() && old.resource_version != new.resource_version {
        errors.push(FieldError::immutable(path.f("resourceVersion"), version));
    }
    let list = new.conditions.iter().map(crate::metadata::value_of);
    let shown = Value::List(list.collect());
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&conditions, shown.clone(), why));
    let (succeeded, failed) = (is_true(new, "Succeeded"), is_true(new, "Failed"));
    if succeeded && failed {
        wrong("Both success and failed conditions cannot be true at the same time");
    }
    if is_true(old, "Succeeded") && !succeeded {
        wrong("Success condition cannot be set to false once it is true");
    }
    if is_true(old, "Failed") && !failed {
        wrong("Failed condition cannot be set to false once it is true");
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::meta::v1::Condition;

    fn migration(group: &str, resource: &str) -> StorageVersionMigration {
        let mut new = StorageVersionMigration::default();
        new.metadata.name = "m".into();
        new.spec.resource.group = group.into();
        new.spec.resource.resource = resource.into();
        new
    }

    fn status(version: &str, conditions: &[&str]) -> StorageVersionMigrationStatus {
        let condition = |kind: &&str| Condition {
            type_: (*kind).into(),
            status: "True".into(),
            reason: "Because".into(),
            last_transition_time: Time::from_unix(1),
            ..Condition::default()
        };
        StorageVersionMigrationStatus {
            conditions: conditions.iter().map(condition).collect(),
            resource_version: version.into(),
        }
    }

    #[test]
    fn a_resource_is_named() {
        assert!(validate(&migration("apps", "deployments")).is_empty());
        assert!(validate(&migration("", "pods")).is_empty());
        let errors = validate(&migration("-", ""));
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts[0],
            "spec.resource.resource: Required value: resource is required to be set"
        );
        assert!(texts[1].starts_with("spec.resource.group: Invalid value: \"-\""));
    }

    #[test]
    fn outcomes_stay() {
        let details = |new, old| -> Vec<String> {
            let errors = validate_status(&new, &old);
            errors.iter().map(|e| e.detail.clone()).collect()
        };
        assert!(details(status("12", &["Running"]), status("", &[])).is_empty());
        assert_eq!(
            details(status("012", &[]), status("", &[])),
            ["resource version is not well formed: 012"]
        );
        assert_eq!(
            details(status("13", &[]), status("12", &[])),
            ["field is immutable"]
        );
        assert_eq!(
            details(status("", &["Running"]), status("", &["Succeeded"])),
            ["Success condition cannot be set to false once it is true"]
        );
        let mut done = migration("apps", "deployments");
        done.status = status("1", &["Running", "Succeeded"]);
        let cells = StorageVersionMigrations.cells(&done, &Time::default());
        assert_eq!(cells[1..], ["deployments.apps", "Succeeded"]);
    }
}
