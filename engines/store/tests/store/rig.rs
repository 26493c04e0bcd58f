//! A store driven by hand, on one thread, with a clock and a disk that the test moves.

use bytes::Bytes;
use corten_store::engine::memory::{MemoryDisk, MemoryEngine};
use corten_store::*;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub struct Rig {
    pub store: Store,
    pub core: Core,
    pub clock: Arc<ManualClock>,
    pub disk: MemoryDisk,
}

/// The header that the tests' objects describe: the bytes before `|` are the uid.
pub fn describe(_: &Key, stored: &Bytes) -> Result<Header, String> {
    let text = std::str::from_utf8(stored).map_err(|error| error.to_string())?;
    Ok(Header::of(text.split('|').next().unwrap_or("")).build())
}

pub fn header(stored: &str) -> Header {
    describe(
        &Key::cluster(&Resource::new("x"), "x"),
        &Bytes::copy_from_slice(stored.as_bytes()),
    )
    .unwrap()
}

impl Rig {
    pub fn new() -> Rig {
        Rig::with(|_| ())
    }

    pub fn with(adjust: impl FnOnce(&mut Options)) -> Rig {
        let clock = Arc::new(ManualClock::starting_at(Duration::from_secs(1_700_000_000)));
        Rig::on(MemoryDisk::new(), clock, adjust)
    }

    pub fn on(disk: MemoryDisk, clock: Arc<ManualClock>, adjust: impl FnOnce(&mut Options)) -> Rig {
        let mut options = Options::new(MemoryEngine::on(&disk), describe);
        options.clock = clock.clone();
        options.cluster_id = Some(7);
        adjust(&mut options);
        let (store, core) = Store::open_manual(options).unwrap();
        Rig {
            store,
            core,
            clock,
            disk,
        }
    }

    /// The store after its process ended and another opened the same disk.
    pub fn restarted(self) -> Rig {
        let Rig {
            store,
            core,
            clock,
            disk,
        } = self;
        drop((store, core));
        Rig::on(disk, clock, |_| ())
    }

    /// Commits transactions as one batch.
    pub fn batch(&mut self, transactions: Vec<Transaction>) -> Vec<Result<Committed, CommitError>> {
        let store = self.store.clone();
        let mut waiting: Vec<_> = transactions
            .into_iter()
            .map(|transaction| Box::pin(store.commit(transaction)))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        for future in &mut waiting {
            assert!(future.as_mut().poll(&mut context).is_pending());
        }
        self.core.step();
        let answered = waiting
            .iter_mut()
            .map(|future| match future.as_mut().poll(&mut context) {
                Poll::Ready(answer) => answer,
                Poll::Pending => panic!("the step left a transaction unanswered"),
            });
        answered.collect()
    }

    pub fn commit(
        &mut self,
        transaction: impl Into<Transaction>,
    ) -> Result<Committed, CommitError> {
        self.batch(vec![transaction.into()]).remove(0)
    }

    pub fn put(&mut self, key: &Key, stored: &str) -> Arc<Entry> {
        self.commit(put(key, stored))
            .unwrap()
            .entry()
            .unwrap()
            .clone()
    }

    pub fn delete(&mut self, key: &Key) -> Committed {
        self.commit(Transaction::delete(key.clone(), Precondition::MustExist))
            .unwrap()
    }

    /// Lets time pass and does what is due.
    pub fn pass(&mut self, time: Duration) {
        self.clock.advance(time);
        for _ in 0..10_000 {
            if self.core.step().more == Again::Later {
                return;
            }
        }
        panic!("the store does not come to rest");
    }
}

pub fn put(key: &Key, stored: &str) -> Put {
    Put::new(
        key.clone(),
        Bytes::copy_from_slice(stored.as_bytes()),
        header(stored),
    )
}

/// The result of a future that does not wait.
pub fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

pub fn texts<'a>(entries: impl IntoIterator<Item = &'a Arc<Entry>>) -> Vec<String> {
    let text = |entry: &Arc<Entry>| {
        format!(
            "{}={}",
            entry.key().tail(),
            String::from_utf8_lossy(&entry.stored().unwrap())
        )
    };
    entries.into_iter().map(text).collect()
}
