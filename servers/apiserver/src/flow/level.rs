//! One priority level at work: its queues behind a lock, the requests that run in it, and the seat a request holds.
//! Invariant: a permit gives its seats back when it is dropped, a turn that is dropped leaves its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corten_access::UserInfo;
use corten_core::Str;
use corten_flow::{
    Arrival, Drops, Given, Limits, Observed, Queues, Queuing, Refusal, Seat, Smoothed, Ticket,
    Waited, Work,
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Flow;
use crate::info::RequestInfo;

/// What is known of a request that waits or runs.
pub(super) struct Note {
    pub schema: Str,
    pub flow: Str,
    pub user: Arc<UserInfo>,
    pub info: Arc<RequestInfo>,
    pub work: Work,
    pub arrived: Duration,
}

/// Wakes a request that waits.
pub(super) struct Waiter {
    sender: oneshot::Sender<Permit>,
    pub note: Arc<Note>,
}

/// The requests that run, in places that are used again.
#[derive(Default)]
pub(super) struct Running {
    places: Vec<Option<(Arc<Note>, Duration)>>,
    free: Vec<usize>,
}

impl Running {
    fn add(&mut self, note: Arc<Note>, started: Duration) -> usize {
        if let Some(place) = self.free.pop() {
            self.places[place] = Some((note, started));
            return place;
        }
        self.places.push(Some((note, started)));
        self.places.len() - 1
    }

    fn remove(&mut self, place: usize) {
        self.places[place] = None;
        self.free.push(place);
    }

    /// Every request that runs and when it began.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Arc<Note>, Duration)> {
        self.places.iter().flatten()
    }
}

/// The state behind the lock.
pub(super) struct Inner {
    pub queues: Queues<Waiter>,
    pub running: Running,
    pub refused: Refusals,
}

/// Refusals by reason, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    pub concurrency: u64,
    pub queue_full: u64,
}

/// A priority level.
pub(super) struct Level {
    pub name: Str,
    pub uid: Str,
    exempt: bool,
    seats_max: AtomicU32,
    pub inner: Mutex<Inner>,
    drops: Mutex<Drops>,
    pub share: Mutex<Sharing>,
}

/// What borrowing knows of a level.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sharing {
    pub limits: Limits,
    pub demand: Smoothed,
    /// No object configures it any more; it goes when it is idle.
    pub quiescing: bool,
}

/// What became of a request that arrived.
pub(super) enum Arrived {
    Runs(Permit),
    Waits(Turn),
    Refused,
}

/// Seats of a level; dropping them lets others in.
pub(super) struct Permit {
    flow: Arc<Flow>,
    level: Arc<Level>,
    seat: Option<Seat>,
    place: usize,
}

/// A place in a queue; dropping it gives it up.
pub(super) struct Turn {
    flow: Arc<Flow>,
    level: Arc<Level>,
    ticket: Ticket,
    receiver: oneshot::Receiver<Permit>,
    waited: Waited,
}

impl Level {
    pub(super) fn new(name: Str, uid: Str, queuing: Queuing, limit: u32, now: Duration) -> Level {
        Level {
            name,
            uid,
            exempt: queuing == Queuing::Exempt,
            seats_max: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                queues: Queues::new(queuing, limit, now),
                running: Running::default(),
                refused: Refusals::default(),
            }),
            drops: Mutex::default(),
            share: Mutex::default(),
        }
    }

    pub(super) fn is_exempt(&self) -> bool {
        self.exempt
    }

    /// The widest a request may be; 0 when the level does not say.
    pub(super) fn seats_max(&self) -> u32 {
        self.seats_max.load(Ordering::Relaxed)
    }

    pub(super) fn set_seats_max(&self, seats: u32) {
        self.seats_max.store(seats, Ordering::Relaxed);
    }

    /// Notes that a request was refused; answers after how many seconds it may come again.
    pub(super) fn note_drop(&self, second: u64) -> u64 {
        let mut drops = self.drops.lock();
        drops.note(second);
        drops.retry_after()
    }

    pub(super) fn arrive(
        self: &Arc<Level>,
        flow: &Arc<Flow>,
        hash: u64,
        note: Arc<Note>,
    ) -> Arrived {
        let mut receiver = None;
        let now = note.arrived;
        let mut inner = self.inner.lock();
        let arrival = inner.queues.arrive(now, hash, note.work, || {
            let (sender, waiting) = oneshot::channel();
            receiver = Some(waiting);
            Waiter {
                sender,
                note: note.clone(),
            }
        });
        match (arrival, receiver) {
            (Arrival::Runs(seat), _) => {
                let place = inner.running.add(note, now);
                Arrived::Runs(self.permit(flow, seat, place))
            }
            (Arrival::Waits(ticket), Some(receiver)) => Arrived::Waits(Turn {
                flow: flow.clone(),
                level: self.clone(),
                ticket,
                receiver,
                waited: Waited::InVain,
            }),
            (Arrival::Refused(Refusal::Concurrency), _) => {
                inner.refused.concurrency += 1;
                Arrived::Refused
            }
            _ => {
                inner.refused.queue_full += 1;
                Arrived::Refused
            }
        }
    }

    fn permit(self: &Arc<Level>, flow: &Arc<Flow>, seat: Seat, place: usize) -> Permit {
        Permit {
            flow: flow.clone(),
            level: self.clone(),
            seat: Some(seat),
            place,
        }
    }

    /// Changes how it queues and how many seats it has.
    pub(super) fn configure(self: &Arc<Level>, flow: &Arc<Flow>, queuing: Queuing, limit: u32) {
        let mut given = Vec::new();
        let mut inner = self.inner.lock();
        inner
            .queues
            .configure(queuing, limit, flow.now(), &mut given);
        self.hand_out(flow, inner, given);
    }

    /// Changes how many seats it has.
    pub(super) fn set_limit(self: &Arc<Level>, flow: &Arc<Flow>, limit: u32) {
        let mut given = Vec::new();
        let mut inner = self.inner.lock();
        inner.queues.set_limit(limit, flow.now(), &mut given);
        self.hand_out(flow, inner, given);
    }

    /// Wakes those who got a seat, after the lock is let go: one who has left hands it on at once.
    fn hand_out(
        self: &Arc<Level>,
        flow: &Arc<Flow>,
        mut inner: parking_lot::MutexGuard<'_, Inner>,
        given: Vec<Given<Waiter>>,
    ) {
        let now = flow.now();
        let woken: Vec<_> = given
            .into_iter()
            .map(|(waiter, seat)| {
                let place = inner.running.add(waiter.note, now);
                (waiter.sender, self.permit(flow, seat, place))
            })
            .collect();
        drop(inner);
        for (sender, permit) in woken {
            drop(sender.send(permit));
        }
    }

    fn finish(self: &Arc<Level>, flow: &Arc<Flow>, seat: Seat, place: usize) {
        let mut given = Vec::new();
        let mut inner = self.inner.lock();
        inner.running.remove(place);
        let lingering = inner.queues.finish(flow.now(), seat, &mut given);
        self.hand_out(flow, inner, given);
        let Some(seat) = lingering else { return };
        let (level, flow) = (self.clone(), flow.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return level.release(&flow, seat);
        };
        runtime.spawn(async move {
            tokio::time::sleep(seat.lingers()).await;
            level.release(&flow, seat);
        });
    }

    fn release(self: &Arc<Level>, flow: &Arc<Flow>, seat: Seat) {
        let mut given = Vec::new();
        let mut inner = self.inner.lock();
        inner.queues.release(flow.now(), seat, &mut given);
        self.hand_out(flow, inner, given);
    }

    /// The demand since the last call.
    pub(super) fn take_demand(&self, now: Duration) -> Observed {
        self.inner.lock().queues.take_demand(now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(seat) = self.seat.take() {
            self.level.finish(&self.flow, seat, self.place);
        }
    }
}

impl Turn {
    /// Waits for its turn; none when it takes too long.
    pub(super) async fn wait(mut self, most: Duration) -> Option<Permit> {
        match tokio::time::timeout(most, &mut self.receiver).await {
            Ok(permit) => permit.ok(),
            Err(_) => {
                self.waited = Waited::TooLong;
                None
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = self.flow.now();
        let mut inner = self.level.inner.lock();
        // One that was given a seat and never took it hands it back when the channel goes.
        inner.queues.give_up(now, self.ticket, self.waited);
    }
}
