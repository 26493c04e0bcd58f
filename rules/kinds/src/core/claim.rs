//! PersistentVolumeClaims.

use super::columns;
use super::pod::default_resources;
use super::volume::{CLASS_ANNOTATION, access_modes, or_unset};
use crate::checks::{Errors, dns_subdomain, immutable, known, required};
use crate::metadata::{SelectorValues, validate_annotations, validate_labels, validate_selector};
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, FieldError, cells, difference};
use corten_api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PersistentVolumeClaimTemplate,
    TypedLocalObjectReference, TypedObjectReference,
};
use corten_core::{Path, Quantity, Str, Time, Value, semantic_eq};
use std::cmp::Ordering;

/// The strategy of PersistentVolumeClaims.
pub struct PersistentVolumeClaims;

/// What a claim means when the client leaves something out; also for templates of claims.
pub fn default_claim_spec(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert("Filesystem".into());
    default_resources(&mut spec.resources.limits);
    default_resources(&mut spec.resources.requests);
}

/// A claim inside another object, at `path`.
pub fn validate_claim_template(
    template: &PersistentVolumeClaimTemplate,
    path: &Path,
) -> Vec<FieldError> {
    let mut errors = validate_labels(&template.metadata.labels, &path.f("metadata").f("labels"));
    errors.extend(validate_annotations(
        &template.metadata.annotations,
        &path.f("metadata").f("annotations"),
    ));
    errors.extend(validate_claim_spec(&template.spec, &path.f("spec")));
    errors
}

/// The specification of a claim at `path`.
pub fn validate_claim_spec(spec: &PersistentVolumeClaimSpec, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let at = path.f("accessModes");
    if spec.access_modes.is_empty() {
        errors.push(FieldError::required(
            &at,
            "at least 1 access mode is required",
        ));
    }
    if let Some(selector) = &spec.selector {
        errors.extend(validate_selector(
            selector,
            SelectorValues::Checked,
            &path.f("selector"),
        ));
    }
    access_mode_list(&mut errors, &at, &spec.access_modes);
    let at = path.f("resources");
    match spec.resources.requests.get("storage") {
        None => errors.push(FieldError::required(at.k("storage"), "")),
        Some(amount) if amount.sign() <= 0 => {
            errors.push(FieldError::invalid(
                at.k("storage"),
                amount.to_string(),
                "must be greater than zero",
            ));
        }
        Some(_) => {}
    }
    if let Some(class) = spec.storage_class_name.as_ref().filter(|c| !c.is_empty()) {
        dns_subdomain(&mut errors, &path.f("storageClassName"), class);
    }
    if let Some(mode) = &spec.volume_mode {
        known(
            &mut errors,
            &path.f("volumeMode"),
            mode,
            &["Block", "Filesystem"],
        );
    }
    data_sources(&mut errors, path, spec);
    sources_agree(&mut errors, path, spec);
    if let Some(class) = spec
        .volume_attributes_class_name
        .as_ref()
        .filter(|c| !c.is_empty())
    {
        dns_subdomain(&mut errors, &path.f("volumeAttributesClassName"), class);
    }
    errors
}

fn source_of_data(
    errors: &mut Errors,
    path: &Path,
    (name, kind): (&str, &str),
    group: Option<&str>,
) {
    required(errors, &path.f("name"), name);
    required(errors, &path.f("kind"), kind);
    let group = group.unwrap_or_default();
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(FieldError::invalid(path, kind, text));
    }
    if !group.is_empty() {
        dns_subdomain(errors, &path.f("apiGroup"), group);
    }
}

fn data_sources(errors: &mut Errors, path: &Path, spec: &PersistentVolumeClaimSpec) {
    if let Some(source) = &spec.data_source {
        let at = path.f("dataSource");
        source_of_data(
            errors,
            &at,
            (source.name.as_str(), source.kind.as_str()),
            source.api_group.as_deref(),
        );
    }
    if let Some(source) = &spec.data_source_ref {
        let at = path.f("dataSourceRef");
        source_of_data(
            errors,
            &at,
            (source.name.as_str(), source.kind.as_str()),
            source.api_group.as_deref(),
        );
        if let Some(namespace) = source.namespace.as_ref().filter(|n| !n.is_empty()) {
            crate::checks::dns_label(errors, &at.f("namespace"), namespace);
        }
    }
}

/// The older field says the same as the newer one, or nothing where that one names a namespace.
fn sources_agree(errors: &mut Errors, path: &Path, spec: &PersistentVolumeClaimSpec) {
    let Some(newer) = &spec.data_source_ref else {
        return;
    };
    let foreign = newer.namespace.as_ref().is_some_and(|n| !n.is_empty());
    match &spec.data_source {
        Some(_) if foreign => {
            let text = "may not be specified when dataSourceRef.namespace is specified";
            let shown = spec
                .data_source
                .as_ref()
                .map(|s| crate::internal::printed(&**s));
            errors.push(FieldError::invalid(path, shown.unwrap_or_default(), text));
        }
        Some(older) => {
            let same = (&older.api_group, &older.kind, &older.name)
                == (&newer.api_group, &newer.kind, &newer.name);
            if !same {
                let shown = crate::error::verbatim("{}");
                errors.push(FieldError::invalid(path, shown, "must match dataSourceRef"));
            }
        }
        None => {}
    }
}

/// Each mode known, and `ReadWriteOncePod` alone.
pub(super) fn access_mode_list(errors: &mut Errors, path: &Path, modes: &[Str]) {
    for mode in modes {
        known(
            errors,
            path,
            mode,
            &[
                "ReadOnlyMany",
                "ReadWriteMany",
                "ReadWriteOnce",
                "ReadWriteOncePod",
            ],
        );
    }
    let alone = "ReadWriteOncePod";
    if modes.iter().any(|m| m == alone) && modes.iter().any(|m| m != alone) {
        let text = "may not use ReadWriteOncePod with other access modes";
        errors.push(FieldError::forbidden(path, text));
    }
}

/// dataSource and dataSourceRef say the same where both can.
fn normalize(spec: &mut PersistentVolumeClaimSpec) {
    match (&spec.data_source, &spec.data_source_ref) {
        (Some(source), None) => {
            spec.data_source_ref = Some(Box::new(TypedObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
                namespace: None,
            }));
        }
        (None, Some(source)) if source.namespace.as_ref().is_none_or(|n| n.is_empty()) => {
            spec.data_source = Some(Box::new(TypedLocalObjectReference {
                api_group: source.api_group.clone(),
                kind: source.kind.clone(),
                name: source.name.clone(),
            }));
        }
        _ => {}
    }
}

/// Sources that the older field cannot name are dropped unless they were there before.
fn drop_unknown_source(
    new: &mut PersistentVolumeClaimSpec,
    old: Option<&PersistentVolumeClaimSpec>,
) {
    let abroad = new
        .data_source_ref
        .as_ref()
        .is_some_and(|s| s.namespace.as_ref().is_some_and(|n| !n.is_empty()));
    if abroad && old.is_none_or(|o| o.data_source_ref.is_none()) {
        // Sources in other namespaces are a feature that is off.
        new.data_source_ref = None;
    }
    if new.data_source_ref.is_some() || old.is_some_and(|o| o.data_source.is_some()) {
        return;
    }
    let known = new.data_source.as_ref().is_some_and(|s| {
        let group = s.api_group.as_ref().map_or("", |g| g.as_str());
        (group, s.kind.as_str()) == ("", "PersistentVolumeClaim")
            || (group, s.kind.as_str()) == ("snapshot.storage.k8s.io", "VolumeSnapshot")
    });
    if !known {
        new.data_source = None;
    }
}

impl Rules for PersistentVolumeClaims {
    type Of = PersistentVolumeClaim;
    with_status!();

    fn default(&self, claim: &mut PersistentVolumeClaim) {
        if claim.status.phase.is_empty() {
            claim.status.phase = "Pending".into();
        }
        default_claim_spec(&mut claim.spec);
        default_resources(&mut claim.status.capacity);
        default_resources(&mut claim.status.allocated_resources);
    }
    fn prepare_create(&self, _cx: &Context, new: &mut PersistentVolumeClaim) {
        new.status.phase = "Pending".into();
        drop_unknown_source(&mut new.spec, None);
        normalize(&mut new.spec);
    }
    fn prepare_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &mut PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) {
        if part.is_empty() {
            drop_unknown_source(&mut new.spec, Some(&old.spec));
            normalize(&mut new.spec);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &PersistentVolumeClaim) -> Vec<FieldError> {
        validate_claim_spec(&new.spec, &Path::Root.f("spec"))
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &PersistentVolumeClaim,
        old: &PersistentVolumeClaim,
    ) -> Vec<FieldError> {
        match part {
            "" => validate_update(new, old),
            "status" => validate_status(new),
            _ => vec![],
        }
    }
    fn warnings(
        &self,
        _cx: &Context,
        new: &PersistentVolumeClaim,
        _old: Option<&PersistentVolumeClaim>,
    ) -> Vec<String> {
        let mut out = Vec::new();
        let class = super::volume::CLASS_ANNOTATION;
        if new.metadata.annotations.contains_key(class) {
            out.push(format!(
                "metadata.annotations[{class}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        out.extend(spec_warnings(&new.spec, &Path::Root.f("spec")));
        out
    }
    fn columns(&self) -> &'static [Column] {
        &columns::PERSISTENT_VOLUME_CLAIM
    }
    fn cells(&self, claim: &PersistentVolumeClaim, now: &Time) -> Vec<Value> {
        let (spec, status) = (&claim.spec, &claim.status);
        let deleting = claim.metadata.deletion_timestamp.is_some();
        let bound = !spec.volume_name.is_empty();
        let capacity = status
            .capacity
            .get("storage")
            .map_or_else(|| "0".to_owned(), |q| q.to_string());
        let class = claim
            .metadata
            .annotations
            .get(CLASS_ANNOTATION)
            .or(spec.storage_class_name.as_ref());
        vec![
            Value::from(&claim.metadata.name),
            Value::from(if deleting {
                "Terminating"
            } else {
                status.phase.as_str()
            }),
            Value::from(&spec.volume_name),
            Value::from(if bound { capacity } else { String::new() }),
            Value::from(if bound {
                access_modes(&status.access_modes)
            } else {
                String::new()
            }),
            Value::from(class.map_or("", |c| c.as_str())),
            or_unset(spec.volume_attributes_class_name.as_ref()),
            cells::age(&claim.metadata.creation_timestamp, now),
            or_unset(spec.volume_mode.as_ref()),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["name"]
    }
    fn field_values(&self, claim: &PersistentVolumeClaim) -> Vec<Str> {
        vec![claim.metadata.name.clone()]
    }
    fn delete_answer(&self) -> DeleteAnswer {
        DeleteAnswer::Object
    }
}

/// Once made, a claim can be bound, and when bound grow and change its attributes class.
fn validate_update(new: &PersistentVolumeClaim, old: &PersistentVolumeClaim) -> Errors {
    let path = Path::Root.f("spec");
    let mut errors = validate_claim_spec(&new.spec, &path);
    let (mut rest, mut before) = (new.spec.clone(), old.spec.clone());
    if before.volume_name.is_empty() {
        before.volume_name = rest.volume_name.clone();
    }
    // A default class may come to claims that were made before there was one.
    if before.storage_class_name.is_none()
        && !old.metadata.annotations.contains_key(CLASS_ANNOTATION)
    {
        before.storage_class_name = rest.storage_class_name.clone();
    }
    if new.status.phase == "Bound" {
        if let Some(amount) = before.resources.requests.get("storage") {
            rest.resources.requests.insert("storage", amount.clone());
        }
        rest.volume_attributes_class_name = before.volume_attributes_class_name.clone();
    }
    if !semantic_eq(&rest, &before) {
        let text = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
            difference::of_structs(&before, &rest)
        );
        errors.push(FieldError::forbidden(&path, text));
    }
    let size = |spec: &PersistentVolumeClaimSpec| {
        spec.resources
            .requests
            .get("storage")
            .cloned()
            .unwrap_or_default()
    };
    let capacity = old
        .status
        .capacity
        .get("storage")
        .cloned()
        .unwrap_or_default();
    let not_above =
        |a: &Quantity, b: &Quantity| a.amount().compare(&b.amount()) != Ordering::Greater;
    let (now, was) = (size(&new.spec), size(&old.spec));
    if !not_above(&was, &now) && not_above(&now, &capacity) {
        let at = path.f("resources");
        let text = "field can not be less than status.capacity";
        errors.push(FieldError::forbidden(at.f("requests").f("storage"), text));
    }
    let same = new.spec.volume_mode == old.spec.volume_mode;
    immutable(
        &mut errors,
        &Path::Root.f("volumeMode"),
        same,
        new.spec.volume_mode.clone(),
    );
    errors
}

const RESIZES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

fn validate_status(new: &PersistentVolumeClaim) -> Errors {
    let mut errors = Vec::new();
    let (path, status) = (Path::Root.f("status"), &new.status);
    let at = path.f("capacity");
    for (name, amount) in &status.capacity {
        status_amount(&mut errors, &at.k(name), amount);
    }
    let at = path.f("allocatedResourceStatuses");
    for (name, state) in &status.allocated_resource_statuses {
        status_name(&mut errors, &at, name);
        if !RESIZES.contains(&state.as_str()) {
            errors.push(FieldError::not_supported(&at, name, &RESIZES));
        }
    }
    let at = path.f("allocatedResources");
    for (name, amount) in &status.allocated_resources {
        let found = errors.len();
        status_name(&mut errors, &at, name);
        if errors.len() == found {
            status_amount(&mut errors, &at.k(name), amount);
        }
    }
    errors
}

fn status_amount(errors: &mut Errors, path: &Path, amount: &Quantity) {
    if amount.sign() < 0 {
        let text = "must be a valid resource quantity";
        errors.push(FieldError::invalid(path, amount.value(), text));
    }
}

/// `storage`, or a name with a domain that is not Kubernetes' own.
fn status_name(errors: &mut Errors, path: &Path, name: &str) {
    let wrong = corten_meta::labels::invalid_key(name);
    if !wrong.is_empty() {
        crate::checks::invalid_each(errors, path, name, wrong);
    } else if name != "storage" && (!name.contains('/') || name.contains("kubernetes.io/")) {
        errors.push(FieldError::not_supported(path, name, &["storage"]));
    }
}

/// What users are warned of in a claim's spec.
pub(crate) fn spec_warnings(spec: &PersistentVolumeClaimSpec, path: &Path) -> Vec<String> {
    let at = path.f("resources");
    let mut out = Vec::new();
    for (name, amounts) in [
        ("requests", &spec.resources.requests),
        ("limits", &spec.resources.limits),
    ] {
        if let Some(amount) = amounts
            .get("storage")
            .filter(|q| super::volume_spec::is_fractional(q))
        {
            let at = at.f(name);
            out.push(format!(
                "{}: fractional byte value \"{amount}\" is invalid, must be an integer",
                at.k("storage")
            ));
        }
    }
    out
}
