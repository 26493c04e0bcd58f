//! What waits for the writer. Invariant: everything taken in is answered, exactly once.

use crate::core::BatchLimits;
use crate::{CommitError, Committed, Op, Transaction};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

pub(crate) type Answer = Result<Committed, CommitError>;

/// A transaction on its way.
pub(crate) struct Pending {
    pub(crate) transaction: Transaction,
    answer: Option<oneshot::Sender<Answer>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Pending {
    pub(crate) fn new(
        transaction: Transaction,
        answer: oneshot::Sender<Answer>,
        permit: OwnedSemaphorePermit,
    ) -> Pending {
        Pending {
            transaction,
            answer: Some(answer),
            _permit: Some(permit),
        }
    }

    /// A transaction that nobody waits for.
    pub(crate) fn internal(transaction: Transaction) -> Pending {
        Pending {
            transaction,
            answer: None,
            _permit: None,
        }
    }

    pub(crate) fn answer(self, answer: Answer) {
        if let Some(waiting) = self.answer {
            // Whoever no longer waits does not want to know.
            let _ = waiting.send(answer);
        }
    }

    fn size(&self) -> usize {
        self.transaction.ops.iter().map(Op::size).sum()
    }
}

#[derive(Default)]
struct Inside {
    pending: VecDeque<Pending>,
    closed: bool,
    woken: bool,
}

#[derive(Default)]
pub(crate) struct Queue {
    inside: Mutex<Inside>,
    arrived: Condvar,
}

impl Queue {
    pub(crate) fn push(&self, pending: Pending) -> Result<(), CommitError> {
        let mut inside = self.inside.lock();
        if inside.closed {
            return Err(CommitError::Closed);
        }
        inside.pending.push_back(pending);
        drop(inside);
        self.arrived.notify_one();
        Ok(())
    }

    pub(crate) fn take(&self, limits: &BatchLimits) -> Vec<Pending> {
        let mut inside = self.inside.lock();
        let mut bytes = 0;
        let mut count = 0;
        for pending in inside.pending.iter().take(limits.transactions) {
            if bytes >= limits.bytes {
                break;
            }
            bytes = bytes.saturating_add(pending.size());
            count += 1;
        }
        inside.pending.drain(..count).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inside.lock().pending.is_empty()
    }

    pub(crate) fn close(&self) {
        self.inside.lock().closed = true;
        self.arrived.notify_all();
    }

    /// Wakes the writer although nothing was queued.
    pub(crate) fn wake(&self) {
        self.inside.lock().woken = true;
        self.arrived.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inside.lock().closed
    }

    /// Waits until something is queued, the queue is closed, or the time is up.
    pub(crate) fn wait(&self, at_most: Option<Duration>) {
        let mut inside = self.inside.lock();
        if !inside.pending.is_empty() || inside.closed || std::mem::take(&mut inside.woken) {
            return;
        }
        match at_most {
            Some(at_most) => drop(self.arrived.wait_for(&mut inside, at_most)),
            None => self.arrived.wait(&mut inside),
        }
    }
}
