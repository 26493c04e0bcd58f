//! Namespace: one that is being deleted is emptied of everything, then let go.
//!
//! Invariant: the finalizer `kubernetes` is removed only when the server confirms that nothing of any resource is left in
//! the namespace. Objects with finalizers of their own are waited for and named in the conditions.

use crate::plan::{Context, Fact, Plan, Propagation, Target, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::core::v1::{Namespace, NamespaceCondition};
use corten_core::{Time, Value};
use corten_meta::{GroupResource, GroupVersionResource, ObjectKey, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "namespace",
    service_account: "namespace-controller",
    primary: resource::<Namespace>,
    wakes: &[Wake {
        on: Watched::Every,
        keys: its_terminating_namespace,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

const FINALIZER: &str = "kubernetes";

fn its_terminating_namespace(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let name = &object.meta().namespace;
    let namespace = snapshot
        .get::<Namespace>("", name)
        .filter(|n| !name.is_empty() && n.metadata.deleting());
    namespace
        .map(|_| ObjectKey::new("", name.clone()))
        .into_iter()
        .collect()
}

/// A namespace that is being deleted, and what is left in it.
#[derive(Debug)]
pub struct Observed<'a> {
    namespace: &'a Namespace,
    content: Vec<(GroupResource, &'a Arc<Object>)>,
}

/// What concerns the namespace `key`; nothing unless it is being deleted.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let namespace = snapshot
        .get::<Namespace>("", &key.name)
        .filter(|n| n.metadata.deleting())?;
    let mut content = Vec::new();
    for (resource, _) in snapshot.resources() {
        let objects = snapshot.objects_in(resource, &key.name);
        content.extend(objects.map(|object| (resource.clone(), object)));
    }
    Some(Observed { namespace, content })
}

/// Deletes what is left, tells of it, and finalizes the empty namespace.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let namespace = observed.namespace;
    if !namespace.spec.finalizers.iter().any(|f| f == FINALIZER) {
        return plan;
    }
    if observed.content.is_empty() && is_last(namespace) {
        // Nobody would see its last conditions.
        finalize(&mut plan, namespace);
        return plan;
    }
    let mut new = namespace.clone();
    new.status.phase = "Terminating".into();
    conditions(&mut new, &observed.content, context.now);
    let status = Write::patch_status(namespace, &new, "what is left in it changed");
    match (&status, observed.content.is_empty()) {
        (None, true) => finalize(&mut plan, namespace),
        // Finalizing would conflict with the write of the status; its change wakes the key again.
        _ => plan.write_if(status),
    }
    let is_pod = |r: &GroupResource| r.group.is_empty() && r.resource == "pods";
    let pods_left = observed.content.iter().any(|(r, _)| is_pod(r));
    for (resource, object) in &observed.content {
        // Pods go first (KEP-5080): nothing that guards them, such as a network policy, goes before they are gone.
        if object.meta().deleting() || (pods_left && !is_pod(resource)) {
            continue;
        }
        plan.write(delete(resource, object));
    }
    plan
}

/// Whether nothing but this controller keeps the namespace.
fn is_last(namespace: &Namespace) -> bool {
    namespace.metadata.finalizers.is_empty() && namespace.spec.finalizers.len() == 1
}

fn delete(resource: &GroupResource, object: &Object) -> Write {
    let meta = object.meta();
    let version = object.gvk().version.to_owned();
    Write::Delete {
        target: Target {
            resource: GroupVersionResource::new(
                resource.group.clone(),
                version,
                resource.resource.clone(),
            ),
            key: ObjectKey::new(meta.namespace.clone(), meta.name.clone()),
            uid: meta.uid.clone(),
            resource_version: None,
        },
        propagation: Some(Propagation::Background),
        grace_period: None,
        because: "its namespace is being deleted".to_owned(),
    }
}

fn finalize(plan: &mut Plan, namespace: &Namespace) {
    let kept = namespace.spec.finalizers.iter().filter(|f| *f != FINALIZER);
    let kept: Vec<Value> = kept.map(|f| Value::Str(f.clone())).collect();
    let mut patch = Value::Map(Default::default());
    patch.set(&["spec", "finalizers"], Value::List(kept));
    let write = Write::Patch {
        target: Target::unchanged(namespace),
        subresource: "finalize",
        patch,
        because: "nothing is left in it".to_owned(),
    };
    let empty = Fact::Empty {
        namespace: namespace.metadata.name.clone(),
    };
    plan.write_given(write, vec![empty]);
}

/// Upstream's five conditions, in the order in which upstream writes them.
fn conditions(namespace: &mut Namespace, content: &[(GroupResource, &Arc<Object>)], now: Time) {
    let fine = [
        (
            "NamespaceDeletionDiscoveryFailure",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
    ];
    for (kind, reason, message) in fine {
        set(namespace, kind, "False", reason, message.to_owned(), now);
    }
    match remaining(content) {
        Some(message) => set(
            namespace,
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            message,
            now,
        ),
        None => {
            let message = "All content successfully removed".to_owned();
            set(
                namespace,
                "NamespaceContentRemaining",
                "False",
                "ContentRemoved",
                message,
                now,
            );
        }
    }
    match finalizers(content) {
        Some(message) => {
            set(
                namespace,
                "NamespaceFinalizersRemaining",
                "True",
                "SomeFinalizersRemain",
                message,
                now,
            );
        }
        None => {
            let message = "All content-preserving finalizers finished".to_owned();
            set(
                namespace,
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                message,
                now,
            );
        }
    }
}

fn remaining(content: &[(GroupResource, &Arc<Object>)]) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (resource, _) in content {
        *counts
            .entry(format!("{}.{}", resource.resource, resource.group))
            .or_default() += 1;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(resource, count)| format!("{resource} has {count} resource instances"))
        .collect();
    (!parts.is_empty()).then(|| format!("Some resources are remaining: {}", parts.join(", ")))
}

fn finalizers(content: &[(GroupResource, &Arc<Object>)]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in content
        .iter()
        .flat_map(|(_, object)| object.meta().finalizers.iter())
    {
        *counts.entry(finalizer).or_default() += 1;
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    (!parts.is_empty()).then(|| {
        format!(
            "Some content in the namespace has finalizers remaining: {}",
            parts.join(", ")
        )
    })
}

fn set(
    namespace: &mut Namespace,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Time,
) {
    let new = NamespaceCondition {
        type_: kind.into(),
        status: status.into(),
        last_transition_time: now,
        reason: reason.into(),
        message: message.into(),
    };
    match namespace
        .status
        .conditions
        .iter_mut()
        .find(|c| c.type_ == kind)
    {
        Some(old) => {
            let moved = old.status != new.status;
            let since = if moved { now } else { old.last_transition_time };
            *old = NamespaceCondition {
                last_transition_time: since,
                ..new
            };
        }
        None => namespace.status.conditions.push(new),
    }
}

#[cfg(test)]
#[path = "namespace_tests.rs"]
mod tests;
