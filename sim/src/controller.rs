//! One controller process on virtual time: its mirror, its queue, its plans under way.
//!
//! Invariant: as the driver's, except where a fault says otherwise: after a crash it starts with an empty queue and a
//! mirror of its own, while the requests that it had sent still happen.

use crate::env::Env;
use crate::execution::Execution;
use crate::mirror::Mirror;
use crate::objects;
use corten_api::Object;
use corten_controllers::plan::Cluster;
use corten_controllers::registry::Watched;
use corten_controllers::{Context, Controller, Failure, Plan};
use corten_core::{Str, Time};
use corten_driver::queue::Queue;
use corten_meta::{GroupVersionResource, ObjectKey};
use std::collections::BTreeMap;
use std::sync::Arc;

const WORKERS: usize = 8;
/// A dead process comes back after so long at most, milliseconds.
const DEAD_MAX: u64 = 2_000;

struct Work {
    key: ObjectKey,
    execution: Execution,
    /// A second execution of the same plan, which nobody waits for.
    is_twin: bool,
}

/// See the module's description.
pub struct Actor {
    controller: Controller,
    mirror: Mirror,
    queue: Queue<ObjectKey>,
    failures: BTreeMap<ObjectKey, Failure>,
    work: Vec<Work>,
    started: Time,
    synced: bool,
    dead_until: Option<u64>,
}

impl Actor {
    /// The process of a controller.
    pub fn new(controller: Controller, env: &Env) -> Actor {
        Actor {
            controller,
            mirror: Mirror::of(objects::resources()),
            queue: Queue::default(),
            failures: BTreeMap::new(),
            work: Vec::new(),
            started: env.now(),
            synced: false,
            dead_until: None,
        }
    }

    /// One turn; true when something happened.
    pub fn act(&mut self, env: &mut Env) -> bool {
        let now = env.millis();
        match self.dead_until {
            Some(until) if now < until => return false,
            Some(_) => {
                env.say(format!("{} starts again", self.controller.name));
                *self = Actor::new(self.controller, env);
                return true;
            }
            None => {}
        }
        if env.rng.chance(env.chaos.actor_crash) {
            env.say(format!("{} dies", self.controller.name));
            self.dead_until = Some(now + env.rng.below(DEAD_MAX));
            self.work.clear();
            return true;
        }
        let mut did = self.mirror.deliver(env);
        if !self.synced {
            self.synced = self.mirror.is_synced();
            return true;
        }
        did |= self.route();
        did |= self.go_on(env);
        while self.work.len() < WORKERS {
            let Some(key) = self.queue.take(now) else {
                break;
            };
            self.begin(env, key);
            did = true;
        }
        did
    }

    fn route(&mut self) -> bool {
        let changes = self.mirror.take_changes();
        let snapshot = self.mirror.snapshot();
        for change in &changes {
            let resource = change.resource.group_resource();
            if (self.controller.primary)().group_resource() == resource {
                self.queue.wake(change.key.clone());
            }
            for wake in self.controller.wakes {
                let watched = match wake.on {
                    Watched::One(one) => one().group_resource() == resource,
                    Watched::Every => true,
                };
                let objects: Vec<&Arc<Object>> =
                    [&change.old, &change.new].into_iter().flatten().collect();
                for object in objects.into_iter().filter(|_| watched) {
                    // Sorted, because a snapshot's resources come in no order.
                    let mut keys = (wake.keys)(&snapshot, object);
                    keys.sort();
                    keys.into_iter().for_each(|key| self.queue.wake(key));
                }
            }
        }
        !changes.is_empty()
    }

    fn plan(&self, env: &Env, key: &ObjectKey) -> Plan {
        let context = Context {
            now: env.now(),
            started: self.started,
            failure: self.failures.get(key).cloned(),
            cluster: Cluster {
                root_ca: "CA".into(),
                service_cidr: "10.96.0.0/16".into(),
            },
        };
        let plan = (self.controller.reconcile)(&self.mirror.snapshot(), key, &context);
        let mut plan = plan.unwrap_or_default();
        sort_dependents(self.controller.name, &mut plan);
        plan
    }

    fn begin(&mut self, env: &mut Env, key: ObjectKey) {
        let plan = self.plan(env, &key);
        if !plan.steps.is_empty() && env.rng.chance(env.chaos.twin) {
            env.say(format!(
                "{}: {key} is carried out twice",
                self.controller.name
            ));
            let execution = Execution::new(self.controller.name, self.plan(env, &key));
            self.work.push(Work {
                key: key.clone(),
                execution,
                is_twin: true,
            });
        }
        self.work.push(Work {
            execution: Execution::new(self.controller.name, plan),
            key,
            is_twin: false,
        });
    }

    fn go_on(&mut self, env: &mut Env) -> bool {
        let mut did = false;
        for mut work in std::mem::take(&mut self.work) {
            match work.execution.advance(env, &self.mirror) {
                false => self.work.push(work),
                true => {
                    did = true;
                    if !work.is_twin {
                        self.finish(env, work.key, work.execution);
                    }
                }
            }
        }
        did
    }

    fn finish(&mut self, env: &Env, key: ObjectKey, execution: Execution) {
        self.queue.done(&key);
        let now = env.millis();
        match execution.failure {
            Some(failure) => {
                if !execution.stale {
                    self.failures.insert(key.clone(), failure);
                }
                self.queue.retry(key, now);
            }
            None => {
                self.queue.forget(&key);
                self.failures.remove(&key);
                if let Some(at) = execution.wake_at {
                    let wait = at.seconds_since(env.now()).max(0) as u64 * 1000;
                    self.queue.wake_at(key, now + wait.max(1));
                }
            }
        }
    }

    /// Whether it has nothing to do before its next deadline.
    pub fn is_idle(&mut self, env: &Env) -> bool {
        self.dead_until.is_none()
            && self.synced
            && self.work.is_empty()
            && self.queue.is_idle()
            && self.mirror.is_current(env)
    }

    /// When it has something to do although nothing changes.
    pub fn next_deadline(&self) -> Option<u64> {
        let waits = self.work.iter().filter_map(|w| w.execution.deadline());
        let own = [self.dead_until, self.queue.next_deadline()];
        own.into_iter().flatten().chain(waits).min()
    }

    /// What keeps it from being idle.
    pub fn describe(&mut self, env: &Env) -> String {
        format!(
            "{}: dead {:?}, synced {}, work {:?}, queue idle {}, current {}",
            self.controller.name,
            self.dead_until,
            self.synced,
            self.work.iter().map(|w| &w.key).collect::<Vec<_>>(),
            self.queue.is_idle(),
            self.mirror.is_current(env),
        )
    }

    /// Where its view differs from what the store published.
    pub fn difference(&self, env: &Env) -> Option<String> {
        let difference = self.mirror.difference(env)?;
        Some(format!("{} sees {difference}", self.controller.name))
    }
}

/// The dependents that one owner leaves behind come in no order; a run must not depend on that.
fn sort_dependents(controller: &str, plan: &mut Plan) {
    if controller != "garbage-collector" || plan.steps.len() < 3 {
        return;
    }
    let last = plan.steps.len() - 1;
    let name = |step: &corten_controllers::Step| -> (GroupVersionResource, ObjectKey, Str) {
        match &step.write {
            corten_controllers::Write::Patch { target, .. }
            | corten_controllers::Write::Delete { target, .. } => (
                target.resource.clone(),
                target.key.clone(),
                target.uid.clone(),
            ),
            _ => Default::default(),
        }
    };
    plan.steps[..last].sort_by_key(name);
}
