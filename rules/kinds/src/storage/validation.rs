//! What is wrong with CSIDrivers, CSINodes, VolumeAttachments, CSIStorageCapacities and VolumeAttributesClasses.

use crate::checks::{self, Errors};
use crate::core::volume_spec;
use crate::metadata::{SelectorValues, validate_selector};
use crate::{FieldError, internal, names};
use corten_api::storage::v1::{
    CSIDriver, CSIDriverSpec, CSINode, CSIStorageCapacity, VolumeAttachment, VolumeAttributesClass,
    VolumeError,
};
use corten_core::{Path, Value, semantic_eq};
use corten_meta::labels;

/// Of a driver.
pub(super) fn driver(spec: &CSIDriverSpec) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    if let Some(policy) = &spec.fs_group_policy {
        let known = ["File", "None", "ReadWriteOnceWithFSType"];
        checks::known(&mut errors, &path.f("fsGroupPolicy"), policy, &known);
    }
    let list = path.f("tokenRequests");
    for (i, request) in spec.token_requests.iter().enumerate() {
        let at = list.i(i);
        if spec.token_requests[..i]
            .iter()
            .any(|r| r.audience == request.audience)
        {
            errors.push(FieldError::duplicate(at.f("audience"), &request.audience));
            continue;
        }
        let text = match request.expiration_seconds {
            Some(s) if s < 600 => "may not specify a duration less than 10 minutes",
            Some(s) if s > 1 << 32 => "may not specify a duration larger than 2^32 seconds",
            _ => continue,
        };
        errors.push(FieldError::invalid(
            at.f("expirationSeconds"),
            request.expiration_seconds.unwrap_or_default(),
            text,
        ));
    }
    let at = path.f("volumeLifecycleModes");
    for mode in spec.volume_lifecycle_modes.iter() {
        checks::known(&mut errors, &at, mode, &["Persistent", "Ephemeral"]);
    }
    if let Some(period) = spec
        .node_allocatable_update_period_seconds
        .filter(|p| *p < 10)
    {
        errors.push(FieldError::invalid(
            path.f("nodeAllocatableUpdatePeriodSeconds"),
            period,
            "must be greater than or equal to 10 seconds",
        ));
    }
    if let (Some(set), true) = (
        spec.service_account_token_in_secrets,
        spec.token_requests.is_empty(),
    ) {
        errors.push(FieldError::invalid(
            path.f("serviceAccountTokenInSecrets"),
            set,
            "serviceAccountTokenInSecrets is set but no tokenRequests are specified",
        ));
    }
    errors
}

/// Of a driver's update.
pub(super) fn driver_update(new: &CSIDriver, old: &CSIDriver) -> Errors {
    let mut errors = driver(&new.spec);
    let (now, before) = (&new.spec, &old.spec);
    let path = Path::Root.f("spec");
    let given = now.attach_required.map_or(Value::Null, Value::from);
    let same = now.attach_required == before.attach_required;
    checks::immutable(&mut errors, &path.f("attachedRequired"), same, given);
    let modes = now
        .volume_lifecycle_modes
        .iter()
        .map(Value::from)
        .collect::<Vec<_>>();
    let same = *now.volume_lifecycle_modes == *before.volume_lifecycle_modes;
    checks::immutable(
        &mut errors,
        &path.f("volumeLifecycleModes"),
        same,
        Value::List(modes),
    );
    errors
}

/// Of the drivers on a node.
pub(super) fn node(node: &CSINode) -> Errors {
    let mut errors = Vec::new();
    let list = Path::Root.f("spec");
    let list = list.f("drivers");
    for (i, driver) in node.spec.drivers.iter().enumerate() {
        let at = list.i(i);
        volume_spec::driver_name(&mut errors, &at.f("name"), &driver.name);
        checks::required(&mut errors, &at.f("nodeID"), &driver.node_id);
        if driver.node_id.len() > 256 {
            let text = "must be 256 characters or less";
            errors.push(FieldError::invalid(at.f("nodeID"), &driver.node_id, text));
        }
        if let Some(count) = driver.allocatable.as_ref().and_then(|a| a.count) {
            let allocatable = at.f("allocatable");
            checks::not_negative(&mut errors, &allocatable.f("count"), i64::from(count));
        }
        if node.spec.drivers[..i].iter().any(|d| d.name == driver.name) {
            errors.push(FieldError::duplicate(at.f("name"), &driver.name));
        }
        for (n, key) in driver.topology_keys.iter().enumerate() {
            checks::required(&mut errors, &at, key);
            if driver.topology_keys[..n].contains(key) {
                errors.push(FieldError::duplicate(&at, key));
            }
            checks::qualified_name(&mut errors, &at, key);
        }
    }
    errors
}

/// Of their update: a driver that stays keeps everything but how many volumes it can take.
pub(super) fn node_update(new: &CSINode, old: &CSINode) -> Errors {
    let mut errors = node(new);
    for before in old.spec.drivers.iter() {
        for now in new.spec.drivers.iter().filter(|d| d.name == before.name) {
            let (mut now, mut before) = (now.clone(), before.clone());
            (now.allocatable, before.allocatable) = (None, None);
            if !semantic_eq(&now, &before) {
                errors.push(FieldError::immutable(
                    "spec.drivers",
                    internal::printed(&now),
                ));
            }
        }
    }
    errors
}

/// Of an attachment.
pub(super) fn attachment(attachment: &VolumeAttachment) -> Errors {
    let mut errors = Vec::new();
    let (spec, path) = (&attachment.spec, Path::Root.f("spec"));
    volume_spec::driver_name(&mut errors, &path.f("attacher"), &spec.attacher);
    let at = path.f("source");
    let both = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (
        &spec.source.inline_volume_spec,
        &spec.source.persistent_volume_name,
    ) {
        (None, None) => errors.push(FieldError::required(&at, both)),
        (Some(_), Some(_)) => errors.push(FieldError::forbidden(&at, both)),
        (None, Some(name)) if name.is_empty() => errors.push(FieldError::required(
            at.f("persistentVolumeName"),
            "must specify non empty persistentVolumeName",
        )),
        (Some(inline), None) => volume_spec::inline(&mut errors, &at.f("inlineVolumeSpec"), inline),
        (None, Some(_)) => {}
    }
    checks::dns_subdomain(&mut errors, &path.f("nodeName"), &spec.node_name);
    let status = Path::Root.f("status");
    for (name, error) in [
        ("attachError", &attachment.status.attach_error),
        ("detachError", &attachment.status.detach_error),
    ] {
        if let Some(error) = error {
            volume_error(&mut errors, &status.f(name), error);
        }
    }
    if let Some(name) = &spec.source.persistent_volume_name {
        let at = Path::Root.f("spec.source.persistentVolumeName");
        checks::dns_subdomain(&mut errors, &at, name);
    }
    errors
}

fn volume_error(errors: &mut Errors, path: &Path, error: &VolumeError) {
    if error.message.len() > 1024 {
        errors.push(FieldError::too_long(path.f("message"), 256 * 1024));
    }
    if let Some(code) = error.error_code.filter(|c| *c < 0) {
        let text = names::range_error(0, i64::from(i32::MAX));
        errors.push(FieldError::invalid(path.f("errorCode"), code, text));
    }
}

/// Of its update.
pub(super) fn attachment_update(new: &VolumeAttachment, old: &VolumeAttachment) -> Errors {
    let mut errors = attachment(new);
    if !semantic_eq(&new.spec, &old.spec) {
        errors.push(FieldError::immutable("spec", internal::printed(&new.spec)));
    }
    errors
}

/// Of a capacity.
pub(super) fn capacity(capacity: &CSIStorageCapacity) -> Errors {
    let mut errors = Vec::new();
    if let Some(topology) = &capacity.node_topology {
        errors = validate_selector(
            topology,
            SelectorValues::Checked,
            &Path::Root.f("nodeTopology"),
        );
    }
    let at = Path::Root.f("storageClassName");
    checks::dns_subdomain(&mut errors, &at, &capacity.storage_class_name);
    if let Some(amount) = capacity.capacity.as_ref().filter(|q| q.sign() < 0) {
        errors.push(FieldError::invalid(
            "capacity",
            amount.to_string(),
            crate::error::NEGATIVE,
        ));
    }
    errors
}

/// Of its update.
pub(super) fn capacity_update(new: &CSIStorageCapacity, old: &CSIStorageCapacity) -> Errors {
    let mut errors = Vec::new();
    if new.node_topology != old.node_topology {
        let shown = new
            .node_topology
            .as_ref()
            .map_or(Value::Null, |t| internal::printed(&**t));
        errors.push(FieldError::immutable("nodeTopology", shown));
    }
    let same = new.storage_class_name == old.storage_class_name;
    let at = Path::Root.f("storageClassName");
    checks::immutable(&mut errors, &at, same, &new.storage_class_name);
    errors
}

/// Of a class of attributes.
pub(super) fn attributes(class: &VolumeAttributesClass) -> Errors {
    let mut errors = Vec::new();
    let at = Path::Root.f("driverName");
    if class.driver_name.is_empty() {
        errors.push(FieldError::required(&at, &*class.driver_name));
    } else {
        let lower = class.driver_name.to_lowercase();
        let found = labels::invalid_key(&lower).into_iter();
        errors.extend(found.map(|m| FieldError::invalid(&at, &*lower, m)));
    }
    let at = Path::Root.f("parameters");
    if class.parameters.is_empty() {
        errors.push(FieldError::required(
            &at,
            "must contain at least one key/value pair",
        ));
    }
    if class.parameters.contains_key("") {
        errors.push(FieldError::invalid(&at, "", "field can not be empty."));
    }
    errors
}

/// Of its update: nothing of it changes.
pub(super) fn attributes_update(
    new: &VolumeAttributesClass,
    old: &VolumeAttributesClass,
) -> Errors {
    let mut errors = Vec::new();
    if new.driver_name != old.driver_name {
        errors.push(FieldError::forbidden(
            "driverName",
            "updates to driverName are forbidden.",
        ));
    }
    if new.parameters != old.parameters {
        errors.push(FieldError::forbidden(
            "parameters",
            "updates to parameters are forbidden.",
        ));
    }
    errors.extend(attributes(new));
    errors
}
