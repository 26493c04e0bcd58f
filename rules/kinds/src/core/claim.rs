//! PersistentVolumeClaims.

use super::columns;
use super::pod::default_resources;
use super::volume::{CLASS_ANNOTATION, access_modes, or_unset};
use crate::rules::{Rules, with_status};
use crate::{Column, Context, DeleteAnswer, cells};
use corten_api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference,
    TypedObjectReference,
};
use corten_core::{Str, Time, Value};

/// The strategy of PersistentVolumeClaims.
pub struct PersistentVolumeClaims;

/// What a claim means when the client leaves something out; also for templates of claims.
pub fn default_claim_spec(spec: &mut PersistentVolumeClaimSpec) {
    spec.volume_mode.get_or_insert("Filesystem".into());
    default_resources(&mut spec.resources.limits);
    default_resources(&mut spec.resources.requests);
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
