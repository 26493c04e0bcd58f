//! What every actor of a run shares: the generator, the virtual clock, the store, the trace and what went wrong.
//!
//! Invariant: nothing here or in an actor looks at the machine's clock, randomness or threads.

use crate::rng::Rng;
use crate::storage::Storage;
use corten_core::Time;
use corten_store::ManualClock;
use std::sync::Arc;
use std::time::Duration;

/// The moment at which every run starts: 2026-01-01T00:00:00Z.
pub const START: i64 = 1_767_225_600;

/// How much goes wrong, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Chaos {
    /// Delivery of a resource's events does not happen in a turn.
    pub delay: u64,
    /// A watch is dropped in a turn.
    pub drop_watch: u64,
    /// An actor dies in a turn.
    pub actor_crash: u64,
    /// A plan is carried out twice.
    pub twin: u64,
    /// The store's process dies in a turn.
    pub store_crash: u64,
    /// The disk fails for a while from a turn on.
    pub disk_fault: u64,
    /// A sync takes long.
    pub slow_sync: u64,
}

impl Chaos {
    /// Nothing goes wrong, and events are delivered when they happen.
    pub const NONE: Chaos = Chaos {
        delay: 0,
        drop_watch: 0,
        actor_crash: 0,
        twin: 0,
        store_crash: 0,
        disk_fault: 0,
        slow_sync: 0,
    };

    /// Whether nobody acts twice on the same plan and every write is answered, so that counts come out exactly.
    pub fn is_exact(&self) -> bool {
        self.actor_crash + self.twin + self.store_crash + self.disk_fault == 0
    }

    /// A mixture that a seed draws: each fault is absent, rare or frequent.
    pub fn draw(rng: &mut Rng) -> Chaos {
        let mut level = |rare: u64, frequent: u64| match rng.below(3) {
            0 => 0,
            1 => rare,
            _ => frequent,
        };
        Chaos {
            delay: level(300, 800),
            drop_watch: level(5, 40),
            actor_crash: level(2, 10),
            twin: level(20, 100),
            store_crash: level(2, 8),
            disk_fault: level(1, 4),
            slow_sync: level(10, 60),
        }
    }
}

/// See the module's description.
pub struct Env {
    /// The run's generator.
    pub rng: Rng,
    /// The store, with its disk and the audit of what it publishes.
    pub storage: Storage,
    /// What happened, one line each.
    pub trace: Vec<String>,
    /// What must never happen and did.
    pub violations: Vec<String>,
    /// What may go wrong now.
    pub chaos: Chaos,
    /// Nothing that may happen in the run makes counts inexact; see [`Chaos::is_exact`].
    pub is_exact: bool,
    clock: Arc<ManualClock>,
    millis: u64,
    counter: u64,
}

impl Env {
    /// A run's shared state at its start.
    pub fn new(seed: u64, clock: Arc<ManualClock>, storage: Storage) -> Env {
        Env {
            rng: Rng::new(seed),
            storage,
            trace: Vec::new(),
            violations: Vec::new(),
            chaos: Chaos::NONE,
            is_exact: true,
            clock,
            millis: 0,
            counter: 0,
        }
    }

    /// Milliseconds since the start of the run.
    pub fn millis(&self) -> u64 {
        self.millis
    }

    /// The wall clock, in the API's whole seconds.
    pub fn now(&self) -> Time {
        Time::from_unix(START + (self.millis / 1000) as i64)
    }

    /// Moves the clock.
    pub fn advance(&mut self, millis: u64) {
        self.millis += millis;
        self.clock.advance(Duration::from_millis(millis));
    }

    /// A number that was not given before: for UIDs.
    pub fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Notes what happened.
    pub fn say(&mut self, line: impl AsRef<str>) {
        let revision = self.storage.store().map_or(0, |s| s.revision().0);
        let (seconds, millis) = (self.millis / 1000, self.millis % 1000);
        self.trace.push(format!(
            "{seconds:>5}.{millis:03} r{revision:<5} {}",
            line.as_ref()
        ));
    }

    /// Notes what must never happen.
    pub fn violation(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.say(format!("VIOLATION: {what}"));
        self.violations.push(what);
    }

    /// Lets the store do what is due, and audits what it published.
    pub fn step_store(&mut self) -> bool {
        let stepped = self.storage.step(self.millis);
        let found = self.storage.audit.take_violations();
        for what in found {
            self.violation(what);
        }
        stepped
    }
}
