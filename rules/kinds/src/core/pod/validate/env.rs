//! Environment variables: their names and where values come from.

use crate::checks::{self, Errors, invalid_each, required};
use crate::error::FieldError;
use crate::names;
use corten_api::core::v1::{
    EnvFromSource, EnvVar, EnvVarSource, FileKeySelector, ObjectFieldSelector,
    ResourceFieldSelector,
};
use corten_core::Path;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a file of the downward API can show.
pub(super) const FILE_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn env(errors: &mut Errors, path: &Path, vars: &[EnvVar]) {
    for (i, var) in vars.iter().enumerate() {
        let at = path.i(i);
        if var.name.is_empty() {
            errors.push(FieldError::required(at.f("name"), ""));
        } else {
            invalid_each(errors, &at.f("name"), &var.name, names::env_name(&var.name));
        }
        if let Some(from) = &var.value_from {
            value_from(errors, &at.f("valueFrom"), from, !var.value.is_empty());
        }
    }
}

fn value_from(errors: &mut Errors, path: &Path, from: &EnvVarSource, has_value: bool) {
    let mut sources = 0;
    if let Some(field) = &from.field_ref {
        sources += 1;
        field_ref(errors, &path.f("fieldRef"), field, &ENV_FIELDS);
    }
    if let Some(resource) = &from.resource_field_ref {
        sources += 1;
        resource_ref(errors, &path.f("resourceFieldRef"), resource, Place::Env);
    }
    if let Some(key) = &from.config_map_key_ref {
        sources += 1;
        key_ref(
            errors,
            &path.f("configMapKeyRef"),
            &key.local_object_reference.name,
            &key.key,
        );
    }
    if let Some(key) = &from.secret_key_ref {
        sources += 1;
        key_ref(
            errors,
            &path.f("secretKeyRef"),
            &key.local_object_reference.name,
            &key.key,
        );
    }
    if let Some(key) = &from.file_key_ref {
        sources += 1;
        file_key_ref(errors, &path.f("fileKeyRef"), key);
    }
    if sources == 0 {
        let text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        errors.push(FieldError::invalid(path, "", text));
    } else if has_value {
        errors.push(FieldError::invalid(
            path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if sources > 1 {
        errors.push(FieldError::invalid(
            path,
            "",
            "may not have more than one field specified at a time",
        ));
    }
}

fn key_ref(errors: &mut Errors, path: &Path, name: &str, key: &str) {
    checks::dns_subdomain(errors, &path.f("name"), name);
    if key.is_empty() {
        errors.push(FieldError::required(path.f("key"), ""));
    } else {
        invalid_each(errors, &path.f("key"), key, names::config_key(key));
    }
}

fn file_key_ref(errors: &mut Errors, path: &Path, key: &FileKeySelector) {
    if key.key.is_empty() {
        errors.push(FieldError::required(path.f("key"), ""));
    } else {
        invalid_each(errors, &path.f("key"), &key.key, names::env_name(&key.key));
    }
    if key.volume_name.is_empty() {
        errors.push(FieldError::required(path.f("volumeName"), ""));
    } else {
        checks::dns_label(errors, &path.f("volumeName"), &key.volume_name);
    }
    required(errors, &path.f("path"), &key.path);
    checks::no_backsteps(errors, &path.f("path"), &key.path);
}

/// A field of the pod, possibly one entry of its labels or annotations.
pub(super) fn field_ref(
    errors: &mut Errors,
    path: &Path,
    field: &ObjectFieldSelector,
    allowed: &[&str],
) {
    if field.api_version.is_empty() {
        errors.push(FieldError::required(path.f("apiVersion"), ""));
        return;
    }
    if field.field_path.is_empty() {
        errors.push(FieldError::required(path.f("fieldPath"), ""));
        return;
    }
    let text = field.field_path.as_str();
    let wrong = |why: String| {
        FieldError::invalid(
            path.f("fieldPath"),
            text,
            format!("error converting fieldPath: {why}"),
        )
    };
    if field.api_version != "v1" {
        errors.push(wrong(format!(
            "unsupported pod version: {}",
            field.api_version
        )));
        return;
    }
    let subscripted = text.strip_suffix("']").and_then(|t| t.split_once("['"));
    match subscripted {
        Some(("metadata.annotations", key)) => {
            checks::qualified_name(errors, path, &key.to_lowercase())
        }
        Some(("metadata.labels", key)) => checks::qualified_name(errors, path, key),
        Some(_) => errors.push(wrong(format!(
            "field label does not support subscript: {text}"
        ))),
        None => {
            let text = if text == "spec.host" {
                "spec.nodeName"
            } else {
                text
            };
            let readable = ENV_FIELDS.contains(&text)
                || FILE_FIELDS.contains(&text)
                || matches!(
                    text,
                    "spec.restartPolicy" | "spec.schedulerName" | "status.phase"
                );
            if !readable {
                errors.push(wrong(format!("field label not supported: {text}")));
            } else {
                checks::known(errors, &path.f("fieldPath"), text, allowed);
            }
        }
    }
}

/// Where a resource is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Env,
    File,
}

/// A request or limit of a container.
pub(super) fn resource_ref(
    errors: &mut Errors,
    path: &Path,
    field: &ResourceFieldSelector,
    place: Place,
) {
    let name = field.resource.as_str();
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if place == Place::File && field.container_name.is_empty() {
        errors.push(FieldError::required(path.f("containerName"), ""));
    } else if name.is_empty() {
        errors.push(FieldError::required(path.f("resource"), ""));
    } else if !RESOURCES.contains(&name) && !huge {
        errors.push(FieldError::not_supported(
            path.f("resource"),
            name,
            &RESOURCES,
        ));
    }
    if field.divisor.is_zero() {
        return;
    }
    let divisor = field.divisor.to_string();
    let sized = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let (what, fine) = match name.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => ("cpu", matches!(divisor.as_str(), "1" | "1m")),
        "memory" => ("memory", sized.contains(&divisor.as_str())),
        "ephemeral-storage" => ("local ephemeral storage", sized.contains(&divisor.as_str())),
        _ if huge => ("hugepages", sized.contains(&divisor.as_str())),
        _ => return,
    };
    if !fine {
        let values = if what == "cpu" {
            "1m and 1".to_owned()
        } else {
            sized.join(", ")
        };
        let text = format!("only divisor's values {values} are supported with the {what} resource");
        errors.push(FieldError::invalid(path.f("divisor"), name, text));
    }
}

pub(super) fn env_from(errors: &mut Errors, path: &Path, sources: &[EnvFromSource]) {
    for (i, source) in sources.iter().enumerate() {
        let at = path.i(i);
        if !source.prefix.is_empty() {
            invalid_each(
                errors,
                &at.f("prefix"),
                &source.prefix,
                names::env_name(&source.prefix),
            );
        }
        let mut named = |key: &str, name: &str| {
            let at = at.f(key);
            if name.is_empty() {
                errors.push(FieldError::required(at.f("name"), ""));
            } else {
                let wrong = names::dns_subdomain(&names::as_prefix(name, true));
                invalid_each(errors, &at.f("name"), name, wrong);
            }
        };
        if let Some(map) = &source.config_map_ref {
            named("configMapRef", &map.local_object_reference.name);
        }
        if let Some(secret) = &source.secret_ref {
            named("secretRef", &secret.local_object_reference.name);
        }
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                errors.push(FieldError::invalid(
                    path,
                    "",
                    "must specify one of: `configMapRef` or `secretRef`",
                ));
            }
            (Some(_), Some(_)) => {
                errors.push(FieldError::invalid(
                    path,
                    "",
                    "may not have more than one field specified at a time",
                ));
            }
            _ => {}
        }
    }
}
