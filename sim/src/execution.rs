//! Carries out one plan on virtual time, with the driver's rules.
//!
//! Invariant: steps go out in order, runs of creates in batches that double, runs of deletes together; the first
//! failure skips what follows except writes of status. A finished plan waits until its mirror shows what it wrote.

use crate::env::Env;
use crate::mirror::Mirror;
use crate::server::{Body, Call, Refused, Request};
use corten_api::Object;
use corten_controllers::{Failure, Plan, Step, Target, Write};
use corten_core::{Str, Time, Value};
use corten_meta::{GroupVersionResource, ObjectKey, Revision};
use std::collections::VecDeque;

/// Own writes that the mirror does not show after so long are not waited for any longer, milliseconds.
const OWN_WRITES_WAIT: u64 = 5_000;

/// A plan under way.
pub struct Execution {
    actor: Str,
    steps: VecDeque<Step>,
    batch_size: usize,
    calls: Vec<Call>,
    written: Vec<(GroupVersionResource, Revision)>,
    /// The first failure.
    pub failure: Option<Failure>,
    /// The failure came from a plan made from an older state.
    pub stale: bool,
    /// When the key must be looked at again.
    pub wake_at: Option<Time>,
    waits_until: Option<u64>,
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

impl Execution {
    /// Begins to carry out `plan` for `actor`.
    pub fn new(actor: &str, plan: Plan) -> Execution {
        Execution {
            actor: actor.into(),
            steps: plan.steps.into(),
            batch_size: 1,
            calls: Vec::new(),
            written: Vec::new(),
            failure: None,
            stale: false,
            wake_at: plan.wake_at,
            waits_until: None,
        }
    }

    /// Goes on; true when everything is done and seen.
    pub fn advance(&mut self, env: &mut Env, mirror: &Mirror) -> bool {
        if let Some(until) = self.waits_until {
            let mut written = self.written.iter();
            return env.millis() >= until || written.all(|(r, at)| mirror.has_seen(r, *at));
        }
        let mut open = Vec::new();
        for mut call in std::mem::take(&mut self.calls) {
            match call.poll(env) {
                None => open.push(call),
                Some(answer) => self.settle(call.request(), answer),
            }
        }
        self.calls = open;
        if self.calls.is_empty() {
            self.send(env, mirror);
        }
        if self.calls.is_empty() && self.steps.is_empty() {
            self.waits_until = Some(env.millis() + OWN_WRITES_WAIT);
        }
        false
    }

    /// When it goes on although nothing happens.
    pub fn deadline(&self) -> Option<u64> {
        self.waits_until
    }

    fn send(&mut self, env: &mut Env, mirror: &Mirror) {
        while let Some(first) = self.steps.pop_front() {
            if self.failure.is_some() && !is_status(&first.write) {
                continue;
            }
            let kind = batch_kind(&first.write);
            let limit = match kind {
                BatchKind::Delete => usize::MAX,
                BatchKind::Create => self.batch_size,
                BatchKind::Single => 1,
            };
            let mut batch = vec![first];
            while batch.len() < limit {
                match self.steps.front() {
                    Some(next) if batch_kind(&next.write) == kind => {
                        batch.extend(self.steps.pop_front());
                    }
                    _ => break,
                }
            }
            self.batch_size = match kind {
                BatchKind::Create => self.batch_size * 2,
                _ => 1,
            };
            for step in batch {
                let request = request_of(&self.actor, step.write, mirror);
                watch_collector(env, &request);
                self.calls.push(Call::send(env, request));
            }
            return;
        }
    }

    fn settle(&mut self, request: &Request, answer: Result<std::sync::Arc<Object>, Refused>) {
        let verb = match request.body {
            Body::Create(_) | Body::Bind { .. } => "create",
            Body::Replace(_) => "update",
            Body::Merge(_) => "patch",
            Body::Delete { .. } => "delete",
        };
        match answer {
            Ok(object) => {
                let revision = Revision::parse(&object.meta().resource_version);
                self.written
                    .extend(revision.map(|r| (request.resource.clone(), r)));
            }
            Err(refused) if refused.reason == "NotFound" && verb == "delete" => {}
            Err(refused) if self.failure.is_none() => {
                self.stale = matches!(refused.reason, "Conflict" | "NotFound");
                self.failure = Some(Failure {
                    verb,
                    reason: refused.reason.to_owned(),
                    message: refused.message,
                });
            }
            Err(_) => {}
        }
    }
}

/// The garbage collector must not delete what a living owner keeps.
fn watch_collector(env: &mut Env, request: &Request) {
    let Body::Delete { uid, .. } = &request.body else {
        return;
    };
    if request.actor != "garbage-collector" {
        return;
    }
    let doomed = env.storage.audit.state().find(|o| o.meta().uid == *uid);
    let kept = doomed.and_then(|o| env.storage.audit.living_owner(&o));
    if let Some(owner) = kept {
        let what = format!("{} {}", request.resource.resource, request.key);
        env.violation(format!(
            "the garbage collector deletes {what} although its owner {owner} lives"
        ));
    }
}

fn request_of(actor: &Str, write: Write, mirror: &Mirror) -> Request {
    let request =
        |resource: GroupVersionResource, part: &'static str, key: ObjectKey, body| Request {
            actor: actor.clone(),
            resource,
            part,
            key,
            body,
        };
    match write {
        Write::Create {
            resource, object, ..
        } => {
            let key = ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone());
            request(resource, "", key, Body::Create(object))
        }
        Write::Patch {
            target,
            subresource,
            patch,
            ..
        } => {
            let body = change(&target, patch, mirror);
            request(target.resource, subresource, target.key, body)
        }
        Write::Delete {
            target,
            propagation,
            grace_period,
            ..
        } => {
            let body = Body::Delete {
                propagation,
                grace: grace_period,
                uid: target.uid,
                revision: target.resource_version,
            };
            request(target.resource, "", target.key, body)
        }
        Write::Bind { target, node, .. } => {
            let body = Body::Bind {
                uid: target.uid,
                node,
            };
            request(target.resource, "binding", target.key, body)
        }
        Write::Evict { target, .. } => {
            let body = Body::Delete {
                propagation: None,
                grace: None,
                uid: target.uid,
                revision: None,
            };
            request(target.resource, "eviction", target.key, body)
        }
    }
}

/// As the driver does: objects are replaced by what was seen plus the patch; pods and nodes are patched.
fn change(target: &Target, mut patch: Value, mirror: &Mirror) -> Body {
    let resource = target.resource.group_resource();
    let is_contended =
        resource.group.is_empty() && matches!(resource.resource.as_str(), "pods" | "nodes");
    let snapshot = mirror.snapshot();
    let seen = snapshot
        .object(&resource, &target.key)
        .filter(|o| target.uid.is_empty() || o.meta().uid == target.uid);
    if let Some(seen) = seen.filter(|_| !is_contended) {
        let value = seen.to_value().expect("a mirrored object is valid");
        let merged = corten_patch::merge(value, &patch).expect("plans hold valid patches");
        let mut object = Object::from_value(&merged).expect("plans keep objects readable");
        if let Some(revision) = &target.resource_version {
            object.meta_mut().resource_version = revision.clone();
        }
        return Body::Replace(object);
    }
    if !target.uid.is_empty() {
        patch.set(&["metadata", "uid"], &target.uid);
    }
    if let Some(revision) = &target.resource_version {
        patch.set(&["metadata", "resourceVersion"], revision);
    }
    Body::Merge(patch)
}
