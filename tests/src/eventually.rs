//! The one bounded wait for things that give no event to a test: a port that answers, a process that
//! is gone. Where the API can be watched, tests use `kubectl wait` or a watch instead.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long tests wait for anything: far longer than it takes, so that a slow machine stays green.
pub const WAIT_MAX: Duration = Duration::from_secs(120);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks again until `look` succeeds; the last error when time is up.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > WAIT_MAX => {
                bail!("{what}: not within {} s: {error:#}", WAIT_MAX.as_secs());
            }
            Err(_) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}
