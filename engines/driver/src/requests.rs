//! The request that a write of a plan becomes.
//!
//! Invariant: pure; what was planned under a precondition is asked for under the same one.

use corten_api::core::v1::{Binding, ObjectReference};
use corten_api::policy::v1::Eviction;
use corten_api::{Kind, Object};
use corten_client::{Body, Options, PatchKind, Preconditions, Propagation, Request, Verb};
use corten_controllers::plan;
use corten_controllers::{Target, Write};
use corten_core::Value;
use corten_meta::{GroupVersionResource, ObjectKey, Snapshot};
use std::sync::Arc;

pub(crate) fn request_of(write: Write, snapshot: &Snapshot) -> Request {
    match write {
        Write::Create {
            resource, object, ..
        } => {
            let key = ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone());
            request(
                Verb::Create,
                resource,
                "",
                &key,
                Body::Object(Arc::new(object)),
            )
        }
        Write::Patch {
            target,
            subresource,
            patch,
            ..
        } => change(target, subresource, patch, snapshot),
        Write::Delete {
            target,
            propagation,
            grace_period,
            ..
        } => {
            let mut request = request(Verb::Delete, target.resource, "", &target.key, Body::None);
            let uid = Some(target.uid.to_string()).filter(|uid| !uid.is_empty());
            let resource_version = target.resource_version.map(|v| v.to_string());
            request.options.grace_period_seconds = grace_period;
            request.options.propagation = propagation.map(propagation_of);
            request.options.preconditions = Preconditions {
                uid,
                resource_version,
            };
            request
        }
        Write::Bind { target, node, .. } => {
            let mut binding = Binding::namespaced(&target.key.namespace, &target.key.name);
            binding.metadata.uid = target.uid;
            binding.target = ObjectReference {
                kind: "Node".into(),
                name: node,
                ..Default::default()
            };
            let body = Body::Object(Arc::new(Object::from(binding)));
            request(Verb::Create, target.resource, "binding", &target.key, body)
        }
        // What is to be signed was turned into a patch; without it the request stays as it is.
        Write::Sign { target, .. } => change(target, "status", Value::map(), snapshot),
        Write::Evict { target, .. } => {
            let eviction = Eviction::namespaced(&target.key.namespace, &target.key.name);
            let body = Body::Object(Arc::new(Object::from(eviction)));
            request(Verb::Create, target.resource, "eviction", &target.key, body)
        }
    }
}

/// Upstream's controllers replace objects, and so do the roles allow; pods and nodes, which others write all the time,
/// are patched, and secrets and definitions, which roles let be patched but not replaced.
fn change(target: Target, subresource: &str, mut patch: Value, snapshot: &Snapshot) -> Request {
    let group_resource = target.resource.group_resource();
    let is_contended = matches!(
        (
            group_resource.group.as_str(),
            group_resource.resource.as_str()
        ),
        ("", "pods" | "nodes" | "secrets") | ("apiextensions.k8s.io", "customresourcedefinitions")
    );
    let seen = snapshot.object(&group_resource, &target.key);
    let seen = seen.filter(|o| target.uid.is_empty() || o.meta().uid == target.uid);
    if let Some(seen) = seen.filter(|_| !is_contended)
        && let Some(mut object) = merged(seen, &patch)
    {
        if let Some(revision) = target.resource_version {
            object.meta_mut().resource_version = revision;
        }
        let body = Body::Object(Arc::new(object));
        return request(
            Verb::Update,
            target.resource,
            subresource,
            &target.key,
            body,
        );
    }
    // Upstream's way to make a patch conditional: the preconditions are part of the patch.
    if !target.uid.is_empty() {
        patch.set(&["metadata", "uid"], target.uid);
    }
    if let Some(revision) = target.resource_version {
        patch.set(&["metadata", "resourceVersion"], revision);
    }
    let body = Body::Patch(PatchKind::Merge, patch.to_string().into());
    request(Verb::Patch, target.resource, subresource, &target.key, body)
}

fn merged(seen: &Object, patch: &Value) -> Option<Object> {
    let value = corten_patch::merge(seen.to_value().ok()?, patch).ok()?;
    Object::from_value(&value).ok()
}

fn propagation_of(propagation: plan::Propagation) -> Propagation {
    match propagation {
        plan::Propagation::Background => Propagation::Background,
        plan::Propagation::Foreground => Propagation::Foreground,
        plan::Propagation::Orphan => Propagation::Orphan,
    }
}

/// The verb as people and conditions spell it.
pub(crate) fn verb_text(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch => "patch",
        Verb::Delete => "delete",
    }
}

pub(crate) fn request(
    verb: Verb,
    resource: GroupVersionResource,
    part: &str,
    key: &ObjectKey,
    body: Body,
) -> Request {
    Request {
        verb,
        resource,
        subresource: part.to_owned(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        body,
        options: Options::default(),
    }
}
