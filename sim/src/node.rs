//! A node that only pretends: pods bound to it become Running and Ready after a while, or Failed when they do not fit,
//! those that have an end reach it, and pods being deleted are let go.
//!
//! Invariant: it writes nothing about pods of other nodes, and never admits more than it has.

use crate::env::Env;
use crate::mirror::Mirror;
use crate::server::{Body, Call, Request};
use corten_api::Object;
use corten_api::core::v1::{Node, Pod};
use corten_core::{Str, Time, Value, ValueMap};
use corten_meta::{GroupResource, GroupVersionResource, ObjectKey};
use corten_scheduling::{Amounts, PodView};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A pod takes so long to start or to end at most, milliseconds.
const WORK_MAX: u64 = 1_500;

/// What is done for a pod next, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    Start(u64),
    Finish(u64),
    End(u64),
}

/// The label of pods whose work has an end.
pub const ENDS: &str = "ends";

/// See the module's description.
pub struct Kubelet {
    name: Str,
    mirror: Mirror,
    /// By UID.
    due: BTreeMap<Str, Due>,
    admitted: BTreeSet<Str>,
    calls: Vec<(Str, Call)>,
}

impl Kubelet {
    /// The kubelet of a node.
    pub fn new(name: &str) -> Kubelet {
        let resources = [
            GroupVersionResource::of::<Pod>(),
            GroupVersionResource::of::<Node>(),
        ];
        Kubelet {
            name: name.into(),
            mirror: Mirror::of(resources.into_iter()),
            due: BTreeMap::new(),
            admitted: BTreeSet::new(),
            calls: Vec::new(),
        }
    }

    fn pods(&self) -> Vec<Arc<Object>> {
        let snapshot = self.mirror.snapshot();
        let table = snapshot.table(&GroupResource::of::<Pod>());
        let ours = table.into_iter().flat_map(|t| t.values()).filter(|o| {
            let pod = o.downcast_ref::<Pod>();
            pod.is_some_and(|p| p.spec.node_name == self.name)
        });
        ours.cloned().collect()
    }

    /// One turn; true when something happened.
    pub fn act(&mut self, env: &mut Env) -> bool {
        let mut did = self.mirror.deliver(env);
        did |= !self.mirror.take_changes().is_empty();
        for (uid, mut call) in std::mem::take(&mut self.calls) {
            match call.poll(env) {
                None => self.calls.push((uid, call)),
                Some(_) => did = true,
            }
        }
        let objects = self.pods();
        let pods: Vec<&Pod> = objects.iter().filter_map(|o| o.downcast_ref()).collect();
        let known: BTreeSet<Str> = pods.iter().map(|p| p.metadata.uid.clone()).collect();
        self.due.retain(|uid, _| known.contains(uid));
        self.admitted.retain(|uid| known.contains(uid));
        for pod in &pods {
            did |= self.look_after(env, pod, &pods);
        }
        did
    }

    fn look_after(&mut self, env: &mut Env, pod: &Pod, pods: &[&Pod]) -> bool {
        let uid = &pod.metadata.uid;
        if self.calls.iter().any(|(of, _)| of == uid) {
            return false;
        }
        let now = env.millis();
        let waits = matches!(pod.status.phase.as_str(), "" | "Pending");
        let due = self.due.get(uid).copied();
        if pod.metadata.deleting() {
            return match due {
                _ if self.is_let_go(pod) => false,
                Some(Due::End(at)) if at <= now => {
                    // Once more in a second, should the request get lost.
                    self.due.insert(uid.clone(), Due::End(now + 1_000));
                    self.release(env, pod);
                    true
                }
                Some(Due::End(_)) => false,
                _ => {
                    let at = now + env.rng.below(WORK_MAX);
                    self.due.insert(uid.clone(), Due::End(at));
                    true
                }
            };
        }
        if pod.status.phase == "Running" && pod.metadata.labels.contains_key(ENDS) {
            return match due {
                Some(Due::Finish(at)) if at <= now => {
                    self.due.insert(uid.clone(), Due::Finish(now + 1_000));
                    let phase = if env.rng.chance(100) {
                        "Failed"
                    } else {
                        "Succeeded"
                    };
                    self.write_status(env, pod, finished(pod, phase));
                    true
                }
                Some(Due::Finish(_)) => false,
                _ => {
                    let at = now + env.rng.below(WORK_MAX);
                    self.due.insert(uid.clone(), Due::Finish(at));
                    true
                }
            };
        }
        match due {
            _ if !waits => false,
            Some(Due::Start(at)) if at <= now => {
                self.due.insert(uid.clone(), Due::Start(now + 1_000));
                self.start(env, pod, pods);
                true
            }
            Some(_) => false,
            None => {
                let at = now + env.rng.below(WORK_MAX);
                self.due.insert(uid.clone(), Due::Start(at));
                true
            }
        }
    }

    /// Nothing is left to do: only finalizers keep it.
    fn is_let_go(&self, pod: &Pod) -> bool {
        pod.metadata.deletion_grace_period_seconds == Some(0)
            && matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
            && !pod.metadata.finalizers.is_empty()
    }

    fn fits(&self, pod: &Pod, pods: &[&Pod]) -> bool {
        let snapshot = self.mirror.snapshot();
        let Some(node) = snapshot.get::<Node>("", &self.name) else {
            return false;
        };
        let room = Amounts::of(&node.status.allocatable);
        let mut wanted = PodView::new(pod).requests;
        for other in pods {
            let uid = &other.metadata.uid;
            let finished = matches!(other.status.phase.as_str(), "Succeeded" | "Failed");
            if *uid != pod.metadata.uid && self.admitted.contains(uid) && !finished {
                wanted.add(&PodView::new(other).requests);
            }
        }
        wanted.iter().all(|(name, amount)| amount <= room.get(name))
    }

    fn start(&mut self, env: &mut Env, pod: &Pod, pods: &[&Pod]) {
        let uid = &pod.metadata.uid;
        let fits = self.admitted.contains(uid) || self.fits(pod, pods);
        if fits {
            self.admitted.insert(uid.clone());
        }
        let patch = status(pod, fits, env.now());
        self.write_status(env, pod, patch);
    }

    fn write_status(&mut self, env: &mut Env, pod: &Pod, patch: Value) {
        let request = Request {
            actor: format!("kubelet {}", self.name).into(),
            resource: GroupVersionResource::of::<Pod>(),
            part: "status".into(),
            key: ObjectKey::new(pod.metadata.namespace.clone(), pod.metadata.name.clone()),
            body: Body::Merge(patch),
        };
        let call = Call::send(env, request);
        self.calls.push((pod.metadata.uid.clone(), call));
    }

    /// Lets a pod go; one that somebody keeps ends first, so that they see how.
    fn release(&mut self, env: &mut Env, pod: &Pod) {
        let ended = matches!(pod.status.phase.as_str(), "Succeeded" | "Failed");
        if !pod.metadata.finalizers.is_empty() && !ended {
            return self.write_status(env, pod, finished(pod, "Failed"));
        }
        let request = Request {
            actor: format!("kubelet {}", self.name).into(),
            resource: GroupVersionResource::of::<Pod>(),
            part: "".into(),
            key: ObjectKey::new(pod.metadata.namespace.clone(), pod.metadata.name.clone()),
            body: Body::Delete {
                propagation: None,
                grace: Some(0),
                uid: pod.metadata.uid.clone(),
                revision: None,
            },
        };
        let call = Call::send(env, request);
        self.calls.push((pod.metadata.uid.clone(), call));
    }

    /// Whether it has nothing to do before its next deadline.
    pub fn is_idle(&mut self, env: &Env) -> bool {
        self.calls.is_empty() && self.mirror.is_current(env)
    }

    /// When it has something to do although nothing changes.
    pub fn next_deadline(&self) -> Option<u64> {
        let open = self.pods().into_iter().filter_map(|object| {
            let pod = object.downcast_ref::<Pod>()?;
            let waits = matches!(pod.status.phase.as_str(), "" | "Pending");
            match self.due.get(&pod.metadata.uid)? {
                Due::Start(at) if waits && !pod.metadata.deleting() => Some(*at),
                Due::End(at) if pod.metadata.deleting() && !self.is_let_go(pod) => Some(*at),
                Due::Finish(at) if pod.status.phase == "Running" => Some(*at),
                _ => None,
            }
        });
        open.min()
    }
}

fn finished(pod: &Pod, phase: &str) -> Value {
    let mut patch = Value::Map(ValueMap::new());
    patch.set(&["metadata", "uid"], &pod.metadata.uid);
    patch.set(&["status", "phase"], phase);
    patch.set(&["status", "conditions"], Value::List(Vec::new()));
    patch
}

fn status(pod: &Pod, fits: bool, now: Time) -> Value {
    let mut patch = Value::Map(ValueMap::new());
    patch.set(&["metadata", "uid"], &pod.metadata.uid);
    if !fits {
        patch.set(&["status", "phase"], "Failed");
        patch.set(&["status", "reason"], "OutOfcpu");
        return patch;
    }
    let mut text = Vec::new();
    now.write_to(&mut text);
    let now = String::from_utf8(text).expect("a time is text");
    let mut ready = Value::Map(ValueMap::new());
    ready.set(&["type"], "Ready");
    ready.set(&["status"], "True");
    ready.set(&["lastTransitionTime"], now.as_str());
    patch.set(&["status", "phase"], "Running");
    patch.set(&["status", "startTime"], now);
    patch.set(&["status", "podIP"], "10.0.0.1");
    patch.set(&["status", "conditions"], Value::List(vec![ready]));
    patch
}
