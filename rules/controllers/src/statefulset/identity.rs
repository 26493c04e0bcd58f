//! What makes a pod the one with its ordinal: name, labels, host name and claims.

use super::Sync;
use crate::revisions::HASH;
use crate::template::{self, controller_reference};
use corten_api::apps::v1::StatefulSet;
use corten_api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, Volume, VolumeSource,
};
use corten_core::{List, Str};

const NAME: &str = "statefulset.kubernetes.io/pod-name";
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in the pod's name, if it is a name of the set.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let rest = pod
        .metadata
        .name
        .strip_prefix(set.metadata.name.as_str())?
        .strip_prefix('-')?;
    let ordinal: i32 = rest.parse().ok()?;
    (ordinal.to_string() == rest).then_some(ordinal)
}

/// The pod with `ordinal`, of the current revision if an update has not come to it yet.
pub(super) fn new_pod(sync: &Sync, ordinal: i32) -> Pod {
    let set = sync.set;
    let rolling = set.spec.update_strategy.rolling_update.as_deref();
    let old_until = sync.start()
        + match rolling {
            Some(rolling) => rolling.partition.unwrap_or(0),
            None => set.status.current_replicas,
        };
    let is_rolling = set.spec.update_strategy.type_ != "OnDelete";
    let old = is_rolling && ordinal < old_until;
    let (revision, template) = if old { &sync.current } else { &sync.update };
    let mut pod = template::pod_from(set, template);
    pod.metadata.generate_name = Str::EMPTY;
    pod.metadata.name = format!("{}-{ordinal}", set.metadata.name).into();
    pod.metadata.labels.insert(HASH, revision.clone());
    label(&mut pod, ordinal);
    pod.spec.hostname = pod.metadata.name.clone();
    pod.spec.subdomain = set.spec.service_name.clone();
    mount(sync, &mut pod, ordinal);
    pod
}

/// The labels that tell the pod's identity.
pub(super) fn label(pod: &mut Pod, ordinal: i32) {
    let name = pod.metadata.name.clone();
    pod.metadata.labels.insert(NAME, name);
    pod.metadata.labels.insert(INDEX, ordinal.to_string());
}

fn mount(sync: &Sync, pod: &mut Pod, ordinal: i32) {
    let templates = &sync.set.spec.volume_claim_templates;
    let claimed = templates.iter().map(|template| Volume {
        name: template.metadata.name.clone(),
        volume_source: VolumeSource {
            persistent_volume_claim: Some(Box::new(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(sync.set, template, ordinal),
                read_only: false,
            })),
            ..Default::default()
        },
    });
    let is_claimed = |volume: &&Volume| templates.iter().any(|t| t.metadata.name == volume.name);
    let others = pod.spec.volumes.iter().filter(|v| !is_claimed(v)).cloned();
    let volumes: Vec<Volume> = claimed.chain(others).collect();
    if !volumes.is_empty() {
        pod.spec.volumes = List::from(volumes);
    }
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> Str {
    format!("{}-{}-{ordinal}", template.metadata.name, set.metadata.name).into()
}

/// The claims of the pod with `ordinal`.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        claim.metadata.name = claim_name(set, template, ordinal);
        claim.metadata.namespace = set.metadata.namespace.clone();
        claim.status = Default::default();
        let selector = set.spec.selector.iter().flat_map(|s| s.match_labels.iter());
        for (key, value) in selector {
            claim.metadata.labels.insert(key.clone(), value.clone());
        }
        if retention(set).0 {
            claim
                .metadata
                .owner_references
                .push(controller_reference(set));
        }
        claim
    };
    set.spec.volume_claim_templates.iter().map(claim).collect()
}

/// Whether claims go with the set, and whether they go with pods that are scaled away.
pub(super) fn retention(set: &StatefulSet) -> (bool, bool) {
    let policy = set.spec.persistent_volume_claim_retention_policy.as_deref();
    policy.map_or((false, false), |p| {
        (p.when_deleted == "Delete", p.when_scaled == "Delete")
    })
}

/// The owners that an existing claim shall have: the set, or a pod that is about to go, as the policy says.
pub(super) fn with_owners(
    set: &StatefulSet,
    claim: &PersistentVolumeClaim,
    condemned: Option<&Pod>,
) -> PersistentVolumeClaim {
    let (with_set, with_pod) = retention(set);
    let mut new = claim.clone();
    let pod_kept = condemned.filter(|_| with_pod);
    new.metadata.owner_references.retain(|r| {
        let set_reference = r.uid == set.metadata.uid;
        let pod_reference = r.kind == "Pod" && r.api_version == "v1";
        match (set_reference, pod_reference) {
            (true, _) => with_set && pod_kept.is_none(),
            (_, true) => pod_kept.is_some_and(|p| p.metadata.uid == r.uid),
            _ => true,
        }
    });
    let owners = &mut new.metadata.owner_references;
    if let Some(pod) = pod_kept {
        if !owners.iter().any(|r| r.uid == pod.metadata.uid) {
            owners.push(controller_reference(pod));
        }
    } else if with_set && !owners.iter().any(|r| r.uid == set.metadata.uid) {
        owners.push(controller_reference(set));
    }
    new
}
