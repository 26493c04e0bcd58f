//! The store on a disk in memory: transactions in flight, its process dying and coming back, its disk failing.
//!
//! Invariant: a transaction is handed to the store when it is submitted and answered by one of its steps; what was in
//! flight, or refused with its outcome unknown, when the process died may have happened or not, everything else did.

use crate::audit::Audit;
use crate::objects;
use corten_store::engine::memory::{Fault, MemoryDisk, MemoryEngine, Unsynced};
use corten_store::{
    CommitError, Committed, Core, Health, Key, ManualClock, OpenError, Options, Retention, Store,
    Transaction,
};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// Names a submitted transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

type Answer = Result<Committed, CommitError>;

struct InFlight {
    ticket: Ticket,
    key: Key,
    answer: Pin<Box<dyn Future<Output = Answer>>>,
}

/// How the store's process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Between two batches.
    Idle,
    /// In the middle of one.
    In(Fault),
}

/// See the module's description.
pub struct Storage {
    /// Follows everything that the store publishes.
    pub audit: Audit,
    disk: MemoryDisk,
    clock: Arc<ManualClock>,
    retention: Retention,
    open: Option<(Store, Core)>,
    in_flight: Vec<InFlight>,
    answers: BTreeMap<Ticket, Answer>,
    /// Keys of transactions whose outcome the store could not tell.
    doubtful: BTreeSet<Key>,
    tickets: u64,
    /// The disk is busy until then.
    busy_until: u64,
}

impl Storage {
    /// A new, empty store.
    pub fn new(clock: Arc<ManualClock>, retention: Retention) -> Result<Storage, OpenError> {
        let mut storage = Storage {
            audit: Audit::default(),
            disk: MemoryDisk::new(),
            clock,
            retention,
            open: None,
            in_flight: Vec::new(),
            answers: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            tickets: 0,
            busy_until: 0,
        };
        storage.open()?;
        Ok(storage)
    }

    /// The store; nothing while its process is down.
    pub fn store(&self) -> Option<&Store> {
        self.open.as_ref().map(|(store, _)| store)
    }

    /// Whether transactions wait for an answer.
    pub fn is_busy(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Whether the store takes writes now.
    pub fn is_writable(&self) -> bool {
        self.store().is_some_and(|s| s.health() == Health::Writable)
    }

    /// Hands a transaction to the store; nothing while its process is down.
    pub fn submit(&mut self, key: Key, transaction: Transaction) -> Option<Ticket> {
        let store = self.store()?.clone();
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let answer = Box::pin(async move { store.commit(transaction).await });
        self.in_flight.push(InFlight {
            ticket,
            key,
            answer,
        });
        self.collect();
        Some(ticket)
    }

    /// The answer to a transaction, once.
    pub fn take(&mut self, ticket: Ticket) -> Option<Answer> {
        self.answers.remove(&ticket)
    }

    /// Lets the store work, unless the disk is busy; true when transactions were answered.
    pub fn step(&mut self, now: u64) -> bool {
        if now < self.busy_until {
            return false;
        }
        let Some((store, core)) = &mut self.open else {
            return false;
        };
        let step = core.step();
        let store = store.clone();
        self.audit.follow(&store);
        self.collect();
        if store.health() == Health::Writable {
            self.doubtful.clear();
        }
        step.transactions > 0
    }

    /// Takes in the answers there are.
    fn collect(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for mut one in std::mem::take(&mut self.in_flight) {
            match one.answer.as_mut().poll(&mut context) {
                Poll::Pending => self.in_flight.push(one),
                Poll::Ready(answer) => {
                    match &answer {
                        Ok(committed) => self.audit.acknowledged(&one.key, committed),
                        Err(CommitError::Storage(_)) => {
                            self.doubtful.insert(one.key);
                        }
                        Err(_) => {}
                    }
                    self.answers.insert(one.ticket, answer);
                }
            }
        }
    }

    /// The disk does not answer before `until`.
    pub fn stall(&mut self, until: u64) {
        self.busy_until = self.busy_until.max(until);
    }

    /// When the store has something to do although nothing is submitted, in milliseconds from the start.
    pub fn next_deadline(&self, now: u64) -> Option<u64> {
        let (_, core) = self.open.as_ref()?;
        if self.is_writable() {
            return self.is_busy().then_some(self.busy_until.max(now));
        }
        let wait = core.next_wake()?;
        Some((now + wait.as_millis() as u64).max(self.busy_until))
    }

    /// Lets the disk fail from now on.
    pub fn fail(&mut self, fault: Fault) {
        self.disk.fail(fault);
    }

    /// The disk works again.
    pub fn heal(&mut self) {
        self.disk.heal();
    }

    /// The process dies; what was not synced is lost or there by luck.
    pub fn kill(&mut self, death: Death, unsynced: Unsynced) {
        let Some((store, mut core)) = self.open.take() else {
            return;
        };
        self.audit.follow(&store);
        let mut maybe: BTreeSet<Key> = self.in_flight.iter().map(|one| one.key.clone()).collect();
        maybe.append(&mut self.doubtful);
        if let Death::In(fault) = death {
            self.disk.fail(fault);
            core.step();
        }
        drop(core);
        self.collect();
        drop(store);
        self.doubtful.clear();
        self.audit.lost(maybe);
        self.disk.crash(unsynced);
        self.busy_until = 0;
    }

    /// The process comes back on what the disk kept.
    pub fn open(&mut self) -> Result<(), OpenError> {
        let mut options = Options::new(MemoryEngine::on(&self.disk), objects::describe);
        options.clock = self.clock.clone();
        options.cluster_id = Some(7);
        options.retention = self.retention.clone();
        let (store, core) = Store::open_manual(options)?;
        self.audit.opened(&store);
        self.open = Some((store, core));
        Ok(())
    }
}
