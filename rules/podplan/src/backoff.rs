//! How long a container waits before it is started again: 10 s, doubled by each start up to 300 s, forgotten after a
//! run of 10 minutes.

use crate::Moment;

const FIRST: i64 = 10;
const MOST: i64 = 300;

/// The restart delay of one container, or the retry delay of one image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    /// The present delay in seconds; 0 before the first restart.
    pub delay: i64,
    /// When the delay was last raised.
    pub updated: Moment,
}

impl Backoff {
    fn expired(&self, at: Moment) -> bool {
        at.millis_since(self.updated) > 2 * MOST * 1000
    }

    /// Until when a container that ended at `finished` has to wait; nothing when it may start at once.
    pub fn until(&self, finished: Moment) -> Option<Moment> {
        (self.delay > 0 && !self.expired(finished)).then(|| finished.plus_seconds(self.delay))
    }

    /// The delay after another start at `now`, of a container that ended at `finished`.
    pub fn next(&self, finished: Moment, now: Moment) -> Backoff {
        let delay = match self.delay == 0 || self.expired(finished) {
            true => FIRST,
            false => (self.delay * 2).min(MOST),
        };
        Backoff {
            delay,
            updated: now,
        }
    }

    /// The delay as Go prints a duration.
    pub fn text(&self) -> String {
        match (self.delay / 60, self.delay % 60) {
            (0, seconds) => format!("{seconds}s"),
            (minutes, seconds) => format!("{minutes}m{seconds}s"),
        }
    }
}
