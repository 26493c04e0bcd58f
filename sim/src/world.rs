//! One run: a seed decides what users do, who takes a turn when, and what goes wrong; then everything must come to rest.
//!
//! Invariant: the same seed is the same run, to the last line of its trace.

use crate::controller::Actor;
use crate::env::{Chaos, Env, START};
use crate::node::Kubelet;
use crate::quiet;
use crate::scheduler::Scheduler;
use crate::storage::{Death, Storage};
use crate::user::{NODES, User};
use corten_controllers::CONTROLLERS;
use corten_store::engine::memory::{Fault, Unsynced};
use corten_store::{ManualClock, OpenError, Retention};
use std::sync::Arc;
use std::time::Duration;

/// Turns that a run may take before its faults end.
const CHAOS_TURNS: u64 = 20_000;
/// Turns that a run may take to come to rest afterwards.
const QUIET_TURNS: u64 = 20_000;
/// The world is at rest when nothing was written for so long, milliseconds: longer than every deadline.
const REST: u64 = 1_300_000;
/// The controllers that take part.
const RUNNING: [&str; 10] = [
    "namespace",
    "garbage-collector",
    "serviceaccount",
    "root-ca-certificate-publisher",
    "pod-garbage-collector",
    "deployment",
    "replicaset",
    "statefulset",
    "daemonset",
    "job",
];

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What must never happen and did; empty when all is well.
    pub violations: Vec<String>,
    /// What happened.
    pub trace: Vec<String>,
    /// The store's last revision.
    pub revision: u64,
}

impl Report {
    /// How to see the run again.
    pub fn replay(&self) -> String {
        format!(
            "CORTEN_SIM_SEED={} cargo test -p corten-sim -- replay --nocapture",
            self.seed
        )
    }
}

struct World {
    env: Env,
    user: User,
    actors: Vec<Actor>,
    scheduler: Scheduler,
    kubelets: Vec<Kubelet>,
    /// Who takes a turn how often, in thousandths.
    pace: Vec<u64>,
    opens_at: Option<u64>,
    heals_at: Option<u64>,
}

/// Runs a seed.
///
/// # Errors
/// When the store cannot be opened, which a disk in memory rules out.
pub fn run(seed: u64) -> Result<Report, OpenError> {
    let mut world = World::new(seed)?;
    world.live()?;
    let revision = world.env.storage.store().map_or(0, |s| s.revision().0);
    Ok(Report {
        seed,
        violations: world.env.violations,
        trace: world.env.trace,
        revision,
    })
}

impl World {
    fn new(seed: u64) -> Result<World, OpenError> {
        let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(START as u64)));
        let mut retention = Retention::default();
        if seed.is_multiple_of(3) {
            // Slow watchers are told so and start over.
            retention.events = 24;
        }
        let storage = Storage::new(clock.clone(), retention)?;
        let mut env = Env::new(seed, clock, storage);
        env.chaos = Chaos::draw(&mut env.rng);
        let steps = env.rng.between(10, 30);
        let actors: Vec<Actor> = CONTROLLERS
            .iter()
            .filter(|c| RUNNING.contains(&c.name))
            .map(|c| Actor::new(*c, &env))
            .collect();
        let kubelets = (0..NODES).map(|i| Kubelet::new(&format!("node-{i}")));
        let chaos = env.chaos;
        env.is_exact = chaos.is_exact();
        env.say(format!("seed {seed}, {steps} steps, {chaos:?}"));
        let mut world = World {
            user: User::new(steps),
            actors,
            scheduler: Scheduler::default(),
            kubelets: kubelets.collect(),
            pace: Vec::new(),
            opens_at: None,
            heals_at: None,
            env,
        };
        world.pace = (0..world.count())
            .map(|_| *world.env.rng.pick(&[50, 300, 900, 1000]).unwrap_or(&1000))
            .collect();
        Ok(world)
    }

    fn count(&self) -> usize {
        self.actors.len() + self.kubelets.len() + 3
    }

    fn live(&mut self) -> Result<(), OpenError> {
        for _ in 0..CHAOS_TURNS {
            if self.user.is_done() || !self.env.violations.is_empty() {
                break;
            }
            self.go_wrong()?;
            self.turn();
        }
        self.calm_down()?;
        let mut written_at = (self.env.millis(), corten_store::Revision::NONE);
        for _ in 0..QUIET_TURNS {
            if !self.env.violations.is_empty() {
                return Ok(());
            }
            self.go_wrong()?;
            let did = self.turn();
            let revision = self.env.storage.store().map(|s| s.revision());
            if let Some(revision) = revision.filter(|r| *r != written_at.1) {
                written_at = (self.env.millis(), revision);
            }
            let rests =
                !did && (self.env.millis() - written_at.0 > REST || self.next_deadline().is_none());
            if rests && self.is_idle() {
                self.env.say("quiet");
                self.check();
                return Ok(());
            }
        }
        let busy = self.busy();
        self.env
            .violation(format!("no rest after {QUIET_TURNS} turns: {busy}"));
        Ok(())
    }

    fn calm_down(&mut self) -> Result<(), OpenError> {
        self.env.say("faults end");
        self.env.chaos = Chaos::NONE;
        self.env.storage.heal();
        self.heals_at = None;
        if self.opens_at.take().is_some() {
            self.env.storage.open()?;
        }
        self.pace.fill(1000);
        Ok(())
    }

    /// One turn of everybody whose turn it is, in a random order; then time goes on.
    fn turn(&mut self) -> bool {
        let mut order: Vec<usize> = (0..self.count()).collect();
        self.env.rng.shuffle(&mut order);
        let mut did = false;
        for who in order {
            if self.env.rng.chance(self.pace[who]) {
                did |= self.act(who);
            }
        }
        let step = self.env.rng.between(1, 10);
        let is_calm = self.pace.iter().all(|p| *p == 1000);
        if did || !is_calm {
            self.env.advance(step);
            return did;
        }
        // Nobody had anything to do: go to where somebody has.
        let now = self.env.millis();
        match self.next_deadline() {
            Some(at) => self.env.advance(at.saturating_sub(now).max(1)),
            None => self.env.advance(REST / 2),
        }
        did
    }

    fn act(&mut self, who: usize) -> bool {
        let env = &mut self.env;
        let (actors, kubelets) = (self.actors.len(), self.kubelets.len());
        match who {
            0 => env.step_store(),
            1 => self.user.act(env),
            2 => self.scheduler.act(env),
            n if n < 3 + actors => self.actors[n - 3].act(env),
            n => self.kubelets[(n - 3 - actors).min(kubelets - 1)].act(env),
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let actors = self.actors.iter().filter_map(Actor::next_deadline);
        let kubelets = self.kubelets.iter().filter_map(Kubelet::next_deadline);
        let own = [
            self.user.next_deadline(),
            self.scheduler.next_deadline(),
            self.env.storage.next_deadline(self.env.millis()),
            self.opens_at,
            self.heals_at,
        ];
        actors
            .chain(kubelets)
            .chain(own.into_iter().flatten())
            .min()
    }

    /// Faults of the store and its disk.
    fn go_wrong(&mut self) -> Result<(), OpenError> {
        let now = self.env.millis();
        if self.heals_at.is_some_and(|at| at <= now) {
            self.heals_at = None;
            self.env.say("the disk works again");
            self.env.storage.heal();
        }
        if let Some(at) = self.opens_at {
            if at <= now {
                self.opens_at = None;
                self.env.storage.open()?;
                self.env.say("the store is back");
            }
            return Ok(());
        }
        let chaos = self.env.chaos;
        if self.env.rng.chance(chaos.slow_sync) {
            let until = now + self.env.rng.below(400);
            self.env.storage.stall(until);
        }
        if self.env.rng.chance(chaos.disk_fault) && self.heals_at.is_none() {
            let faults = [Fault::NoSpace, Fault::NoSpaceLate, Fault::SyncFails];
            let fault = *self.env.rng.pick(&faults).unwrap_or(&Fault::NoSpace);
            self.env.say(format!("the disk fails: {fault:?}"));
            self.env.storage.fail(fault);
            self.heals_at = Some(now + self.env.rng.below(3_000));
        }
        if self.env.rng.chance(chaos.store_crash) {
            self.crash();
        }
        Ok(())
    }

    fn crash(&mut self) {
        let deaths = [
            Death::Idle,
            Death::In(Fault::CrashBeforeWrite),
            Death::In(Fault::CrashBeforeSync),
            Death::In(Fault::CrashAfterSync),
        ];
        let death = *self.env.rng.pick(&deaths).unwrap_or(&Death::Idle);
        let unsynced = match self.env.rng.chance(500) {
            true => Unsynced::Lost,
            false => Unsynced::Kept,
        };
        self.env
            .say(format!("the store dies: {death:?}, unsynced {unsynced:?}"));
        self.env.storage.kill(death, unsynced);
        self.heals_at = None;
        self.opens_at = Some(self.env.millis() + self.env.rng.below(1_500));
    }

    fn is_idle(&mut self) -> bool {
        let env = &self.env;
        let mut actors = self.actors.iter_mut();
        let mut kubelets = self.kubelets.iter_mut();
        !env.storage.is_busy()
            && actors.all(|a| a.is_idle(env))
            && kubelets.all(|k| k.is_idle(env))
            && self.scheduler.is_idle(env)
    }

    fn busy(&mut self) -> String {
        let env = &self.env;
        let busy = self.actors.iter_mut().filter_map(|a| {
            let idle = a.is_idle(env);
            (!idle).then(|| a.describe(env))
        });
        busy.collect::<Vec<_>>().join("; ")
    }

    fn check(&mut self) {
        let env = &mut self.env;
        let mut found = quiet::check(&env.storage.audit, env.is_exact);
        let equal = env
            .storage
            .store()
            .is_some_and(|store| env.storage.audit.equals(store));
        if !equal {
            found.push("the store is not the replay of its log".to_owned());
        }
        found.extend(self.actors.iter().filter_map(|a| a.difference(env)));
        found.extend(self.scheduler.difference(env));
        for what in found {
            env.violation(what);
        }
    }
}
