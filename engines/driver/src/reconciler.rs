//! One controller without its process: which keys wait, which plans are made, and what their ends mean. Pure; the
//! caller owns the clock, the snapshots and the transport.
//!
//! Invariant: a key is with one worker at a time; a plan that wrote anything is followed by another look at its key,
//! because what it wrote may have gone again before any watch showed it.

use crate::execution::Executed;
use crate::queue::Queue;
use corten_api::Object;
use corten_client::Changed;
use corten_controllers::plan::Cluster;
use corten_controllers::registry::Watched;
use corten_controllers::{Context, Controller, Failure, Plan};
use corten_core::Time;
use corten_meta::{GroupResource, ObjectKey, Snapshot};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// A moment, on the two clocks that reconciling needs.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Milliseconds on a clock that never goes back; deadlines are told on it.
    pub millis: u64,
    /// The wall clock, in the API's whole seconds.
    pub now: Time,
}

/// See the module's description.
#[derive(Debug)]
pub struct Reconciler {
    controller: Controller,
    cluster: Cluster,
    started: Time,
    queue: Queue<ObjectKey>,
    failures: FxHashMap<ObjectKey, Failure>,
}

impl Reconciler {
    /// A controller that starts at `started`.
    pub fn new(controller: Controller, cluster: Cluster, started: Time) -> Reconciler {
        Reconciler {
            controller,
            cluster,
            started,
            queue: Queue::default(),
            failures: FxHashMap::default(),
        }
    }

    /// The controller.
    pub fn controller(&self) -> &Controller {
        &self.controller
    }

    /// Queues what every object of the snapshot concerns: at the start, and after changes were missed.
    pub fn wake_everything(&mut self, snapshot: &Snapshot) {
        for (resource, table) in snapshot.resources() {
            for (key, object) in table.iter() {
                self.route(snapshot, resource, key, &[object]);
            }
        }
    }

    /// Queues what a change concerns.
    pub fn wake(&mut self, snapshot: &Snapshot, change: &Changed) {
        let objects: Vec<&Arc<Object>> = [&change.old, &change.new].into_iter().flatten().collect();
        let resource = change.resource.group_resource();
        self.route(snapshot, &resource, &change.key, &objects);
    }

    fn route(
        &mut self,
        snapshot: &Snapshot,
        resource: &GroupResource,
        key: &ObjectKey,
        objects: &[&Arc<Object>],
    ) {
        if (self.controller.primary)().group_resource() == *resource {
            self.queue.wake(key.clone());
        }
        for wake in self.controller.wakes {
            let watched = match wake.on {
                Watched::One(one) => one().group_resource() == *resource,
                Watched::Every => true,
            };
            for object in objects.iter().filter(|_| watched) {
                (wake.keys)(snapshot, object)
                    .into_iter()
                    .for_each(|key| self.queue.wake(key));
            }
        }
    }

    /// The next key that wants a plan; it is the caller's until [`Reconciler::finish`].
    pub fn take(&mut self, moment: Moment) -> Option<ObjectKey> {
        self.queue.take(moment.millis)
    }

    /// The plan for a key.
    pub fn plan(&self, snapshot: &Snapshot, key: &ObjectKey, moment: Moment) -> Plan {
        let context = Context {
            now: moment.now,
            started: self.started,
            failure: self.failures.get(key).cloned(),
            cluster: self.cluster.clone(),
        };
        (self.controller.reconcile)(snapshot, key, &context).unwrap_or_default()
    }

    /// Takes in how the plan for a key ended.
    pub fn finish(&mut self, key: ObjectKey, executed: Executed, moment: Moment) {
        self.queue.done(&key);
        if let Some(failure) = executed.failure {
            if !executed.stale {
                self.failures.insert(key.clone(), failure);
            }
            self.queue.retry(key, moment.millis);
            return;
        }
        self.queue.forget(&key);
        self.failures.remove(&key);
        if !executed.written.is_empty() {
            self.queue.wake(key.clone());
        }
        if let Some(at) = executed.wake_at {
            let wait = at.seconds_since(moment.now).max(0) as u64 * 1000;
            self.queue.wake_at(key, moment.millis + wait.max(1));
        }
    }

    /// When [`Reconciler::take`] may have something although nothing is woken before.
    pub fn next_deadline(&self) -> Option<u64> {
        self.queue.next_deadline()
    }

    /// Nothing is ready and nothing is with a worker; keys that are due later do not count.
    pub fn is_idle(&self) -> bool {
        self.queue.is_idle()
    }
}
