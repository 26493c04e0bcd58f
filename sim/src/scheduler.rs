//! The scheduler's process on virtual time: the scheduling rules fed by a mirror, bindings under way.
//!
//! Invariant: a pod that was given a node counts there until its binding is seen or refused. A scheduler that died comes
//! back once what it had sent is answered, as one that has to win an election does.

use crate::env::Env;
use crate::mirror::Mirror;
use crate::server::{Body, Call, Request};
use corten_api::core::v1::{Node, Pod};
use corten_api::{Kind, Object};
use corten_client::Changed;
use corten_meta::{GroupResource, GroupVersionResource, ObjectKey};
use corten_scheduling::queue::Queue;
use corten_scheduling::{Budgets, Cluster, Decision, PodView, schedule};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module's description.
pub struct Scheduler {
    mirror: Mirror,
    cluster: Cluster,
    queue: Queue,
    pending: BTreeMap<ObjectKey, Arc<Object>>,
    assumed: BTreeSet<ObjectKey>,
    bindings: Vec<(ObjectKey, Call)>,
    synced: bool,
    is_dead: bool,
}

fn is_pending(pod: &Pod) -> bool {
    let finished = pod.status.phase == "Succeeded" || pod.status.phase == "Failed";
    pod.spec.node_name.is_empty() && !finished && !pod.metadata.deleting()
}

impl Default for Scheduler {
    fn default() -> Scheduler {
        let resources = [
            GroupVersionResource::of::<Pod>(),
            GroupVersionResource::of::<Node>(),
        ];
        Scheduler {
            mirror: Mirror::of(resources.into_iter()),
            cluster: Cluster::default(),
            queue: Queue::default(),
            pending: BTreeMap::new(),
            assumed: BTreeSet::new(),
            bindings: Vec::new(),
            synced: false,
            is_dead: false,
        }
    }
}

impl Scheduler {
    /// One turn; true when something happened.
    pub fn act(&mut self, env: &mut Env) -> bool {
        let mut did = self.settle(env);
        if self.is_dead {
            if self.bindings.is_empty() {
                env.say("scheduler starts again");
                *self = Scheduler::default();
            }
            return true;
        }
        if env.rng.chance(env.chaos.actor_crash) {
            env.say("scheduler dies");
            self.is_dead = true;
            return true;
        }
        did |= self.mirror.deliver(env);
        let changes = self.mirror.take_changes();
        did |= !changes.is_empty();
        for change in &changes {
            self.apply(change, env.millis());
        }
        if !self.synced {
            self.synced = self.mirror.is_synced();
            return true;
        }
        while let Some(key) = self.queue.take(env.millis()) {
            self.place(env, key);
            did = true;
        }
        did
    }

    fn settle(&mut self, env: &mut Env) -> bool {
        let mut did = false;
        for (key, mut call) in std::mem::take(&mut self.bindings) {
            let Some(answer) = call.poll(env) else {
                self.bindings.push((key, call));
                continue;
            };
            did = true;
            let Err(refused) = answer else { continue };
            if refused.reason == "NotFound" {
                continue;
            }
            if refused.reason == "ServiceUnavailable" {
                env.storage.audit.blind_bindings = true;
            }
            if self.assumed.remove(&key) {
                self.cluster.remove_pod(&key);
            }
            self.queue.failed(&key, env.millis());
            self.queue.changed(env.millis());
        }
        did
    }

    fn apply(&mut self, change: &Changed, now: u64) {
        if change.resource.group_resource() == GroupResource::of::<Node>() {
            match &change.new {
                Some(object) => {
                    self.cluster.set_node(object.clone());
                    self.queue.changed(now);
                }
                None => self.cluster.remove_node(&change.key.name),
            }
            return;
        }
        let key = &change.key;
        let pod = change.new.as_ref().and_then(|o| o.downcast_ref::<Pod>());
        let (Some(object), Some(pod)) = (&change.new, pod) else {
            self.pending.remove(key);
            self.assumed.remove(key);
            self.queue.remove(key);
            self.cluster.remove_pod(key);
            self.queue.changed(now);
            return;
        };
        if is_pending(pod) {
            let known = self.pending.insert(key.clone(), object.clone());
            let is_new = known.is_none_or(|old| old.meta().uid != object.meta().uid);
            if is_new && !self.assumed.contains(key) {
                self.queue
                    .add(key.clone(), pod.spec.priority.unwrap_or(0), now);
            }
            return;
        }
        self.pending.remove(key);
        self.queue.remove(key);
        self.assumed.remove(key);
        let was_placed = self.cluster.place_of(key).is_some();
        self.cluster.set_pod(object.clone());
        if was_placed && self.cluster.place_of(key).is_none() {
            self.queue.changed(now);
        }
    }

    fn place(&mut self, env: &mut Env, key: ObjectKey) {
        let Some(object) = self.pending.get(&key).cloned() else {
            self.queue.remove(&key);
            return;
        };
        let Some(pod) = object.downcast_ref::<Pod>() else {
            return;
        };
        let view = PodView::new(pod);
        match schedule(&self.cluster, &view, &Budgets::default(), env.rng.draw()) {
            Decision::Bind { node, .. } => {
                self.cluster.assume(object.clone(), &node);
                self.assumed.insert(key.clone());
                let request = Request {
                    actor: "scheduler".into(),
                    resource: GroupVersionResource::of::<Pod>(),
                    part: "binding".into(),
                    key: key.clone(),
                    body: Body::Bind {
                        uid: pod.meta().uid.clone(),
                        node,
                    },
                };
                let call = Call::send(env, request);
                self.bindings.push((key, call));
            }
            Decision::Unschedulable(why) => {
                env.say(format!("scheduler: {key}: {}", why.message));
                self.queue.failed(&key, env.millis());
            }
        }
    }

    /// Whether it has nothing to do before its next deadline.
    pub fn is_idle(&mut self, env: &Env) -> bool {
        !self.is_dead && self.synced && self.bindings.is_empty() && self.mirror.is_current(env)
    }

    /// When it has something to do although nothing changes.
    pub fn next_deadline(&self) -> Option<u64> {
        self.queue.next_deadline()
    }

    /// Where its view differs from what the store published.
    pub fn difference(&self, env: &Env) -> Option<String> {
        let difference = self.mirror.difference(env)?;
        Some(format!("the scheduler sees {difference}"))
    }
}
