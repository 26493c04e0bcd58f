//! Garbage collector: objects whose owners are gone go too, and deletions wait for dependents or leave them behind as
//! they were asked to.
//!
//! Invariant: an object is deleted only when each of its owners is gone, which is proven by having seen it go or by
//! asking the server, or waits for its dependents, and at least one owner was named; an owner that lives keeps it, and
//! dangling references are then removed. Keys name the resource too: `<resource>.<group>/<namespace>` stands where
//! other controllers have the namespace.

use crate::custom::{self, Scope};
use crate::plan::{Fact, Plan, Propagation, Target, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::apiextensions::v1::CustomResourceDefinition;
use corten_api::core::v1::Namespace;
use corten_api::meta::v1::OwnerReference;
use corten_api::{Gvk, Object};
use corten_core::{Str, Value};
use corten_meta::{GroupResource, GroupVersionResource, ObjectKey, Snapshot};
use std::sync::Arc;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "garbage-collector",
    service_account: "generic-garbage-collector",
    primary: resource::<Namespace>,
    wakes: &[
        Wake {
            on: Watched::Every,
            keys: itself_and_relatives,
        },
        Wake {
            on: Watched::One(resource::<CustomResourceDefinition>),
            keys: those_owned_by_its_kind,
        },
    ],
    reconcile: |snapshot, key, _| observe(snapshot, key).map(|observed| plan(&observed)),
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

fn key_of(resource: &GroupResource, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(format!("{resource}/{namespace}"), name)
}

/// The resource and the object that a key of this controller names.
fn parse(key: &ObjectKey) -> Option<(GroupResource, ObjectKey)> {
    let (resource, namespace) = key.namespace.rsplit_once('/')?;
    let resource = match resource.split_once('.') {
        Some((name, group)) => GroupResource::new(group, name),
        None => GroupResource::new("", resource),
    };
    Some((resource, ObjectKey::new(namespace, key.name.clone())))
}

/// The resource that serves an object's kind.
fn resource_of(snapshot: &Snapshot, object: &Object) -> Option<GroupVersionResource> {
    let gvk = object.gvk();
    custom::serving(snapshot, gvk.group, gvk.version, gvk.kind).map(|(resource, _)| resource)
}

fn place_of(object: &Object) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone())
}

/// The object, its owners (which may wait for it) and, when it is going, its dependents.
fn itself_and_relatives(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let meta = object.meta();
    let mut keys = Vec::new();
    let resource = resource_of(snapshot, object);
    if (!meta.owner_references.is_empty() || meta.deleting())
        && let Some(resource) = &resource
    {
        let resource = resource.group_resource();
        keys.push(key_of(&resource, &meta.namespace, &meta.name));
    }
    for owner in meta.owner_references.iter() {
        if let Some((resource, _, Some(found))) = find_owner(snapshot, &meta.namespace, owner)
            && found.meta().deleting()
        {
            let meta = found.meta();
            keys.push(key_of(
                &resource.group_resource(),
                &meta.namespace,
                &meta.name,
            ));
        }
    }
    let dependents = snapshot.dependents(&meta.uid);
    let stays = || {
        let resource = resource.as_ref().map(|r| r.group_resource());
        let now = resource.and_then(|r| snapshot.object(&r, &place_of(object)));
        now.is_some_and(|now| now.meta().uid == meta.uid)
    };
    if !dependents.is_empty() && (meta.deleting() || !stays()) {
        keys.extend(dependents.into_iter().map(|(resource, dependent)| {
            let meta = dependent.meta();
            key_of(resource, &meta.namespace, &meta.name)
        }));
    }
    keys
}

/// Objects whose owners' kind came or went: nothing could be said about them before.
fn those_owned_by_its_kind(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let Some(definition) = object.downcast_ref::<CustomResourceDefinition>() else {
        return Vec::new();
    };
    let names_it = |owner: &OwnerReference| {
        let gvk = Gvk::parse(&owner.api_version, &owner.kind);
        definition.spec.group == gvk.group && definition.spec.names.kind == gvk.kind
    };
    let owned = |(resource, object): (&GroupResource, &Arc<Object>)| {
        let meta = object.meta();
        let owned = meta.owner_references.iter().any(names_it);
        owned.then(|| key_of(resource, &meta.namespace, &meta.name))
    };
    snapshot
        .resources()
        .flat_map(|(resource, table)| table.values().filter_map(move |o| owned((resource, o))))
        .collect()
}

/// Where the object that a reference names would be, and the object if it is there with that UID. Nothing when its kind
/// is not served, or when a reference of an object in no namespace names something that lies in one.
fn find_owner<'a>(
    snapshot: &'a Snapshot,
    namespace: &str,
    owner: &OwnerReference,
) -> Option<(GroupVersionResource, ObjectKey, Option<&'a Arc<Object>>)> {
    let gvk = Gvk::parse(&owner.api_version, &owner.kind);
    let (resource, scope) = custom::serving(snapshot, gvk.group, gvk.version, gvk.kind)?;
    let namespace = match scope {
        Scope::Namespaced if namespace.is_empty() => return None,
        Scope::Namespaced => namespace,
        Scope::Cluster => "",
    };
    let key = ObjectKey::new(namespace, owner.name.clone());
    let found = snapshot
        .object(&resource.group_resource(), &key)
        .filter(|found| found.meta().uid == owner.uid);
    Some((resource, key, found))
}

/// How one owner of an object is.
#[derive(Clone, Debug, PartialEq)]
enum Owner {
    /// It lives: the object stays.
    Solid,
    /// It was seen to go.
    Gone,
    /// It is not in the snapshot, which the server has to confirm.
    Unseen(Target),
    /// It is being deleted in the foreground and waits for this object.
    Waiting,
    /// Nobody can tell: its kind is not served.
    Unknown,
}

/// An object that has owners or is going.
#[derive(Debug)]
pub struct Observed<'a> {
    object: &'a Arc<Object>,
    resource: GroupVersionResource,
    owners: Vec<(&'a OwnerReference, Owner)>,
    dependents: Vec<(GroupVersionResource, &'a Arc<Object>)>,
}

/// What concerns the object that `key` names.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let (group_resource, key) = parse(key)?;
    let object = snapshot.object(&group_resource, &key)?;
    let meta = object.meta();
    let resource = GroupVersionResource::new(
        group_resource.group,
        object.gvk().version,
        group_resource.resource,
    );
    let references = meta.owner_references.iter();
    let owners = references.map(|owner| (owner, state_of(snapshot, &meta.namespace, owner)));
    let dependents = snapshot.dependents(&meta.uid).into_iter();
    Some(Observed {
        object,
        resource,
        owners: owners.collect(),
        dependents: dependents
            .filter_map(|(_, dependent)| Some((resource_of(snapshot, dependent)?, dependent)))
            .collect(),
    })
}

fn state_of(snapshot: &Snapshot, namespace: &str, owner: &OwnerReference) -> Owner {
    match find_owner(snapshot, namespace, owner) {
        None => Owner::Unknown,
        Some((_, _, Some(found))) => {
            match found.meta().deleting() && found.meta().has_finalizer(FOREGROUND) {
                true => Owner::Waiting,
                false => Owner::Solid,
            }
        }
        Some(_) if snapshot.has_gone(&owner.uid) => Owner::Gone,
        Some((resource, key, None)) => Owner::Unseen(Target {
            resource,
            key,
            uid: owner.uid.clone(),
            resource_version: None,
        }),
    }
}

/// The writes that settle the object's fate.
pub fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let meta = observed.object.meta();
    if meta.deleting() {
        if meta.has_finalizer(ORPHAN) {
            orphan(&mut plan, observed);
        } else if meta.has_finalizer(FOREGROUND) {
            foreground(&mut plan, observed);
        }
        return plan;
    }
    let owners = || observed.owners.iter().map(|(_, state)| state);
    if observed.owners.is_empty() || owners().any(|state| *state == Owner::Unknown) {
        return plan;
    }
    let unseen = owners().filter_map(|state| match state {
        Owner::Unseen(target) => Some(Fact::Gone(target.clone())),
        _ => None,
    });
    let unseen: Vec<Fact> = unseen.collect();
    if owners().any(|state| *state == Owner::Solid) {
        let lost = observed.owners.iter().filter(|(_, s)| *s != Owner::Solid);
        let lost: Vec<Str> = lost.map(|(owner, _)| owner.uid.clone()).collect();
        if !lost.is_empty() {
            let because = "some of its owners are gone";
            let write = drop_owners(&observed.resource, observed.object, &lost, because);
            plan.write_given(write, unseen);
        }
        return plan;
    }
    let waited_for = owners().any(|state| *state == Owner::Waiting);
    if waited_for && let Some(write) = break_cycle(observed) {
        plan.write(write);
        return plan;
    }
    let propagation = match waited_for && !observed.dependents.is_empty() {
        // It may itself be waited for by its own dependents.
        true => Propagation::Foreground,
        false if meta.has_finalizer(ORPHAN) => Propagation::Orphan,
        false if meta.has_finalizer(FOREGROUND) => Propagation::Foreground,
        false => Propagation::Background,
    };
    plan.write_given(delete(observed, propagation), unseen);
    plan
}

/// An object that waits for a dependent which in turn waits for it would stay for ever: it stops blocking its owners.
fn break_cycle(observed: &Observed) -> Option<Write> {
    let meta = observed.object.meta();
    let waits = |o: &Object| o.meta().deleting() && o.meta().has_finalizer(FOREGROUND);
    let mut references = meta.owner_references.iter();
    if !observed.dependents.iter().any(|(_, d)| waits(d))
        || references.all(|r| r.block_owner_deletion != Some(true))
    {
        return None;
    }
    let freed = meta.owner_references.iter().map(|reference| {
        let mut reference = reference.clone();
        reference.block_owner_deletion = Some(false);
        crate::plan::value_of(&reference)
    });
    let mut patch = Value::Map(Default::default());
    patch.set(
        &["metadata", "ownerReferences"],
        Value::List(freed.collect()),
    );
    Some(Write::Patch {
        target: target(&observed.resource, observed.object),
        subresource: "",
        patch,
        because: "its dependents and its owners wait for each other".to_owned(),
    })
}

/// Lets dependents live without this owner, then lets the owner go.
fn orphan(plan: &mut Plan, observed: &Observed) {
    let uid = [observed.object.meta().uid.clone()];
    for (resource, dependent) in &observed.dependents {
        plan.write(drop_owners(
            resource,
            dependent,
            &uid,
            "its owner is deleted and leaves it behind",
        ));
    }
    plan.write(drop_finalizer(observed, ORPHAN));
}

/// Deletes dependents first; the owner goes when none that blocks it is left.
fn foreground(plan: &mut Plan, observed: &Observed) {
    let uid = &observed.object.meta().uid;
    let blocks = |dependent: &Object| {
        let references = dependent.meta().owner_references.iter();
        references
            .filter(|r| r.uid == *uid)
            .any(|r| r.block_owner_deletion == Some(true))
    };
    if !observed
        .dependents
        .iter()
        .any(|(_, dependent)| blocks(dependent))
    {
        plan.write(drop_finalizer(observed, FOREGROUND));
    }
}

fn target(resource: &GroupVersionResource, object: &Object) -> Target {
    let meta = object.meta();
    Target {
        resource: resource.clone(),
        key: ObjectKey::new(meta.namespace.clone(), meta.name.clone()),
        uid: meta.uid.clone(),
        resource_version: Some(meta.resource_version.clone()),
    }
}

fn delete(observed: &Observed, propagation: Propagation) -> Write {
    Write::Delete {
        // Unchanged: somebody may have given it another owner.
        target: target(&observed.resource, observed.object),
        propagation: Some(propagation),
        grace_period: None,
        because: "none of its owners is left".to_owned(),
    }
}

fn drop_owners(
    resource: &GroupVersionResource,
    object: &Object,
    gone: &[Str],
    because: &str,
) -> Write {
    let kept = object
        .meta()
        .owner_references
        .iter()
        .filter(|r| !gone.contains(&r.uid));
    let kept: Vec<Value> = kept.map(crate::plan::value_of).collect();
    let mut patch = Value::Map(Default::default());
    patch.set(&["metadata", "ownerReferences"], Value::List(kept));
    Write::Patch {
        target: target(resource, object),
        subresource: "",
        patch,
        because: because.to_owned(),
    }
}

fn drop_finalizer(observed: &Observed, finalizer: &str) -> Write {
    let kept = observed
        .object
        .meta()
        .finalizers
        .iter()
        .filter(|f| *f != finalizer);
    let kept: Vec<Value> = kept.map(|f| Value::Str(f.clone())).collect();
    let mut patch = Value::Map(Default::default());
    patch.set(&["metadata", "finalizers"], Value::List(kept));
    Write::Patch {
        target: target(&observed.resource, observed.object),
        subresource: "",
        patch,
        because: "its dependents are dealt with".to_owned(),
    }
}

#[cfg(test)]
#[path = "garbage_tests.rs"]
mod tests;
