//! The queues of one priority level: fair queuing for requests that take seats for a while. Progress counts the
//! seat-seconds that every busy queue has had; the queue whose oldest request would finish first in that count is next.
//! Invariant: seats in use exceed the limit only by one request that is wider than it, when nothing else runs.

use std::time::Duration;

use crate::deal::deal;
use crate::demand::{Demand, Observed};
use crate::queue::{Queue, Waiting};
use crate::seats::Work;

/// How long a request is guessed to run.
const SERVICE: Duration = Duration::from_millis(3);

/// How a level treats what it cannot serve at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queuing {
    /// Serves everything at once.
    Exempt,
    /// Refuses.
    Reject,
    /// Lets wait.
    Queue {
        /// Number of queues.
        queues: usize,
        /// Queues dealt to a flow.
        hand: usize,
        /// Requests that wait in one queue.
        length: usize,
    },
}

/// A request that waits, for giving up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    queue: usize,
    number: u64,
}

/// A request that runs. Hand it back to [`Queues::finish`] when it is done.
#[derive(Debug, PartialEq)]
#[must_use]
pub struct Seat {
    queue: Option<usize>,
    work: Work,
    started: Duration,
}

impl Seat {
    /// Seats taken.
    pub fn width(&self) -> u32 {
        self.work.width()
    }

    /// How long the seats stay taken after the request has finished.
    pub fn lingers(&self) -> Duration {
        self.work.lingers
    }
}

/// Why a request is refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The level does not queue and is full.
    Concurrency,
    /// Its queue is full.
    QueueFull,
}

impl Refusal {
    /// As metrics name it.
    pub fn reason(self) -> &'static str {
        match self {
            Refusal::Concurrency => "concurrency-limit",
            Refusal::QueueFull => "queue-full",
        }
    }
}

/// What becomes of a request that arrives.
#[derive(Debug, PartialEq)]
pub enum Arrival {
    /// It runs now.
    Runs(Seat),
    /// It waits; its waker comes back with a seat.
    Waits(Ticket),
    /// It is refused.
    Refused(Refusal),
}

/// A seat for a request that waited.
pub type Given<W> = (W, Seat);

/// Totals since the level began, and what is so now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub waiting: u32,
    pub executing: u32,
    pub seats_in_use: u32,
    pub seats_waiting: u32,
    pub dispatched: u64,
    pub rejected: u64,
    pub timed_out: u64,
    pub cancelled: u64,
}

/// One queue, for the debugging endpoints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QueueView {
    pub waiting: usize,
    pub executing: u32,
    pub seats_in_use: u32,
    pub next_dispatch: f64,
    pub seats_waiting: u32,
    pub work_waiting: f64,
}

/// The state of a level. `W` is whatever wakes a request that waits.
#[derive(Debug)]
pub struct Queues<W> {
    queuing: Queuing,
    limit: u32,
    queues: Vec<Queue<W>>,
    /// Queues that have anything to do.
    active: u32,
    progress: f64,
    last: Duration,
    /// The queue last dispatched from.
    robin: usize,
    arrivals: usize,
    tickets: u64,
    counts: Counts,
    demand: Demand,
}

impl<W> Queues<W> {
    /// A level with nothing to do.
    pub fn new(queuing: Queuing, limit: u32, now: Duration) -> Queues<W> {
        let mut queues = Queues {
            queuing,
            limit,
            queues: Vec::new(),
            active: 0,
            progress: 0.0,
            last: now,
            robin: 0,
            arrivals: 0,
            tickets: 0,
            counts: Counts::default(),
            demand: Demand::default(),
        };
        queues.demand.set(now, 0);
        queues.grow();
        queues
    }

    /// Takes a new configuration; queues that are too many drain first. Gives seats to those who can start now.
    pub fn configure(
        &mut self,
        queuing: Queuing,
        limit: u32,
        now: Duration,
        out: &mut Vec<Given<W>>,
    ) {
        self.pass(now);
        (self.queuing, self.limit) = (queuing, limit);
        self.grow();
        self.shrink();
        self.dispatch(now, out);
    }

    /// Takes a new number of seats.
    pub fn set_limit(&mut self, limit: u32, now: Duration, out: &mut Vec<Given<W>>) {
        self.pass(now);
        self.limit = limit;
        self.dispatch(now, out);
    }

    fn wanted(&self) -> usize {
        match self.queuing {
            Queuing::Queue { queues, .. } => queues,
            _ => 0,
        }
    }

    fn grow(&mut self) {
        let wanted = self.wanted().max(self.queues.len());
        self.queues.resize_with(wanted, Queue::default);
    }

    fn shrink(&mut self) {
        while self.queues.len() > self.wanted()
            && self.queues.last().is_some_and(|q| !q.is_active())
        {
            self.queues.pop();
        }
    }

    /// Lets virtual time pass: every active queue has had its part of the seats since.
    fn pass(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        if self.active == 0 {
            return;
        }
        let asked = (self.counts.seats_in_use + self.counts.seats_waiting).min(self.limit);
        self.progress += f64::from(asked) / f64::from(self.active) * passed.as_secs_f64();
    }

    fn fits(&self, width: u32) -> bool {
        match self.queuing {
            Queuing::Exempt => true,
            _ if width > self.limit => self.counts.executing == 0 && self.counts.seats_in_use == 0,
            _ => self.counts.seats_in_use + width <= self.limit,
        }
    }

    fn note_demand(&mut self, now: Duration) {
        self.demand
            .set(now, self.counts.seats_in_use + self.counts.seats_waiting);
    }

    /// A request of a flow arrives. When it must wait, `waker` is kept.
    pub fn arrive(
        &mut self,
        now: Duration,
        hash: u64,
        work: Work,
        waker: impl FnOnce() -> W,
    ) -> Arrival {
        self.pass(now);
        let Queuing::Queue {
            hand,
            length,
            queues,
        } = self.queuing
        else {
            if !self.fits(work.width()) {
                self.counts.rejected += 1;
                return Arrival::Refused(Refusal::Concurrency);
            }
            return Arrival::Runs(self.start(None, work, now));
        };
        let index = self.choose(hash, queues, hand);
        let full = self.counts.seats_in_use >= self.limit;
        if full && self.queues[index].waiting.len() >= length {
            self.counts.rejected += 1;
            return Arrival::Refused(Refusal::QueueFull);
        }
        let progress = self.progress;
        let queue = &mut self.queues[index];
        if !queue.is_active() {
            self.active += 1;
            queue.next_dispatch = progress;
        }
        let seats_left = self.counts.seats_in_use < self.limit;
        if seats_left && self.counts.waiting == 0 && self.fits(work.width()) {
            let queue = &mut self.queues[index];
            queue.next_dispatch = queue.next_dispatch.max(progress) + work.total(SERVICE);
            self.robin = index;
            return Arrival::Runs(self.start(Some(index), work, now));
        }
        self.tickets += 1;
        let number = self.tickets;
        let request = Waiting {
            ticket: number,
            work,
            arrival: progress,
            arrived: now,
            waker: waker(),
        };
        self.counts.waiting += 1;
        self.counts.seats_waiting += work.width();
        let queue = &mut self.queues[index];
        queue.push(request, work.total(SERVICE));
        queue.bound();
        self.note_demand(now);
        Arrival::Waits(Ticket {
            queue: index,
            number,
        })
    }

    /// The queue of the flow's hand with the least work waiting.
    fn choose(&mut self, hash: u64, queues: usize, hand: usize) -> usize {
        let mut cards = [0usize; 16];
        let mut dealt = 0;
        deal(hash, queues, hand, |card| {
            cards[dealt] = card;
            dealt += 1;
        });
        let offset = self.arrivals;
        self.arrivals = self.arrivals.wrapping_add(1);
        let mut best = cards[offset % dealt.max(1)];
        for step in 1..dealt {
            let card = cards[(offset + step) % dealt];
            if self.queues[card].work_waiting < self.queues[best].work_waiting {
                best = card;
            }
        }
        best
    }

    fn start(&mut self, queue: Option<usize>, work: Work, now: Duration) -> Seat {
        self.counts.executing += 1;
        self.counts.dispatched += 1;
        self.counts.seats_in_use += work.width();
        if let Some(index) = queue {
            self.queues[index].executing += 1;
            self.queues[index].seats_in_use += work.width();
        }
        self.note_demand(now);
        Seat {
            queue,
            work,
            started: now,
        }
    }

    /// Gives seats to waiting requests while there are any.
    fn dispatch(&mut self, now: Duration, out: &mut Vec<Given<W>>) {
        while self.counts.waiting > 0 && self.counts.seats_in_use < self.limit {
            let Some(index) = self.next() else { return };
            let Some(width) = self.queues[index].waiting.front().map(|r| r.work.width()) else {
                return;
            };
            if !self.fits(width) {
                return;
            }
            let Some(mut request) = self.queues[index].take(0, SERVICE) else {
                return;
            };
            self.robin = index;
            self.counts.waiting -= 1;
            self.counts.seats_waiting -= request.work.width();
            narrow(&mut request.work, self.limit);
            let queue = &mut self.queues[index];
            queue.next_dispatch += request.work.total(SERVICE);
            queue.bound();
            let seat = self.start(Some(index), request.work, now);
            out.push((request.waker, seat));
        }
    }

    /// The queue whose oldest request finishes first in virtual time, those after the last one served going first.
    fn next(&self) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for step in 1..=self.queues.len() {
            let index = (self.robin + step) % self.queues.len();
            let Some(oldest) = self.queues[index].waiting.front() else {
                continue;
            };
            let finish = self.queues[index].next_dispatch + oldest.work.total(SERVICE);
            if best.is_none_or(|(least, _)| finish < least) {
                best = Some((finish, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// A request is done. When its seat lingers, call [`Queues::release`] that much later; its seats stay taken till then.
    pub fn finish(&mut self, now: Duration, seat: Seat, out: &mut Vec<Given<W>>) -> Option<Seat> {
        self.pass(now);
        self.counts.executing -= 1;
        if let Some(index) = seat.queue {
            let ran = now.saturating_sub(seat.started).as_secs_f64();
            let queue = &mut self.queues[index];
            queue.next_dispatch -= f64::from(seat.work.seats) * (SERVICE.as_secs_f64() - ran);
            queue.executing -= 1;
            queue.bound();
            let idle = !queue.is_active();
            self.active -= u32::from(idle);
        }
        if seat.work.lingers > Duration::ZERO {
            self.dispatch(now, out);
            return Some(seat);
        }
        self.free(now, &seat, out);
        None
    }

    /// The seats of a request that lingered are free again.
    pub fn release(&mut self, now: Duration, seat: Seat, out: &mut Vec<Given<W>>) {
        self.pass(now);
        self.free(now, &seat, out);
    }

    fn free(&mut self, now: Duration, seat: &Seat, out: &mut Vec<Given<W>>) {
        self.counts.seats_in_use -= seat.work.width();
        if let Some(queue) = seat.queue.and_then(|index| self.queues.get_mut(index)) {
            queue.seats_in_use = queue.seats_in_use.saturating_sub(seat.work.width());
        }
        self.note_demand(now);
        self.shrink();
        self.dispatch(now, out);
    }

    /// A request has waited too long or its client has gone. False when it has been given a seat meanwhile.
    pub fn give_up(&mut self, now: Duration, ticket: Ticket, timed_out: Waited) -> bool {
        self.pass(now);
        let Some(queue) = self.queues.get_mut(ticket.queue) else {
            return false;
        };
        let found = queue.waiting.iter().position(|r| r.ticket == ticket.number);
        let Some(request) = found.and_then(|index| queue.take(index, SERVICE)) else {
            return false;
        };
        queue.bound();
        self.active -= u32::from(!queue.is_active());
        self.counts.waiting -= 1;
        self.counts.seats_waiting -= request.work.width();
        self.counts.rejected += 1;
        match timed_out {
            Waited::TooLong => self.counts.timed_out += 1,
            Waited::InVain => self.counts.cancelled += 1,
        }
        self.note_demand(now);
        self.shrink();
        true
    }

    /// What is so now.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Seats at present.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether nothing runs or waits.
    pub fn is_idle(&self) -> bool {
        self.counts.executing == 0 && self.counts.waiting == 0
    }

    /// The demand since the last call.
    pub fn take_demand(&mut self, now: Duration) -> Observed {
        self.demand.take(now)
    }

    /// Every queue.
    pub fn views(&self) -> impl Iterator<Item = QueueView> {
        self.queues.iter().map(|q| QueueView {
            waiting: q.waiting.len(),
            executing: q.executing,
            seats_in_use: q.seats_in_use,
            next_dispatch: q.next_dispatch,
            seats_waiting: q.seats_waiting,
            work_waiting: q.work_waiting,
        })
    }

    /// Every waiting request: its queue, place, arrival, work and waker.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, usize, Duration, Work, &W)> {
        self.queues.iter().enumerate().flat_map(|(index, queue)| {
            let requests = queue.waiting.iter().enumerate();
            requests.map(move |(place, r)| (index, place, r.arrived, r.work, &r.waker))
        })
    }
}

/// Why a request stops waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Its time is over.
    TooLong,
    /// Its client has gone.
    InVain,
}

/// Work that lingers in more seats than there are lingers longer in fewer.
fn narrow(work: &mut Work, limit: u32) {
    if work.final_seats > limit && limit > 0 {
        work.lingers = work
            .lingers
            .mul_f64(f64::from(work.final_seats) / f64::from(limit));
        work.final_seats = limit;
    }
}

#[cfg(test)]
mod tests;
