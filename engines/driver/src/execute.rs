//! Carries out one plan through a client.
//!
//! Invariant: steps are carried out in order, runs of creates in batches that double (so that a quota that is used up
//! costs one refusal, not hundreds). The first failure skips what follows, except writes of status, which tell of it.

use crate::recorder::{Occurrence, Recorder};
use corten_api::core::v1::{Binding, ObjectReference};
use corten_api::policy::v1::Eviction;
use corten_api::{Kind, Object};
use corten_client::{
    Body, Client, Error, Mirror, Options, PatchKind, Preconditions, Propagation, Request, Verb,
};
use corten_controllers::plan;
use corten_controllers::{Failure, Note, Plan, Step, Target, Told, Write};
use corten_core::{Str, Value};
use corten_meta::{GroupVersionResource, ObjectKey, Revision, Snapshot};
use futures_util::future::join_all;
use std::sync::Arc;

/// How a plan ended.
#[derive(Debug, Default)]
pub struct Executed {
    /// The latest revision written, by resource.
    pub written: Vec<(GroupVersionResource, Revision)>,
    /// The first failure.
    pub failure: Option<Failure>,
    /// The failure came from a plan that was made from an older state: plan again, nothing is wrong.
    pub stale: bool,
}

/// Carries out `plan`.
pub(crate) async fn execute(
    client: &Client,
    recorder: &Recorder,
    mirror: &Mirror,
    plan: Plan,
) -> Executed {
    let mut executed = Executed::default();
    let mut steps = plan.steps.into_iter().peekable();
    let mut batch_size = 1;
    while let Some(first) = steps.next() {
        if executed.failure.is_some() && !is_status(&first.write) {
            continue;
        }
        let kind = batch_kind(&first.write);
        let limit = if kind == BatchKind::Delete {
            usize::MAX
        } else {
            batch_size
        };
        let mut batch = vec![first];
        while kind != BatchKind::Single && batch.len() < limit {
            match steps.next_if(|next| batch_kind(&next.write) == kind) {
                Some(next) => batch.push(next),
                None => break,
            }
        }
        batch_size = if kind == BatchKind::Create {
            batch_size * 2
        } else {
            1
        };
        let outcomes = join_all(
            batch
                .into_iter()
                .map(|step| carry_out(client, mirror, step)),
        )
        .await;
        for (told, outcome) in outcomes {
            settle(recorder, told, outcome, &mut executed);
        }
    }
    if executed.failure.is_none() {
        plan.events
            .into_iter()
            .for_each(|note| record(recorder, note));
    }
    executed
}

#[derive(Clone, Copy, PartialEq)]
enum BatchKind {
    Create,
    Delete,
    Single,
}

fn batch_kind(write: &Write) -> BatchKind {
    match write {
        Write::Create { .. } => BatchKind::Create,
        Write::Delete { .. } => BatchKind::Delete,
        _ => BatchKind::Single,
    }
}

fn is_status(write: &Write) -> bool {
    matches!(write, Write::Patch { subresource, .. } if *subresource == "status")
}

struct Outcome {
    verb: &'static str,
    resource: GroupVersionResource,
    name: Str,
    result: Result<Arc<Object>, Error>,
}

async fn carry_out(client: &Client, mirror: &Mirror, step: Step) -> (Option<Told>, Outcome) {
    tracing::debug!(because = step.write.because(), write = ?Brief(&step.write), "write");
    let request = request_of(step.write, &mirror.snapshot());
    let (verb, resource) = (verb_text(request.verb), request.resource.clone());
    let name = Str::from(request.name.as_str());
    let result = client.transport().call(request).await;
    let name = match &result {
        Ok(object) if name.is_empty() => object.meta().name.clone(),
        _ => name,
    };
    (
        step.told,
        Outcome {
            verb,
            resource,
            name,
            result,
        },
    )
}

/// Verb and object of a write, for logs.
struct Brief<'a>(&'a Write);

impl std::fmt::Debug for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Write::Create {
                resource, object, ..
            } => {
                write!(
                    f,
                    "create {} {}",
                    resource.resource,
                    object.meta().full_name()
                )
            }
            Write::Patch {
                target,
                subresource,
                ..
            } => {
                write!(
                    f,
                    "patch {} {} {subresource}",
                    target.resource.resource, target.key
                )
            }
            Write::Delete { target, .. } => {
                write!(f, "delete {} {}", target.resource.resource, target.key)
            }
            Write::Bind { target, node, .. } => write!(f, "bind {} to {node}", target.key),
            Write::Evict { target, .. } => write!(f, "evict {}", target.key),
        }
    }
}

fn settle(recorder: &Recorder, told: Option<Told>, outcome: Outcome, executed: &mut Executed) {
    match outcome.result {
        Ok(object) => {
            let meta = object.has_meta().then(|| object.meta());
            if let Some(revision) = meta.and_then(|m| Revision::parse(&m.resource_version)) {
                executed.written.push((outcome.resource, revision));
            }
            if let Some(told) = told {
                tell(recorder, &told, &told.done, &outcome.name, "");
            }
        }
        // The object is gone already, which is all that a delete wants.
        Err(error) if error.is_not_found() && outcome.verb == "delete" => {}
        Err(error) => {
            let stale = error.is_conflict() || error.is_not_found();
            let message = error.to_string();
            if let Some(told) = told.filter(|_| !stale) {
                tell(recorder, &told, &told.failed, &outcome.name, &message);
            }
            tracing::debug!(
                verb = outcome.verb,
                resource = %outcome.resource,
                name = %outcome.name,
                %error,
                "a write was refused"
            );
            if executed.failure.is_none() {
                executed.stale = stale;
                let reason = error
                    .status()
                    .map_or_else(String::new, |s| s.reason.clone());
                executed.failure = Some(Failure {
                    verb: outcome.verb,
                    reason,
                    message,
                });
            }
        }
    }
}

fn tell(
    recorder: &Recorder,
    told: &Told,
    (reason, text): &(&'static str, String),
    name: &str,
    error: &str,
) {
    if reason.is_empty() {
        return;
    }
    let event_type = if error.is_empty() {
        "Normal"
    } else {
        "Warning"
    };
    let message = text.replace("{name}", name).replace("{error}", error);
    let about = reference(&told.about, told.kind);
    recorder.record(Occurrence {
        about,
        event_type,
        reason: (*reason).into(),
        message,
    });
}

fn record(recorder: &Recorder, note: Note) {
    let about = reference(&note.about, note.kind);
    let reason = note.reason.into();
    recorder.record(Occurrence {
        about,
        event_type: note.event_type,
        reason,
        message: note.message,
    });
}

fn reference(target: &Target, kind: &str) -> ObjectReference {
    ObjectReference {
        kind: kind.into(),
        api_version: target.resource.api_version().into(),
        namespace: target.key.namespace.clone(),
        name: target.key.name.clone(),
        uid: target.uid.clone(),
        resource_version: target.resource_version.clone().unwrap_or_default(),
        ..Default::default()
    }
}

fn request_of(write: Write, snapshot: &Snapshot) -> Request {
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
        Write::Evict { target, .. } => {
            let eviction = Eviction::namespaced(&target.key.namespace, &target.key.name);
            let body = Body::Object(Arc::new(Object::from(eviction)));
            request(Verb::Create, target.resource, "eviction", &target.key, body)
        }
    }
}

/// Upstream's controllers replace objects, and so do the roles allow; pods and nodes, which others write all the time,
/// are patched.
fn change(target: Target, subresource: &str, mut patch: Value, snapshot: &Snapshot) -> Request {
    let group_resource = target.resource.group_resource();
    let is_contended = group_resource.group.is_empty()
        && matches!(group_resource.resource.as_str(), "pods" | "nodes");
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
fn verb_text(verb: Verb) -> &'static str {
    match verb {
        Verb::Get => "get",
        Verb::Create => "create",
        Verb::Update => "update",
        Verb::Patch => "patch",
        Verb::Delete => "delete",
    }
}

fn request(
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
