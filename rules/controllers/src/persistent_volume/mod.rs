//! Persistent volumes: claims find volumes that exist, both sides name each other, and phases tell how far they are.
//!
//! Invariant: a volume names its claim before the claim names the volume, each write conditional on what was seen, so
//! that no two claims share one. Leaves out: making and deleting what is behind a volume, which are provisioners', and
//! claims whose class waits for a pod, until a scheduler has chosen a node.

mod claims;
#[cfg(test)]
mod tests;
mod volumes;

use corten_api::Kind;
use corten_api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use corten_core::Str;

pub use claims::CONTROLLER as CLAIMS;
pub use volumes::CONTROLLER as VOLUMES;

/// On a claim: its volume was found, and must not be another from now on.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On a claim or volume: the binding was this controller's choice, not a user's.
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// The class of claims and volumes of old clients.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn class_of_claim(claim: &PersistentVolumeClaim) -> Str {
    let old = claim.metadata.annotations.get(CLASS).cloned();
    old.or_else(|| claim.spec.storage_class_name.clone())
        .unwrap_or_default()
}

fn class_of_volume(volume: &PersistentVolume) -> Str {
    let old = volume.metadata.annotations.get(CLASS).cloned();
    old.unwrap_or_else(|| volume.spec.storage_class_name.clone())
}

/// Whether the volume is meant for the claim: by name, and by UID once it has one.
fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    volume.spec.claim_ref.as_ref().is_some_and(|r| {
        r.name == claim.metadata.name
            && r.namespace == claim.metadata.namespace
            && (r.uid.is_empty() || r.uid == claim.metadata.uid)
    })
}

fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let meta = &claim.metadata;
    ObjectReference {
        kind: PersistentVolumeClaim::KIND.into(),
        api_version: PersistentVolumeClaim::API_VERSION.into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..Default::default()
    }
}
