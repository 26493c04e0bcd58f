//! Volumes: whether each is free, bound, or left over by a claim that went.

use super::BOUND_BY_CONTROLLER;
use crate::plan::{Note, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use corten_meta::{ObjectKey, Snapshot};

/// Keeps the phases of volumes.
pub const CONTROLLER: Controller = Controller {
    name: "persistentvolume-phases",
    service_account: "persistent-volume-binder",
    primary: resource::<PersistentVolume>,
    wakes: &[Wake {
        on: Watched::One(resource::<PersistentVolumeClaim>),
        keys: its_volumes,
    }],
    reconcile: |snapshot, key, _| plan(snapshot, key),
};

/// The volume that a claim names, and those that name it.
fn its_volumes(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(claim) = object.downcast_ref::<PersistentVolumeClaim>() else {
        return Vec::new();
    };
    let meta = &claim.metadata;
    let names_it = |v: &&PersistentVolume| {
        let named = v.spec.claim_ref.as_ref();
        v.metadata.name == claim.spec.volume_name
            || named.is_some_and(|r| r.name == meta.name && r.namespace == meta.namespace)
    };
    let volumes = snapshot.list::<PersistentVolume>().filter(names_it);
    volumes
        .map(|v| ObjectKey::new("", v.metadata.name.clone()))
        .collect()
}

fn plan(snapshot: &Snapshot, key: &ObjectKey) -> Option<Plan> {
    let volume = snapshot.get::<PersistentVolume>("", &key.name)?;
    let mut plan = Plan::default();
    let Some(named) = volume.spec.claim_ref.as_ref().filter(|r| !r.uid.is_empty()) else {
        // Free, or meant for a claim that has not come yet.
        phase(&mut plan, volume, "Available", "");
        return Some(plan);
    };
    let claim = snapshot
        .get::<PersistentVolumeClaim>(&named.namespace, &named.name)
        .filter(|c| c.metadata.uid == named.uid);
    match claim {
        Some(claim) if claim.spec.volume_name == volume.metadata.name => {
            phase(&mut plan, volume, "Bound", "");
        }
        // The claim is about to name it.
        Some(claim) if claim.spec.volume_name.is_empty() => {}
        Some(_) => free(&mut plan, volume),
        None => released(&mut plan, volume),
    }
    Some(plan)
}

fn phase(plan: &mut Plan, volume: &PersistentVolume, phase: &str, message: &str) {
    let mut new = volume.clone();
    new.status.phase = phase.into();
    new.status.message = message.into();
    plan.write_if(Write::patch_status(volume, &new, "how it is used changed"));
}

/// The claim took another volume: this one is free again, or waits for the claim that a user meant.
fn free(plan: &mut Plan, volume: &PersistentVolume) {
    let mut new = volume.clone();
    let ours = volume
        .metadata
        .annotations
        .contains_key(BOUND_BY_CONTROLLER);
    if ours {
        new.metadata.annotations.remove(BOUND_BY_CONTROLLER);
        new.spec.claim_ref = None;
    } else if let Some(named) = &mut new.spec.claim_ref {
        named.uid = "".into();
        named.resource_version = "".into();
    }
    let write = Write::patch(volume, &new, "its claim has another volume");
    plan.write_if(write.map(|w| w.only_if_unchanged(volume)));
}

/// The claim is gone; what is behind the volume is its provisioner's to delete, or its administrator's to look after.
fn released(plan: &mut Plan, volume: &PersistentVolume) {
    let source = &volume.spec.persistent_volume_source;
    let provisioned = volume
        .metadata
        .annotations
        .contains_key("pv.kubernetes.io/provisioned-by");
    let policy = volume.spec.persistent_volume_reclaim_policy.as_str();
    let (reason, who, what) = match policy {
        "Delete" if source.csi.is_none() && !provisioned => {
            ("VolumeFailedDelete", "deleter", "deletable")
        }
        "Recycle" => ("VolumeFailedRecycle", "recycler", "recyclable"),
        _ => return phase(plan, volume, "Released", ""),
    };
    if volume.status.phase == "Failed" {
        return;
    }
    if volume.status.phase != "Released" {
        return phase(plan, volume, "Released", "");
    }
    let name = &volume.metadata.name;
    let text = format!(
        "error getting {who} volume plugin for volume \"{name}\": no {what} volume plugin matched"
    );
    phase(plan, volume, "Failed", &text);
    plan.note(Note::warning(volume, reason, text));
}
