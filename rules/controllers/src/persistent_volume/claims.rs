//! Claims: each finds its volume, or says what it waits for.

use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER};
use super::{class_of_claim, class_of_volume, is_for, reference};
use crate::plan::{Note, Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use corten_api::storage::v1::StorageClass;
use corten_meta::{ObjectKey, Selector, Snapshot};

/// Binds claims.
pub const CONTROLLER: Controller = Controller {
    name: "persistentvolume-binder",
    service_account: "persistent-volume-binder",
    primary: resource::<PersistentVolumeClaim>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<PersistentVolume>),
            keys: interested,
        },
        Wake {
            on: Watched::One(resource::<StorageClass>),
            keys: of_class,
        },
    ],
    reconcile: |snapshot, key, _| plan(snapshot, key),
};

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Where provisioners look for claims that are theirs, now and of old.
const PROVISIONER: [&str; 2] = [
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
];

fn key_of(claim: &PersistentVolumeClaim) -> ObjectKey {
    ObjectKey::new(
        claim.metadata.namespace.clone(),
        claim.metadata.name.clone(),
    )
}

/// The claim that a volume names and those that name it; a free volume interests everyone who waits.
fn interested(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(volume) = object.downcast_ref::<PersistentVolume>() else {
        return Vec::new();
    };
    let name = &volume.metadata.name;
    let wants = |claim: &&PersistentVolumeClaim| {
        let bound = claim.spec.volume_name == *name;
        let waits = claim.spec.volume_name.is_empty() && volume.spec.claim_ref.is_none();
        bound || waits || is_for(volume, claim)
    };
    let claims = snapshot.list::<PersistentVolumeClaim>();
    claims.filter(wants).map(key_of).collect()
}

fn of_class(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let name = &object.meta().name;
    let claims = snapshot.list::<PersistentVolumeClaim>();
    claims
        .filter(|c| c.spec.volume_name.is_empty() && class_of_claim(c) == *name)
        .map(key_of)
        .collect()
}

fn plan(snapshot: &Snapshot, key: &ObjectKey) -> Option<Plan> {
    let claim = snapshot.get::<PersistentVolumeClaim>(&key.namespace, &key.name)?;
    let mut plan = Plan::default();
    let volume = || snapshot.get::<PersistentVolume>("", &claim.spec.volume_name);
    if claim.metadata.annotations.contains_key(BIND_COMPLETED) {
        bound(&mut plan, claim, volume());
    } else if claim.spec.volume_name.is_empty() {
        match matching(snapshot, claim) {
            Some(volume) => bind(&mut plan, claim, volume),
            None => wait(&mut plan, snapshot, claim),
        }
    } else {
        match volume() {
            Some(volume) if volume.spec.claim_ref.is_none() && !fits(claim, volume) => {
                let text = "Cannot bind PersistentVolume to requested PersistentVolumeClaim: the volume does not fit the claim";
                pending(
                    &mut plan,
                    claim,
                    Note::warning(claim, "VolumeMismatch", text),
                );
            }
            Some(volume) if volume.spec.claim_ref.is_none() || is_for(volume, claim) => {
                bind(&mut plan, claim, volume);
            }
            _ => phase(&mut plan, claim, "Pending"),
        }
    }
    Some(plan)
}

/// A claim that was bound once stays with its volume or is lost.
fn bound(plan: &mut Plan, claim: &PersistentVolumeClaim, volume: Option<&PersistentVolume>) {
    let lost = match volume {
        None if claim.spec.volume_name.is_empty() => (
            "ClaimLost",
            "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
        ),
        None => (
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        ),
        Some(volume) => match &volume.spec.claim_ref {
            Some(r) if r.uid != claim.metadata.uid => (
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            ),
            _ => return bind(plan, claim, volume),
        },
    };
    if claim.status.phase != "Lost" {
        phase(plan, claim, "Lost");
        plan.note(Note::warning(claim, lost.0, lost.1));
    }
}

/// The next write that is missing until both name each other and say so.
fn bind(plan: &mut Plan, claim: &PersistentVolumeClaim, volume: &PersistentVolume) {
    let mut new = volume.clone();
    let held = new.spec.claim_ref.as_ref();
    if held.is_none_or(|r| r.uid != claim.metadata.uid) {
        let chosen = held.is_none();
        new.spec.claim_ref = Some(Box::new(reference(claim)));
        if chosen {
            new.metadata.annotations.insert(BOUND_BY_CONTROLLER, "yes");
        }
        let write = Write::patch(volume, &new, "the claim gets this volume");
        plan.write_if(write.map(|w| w.only_if_unchanged(volume)));
    }
    let mut new = claim.clone();
    if claim.spec.volume_name.is_empty() {
        new.spec.volume_name = volume.metadata.name.clone();
        new.metadata.annotations.insert(BOUND_BY_CONTROLLER, "yes");
    }
    new.metadata.annotations.insert(BIND_COMPLETED, "yes");
    if let Some(write) = Write::patch(claim, &new, "its volume was found") {
        plan.write(write.only_if_unchanged(claim));
        return;
    }
    new.status.phase = "Bound".into();
    new.status.access_modes = volume.spec.access_modes.clone();
    new.status.capacity = volume.spec.capacity.clone();
    plan.write_if(Write::patch_status(claim, &new, "it has its volume"));
}

fn phase(plan: &mut Plan, claim: &PersistentVolumeClaim, phase: &str) {
    let mut new = claim.clone();
    new.status.phase = phase.into();
    plan.write_if(Write::patch_status(claim, &new, "how far its binding is"));
}

fn pending(plan: &mut Plan, claim: &PersistentVolumeClaim, note: Note) {
    phase(plan, claim, "Pending");
    plan.note(note);
}

/// Big enough, of the same mode and class of attributes, and not going.
fn fits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let mode =
        |mode: &Option<corten_core::Str>| mode.clone().unwrap_or_else(|| "Filesystem".into());
    let enough = match (
        volume.spec.capacity.get("storage"),
        claim.spec.resources.requests.get("storage"),
    ) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(has), Some(wants)) => has >= wants,
    };
    let attributes = |name: &Option<corten_core::Str>| name.clone().unwrap_or_default();
    enough
        && mode(&claim.spec.volume_mode) == mode(&volume.spec.volume_mode)
        && attributes(&claim.spec.volume_attributes_class_name)
            == attributes(&volume.spec.volume_attributes_class_name)
        && !volume.metadata.deleting()
}

/// The volume that is meant for the claim, or else the smallest available one that it can use.
fn matching<'a>(
    snapshot: &'a Snapshot,
    claim: &PersistentVolumeClaim,
) -> Option<&'a PersistentVolume> {
    let fitting = || {
        snapshot
            .list::<PersistentVolume>()
            .filter(|v| fits(claim, v))
    };
    if let Some(meant) = fitting().find(|v| is_for(v, claim)) {
        return Some(meant);
    }
    if waits_for_pod(snapshot, claim) {
        return None;
    }
    let selector = claim.spec.selector.as_deref();
    let selector = match selector {
        Some(_) => Some(Selector::from_label_selector(selector).ok()?),
        None => None,
    };
    let class = class_of_claim(claim);
    fitting()
        .filter(|v| v.spec.claim_ref.is_none() && v.status.phase == "Available")
        .filter(|v| class_of_volume(v) == class)
        .filter(|v| {
            selector
                .as_ref()
                .is_none_or(|s| s.matches(&v.metadata.labels))
        })
        .filter(|v| {
            let modes = &v.spec.access_modes;
            claim.spec.access_modes.iter().all(|m| modes.contains(m))
        })
        .min_by_key(|v| v.spec.capacity.get("storage").cloned())
}

fn waits_for_pod(snapshot: &Snapshot, claim: &PersistentVolumeClaim) -> bool {
    let class = snapshot.get::<StorageClass>("", &class_of_claim(claim));
    let waits =
        class.is_some_and(|c| c.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    waits && !claim.metadata.annotations.contains_key(SELECTED_NODE)
}

/// Tells what a claim without a volume waits for, and whose provisioner should see it.
fn wait(plan: &mut Plan, snapshot: &Snapshot, claim: &PersistentVolumeClaim) {
    if waits_for_pod(snapshot, claim) {
        let text = "waiting for first consumer to be created before binding";
        return pending(
            plan,
            claim,
            Note::normal(claim, "WaitForFirstConsumer", text),
        );
    }
    let name = class_of_claim(claim);
    if name.is_empty() {
        let text = "no persistent volumes available for this claim and no storage class is set";
        return pending(plan, claim, Note::normal(claim, "FailedBinding", text));
    }
    let Some(class) = snapshot.get::<StorageClass>("", &name) else {
        let text = format!("storageclass.storage.k8s.io \"{name}\" not found");
        return pending(
            plan,
            claim,
            Note::warning(claim, "ProvisioningFailed", text),
        );
    };
    let provisioner = &class.provisioner;
    if provisioner.starts_with("kubernetes.io/") {
        let text = format!("no volume plugin matched name: {provisioner}");
        return pending(
            plan,
            claim,
            Note::warning(claim, "ProvisioningFailed", text),
        );
    }
    let mut new = claim.clone();
    for key in PROVISIONER {
        new.metadata.annotations.insert(key, provisioner.clone());
    }
    if let Some(write) = Write::patch(claim, &new, "a provisioner makes its volume") {
        return plan.write(write.only_if_unchanged(claim));
    }
    let text = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    pending(
        plan,
        claim,
        Note::normal(claim, "ExternalProvisioning", text),
    );
}
