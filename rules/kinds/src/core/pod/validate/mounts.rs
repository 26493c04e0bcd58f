//! Mounts and devices of containers, against the volumes of the pod.

use crate::checks::{self, Errors, descending_path, required};
use crate::error::FieldError;
use corten_api::core::v1::{Container, Volume, VolumeMount};
use corten_core::Path;

pub(super) fn mounts(errors: &mut Errors, path: &Path, container: &Container, volumes: &[&Volume]) {
    let devices = &container.volume_devices;
    for (i, mount) in container.volume_mounts.iter().enumerate() {
        let at = path.i(i);
        required(errors, &at.f("name"), &mount.name);
        if !volumes.iter().any(|v| v.name == mount.name) {
            errors.push(FieldError::not_found(at.f("name"), &mount.name));
        }
        required(errors, &at.f("mountPath"), &mount.mount_path);
        if container.volume_mounts[..i]
            .iter()
            .any(|m| m.mount_path == mount.mount_path)
        {
            errors.push(FieldError::invalid(
                at.f("mountPath"),
                &mount.mount_path,
                "must be unique",
            ));
        }
        if devices.iter().any(|d| d.name == mount.name) {
            let text = "must not already exist in volumeDevices";
            errors.push(FieldError::invalid(at.f("name"), &mount.name, text));
        }
        if devices.iter().any(|d| d.device_path == mount.mount_path) {
            let text = "must not already exist as a path in volumeDevices";
            errors.push(FieldError::invalid(
                at.f("mountPath"),
                &mount.mount_path,
                text,
            ));
        }
        // Upstream names the list, not the element, for the fields below.
        if !mount.sub_path.is_empty() {
            descending_path(errors, &path.f("subPath"), &mount.sub_path);
        }
        if !mount.sub_path_expr.is_empty() {
            if !mount.sub_path.is_empty() {
                let text = "subPathExpr and subPath are mutually exclusive";
                errors.push(FieldError::invalid(
                    at.f("subPathExpr"),
                    &mount.sub_path_expr,
                    text,
                ));
            }
            descending_path(errors, &path.f("subPathExpr"), &mount.sub_path_expr);
        }
        propagation(errors, path, container, mount);
    }
}

fn propagation(errors: &mut Errors, path: &Path, container: &Container, mount: &VolumeMount) {
    if let Some(mode) = &mount.mount_propagation {
        let at = path.f("mountPropagation");
        checks::known(
            errors,
            &at,
            mode,
            &["Bidirectional", "HostToContainer", "None"],
        );
        let privileged = container
            .security_context
            .as_ref()
            .is_some_and(|c| c.privileged == Some(true));
        if mode == "Bidirectional" && !privileged {
            let text = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(&at, text));
        }
    }
    let Some(recursive) = &mount.recursive_read_only else {
        return;
    };
    let at = path.f("recursiveReadOnly");
    match recursive.as_str() {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.read_only {
                errors.push(FieldError::forbidden(
                    &at,
                    "may only be specified when readOnly is true",
                ));
            }
            if mount
                .mount_propagation
                .as_ref()
                .is_some_and(|p| p != "None")
            {
                let text = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(&at, text));
            }
        }
        other => errors.push(FieldError::not_supported(
            &at,
            other,
            &["Disabled", "Enabled", "IfPossible"],
        )),
    }
}

pub(super) fn devices(
    errors: &mut Errors,
    path: &Path,
    container: &Container,
    volumes: &[&Volume],
) {
    let (mounts, list) = (&container.volume_mounts, &container.volume_devices);
    for (i, device) in list.iter().enumerate() {
        let at = path.i(i);
        let (name, file) = (at.f("name"), at.f("devicePath"));
        let found = volumes.iter().find(|v| v.name == device.name);
        required(errors, &name, &device.name);
        let before = &list[..i];
        if !device.name.is_empty() && before.iter().any(|d| d.name == device.name) {
            errors.push(FieldError::invalid(&name, &device.name, "must be unique"));
        }
        match found.map(|v| &v.volume_source) {
            None => errors.push(FieldError::not_found(&name, &device.name)),
            Some(s) if s.persistent_volume_claim.is_none() && s.ephemeral.is_none() => {
                let text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid(&name, &device.name, text));
            }
            Some(_) => {}
        }
        required(errors, &file, &device.device_path);
        if before.iter().any(|d| d.device_path == device.device_path) {
            errors.push(FieldError::invalid(
                &file,
                &device.device_path,
                "must be unique",
            ));
        }
        if device.device_path.split('/').any(|p| p == "..") {
            errors.push(FieldError::invalid(
                &file,
                &device.device_path,
                "can not contain backsteps ('..')",
            ));
        }
        if mounts.iter().any(|m| m.name == device.name) {
            errors.push(FieldError::invalid(
                &name,
                &device.name,
                "must not already exist in volumeMounts",
            ));
        }
        if mounts.iter().any(|m| m.mount_path == device.device_path) {
            let text = "must not already exist as a path in volumeMounts";
            errors.push(FieldError::invalid(&file, &device.device_path, text));
        }
    }
}
