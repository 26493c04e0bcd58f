//! Pods that no job counts any more: their job is gone or finished, or nothing controls them.
//!
//! Invariant: a pod whose job may still count it keeps the finalizer; that a job is missing from the snapshot proves
//! nothing. Pods that something else than a job controls, or a job of another controller, are left alone.

use super::{FINALIZER, finished, is_external, release};
use crate::plan::{Fact, Plan, Target};
use corten_api::batch::v1::Job;
use corten_api::core::v1::Pod;
use corten_api::{Kind, Object};
use corten_meta::{GroupVersionResource, ObjectKey, Snapshot};

/// What stands before the namespace in a key that names a pod; no namespace is called so.
const PODS: &str = "pods/";

fn key_of(pod: &Object) -> ObjectKey {
    let meta = pod.meta();
    ObjectKey::new(format!("{PODS}{}", meta.namespace), meta.name.clone())
}

/// The pod that `key` names, if it names one and not a job.
pub(super) fn pod_of(key: &ObjectKey) -> Option<ObjectKey> {
    let namespace = key.namespace.strip_prefix(PODS)?;
    Some(ObjectKey::new(namespace, key.name.clone()))
}

/// Wakes the key of a pod that may have lost its job.
pub(super) fn itself(snapshot: &Snapshot, pod: &Object) -> Vec<ObjectKey> {
    let meta = pod.meta();
    let place = ObjectKey::new(meta.namespace.clone(), meta.name.clone());
    match observe(snapshot, &place) {
        Some(_) => vec![key_of(pod)],
        None => Vec::new(),
    }
}

/// Wakes the keys of the pods that a job leaves behind.
pub(super) fn left_by(snapshot: &Snapshot, job: &Object) -> Vec<ObjectKey> {
    let dependents = snapshot.dependents(&job.meta().uid).into_iter();
    dependents
        .filter(|(_, dependent)| dependent.downcast_ref::<Pod>().is_some())
        .flat_map(|(_, pod)| itself(snapshot, pod))
        .collect()
}

/// A pod that nobody counts.
#[derive(Debug)]
pub struct Observed<'a> {
    pod: &'a Pod,
    because: &'static str,
    /// A job that is not in the snapshot and was not seen to go.
    unseen: Option<Target>,
}

/// The pod at `key`; nothing when it has no finalizer to lose or its job may still count it.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let pod = snapshot.get::<Pod>(&key.namespace, &key.name)?;
    if !pod.metadata.has_finalizer(FINALIZER) {
        return None;
    }
    let left = |because, unseen| {
        Some(Observed {
            pod,
            because,
            unseen,
        })
    };
    let Some(owner) = pod.metadata.controller_of() else {
        return left("no job controls it", None);
    };
    if owner.kind != Job::KIND || owner.api_version != Job::API_VERSION {
        return None;
    }
    let job = snapshot.get::<Job>(&key.namespace, &owner.name);
    match job.filter(|job| job.metadata.uid == owner.uid) {
        Some(job) if is_external(job) || finished(job).is_none() => None,
        Some(_) => left("its job is over", None),
        None if snapshot.has_gone(&owner.uid) => left("its job is gone", None),
        None => {
            let target = Target {
                resource: GroupVersionResource::of::<Job>(),
                key: ObjectKey::new(key.namespace.clone(), owner.name.clone()),
                uid: owner.uid.clone(),
                resource_version: None,
            };
            left("its job is gone", Some(target))
        }
    }
}

/// The write that lets the pod go.
pub fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let facts = observed.unseen.iter().cloned().map(Fact::Gone).collect();
    plan.write_given(release(observed.pod, observed.because), facts);
    plan
}
