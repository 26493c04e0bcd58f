//! Which pods belong to a controller: adoption of matching orphans and release of own pods that match no longer.
//!
//! Invariant: a pod with another controller is never touched; nothing is adopted by an owner that is being deleted.

use crate::plan::{Plan, Target, Write, value_of};
use crate::template::controller_reference;
use corten_api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use corten_api::batch::v1::Job;
use corten_api::core::v1::{Pod, ReplicationController};
use corten_api::{Kind, Object};
use corten_core::{Value, ValueMap};
use corten_meta::{ObjectKey, Selector, Snapshot};

/// An owner that selects pods by labels.
pub trait Selecting: Kind {
    /// The selector; nothing when it is absent or invalid.
    fn selector(&self) -> Option<Selector>;
}

/// Implements [`Selecting`] for kinds with a `spec.selector` of type LabelSelector.
macro_rules! selecting {
    ($($kind:ty),*) => {
        $(impl Selecting for $kind {
            fn selector(&self) -> Option<Selector> {
                Selector::from_label_selector(self.spec.selector.as_deref()).ok().filter(|s| !s.is_everything())
            }
        })*
    };
}

selecting!(DaemonSet, Deployment, Job, ReplicaSet, StatefulSet);

impl Selecting for ReplicationController {
    fn selector(&self) -> Option<Selector> {
        (!self.spec.selector.is_empty()).then(|| Selector::from_map(&self.spec.selector))
    }
}

/// The pods of the owner's namespace that it controls already or might adopt.
pub fn candidates<'a, T: Kind>(
    snapshot: &'a Snapshot,
    owner: &T,
    selector: &Selector,
) -> Vec<&'a Pod> {
    let uid = &owner.meta().uid;
    snapshot
        .list_in::<Pod>(&owner.meta().namespace)
        .filter(|pod| match pod.metadata.controller_of() {
            Some(reference) => reference.uid == *uid,
            None => selector.matches(&pod.metadata.labels),
        })
        .collect()
}

/// Wakes the owner that a pod's controller reference names or, for an orphan, every `T` that selects it.
pub fn owner_or_selecting<T: Selecting>(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let meta = object.meta();
    if let Some(reference) = meta.controller_of() {
        let ours = reference.kind == T::KIND
            && reference.api_version.split('/').next() == T::API_VERSION.split('/').next();
        return match ours {
            true => vec![ObjectKey::new(
                meta.namespace.clone(),
                reference.name.clone(),
            )],
            false => Vec::new(),
        };
    }
    snapshot
        .list_in::<T>(&meta.namespace)
        .filter(|owner| owner.selector().is_some_and(|s| s.matches(&meta.labels)))
        .map(|owner| ObjectKey::new(meta.namespace.clone(), owner.meta().name.clone()))
        .collect()
}

/// The candidates, sorted out.
#[derive(Debug)]
pub struct Claim<'a> {
    /// Controlled by the owner and matching.
    pub owned: Vec<&'a Pod>,
    /// Orphans that match: to be adopted.
    pub adopted: Vec<&'a Pod>,
    /// Controlled by the owner, matching no longer: to be released.
    pub released: Vec<&'a Pod>,
}

impl<'a> Claim<'a> {
    /// Sorts `candidates` out for `owner`.
    pub fn new<T: Kind>(owner: &T, selector: &Selector, candidates: &[&'a Pod]) -> Claim<'a> {
        let mut claim = Claim {
            owned: Vec::new(),
            adopted: Vec::new(),
            released: Vec::new(),
        };
        let deleting = owner.meta().deletion_timestamp.is_some();
        for pod in candidates.iter().copied() {
            let matches = selector.matches(&pod.metadata.labels);
            match (pod.metadata.controller_of().is_some(), matches) {
                (true, true) => claim.owned.push(pod),
                (true, false) if !deleting => claim.released.push(pod),
                (false, true) if !deleting && pod.metadata.deletion_timestamp.is_none() => {
                    claim.adopted.push(pod)
                }
                _ => {}
            }
        }
        claim
    }

    /// Adds the adoptions and releases to `plan`.
    pub fn plan<T: Kind>(&self, plan: &mut Plan, owner: &T) {
        self.plan_with(plan, owner, &[]);
    }

    /// As [`Claim::plan`]; adopted pods get `finalizers`.
    pub fn plan_with<T: Kind>(&self, plan: &mut Plan, owner: &T, finalizers: &[&str]) {
        for pod in &self.adopted {
            let mut new = (*pod).clone();
            new.metadata
                .owner_references
                .push(controller_reference(owner));
            for finalizer in finalizers {
                new.metadata.add_finalizer(finalizer);
            }
            plan.write_if(
                Write::patch(*pod, &new, format!("{} selects it", owner.meta().name))
                    .map(|w| w.only_if_unchanged(*pod)),
            );
        }
        for pod in &self.released {
            plan.write(release(pod, &owner.meta().uid));
        }
    }
}

fn release(pod: &Pod, owner_uid: &str) -> Write {
    let kept: Vec<Value> = pod
        .metadata
        .owner_references
        .iter()
        .filter(|r| r.uid != owner_uid)
        .map(value_of)
        .collect();
    let mut metadata = ValueMap::default();
    metadata.insert("ownerReferences", Value::List(kept));
    let mut patch = ValueMap::default();
    patch.insert("metadata", Value::Map(metadata));
    Write::Patch {
        target: Target::unchanged(pod),
        subresource: "",
        patch: Value::Map(patch),
        because: "its labels match the selector no longer".to_owned(),
    }
}
