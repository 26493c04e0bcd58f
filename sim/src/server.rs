//! The API on one thread: what a request makes of an object, under which precondition, and its answer.
//!
//! Invariant: every request becomes at most one transaction at a time, conditional on the revision that it was made
//! from; a patch that loses the race is made again. Leaves out authorization, validation and allocation.

use crate::env::Env;
use crate::objects;
use crate::storage::Ticket;
use corten_api::Object;
use corten_api::core::v1::{Binding, Namespace, Pod, PodCondition};
use corten_client::{Body as Wire, ListAnswer, Verb, WatchRequest};
use corten_codec::json;
use corten_controllers::Propagation;
use corten_core::{Str, Value};
use corten_meta::{GroupVersionResource, ObjectKey, Snapshot};
use corten_store::{CommitError, Entry, Key, Outcome, Precondition, Transaction};
use std::sync::Arc;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
const TRIES_MAX: u32 = 50;

/// What is asked.
#[derive(Clone, Debug)]
pub enum Body {
    /// Create the object; a generateName is completed.
    Create(Object),
    /// Replace the object, or the part that `Request::part` names.
    Replace(Object),
    /// Apply a JSON merge patch.
    Merge(Value),
    /// Delete.
    Delete {
        /// What happens to dependents.
        propagation: Option<Propagation>,
        /// Grace period in seconds.
        grace: Option<i64>,
        /// The object must have this UID, unless empty.
        uid: Str,
        /// The object must be at this revision.
        revision: Option<Str>,
    },
    /// Bind a pod.
    Bind {
        /// The pod's UID.
        uid: Str,
        /// The node's name.
        node: Str,
    },
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub actor: Str,
    /// Of which resource.
    pub resource: GroupVersionResource,
    /// Empty, or a subresource.
    pub part: Str,
    /// Which object.
    pub key: ObjectKey,
    /// What.
    pub body: Body,
}

impl Request {
    /// What a client's request asks, in the terms of this server.
    pub fn of(actor: &Str, request: &corten_client::Request) -> Request {
        let options = &request.options;
        let preconditions = &options.preconditions;
        let uid = preconditions.uid.as_deref().unwrap_or_default();
        let delete = |propagation, uid| Body::Delete {
            propagation,
            grace: options.grace_period_seconds,
            uid,
            revision: preconditions.resource_version.as_deref().map(Str::from),
        };
        let body = match (&request.body, request.verb) {
            (_, Verb::Delete) => delete(options.propagation.map(propagation_of), uid.into()),
            (Wire::Object(object), Verb::Create) if request.subresource == "binding" => {
                let binding = object.downcast_ref::<Binding>().expect("a binding");
                Body::Bind {
                    uid: binding.metadata.uid.clone(),
                    node: binding.target.name.clone(),
                }
            }
            (_, Verb::Create) if request.subresource == "eviction" => delete(None, Str::EMPTY),
            (Wire::Object(object), Verb::Create) => Body::Create((**object).clone()),
            (Wire::Object(object), _) => Body::Replace((**object).clone()),
            (Wire::Patch(_, patch), _) => {
                Body::Merge(json::decode_value(patch).expect("plans hold valid patches"))
            }
            (Wire::None, verb) => unreachable!("{verb:?} without a body"),
        };
        Request {
            actor: actor.clone(),
            resource: request.resource.clone(),
            part: request.subresource.as_str().into(),
            key: ObjectKey::new(request.namespace.as_str(), request.name.as_str()),
            body,
        }
    }

    fn store_key(&self) -> Key {
        Key::new(
            &objects::stored_under(&self.resource),
            &self.key.namespace,
            &self.key.name,
        )
    }

    fn verb(&self) -> &'static str {
        match self.body {
            Body::Create(_) => "create",
            Body::Replace(_) => "update",
            Body::Merge(_) => "patch",
            Body::Delete { .. } => "delete",
            Body::Bind { .. } => "bind",
        }
    }
}

fn propagation_of(propagation: corten_client::Propagation) -> Propagation {
    match propagation {
        corten_client::Propagation::Background => Propagation::Background,
        corten_client::Propagation::Foreground => Propagation::Foreground,
        corten_client::Propagation::Orphan => Propagation::Orphan,
    }
}

/// Reads an object as it is now.
///
/// # Errors
/// When it is not there, or the store is not.
pub fn get(env: &Env, request: &corten_client::Request) -> Answer {
    let Some(store) = env.storage.store() else {
        return refused("ServiceUnavailable", "connection refused");
    };
    let resource = objects::stored_under(&request.resource);
    let key = Key::new(&resource, &request.namespace, &request.name);
    match store.get(&key) {
        Some(entry) => Ok(objects::object_of(&entry)),
        None => refused("NotFound", format!("{} not found", request.name)),
    }
}

/// Reads a resource, or what a namespace holds of it, as it is now.
///
/// # Errors
/// When the store is not there.
pub fn list(env: &Env, request: &WatchRequest) -> Result<ListAnswer, Refused> {
    let Some(store) = env.storage.store() else {
        return refused("ServiceUnavailable", "connection refused");
    };
    let listed = store.snapshot(&objects::stored_under(&request.resource));
    let wanted =
        |e: &&Arc<Entry>| request.namespace.is_empty() || e.namespace() == request.namespace;
    let items = listed.iter().filter(wanted);
    Ok(ListAnswer {
        revision: corten_meta::Revision(listed.revision().0),
        items: items.map(|e| objects::object_of(e)).collect(),
    })
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The Status reason.
    pub reason: &'static str,
    /// The Status message.
    pub message: String,
}

fn refused<T>(reason: &'static str, message: impl Into<String>) -> Result<T, Refused> {
    let message = message.into();
    Err(Refused { reason, message })
}

type Answer = Result<Arc<Object>, Refused>;

enum Verdict {
    /// Nothing has to change.
    Same(Arc<Object>),
    Write(Object),
    /// Take it away; this is how it was last.
    Remove(Arc<Object>),
}

/// A request under way.
#[derive(Debug)]
pub struct Call {
    request: Request,
    /// The transaction under way, and what a deletion answers.
    waiting: Option<(Ticket, Option<Arc<Object>>)>,
    answer: Option<Answer>,
    tries: u32,
}

impl Call {
    /// Sends a request.
    pub fn send(env: &mut Env, request: Request) -> Call {
        let mut call = Call {
            request,
            waiting: None,
            answer: None,
            tries: 0,
        };
        call.attempt(env);
        call
    }

    /// Who it is about.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The answer, once there is one.
    pub fn poll(&mut self, env: &mut Env) -> Option<Answer> {
        if let Some((ticket, _)) = &self.waiting
            && let Some(result) = env.storage.take(*ticket)
        {
            let last = self.waiting.take().and_then(|(_, last)| last);
            self.answered(env, result, last);
        }
        let answer = self.answer.take()?;
        self.tell(env, &answer);
        Some(answer)
    }

    fn tell(&self, env: &mut Env, answer: &Answer) {
        let r = &self.request;
        let what = match (&r.body, answer) {
            (Body::Create(_), Ok(object)) => object.meta().full_name(),
            (Body::Create(object), Err(_)) => {
                format!(
                    "{}{}",
                    object.meta().full_name(),
                    object.meta().generate_name
                )
            }
            _ => r.key.to_string(),
        };
        let detail = match &r.body {
            Body::Merge(patch) => format!(" {}", shortened(patch)),
            Body::Bind { node, .. } => format!(" to {node}"),
            Body::Delete {
                propagation: Some(p),
                ..
            } => format!(" {p:?}"),
            _ => String::new(),
        };
        let part = if r.part.is_empty() { "" } else { "/" };
        let outcome = match answer {
            Ok(object) => format!("r{}", object.meta().resource_version),
            Err(refused) => format!("{}: {}", refused.reason, refused.message),
        };
        let line = format!(
            "{}: {} {}{part}{} {what}{detail} -> {outcome}",
            r.actor,
            r.verb(),
            r.resource.resource,
            r.part
        );
        env.say(line);
    }

    fn attempt(&mut self, env: &mut Env) {
        self.tries += 1;
        let current = match env.storage.store() {
            None => {
                self.answer = Some(refused("ServiceUnavailable", "connection refused"));
                return;
            }
            Some(store) => store.get(&self.request.store_key()),
        };
        let verdict = match &self.request.body {
            Body::Create(object) => create(env, &self.request, object).map(Verdict::Write),
            _ => match &current {
                None => refused("NotFound", format!("{} not found", self.request.key)),
                Some(entry) => change(env, &self.request, entry),
            },
        };
        match verdict {
            Err(refusal) => self.answer = Some(Err(refusal)),
            Ok(Verdict::Same(object)) => self.answer = Some(Ok(object)),
            Ok(Verdict::Write(object)) => {
                let key =
                    ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone());
                self.request.key = key;
                let key = self.request.store_key();
                let is_new = matches!(self.request.body, Body::Create(_));
                let precondition = match current.filter(|_| !is_new) {
                    Some(entry) => Precondition::ModRevision(entry.mod_revision()),
                    None => Precondition::MustNotExist,
                };
                let put = objects::put(key.clone(), object).when(precondition);
                let ticket = env.storage.submit(key, Transaction::put(put));
                self.waiting = ticket.map(|ticket| (ticket, None));
            }
            Ok(Verdict::Remove(last)) => {
                let revision = current.map_or(corten_store::Revision::NONE, |e| e.mod_revision());
                let key = self.request.store_key();
                let transaction =
                    Transaction::delete(key.clone(), Precondition::ModRevision(revision));
                let ticket = env.storage.submit(key, transaction);
                self.waiting = ticket.map(|ticket| (ticket, Some(last)));
            }
        }
    }

    fn answered(
        &mut self,
        env: &mut Env,
        result: Result<corten_store::Committed, CommitError>,
        last: Option<Arc<Object>>,
    ) {
        self.answer = Some(match result {
            Ok(committed) => match (committed.outcomes.first(), last) {
                (Some(Outcome::Put(entry)), _) => Ok(objects::object_of(entry)),
                (Some(Outcome::Deleted(_)), Some(last)) => {
                    let mut object = (*last).clone();
                    object.meta_mut().resource_version = committed.revision.to_string().into();
                    Ok(Arc::new(object))
                }
                _ => refused("NotFound", "nothing was there"),
            },
            Err(CommitError::Conflict(conflict)) => match &self.request.body {
                Body::Create(_) => refused("AlreadyExists", "already exists"),
                _ if self.tries < TRIES_MAX => return self.attempt(env),
                _ => refused("Conflict", conflict.key.to_string()),
            },
            Err(error) => refused("ServiceUnavailable", error.to_string()),
        });
    }
}

fn shortened(patch: &Value) -> String {
    let text = patch.to_string();
    match text.char_indices().nth(160) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn strategy(request: &Request) -> &'static dyn corten_kinds::Strategy {
    let served = objects::served(&request.resource);
    corten_kinds::strategy(served.group, served.kind)
}

/// Runs `work` with what strategies may look at.
fn with_context<T>(env: &mut Env, work: impl FnOnce(&corten_kinds::Context) -> T) -> T {
    let (snapshot, random) = (Snapshot::new(), env.rng.draw());
    let context = corten_kinds::Context {
        snapshot: &snapshot,
        now: env.now(),
        caller: corten_kinds::Caller {
            name: "sim",
            ..corten_kinds::Caller::default()
        },
        random,
    };
    work(&context)
}

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

fn create(env: &mut Env, request: &Request, object: &Object) -> Result<Object, Refused> {
    let mut object = object.clone();
    let suffix: String = (0..5)
        .filter_map(|_| env.rng.pick(ALPHABET).map(|c| char::from(*c)))
        .collect();
    let uid = format!("uid-{}", env.count());
    let now = env.now();
    let meta = object.meta_mut();
    if meta.name.is_empty() {
        meta.name = format!("{}{suffix}", meta.generate_name).into();
    }
    meta.uid = uid.into();
    meta.creation_timestamp = now;
    meta.deletion_timestamp = None;
    let strategy = strategy(request);
    strategy.default(&mut object);
    with_context(env, |cx| strategy.prepare_create(cx, &mut object));
    let namespace = object.meta().namespace.clone();
    if !namespace.is_empty() {
        let resource = objects::stored_under(&GroupVersionResource::of::<Namespace>());
        let entry = env
            .storage
            .store()
            .and_then(|s| s.get(&Key::cluster(&resource, &namespace)));
        let Some(entry) = entry else {
            return refused("NotFound", format!("namespaces \"{namespace}\" not found"));
        };
        let found = objects::object_of(&entry);
        let terminating = found
            .downcast_ref::<Namespace>()
            .is_some_and(|n| n.status.phase == "Terminating");
        if terminating {
            return refused("Forbidden", "the namespace is being terminated");
        }
    }
    Ok(object)
}

fn change(env: &mut Env, request: &Request, entry: &Entry) -> Result<Verdict, Refused> {
    let old = objects::object_of(entry);
    match &request.body {
        Body::Create(_) => refused("AlreadyExists", "already exists"),
        Body::Replace(object) => update(env, request, entry, &old, object.clone()),
        Body::Merge(patch) => {
            let value = old.to_value().expect("a stored object is valid");
            let merged = corten_patch::merge(value, patch).expect("plans hold valid patches");
            let object = Object::from_value(&merged).expect("plans keep objects readable");
            update(env, request, entry, &old, object)
        }
        Body::Bind { uid, node } => bind(env, &old, uid, node),
        Body::Delete {
            propagation,
            grace,
            uid,
            revision,
        } => {
            if !uid.is_empty() && old.meta().uid != *uid {
                return refused("Conflict", "the UID is another one");
            }
            if revision
                .as_ref()
                .is_some_and(|r| *r != entry.mod_revision().to_string().as_str())
            {
                return refused("Conflict", "the object has changed");
            }
            Ok(delete(env, request, &old, *propagation, *grace))
        }
    }
}

fn update(
    env: &mut Env,
    request: &Request,
    entry: &Entry,
    old: &Arc<Object>,
    mut object: Object,
) -> Result<Verdict, Refused> {
    let meta = object.meta_mut();
    let before = old.meta();
    if !meta.resource_version.is_empty()
        && meta.resource_version != entry.mod_revision().to_string().as_str()
    {
        return refused("Conflict", "the object has been modified");
    }
    if !meta.uid.is_empty() && meta.uid != before.uid {
        return refused("Conflict", "the UID is another one");
    }
    meta.uid = before.uid.clone();
    meta.generation = before.generation;
    meta.creation_timestamp = before.creation_timestamp;
    meta.deletion_timestamp = before.deletion_timestamp;
    meta.deletion_grace_period_seconds = before.deletion_grace_period_seconds;
    let strategy = strategy(request);
    strategy.default(&mut object);
    with_context(env, |cx| {
        strategy.prepare_update(cx, &request.part, &mut object, old);
    });
    if is_finished(&object, old) {
        return Ok(Verdict::Remove(Arc::new(object)));
    }
    let written = objects::put(request.store_key(), object.clone());
    Ok(
        match written.stored == entry.stored().expect("values are readable") {
            true => Verdict::Same(old.clone()),
            false => Verdict::Write(object),
        },
    )
}

fn content_finalizers(object: &Object) -> bool {
    object
        .downcast_ref::<Namespace>()
        .is_some_and(|n| !n.spec.finalizers.is_empty())
}

/// Whether an update leaves nothing that keeps an object being deleted.
fn is_finished(object: &Object, old: &Object) -> bool {
    let meta = object.meta();
    meta.deleting()
        && meta.finalizers.is_empty()
        && (!old.meta().finalizers.is_empty() || content_finalizers(old))
        && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
        && !content_finalizers(object)
}

fn bind(env: &mut Env, old: &Arc<Object>, uid: &str, node: &Str) -> Result<Verdict, Refused> {
    let now = env.now();
    let mut object = (**old).clone();
    let Some(pod) = object.downcast_mut::<Pod>() else {
        return refused("BadRequest", "not a pod");
    };
    if pod.metadata.uid != uid || pod.metadata.deleting() {
        return refused("Conflict", "another pod, or one that is going");
    }
    if !pod.spec.node_name.is_empty() {
        return refused("Conflict", format!("already on {}", pod.spec.node_name));
    }
    pod.spec.node_name = node.clone();
    pod.status.conditions.retain(|c| c.type_ != "PodScheduled");
    pod.status.conditions.push(PodCondition {
        type_: "PodScheduled".into(),
        status: "True".into(),
        last_transition_time: now,
        ..PodCondition::default()
    });
    Ok(Verdict::Write(object))
}

fn delete(
    env: &mut Env,
    request: &Request,
    old: &Arc<Object>,
    propagation: Option<Propagation>,
    asked: Option<i64>,
) -> Verdict {
    let now = env.now();
    let mut marked = (**old).clone();
    if let Some(namespace) = marked.downcast_mut::<Namespace>() {
        if !namespace.metadata.deleting() {
            namespace.metadata.deletion_timestamp = Some(now);
            namespace.status.phase = "Terminating".into();
            return Verdict::Write(marked);
        }
        let held = !namespace.spec.finalizers.is_empty() || !old.meta().finalizers.is_empty();
        return match held {
            true => Verdict::Same(old.clone()),
            false => Verdict::Remove(old.clone()),
        };
    }
    let grace = strategy(request).grace(old, asked);
    let meta = marked.meta_mut();
    let keep = match propagation {
        Some(Propagation::Orphan) => Some(ORPHAN),
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Background) => None,
        None => [ORPHAN, FOREGROUND]
            .into_iter()
            .find(|f| meta.has_finalizer(f)),
    };
    meta.remove_finalizer(ORPHAN);
    meta.remove_finalizer(FOREGROUND);
    if let Some(keep) = keep {
        meta.add_finalizer(keep);
    }
    let running = meta.deletion_grace_period_seconds.unwrap_or(0);
    let wanted = match (meta.deleting(), grace, asked) {
        (false, grace, _) => grace.unwrap_or(0),
        (true, Some(wanted), Some(_)) => wanted.min(running),
        (true, ..) => running,
    };
    if meta.finalizers.is_empty() && wanted == 0 {
        return Verdict::Remove(old.clone());
    }
    if !meta.deleting() || wanted < running {
        meta.deletion_timestamp = Some(now.plus_seconds(wanted));
        meta.deletion_grace_period_seconds = Some(wanted);
        if old.meta().deletion_timestamp.is_none() {
            meta.generation += i64::from(meta.generation > 0);
        }
    }
    match marked == **old {
        true => Verdict::Same(old.clone()),
        false => Verdict::Write(marked),
    }
}
