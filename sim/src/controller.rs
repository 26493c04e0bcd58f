//! One controller process on virtual time: its mirror, its queue, its plans under way.
//!
//! Invariant: as the driver's, except where a fault says otherwise: after a crash it starts with an empty queue and a
//! mirror of its own, while the requests that it had sent still happen.

use crate::env::Env;
use crate::execution::Execution;
use crate::mirror::Mirror;
use crate::objects;
use corten_controllers::plan::Cluster;
use corten_controllers::{Controller, Plan};
use corten_driver::{Moment, Reconciler};
use corten_meta::ObjectKey;

const WORKERS: usize = 8;
/// A dead process comes back after so long at most, milliseconds.
const DEAD_MAX: u64 = 2_000;

struct Work {
    key: ObjectKey,
    execution: Execution,
    /// A second execution of the same plan, which nobody waits for.
    is_twin: bool,
}

fn moment(env: &Env) -> Moment {
    Moment {
        millis: env.millis(),
        now: env.now(),
    }
}

/// See the module's description.
pub struct Actor {
    reconciler: Reconciler,
    mirror: Mirror,
    work: Vec<Work>,
    synced: bool,
    dead_until: Option<u64>,
}

impl Actor {
    /// The process of a controller.
    pub fn new(controller: Controller, env: &Env) -> Actor {
        let cluster = Cluster {
            root_ca: "CA".into(),
            service_cidr: "10.96.0.0/16".into(),
        };
        Actor {
            reconciler: Reconciler::new(controller, cluster, env.now()),
            mirror: Mirror::of(objects::resources()),
            work: Vec::new(),
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
                env.say(format!("{} starts again", self.name()));
                *self = Actor::new(*self.reconciler.controller(), env);
                return true;
            }
            None => {}
        }
        if env.rng.chance(env.chaos.actor_crash) {
            env.say(format!("{} dies", self.name()));
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
            let Some(key) = self.reconciler.take(moment(env)) else {
                break;
            };
            self.begin(env, key);
            did = true;
        }
        did
    }

    fn name(&self) -> &'static str {
        self.reconciler.controller().name
    }

    fn route(&mut self) -> bool {
        let changes = self.mirror.take_changes();
        let snapshot = self.mirror.snapshot();
        for change in &changes {
            self.reconciler.wake(&snapshot, change);
        }
        !changes.is_empty()
    }

    fn plan(&self, env: &Env, key: &ObjectKey) -> Plan {
        self.reconciler
            .plan(&self.mirror.snapshot(), key, moment(env))
    }

    fn begin(&mut self, env: &mut Env, key: ObjectKey) {
        let plan = self.plan(env, &key);
        if !plan.steps.is_empty() && env.rng.chance(env.chaos.twin) {
            env.say(format!("{}: {key} is carried out twice", self.name()));
            let execution = Execution::new(self.name(), self.plan(env, &key));
            self.work.push(Work {
                key: key.clone(),
                execution,
                is_twin: true,
            });
        }
        self.work.push(Work {
            execution: Execution::new(self.name(), plan),
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
                        let executed = work.execution.end();
                        self.reconciler.finish(work.key, executed, moment(env));
                    }
                }
            }
        }
        did
    }

    /// Whether it has nothing to do before its next deadline.
    pub fn is_idle(&mut self, env: &Env) -> bool {
        self.dead_until.is_none()
            && self.synced
            && self.work.is_empty()
            && self.reconciler.is_idle()
            && self.mirror.is_current(env)
    }

    /// When it has something to do although nothing changes.
    pub fn next_deadline(&self) -> Option<u64> {
        let waits = self.work.iter().filter_map(|w| w.execution.deadline());
        let own = [self.dead_until, self.reconciler.next_deadline()];
        own.into_iter().flatten().chain(waits).min()
    }

    /// What keeps it from being idle.
    pub fn describe(&mut self, env: &Env) -> String {
        format!(
            "{}: dead {:?}, synced {}, work {:?}, queue idle {}, current {}",
            self.name(),
            self.dead_until,
            self.synced,
            self.work.iter().map(|w| &w.key).collect::<Vec<_>>(),
            self.reconciler.is_idle(),
            self.mirror.is_current(env),
        )
    }

    /// Where its view differs from what the store published.
    pub fn difference(&self, env: &Env) -> Option<String> {
        let difference = self.mirror.difference(env)?;
        Some(format!("{} sees {difference}", self.name()))
    }
}
