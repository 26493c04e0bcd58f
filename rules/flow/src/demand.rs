//! How many seats a level wanted over a period: mean, deviation and highest, and the smoothed figure that borrowing
//! aims at.

use std::time::Duration;

/// Integrates a gauge over time.
#[derive(Clone, Debug, Default)]
pub struct Demand {
    last: Duration,
    value: f64,
    time: f64,
    sum: f64,
    squares: f64,
    highest: f64,
}

/// What a period showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    /// Length in seconds.
    pub seconds: f64,
    /// Time-weighted mean.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// The highest value.
    pub highest: u32,
}

impl Demand {
    /// The gauge has this value from `now` on.
    pub fn set(&mut self, now: Duration, value: u32) {
        self.pass(now);
        self.value = f64::from(value);
        self.highest = self.highest.max(self.value);
    }

    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last).as_secs_f64();
        self.last = self.last.max(now);
        self.time += passed;
        self.sum += passed * self.value;
        self.squares += passed * self.value * self.value;
    }

    /// Ends a period and begins the next.
    pub fn take(&mut self, now: Duration) -> Observed {
        self.pass(now);
        let mut seen = Observed {
            seconds: self.time,
            highest: self.highest as u32,
            ..Observed::default()
        };
        if self.time > 0.0 {
            seen.mean = self.sum / self.time;
            seen.deviation = (self.squares / self.time - seen.mean * seen.mean)
                .max(0.0)
                .sqrt();
        }
        (self.time, self.sum, self.squares, self.highest) = (0.0, 0.0, 0.0, self.value);
        seen
    }
}

/// Demand that rises at once and falls slowly.
#[derive(Clone, Copy, Debug, Default)]
pub struct Smoothed {
    /// The highest value of the last period.
    pub highest: u32,
    /// The smoothed demand.
    pub seats: f64,
}

impl Smoothed {
    const KEPT: f64 = 0.977;

    /// Takes a period in.
    pub fn update(&mut self, seen: &Observed) {
        self.highest = seen.highest;
        if seen.seconds <= 0.0 {
            return;
        }
        let envelope = seen.mean + seen.deviation;
        let fallen = Self::KEPT * self.seats + (1.0 - Self::KEPT) * envelope;
        self.seats = envelope.max(fallen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_deviation_and_highest() {
        let at = Duration::from_secs;
        let mut demand = Demand::default();
        demand.set(at(0), 4);
        demand.set(at(5), 0);
        let seen = demand.take(at(10));
        assert_eq!((seen.mean, seen.deviation, seen.highest), (2.0, 2.0, 4));
        assert_eq!(demand.take(at(20)).highest, 0);
        let mut smoothed = Smoothed::default();
        smoothed.update(&seen);
        assert_eq!(smoothed.seats, 4.0);
        smoothed.update(&demand.take(at(30)));
        assert!(smoothed.seats < 4.0 && smoothed.seats > 3.9);
    }
}
