//! Time, from outside: the system's, or one that a test or a simulation moves by hand.

use parking_lot::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the store learns the time.
pub trait Clock: Send + Sync {
    /// Time since the Unix epoch: for expiry, which outlives a restart.
    fn wall(&self) -> Duration;
    /// Time that never runs backwards, from an arbitrary start: for the retention of history.
    fn monotonic(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The system's clocks, the monotonic one starting now.
    pub fn new() -> SystemClock {
        SystemClock {
            start: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct ManualClock {
    start: Duration,
    elapsed: Mutex<Duration>,
}

impl ManualClock {
    /// A clock whose wall time starts at `wall`.
    pub fn starting_at(wall: Duration) -> ManualClock {
        ManualClock {
            start: wall,
            elapsed: Mutex::default(),
        }
    }

    /// Moves both clocks.
    pub fn advance(&self, by: Duration) {
        *self.elapsed.lock() += by;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Duration {
        self.start + *self.elapsed.lock()
    }

    fn monotonic(&self) -> Duration {
        *self.elapsed.lock()
    }
}
