//! A point in time in milliseconds, finer than the API's seconds so that deadlines do not round.

use corten_core::Time;

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// The moment `seconds` later.
    pub const fn plus_seconds(self, seconds: i64) -> Moment {
        Moment(self.0 + seconds * 1000)
    }

    /// Milliseconds from `earlier` to this moment.
    pub const fn millis_since(self, earlier: Moment) -> i64 {
        self.0 - earlier.0
    }

    /// The second of the API in which this moment lies.
    pub const fn time(self) -> Time {
        Time::from_unix(self.0.div_euclid(1000))
    }
}

impl From<Time> for Moment {
    fn from(time: Time) -> Moment {
        Moment(time.unix() * 1000)
    }
}
