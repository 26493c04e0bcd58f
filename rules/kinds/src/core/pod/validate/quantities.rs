//! Requests and limits of containers and pods: names, amounts, and how one goes with the other.

use super::super::resources::{aggregate, is_pod_level};
use crate::checks::Errors;
use crate::error::{FieldError, NEGATIVE};
use corten_api::core::v1::{PodSpec, ResourceClaim, ResourceRequirements};
use corten_core::{Map, Path, Quantity};
use corten_meta::labels;
use std::cmp::Ordering;

/// Whether a resource is Kubernetes' own.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether a resource is somebody else's: `example.com/gpu`.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && labels::invalid_key(&format!("requests.{name}")).is_empty()
}

/// Whether requests may be below limits.
pub fn can_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

const COUNTED: [&str; 9] = [
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Whether a resource is known without a prefix, in quotas, limits or containers.
pub fn is_standard(name: &str) -> bool {
    let measured = [
        "cpu",
        "memory",
        "ephemeral-storage",
        "storage",
        "requests.cpu",
        "requests.memory",
        "requests.ephemeral-storage",
        "requests.storage",
        "limits.cpu",
        "limits.memory",
        "limits.ephemeral-storage",
    ];
    measured.contains(&name)
        || COUNTED.contains(&name)
        || is_huge(name)
        || name.starts_with("requests.hugepages-")
}

/// A resource name anywhere.
pub fn resource_name(errors: &mut Errors, path: &Path, name: &str) {
    let wrong = labels::invalid_key(name);
    if wrong.is_empty() && !name.contains('/') && !is_standard(name) {
        let text = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, text));
    }
    errors.extend(
        wrong
            .into_iter()
            .map(|m| FieldError::invalid(path, name, m)),
    );
}

/// Whether a container can ask for it without a prefix.
pub fn is_container_standard(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name)
}

fn container_resource_name(errors: &mut Errors, path: &Path, name: &str) {
    resource_name(errors, path, name);
    if !name.contains('/') {
        if !is_container_standard(name) {
            errors.push(FieldError::invalid(
                path,
                name,
                "must be a standard resource for containers",
            ));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(FieldError::invalid(
            path,
            name,
            "doesn't follow extended resource name standard",
        ));
    }
}

fn pod_resource_name(errors: &mut Errors, path: &Path, name: &str) {
    resource_name(errors, path, name);
    if !is_pod_level(name) {
        errors.push(FieldError::not_supported(
            path,
            name,
            &["cpu", "hugepages-", "memory"],
        ));
    }
}

/// An amount of a resource: not negative, and whole where the resource is counted.
pub fn amount(errors: &mut Errors, path: &Path, name: &str, amount: &Quantity) {
    if amount.sign() < 0 {
        errors.push(FieldError::invalid(path, amount.to_string(), NEGATIVE));
    }
    if (COUNTED.contains(&name) || is_extended(name)) && amount.milli_value() % 1000 != 0 {
        errors.push(FieldError::invalid(
            path,
            amount.to_string(),
            "must be an integer",
        ));
    }
}

/// What a container asks for; `claims` are the names of the pod's resource claims.
pub fn container_resources(
    errors: &mut Errors,
    path: &Path,
    resources: &ResourceRequirements,
    claims: &[&str],
) {
    requirements(errors, path, resources, container_resource_name);
    claimed(errors, &path.f("claims"), &resources.claims, claims);
}

fn claimed(errors: &mut Errors, list: &Path, all: &[ResourceClaim], claims: &[&str]) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (i, claim) in all.iter().enumerate() {
        let at = list.i(i);
        if claim.name.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let key = (claim.name.as_str(), claim.request.as_str());
        if seen
            .iter()
            .any(|s| s.0 == key.0 && (s.1 == key.1 || s.1.is_empty() || key.1.is_empty()))
        {
            errors.push(FieldError::duplicate(&at, claim.name.as_str()));
        }
        seen.push(key);
        if !claims.contains(&claim.name.as_str()) {
            let mut known = claims.to_vec();
            known.sort_unstable();
            known.dedup();
            let listed = match known.is_empty() {
                true => " which is empty".to_owned(),
                false => format!(": {}", known.join(", ")),
            };
            let detail = format!("must be one of the names in pod.spec.resourceClaims{listed}");
            errors.push(FieldError::new(
                crate::ErrorKind::NotFound,
                &at,
                &claim.name,
                detail,
            ));
        }
    }
}

fn requirements(
    errors: &mut Errors,
    path: &Path,
    resources: &ResourceRequirements,
    check_name: fn(&mut Errors, &Path, &str),
) {
    let (limits, requests) = (path.f("limits"), path.f("requests"));
    for (list, at) in [
        (&resources.limits, &limits),
        (&resources.requests, &requests),
    ] {
        for (name, value) in list {
            let at = at.k(name);
            check_name(errors, &at, name);
            amount(errors, &at, name, value);
            whole_pages(errors, &at, name, value);
            if std::ptr::eq(list, &resources.requests) {
                within_limit(errors, (&limits, &requests), resources, name, value);
            }
        }
    }
    let any = |test: fn(&str) -> bool| {
        resources
            .limits
            .keys()
            .chain(resources.requests.keys())
            .any(|n| test(n))
    };
    if any(is_huge) && !any(|n| matches!(n, "cpu" | "memory")) {
        errors.push(FieldError::forbidden(
            path,
            "HugePages require cpu or memory",
        ));
    }
}

/// Huge pages come whole.
fn whole_pages(errors: &mut Errors, path: &Path, name: &str, amount: &Quantity) {
    let size = name
        .strip_prefix("hugepages-")
        .and_then(|s| Quantity::parse(s).ok());
    let size = size.map_or(0, |s| s.value());
    if size > 0 && amount.value() % size != 0 {
        let text = format!("{amount} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, amount.to_string(), text));
    }
}

fn within_limit(
    errors: &mut Errors,
    (limits, requests): (&Path, &Path),
    resources: &ResourceRequirements,
    name: &str,
    request: &Quantity,
) {
    match resources.limits.get(name) {
        Some(limit) => match request.amount().compare(&limit.amount()) {
            Ordering::Equal => {}
            _ if !can_overcommit(name) => {
                let text = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(requests, request.to_string(), text));
            }
            Ordering::Greater => {
                let text = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(requests, request.to_string(), text));
            }
            Ordering::Less => {}
        },
        None if !can_overcommit(name) => {
            errors.push(FieldError::required(
                limits,
                "Limit must be set for non overcommitable resources",
            ));
        }
        None => {}
    }
}

/// What the pod asks for as a whole, against what its containers ask for.
pub fn pod_resources(errors: &mut Errors, path: &Path, spec: &PodSpec) {
    let Some(resources) = &spec.resources else {
        return;
    };
    if spec.os.as_ref().is_some_and(|os| os.name == "windows") {
        errors.push(FieldError::forbidden(
            path,
            "may not be set for a windows pod",
        ));
        return;
    }
    if !resources.claims.is_nil() {
        errors.push(FieldError::forbidden(
            path.f("claims"),
            "claims may not be set for Resources at pod-level",
        ));
    }
    let names = spec.resource_claims.iter().map(|c| c.name.as_str());
    let names: Vec<&str> = names.collect();
    requirements(errors, path, resources, pod_resource_name);
    claimed(errors, &path.f("claims"), &resources.claims, &names);
    let total = aggregate(spec, |c| &c.resources.requests);
    for (name, request) in &total {
        if let Some(whole) = resources.requests.get(name)
            && request.amount().compare(&whole.amount()) == Ordering::Greater
        {
            let text = format!(
                "must be greater than or equal to aggregate container requests of {request}"
            );
            errors.push(FieldError::invalid(
                path.f("requests").k(name),
                whole.to_string(),
                text,
            ));
        }
    }
    let list = path.f("containers");
    for (i, container) in spec.containers.iter().enumerate() {
        limits_fit(
            errors,
            &list.i(i),
            &container.resources.limits,
            &resources.limits,
        );
    }
}

fn limits_fit(errors: &mut Errors, path: &Path, own: &Map<Quantity>, whole: &Map<Quantity>) {
    for (name, limit) in own {
        if let Some(most) = whole.get(name)
            && limit.amount().compare(&most.amount()) == Ordering::Greater
        {
            let text = format!("must be less than or equal to pod limits of {most}");
            errors.push(FieldError::invalid(
                path.k(name).f("limits"),
                limit.to_string(),
                text,
            ));
        }
    }
}
