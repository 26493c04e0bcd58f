//! One queue of a level: the requests that wait in it, and where its turn is in virtual time.

use std::collections::VecDeque;
use std::time::Duration;

use crate::seats::Work;

/// A request that waits. `W` wakes it.
#[derive(Debug)]
pub(crate) struct Waiting<W> {
    pub ticket: u64,
    pub work: Work,
    /// The level's progress when it came.
    pub arrival: f64,
    pub arrived: Duration,
    pub waker: W,
}

/// A queue.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    pub waiting: VecDeque<Waiting<W>>,
    pub executing: u32,
    pub seats_in_use: u32,
    /// The progress at which its next request starts in the virtual world.
    pub next_dispatch: f64,
    /// Seat-seconds that wait.
    pub work_waiting: f64,
    /// Seats that wait.
    pub seats_waiting: u32,
}

impl<W> Default for Queue<W> {
    fn default() -> Queue<W> {
        Queue {
            waiting: VecDeque::new(),
            executing: 0,
            seats_in_use: 0,
            next_dispatch: 0.0,
            work_waiting: 0.0,
            seats_waiting: 0,
        }
    }
}

impl<W> Queue<W> {
    /// Whether it has anything to do.
    pub(crate) fn is_active(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }

    /// In the virtual world nothing starts before it came: a queue saves up no turns.
    pub(crate) fn bound(&mut self) {
        if let Some(oldest) = self.waiting.front() {
            self.next_dispatch = self.next_dispatch.max(oldest.arrival);
        }
    }

    pub(crate) fn push(&mut self, request: Waiting<W>, total: f64) {
        self.work_waiting += total;
        self.seats_waiting += request.work.width();
        self.waiting.push_back(request);
    }

    /// Takes one out: the oldest, or the one with this ticket.
    pub(crate) fn take(&mut self, index: usize, service: Duration) -> Option<Waiting<W>> {
        let request = self.waiting.remove(index)?;
        self.seats_waiting -= request.work.width();
        self.work_waiting = match self.waiting.is_empty() {
            true => 0.0,
            false => self.work_waiting - request.work.total(service),
        };
        Some(request)
    }
}
