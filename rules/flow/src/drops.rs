//! What `Retry-After` says to a refused client: it doubles while many are refused and sinks by one second when few are.

use std::collections::VecDeque;

const RETRY_MAX: u64 = 32;

/// The refusals of one priority level, by second.
#[derive(Clone, Debug)]
pub struct Drops {
    history: VecDeque<(u64, u64)>,
    second: u64,
    count: u64,
    retry: u64,
    raised: u64,
}

impl Default for Drops {
    fn default() -> Drops {
        Drops {
            history: VecDeque::new(),
            second: 0,
            count: 0,
            retry: 1,
            raised: 0,
        }
    }
}

impl Drops {
    /// Notes one refusal in a second (of any epoch that never runs backwards).
    pub fn note(&mut self, second: u64) {
        if second == self.second {
            self.count += 1;
            return;
        }
        self.history.push_back((self.second, self.count));
        let kept = (2 * self.retry).min(RETRY_MAX);
        while self
            .history
            .front()
            .is_some_and(|(at, _)| second.saturating_sub(*at) > kept)
        {
            self.history.pop_front();
        }
        self.second = second;
        self.count = 1;
        let recent: u64 = self
            .history
            .iter()
            .filter(|(at, _)| second.saturating_sub(*at) <= self.retry)
            .map(|(_, count)| count)
            .sum();
        if second.saturating_sub(self.raised) >= self.retry && recent >= 3 * self.retry {
            self.retry = (self.retry * 2).min(RETRY_MAX);
            self.raised = second;
        } else if recent < self.retry && self.retry > 1 {
            self.retry -= 1;
        }
    }

    /// Seconds to wait before trying again.
    pub fn retry_after(&self) -> u64 {
        self.retry
    }
}

#[cfg(test)]
mod tests {
    use super::Drops;

    #[test]
    fn many_refusals_double_it_and_quiet_lowers_it() {
        let mut drops = Drops::default();
        drops.note(100);
        assert_eq!(drops.retry_after(), 1);
        for _ in 0..4 {
            drops.note(101);
        }
        drops.note(102);
        assert_eq!(drops.retry_after(), 2);
        for second in 103..200 {
            for _ in 0..200 {
                drops.note(second);
            }
        }
        assert_eq!(drops.retry_after(), 32);
        for step in 0..40 {
            drops.note(1000 + step * 100);
        }
        assert_eq!(drops.retry_after(), 1);
    }
}
