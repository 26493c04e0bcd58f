//! Garbage collector: objects whose owners are gone go too, and deletions wait for dependents or leave them behind as
//! they were asked to.
//!
//! Invariant: an object is deleted only when each of its owners is absent from the snapshot or waits for its
//! dependents, and at least one owner was named; an owner that lives keeps it, and dangling references are then
//! removed. Keys name the resource too: `<resource>.<group>/<namespace>` stands where other controllers have the
//! namespace.

use crate::plan::{Plan, Propagation, Target, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::core::v1::Namespace;
use corten_api::meta::v1::OwnerReference;
use corten_api::{Gvk, Object, resource_of_kind};
use corten_core::{Str, Value};
use corten_meta::{GroupResource, GroupVersionResource, ObjectKey, Snapshot};
use std::sync::Arc;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "garbage-collector",
    service_account: "generic-garbage-collector",
    primary: resource::<Namespace>,
    wakes: &[Wake {
        on: Watched::Every,
        keys: itself_and_relatives,
    }],
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

/// The resource of an object in the snapshot.
fn resource_of(snapshot: &Snapshot, object: &Object) -> Option<GroupVersionResource> {
    let gvk = object.gvk();
    if let Some(resource) = resource_of_kind(gvk) {
        return Some(GroupVersionResource::new(
            gvk.group,
            gvk.version,
            resource.plural,
        ));
    }
    let meta = object.meta();
    let key = ObjectKey::new(meta.namespace.clone(), meta.name.clone());
    let holds = |resource: &GroupResource| {
        resource.group == gvk.group
            && snapshot
                .object(resource, &key)
                .is_some_and(|o| o.kind() == gvk.kind)
    };
    let found = snapshot
        .resources()
        .map(|(resource, _)| resource)
        .find(|r| holds(r))?;
    Some(GroupVersionResource::new(
        gvk.group,
        gvk.version,
        found.resource.clone(),
    ))
}

/// The object, its owners (which may wait for it) and, when it is going, its dependents.
fn itself_and_relatives(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let meta = object.meta();
    let mut keys = Vec::new();
    if (!meta.owner_references.is_empty() || meta.deleting())
        && let Some(resource) = resource_of(snapshot, object)
    {
        keys.push(key_of(
            &resource.group_resource(),
            &meta.namespace,
            &meta.name,
        ));
    }
    for owner in meta.owner_references.iter() {
        if let Some((resource, found)) = find_owner(snapshot, &meta.namespace, owner)
            && found.meta().deleting()
        {
            keys.push(key_of(
                &resource,
                &found.meta().namespace,
                &found.meta().name,
            ));
        }
    }
    let gone = resource_of_kind(object.gvk()).is_some_and(|r| {
        let resource = GroupResource::new(r.group, r.plural);
        let key = ObjectKey::new(meta.namespace.clone(), meta.name.clone());
        snapshot
            .object(&resource, &key)
            .is_none_or(|now| now.meta().uid != meta.uid)
    });
    if gone || meta.deleting() {
        keys.extend(dependents(snapshot, meta).map(|(resource, dependent)| {
            key_of(
                &resource,
                &dependent.meta().namespace,
                &dependent.meta().name,
            )
        }));
    }
    keys
}

fn dependents<'a>(
    snapshot: &'a Snapshot,
    owner: &'a corten_api::meta::v1::ObjectMeta,
) -> impl Iterator<Item = (GroupResource, &'a Arc<Object>)> {
    let uid = &owner.uid;
    let namespace = &owner.namespace;
    snapshot.resources().flat_map(move |(resource, table)| {
        let scoped = !namespace.is_empty();
        let objects: Box<dyn Iterator<Item = &Arc<Object>>> = match scoped {
            true => Box::new(snapshot.objects_in(resource, namespace)),
            false => Box::new(table.values()),
        };
        objects
            .filter(move |o| o.meta().owner_references.iter().any(|r| r.uid == *uid))
            .map(move |o| (resource.clone(), o))
    })
}

/// The object that a reference names, if it exists with that UID. An owner is in the namespace of its dependent, or
/// in none.
fn find_owner<'a>(
    snapshot: &'a Snapshot,
    namespace: &str,
    owner: &OwnerReference,
) -> Option<(GroupResource, &'a Arc<Object>)> {
    let gvk = Gvk::parse(&owner.api_version, &owner.kind);
    let resource = owner_resource(snapshot, gvk)?;
    let places = [namespace, ""];
    let found = places
        .iter()
        .find_map(|ns| snapshot.object(&resource, &ObjectKey::new(*ns, owner.name.clone())))?;
    (found.meta().uid == owner.uid).then_some((resource, found))
}

/// The resource of a kind, whatever its version; nothing for kinds that nobody serves.
fn owner_resource(snapshot: &Snapshot, gvk: Gvk) -> Option<GroupResource> {
    let built_in = corten_api::resources()
        .iter()
        .find(|r| r.group == gvk.group && r.kind == gvk.kind);
    if let Some(resource) = built_in {
        return Some(GroupResource::new(resource.group, resource.plural));
    }
    let holds =
        |table: &corten_meta::Table| table.values().next().is_some_and(|o| o.kind() == gvk.kind);
    let mut tables = snapshot
        .resources()
        .filter(|(resource, _)| resource.group == gvk.group);
    tables
        .find(|(_, table)| holds(table))
        .map(|(resource, _)| resource.clone())
}

/// How one owner of an object is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    /// It lives: the object stays.
    Solid,
    /// It is gone.
    Absent,
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
    let owners = meta.owner_references.iter().map(|owner| {
        let gvk = Gvk::parse(&owner.api_version, &owner.kind);
        let state = match find_owner(snapshot, &meta.namespace, owner) {
            Some((_, found))
                if found.meta().deleting() && found.meta().has_finalizer(FOREGROUND) =>
            {
                Owner::Waiting
            }
            Some(_) => Owner::Solid,
            None if owner_resource(snapshot, gvk).is_none() => Owner::Unknown,
            None => Owner::Absent,
        };
        (owner, state)
    });
    let owners = owners.collect();
    let waits = meta.deleting() && (meta.has_finalizer(FOREGROUND) || meta.has_finalizer(ORPHAN));
    let dependents = match waits {
        true => dependents(snapshot, meta)
            .filter_map(|(_, dependent)| Some((resource_of(snapshot, dependent)?, dependent)))
            .collect(),
        false => Vec::new(),
    };
    Some(Observed {
        object,
        resource,
        owners,
        dependents,
    })
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
    let count = |state: Owner| observed.owners.iter().filter(|(_, s)| *s == state).count();
    let (solid, absent, waiting) = (
        count(Owner::Solid),
        count(Owner::Absent),
        count(Owner::Waiting),
    );
    if observed.owners.is_empty() || count(Owner::Unknown) > 0 {
        return plan;
    }
    if solid > 0 {
        if absent + waiting > 0 {
            let gone = observed
                .owners
                .iter()
                .filter(|(_, s)| *s != Owner::Solid)
                .map(|(o, _)| o.uid.clone());
            let gone: Vec<Str> = gone.collect();
            plan.write(drop_owners(
                &observed.resource,
                observed.object,
                &gone,
                "some of its owners are gone",
            ));
        }
        return plan;
    }
    let propagation = match waiting > 0 {
        // It may itself be waited for by its own dependents.
        true => Propagation::Foreground,
        false if meta.has_finalizer(ORPHAN) => Propagation::Orphan,
        false if meta.has_finalizer(FOREGROUND) => Propagation::Foreground,
        false => Propagation::Background,
    };
    plan.write(delete(
        &observed.resource,
        observed.object,
        propagation,
        "none of its owners is left",
    ));
    plan
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

fn delete(
    resource: &GroupVersionResource,
    object: &Object,
    propagation: Propagation,
    because: &str,
) -> Write {
    // Only the UID counts: a status that moves on does not give the object an owner.
    let target = Target {
        resource_version: None,
        ..target(resource, object)
    };
    Write::Delete {
        target,
        propagation: Some(propagation),
        grace_period: None,
        because: because.to_owned(),
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
