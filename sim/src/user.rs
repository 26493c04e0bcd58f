//! People at work: a random script of what users do with namespaces, workloads and pods.
//!
//! Invariant: what is asked for always fits the nodes in the end, so that quiet means that everything runs.

use crate::env::Env;
use crate::server::{Body, Call, Request};
use crate::workloads;
use corten_api::apps::v1::{Deployment, ReplicaSet};
use corten_api::core::v1::{ConfigMap, Namespace, Node, Pod};
use corten_api::meta::v1::OwnerReference;
use corten_api::{Kind, Object};
use corten_codec::json;
use corten_controllers::Propagation;
use corten_core::{Value, ValueMap};
use corten_meta::{GroupVersionResource, ObjectKey};
use std::sync::Arc;

/// Nodes of the cluster.
pub const NODES: u64 = 3;
/// Deployments and replica sets that exist at once.
const OWNERS_MAX: usize = 5;
const REPLICAS_MAX: u64 = 4;
/// The longest pause between two steps, milliseconds.
const PAUSE_MAX: u64 = 1_500;

/// See the module's description.
pub struct User {
    left: u64,
    next_at: u64,
    call: Option<Call>,
    first: Vec<Object>,
}

pub(crate) fn parse(text: &str) -> Object {
    let decoded = json::decode(text.as_bytes(), &corten_codec::Options::default());
    decoded.expect("the script's manifests are valid").object
}

fn request<T: Kind>(key: ObjectKey, body: Body) -> Request {
    Request {
        actor: "user".into(),
        resource: GroupVersionResource::of::<T>(),
        part: "".into(),
        key,
        body,
    }
}

fn key_of(object: &Object) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone())
}

pub(crate) fn create<T: Kind>(object: Object) -> Request {
    request::<T>(key_of(&object), Body::Create(object))
}

impl User {
    /// A script of so many steps.
    pub fn new(steps: u64) -> User {
        let node = |i| {
            parse(&format!(
                r#"{{"apiVersion":"v1","kind":"Node","metadata":{{"name":"node-{i}"}},
                "status":{{"allocatable":{{"cpu":"2","memory":"8Gi","pods":"40"}},"capacity":{{"cpu":"2","memory":"8Gi","pods":"40"}},
                "conditions":[{{"type":"Ready","status":"True"}}]}}}}"#
            ))
        };
        let namespace = |i| {
            parse(&format!(
                r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"ns-{i}"}}}}"#
            ))
        };
        let mut first: Vec<Object> = (0..NODES).map(node).collect();
        first.extend((0..2).map(namespace));
        first.reverse();
        User {
            left: steps,
            next_at: 0,
            call: None,
            first,
        }
    }

    /// Whether the script is done.
    pub fn is_done(&self) -> bool {
        self.left == 0 && self.call.is_none() && self.first.is_empty()
    }

    /// When the next step is due.
    pub fn next_deadline(&self) -> Option<u64> {
        (!self.is_done()).then_some(self.next_at)
    }

    /// One turn; true when something happened.
    pub fn act(&mut self, env: &mut Env) -> bool {
        if let Some(call) = &mut self.call {
            let Some(answer) = call.poll(env) else {
                return false;
            };
            let again = answer.is_err_and(|refused| refused.reason == "ServiceUnavailable");
            if let (true, Body::Create(object)) = (again, &call.request().body)
                && object.meta().namespace.is_empty()
            {
                self.first.push(object.clone());
            }
            self.call = None;
            return true;
        }
        if env.millis() < self.next_at || env.storage.store().is_none() {
            return false;
        }
        let request = match self.first.pop() {
            Some(object) if object.kind() == "Node" => Some(create::<Node>(object)),
            Some(object) => Some(create::<Namespace>(object)),
            None if self.left == 0 => return false,
            None => {
                self.left -= 1;
                // Scripts do not wait, people do.
                let pause = if env.rng.chance(400) { 30 } else { PAUSE_MAX };
                self.next_at = env.millis() + env.rng.below(pause);
                step(env)
            }
        };
        self.call = request.map(|request| Call::send(env, request));
        true
    }
}

pub(crate) fn some<T: Kind>(env: &mut Env) -> Option<Arc<Object>> {
    let all: Vec<Arc<Object>> = env
        .storage
        .audit
        .state()
        .filter(|o| o.downcast_ref::<T>().is_some() && !o.meta().deleting())
        .collect();
    env.rng.pick(&all).cloned()
}

pub(crate) fn count(env: &Env, test: impl Fn(&Object) -> bool) -> usize {
    env.storage.audit.state().filter(|o| test(o)).count()
}

/// A random step; nothing when there is nothing that it could be done to.
fn step(env: &mut Env) -> Option<Request> {
    match env.rng.below(100) {
        0..=15 => new_owner(env),
        16..=21 => workloads::create_one(env),
        22..=24 => workloads::change_one(env),
        25..=39 => change::<Deployment>(env, |env, patch| {
            let replicas = env.rng.between(0, REPLICAS_MAX) as i64;
            patch.set(&["spec", "replicas"], replicas);
        }),
        40..=54 => change::<Deployment>(env, |env, patch| {
            let image = format!("image-{}", env.rng.below(3));
            let mut container = Value::Map(ValueMap::new());
            container.set(&["name"], "c");
            container.set(&["image"], image);
            let cpu = format!("{}m", 100 * env.rng.between(1, 2));
            container.set(&["resources", "requests", "cpu"], cpu);
            patch.set(
                &["spec", "template", "spec", "containers"],
                Value::List(vec![container]),
            );
        }),
        55..=59 => resize_set(env),
        60..=64 => delete::<Deployment>(env),
        65..=67 => workloads::delete_one(env),
        68..=71 => delete::<ReplicaSet>(env),
        72..=79 => delete::<Pod>(env),
        80..=84 => relabel(env),
        85..=88 => {
            let found = some::<Namespace>(env)?;
            Some(removal::<Namespace>(&found, None))
        }
        89..=94 => {
            let name = format!("ns-{}", env.rng.below(3));
            let text = format!(
                r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}"}}}}"#
            );
            Some(create::<Namespace>(parse(&text)))
        }
        _ => owned_config(env),
    }
}

/// Takes a pod away from its owner, or gives it to another. Not from a stateful set, which needs the name that the pod
/// would keep.
fn relabel(env: &mut Env) -> Option<Request> {
    let found = some::<Pod>(env)?;
    let owner = found.meta().controller_of();
    if owner.is_some_and(|o| o.kind == "StatefulSet") {
        return None;
    }
    let mut patch = Value::Map(ValueMap::new());
    let app = format!("app-{}", env.rng.below(6));
    patch.set(&["metadata", "labels", "app"], app);
    Some(request::<Pod>(key_of(&found), Body::Merge(patch)))
}

/// Resizes a replica set of no deployment; the others are their deployments' to resize.
fn resize_set(env: &mut Env) -> Option<Request> {
    let found = some::<ReplicaSet>(env).filter(|o| o.meta().controller_of().is_none())?;
    let mut patch = Value::Map(ValueMap::new());
    let replicas = env.rng.between(0, REPLICAS_MAX) as i64;
    patch.set(&["spec", "replicas"], replicas);
    Some(request::<ReplicaSet>(key_of(&found), Body::Merge(patch)))
}

fn new_owner(env: &mut Env) -> Option<Request> {
    let is_owner = |o: &Object| {
        o.downcast_ref::<Deployment>().is_some()
            || (o.downcast_ref::<ReplicaSet>().is_some() && o.meta().controller_of().is_none())
    };
    if count(env, is_owner) >= OWNERS_MAX {
        return None;
    }
    let namespace = some::<Namespace>(env)?.meta().name.clone();
    let name = format!("app-{}", env.rng.below(6));
    let replicas = env.rng.between(0, REPLICAS_MAX);
    let cpu = 100 * env.rng.between(1, 2);
    let is_deployment = !env.rng.chance(200);
    let kind = if is_deployment {
        "Deployment"
    } else {
        "ReplicaSet"
    };
    let strategy = match (is_deployment, env.rng.below(3)) {
        (false, _) => "",
        (true, 0) => r#","strategy":{"type":"Recreate"}"#,
        (true, 1) => {
            r#","strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1,"maxUnavailable":0}}"#
        }
        _ => "",
    };
    let object = parse(&format!(
        r#"{{"apiVersion":"apps/v1","kind":"{kind}","metadata":{{"name":"{name}","namespace":"{namespace}"}},
        "spec":{{"replicas":{replicas},"selector":{{"matchLabels":{{"app":"{name}"}}}}{strategy},
        "template":{{"metadata":{{"labels":{{"app":"{name}"}}}},
        "spec":{{"containers":[{{"name":"c","image":"image-0","resources":{{"requests":{{"cpu":"{cpu}m"}}}}}}]}}}}}}}}"#
    ));
    Some(match is_deployment {
        true => create::<Deployment>(object),
        false => create::<ReplicaSet>(object),
    })
}

/// A config map that belongs to a deployment and perhaps to a replica set, too: the collector's business.
fn owned_config(env: &mut Env) -> Option<Request> {
    let owner = some::<Deployment>(env)?;
    let other = some::<ReplicaSet>(env).filter(|o| o.meta().namespace == owner.meta().namespace);
    let text = format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"generateName":"owned-","namespace":"{}"}}}}"#,
        owner.meta().namespace
    );
    let mut object = parse(&text);
    for owner in [Some(owner), other].into_iter().flatten() {
        object.meta_mut().owner_references.push(OwnerReference {
            api_version: owner.api_version().into(),
            kind: owner.kind().into(),
            name: owner.meta().name.clone(),
            uid: owner.meta().uid.clone(),
            block_owner_deletion: Some(env.rng.chance(500)),
            ..Default::default()
        });
    }
    Some(create::<ConfigMap>(object))
}

pub(crate) fn change<T: Kind>(
    env: &mut Env,
    edit: impl FnOnce(&mut Env, &mut Value),
) -> Option<Request> {
    let found = some::<T>(env)?;
    let mut patch = Value::Map(ValueMap::new());
    edit(env, &mut patch);
    Some(request::<T>(key_of(&found), Body::Merge(patch)))
}

fn removal<T: Kind>(object: &Object, propagation: Option<Propagation>) -> Request {
    let body = Body::Delete {
        propagation,
        grace: None,
        uid: object.meta().uid.clone(),
        revision: None,
    };
    request::<T>(key_of(object), body)
}

pub(crate) fn delete<T: Kind>(env: &mut Env) -> Option<Request> {
    let found = some::<T>(env)?;
    let propagation = match env.rng.below(4) {
        0 => Some(Propagation::Orphan),
        1 => Some(Propagation::Foreground),
        2 => Some(Propagation::Background),
        _ => None,
    };
    Some(removal::<T>(&found, propagation))
}
