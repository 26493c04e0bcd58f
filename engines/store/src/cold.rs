//! Values that live on the disk and are in memory only while they are read, under one budget. Invariant: a value is
//! either held here or is what the log keeps for its key now; a value that the log is about to replace is pinned
//! before, so that history and old views stay exact. Without a budget nothing of this exists.

use crate::engine::{EngineError, Values, record};
use crate::{Entry, Key, Revision, Seal};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Why the bytes of an object could not be read back.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "the stored object {key} at revision {revision} cannot be read back from the disk: {reason}"
)]
pub struct ReadError {
    /// The path of its key.
    pub key: String,
    /// The revision of this version.
    pub revision: Revision,
    /// What is wrong.
    pub reason: String,
}

/// The values of one store, and how many bytes of them are held.
pub(crate) struct Pager {
    limit: usize,
    used: AtomicUsize,
    reads: AtomicU64,
    queue: Mutex<VecDeque<Weak<Paged>>>,
    values: Arc<dyn Values>,
    seal: Arc<dyn Seal>,
}

impl Pager {
    pub(crate) fn new(limit: usize, values: Arc<dyn Values>, seal: Arc<dyn Seal>) -> Arc<Pager> {
        Arc::new(Pager {
            limit,
            used: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
            queue: Mutex::default(),
            values,
            seal,
        })
    }

    /// The bytes of values held that could be let go.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How often a value was read back.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn charge(&self, paged: &Arc<Paged>) {
        let used = self.used.fetch_add(paged.len, Ordering::Relaxed) + paged.len;
        let mut queue = self.queue.lock();
        queue.push_back(Arc::downgrade(paged));
        // Two looked at for each one added: those that are gone leave without a sweep.
        for _ in 0..2 {
            if let Some(front) = queue.pop_front()
                && front.strong_count() > 0
            {
                queue.push_back(front);
            }
        }
        if used > self.limit {
            self.evict(&mut queue);
        }
    }

    /// Lets go of what was not read lately (second chance).
    fn evict(&self, queue: &mut VecDeque<Weak<Paged>>) {
        let mut looks = queue.len() * 2;
        while self.used() > self.limit && looks > 0 {
            looks -= 1;
            let Some(weak) = queue.pop_front() else { break };
            let Some(paged) = weak.upgrade() else {
                continue;
            };
            if paged.touched.swap(false, Ordering::Relaxed) {
                queue.push_back(weak);
                continue;
            }
            let mut held = paged.held.lock();
            if let Held::Kept(_) = &*held {
                *held = Held::Cold;
                self.used.fetch_sub(paged.len, Ordering::Relaxed);
            }
        }
    }
}

enum Held {
    /// In memory until it is released: the log does not have it (yet, or any more).
    Pinned(Bytes),
    /// In memory for now.
    Kept(Bytes),
    /// In the log alone.
    Cold,
}

/// One value.
pub(crate) struct Paged {
    pager: Arc<Pager>,
    len: usize,
    touched: AtomicBool,
    held: Mutex<Held>,
}

impl Paged {
    /// A value that the log has.
    pub(crate) fn kept(pager: &Arc<Pager>, bytes: Bytes) -> Arc<Paged> {
        let paged = Paged::pinned(pager, bytes);
        paged.release();
        paged
    }

    /// A value that the log does not have yet.
    pub(crate) fn pinned(pager: &Arc<Pager>, bytes: Bytes) -> Arc<Paged> {
        Arc::new(Paged {
            pager: pager.clone(),
            len: bytes.len(),
            touched: AtomicBool::new(false),
            held: Mutex::new(Held::Pinned(bytes)),
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The log has it now: it may leave memory.
    pub(crate) fn release(self: &Arc<Paged>) {
        let mut held = self.held.lock();
        let Held::Pinned(bytes) = &*held else { return };
        // A slice of a larger buffer would keep all of that.
        *held = Held::Kept(Bytes::copy_from_slice(bytes));
        drop(held);
        self.pager.charge(self);
    }

    /// The log is about to forget it: it stays in memory as long as somebody holds it.
    pub(crate) fn pin(&self, entry: &Entry) -> Result<(), ReadError> {
        let bytes = self.peek(entry)?;
        let mut held = self.held.lock();
        if let Held::Kept(_) = &*held {
            self.pager.used.fetch_sub(self.len, Ordering::Relaxed);
        }
        *held = Held::Pinned(bytes);
        Ok(())
    }

    /// The value, which is kept in memory for the next who asks.
    pub(crate) fn read(self: &Arc<Paged>, entry: &Entry) -> Result<Bytes, ReadError> {
        self.touched.store(true, Ordering::Relaxed);
        if let Some(bytes) = self.held() {
            return Ok(bytes);
        }
        let bytes = self.peek(entry)?;
        let mut held = self.held.lock();
        if let Held::Pinned(first) | Held::Kept(first) = &*held {
            return Ok(first.clone());
        }
        *held = Held::Kept(bytes.clone());
        drop(held);
        self.pager.charge(self);
        Ok(bytes)
    }

    /// The value, which stays where it is: for those who read everything once.
    pub(crate) fn peek(&self, entry: &Entry) -> Result<Bytes, ReadError> {
        let mut reason = String::new();
        // It may be pinned and replaced in the log between the first look and the reading; then the second look
        // finds it.
        for _ in 0..2 {
            if let Some(bytes) = self.held() {
                return Ok(bytes);
            }
            match self.find(entry.key(), entry.mod_revision()) {
                Ok(bytes) => return Ok(bytes),
                Err(why) => reason = why,
            }
        }
        Err(ReadError {
            key: entry.key().path(),
            revision: entry.mod_revision(),
            reason,
        })
    }

    fn held(&self) -> Option<Bytes> {
        match &*self.held.lock() {
            Held::Pinned(bytes) | Held::Kept(bytes) => Some(bytes.clone()),
            Held::Cold => None,
        }
    }

    fn find(&self, key: &Key, revision: Revision) -> Result<Bytes, String> {
        self.pager.reads.fetch_add(1, Ordering::Relaxed);
        let path = key.bytes();
        let found = self.pager.values.read(&path);
        let kept = found.map_err(|error: EngineError| error.to_string())?;
        let kept = kept.ok_or("the log has nothing at this key")?;
        let record = record::decode(&path, &kept)?;
        if record.mod_revision != revision {
            return Err(format!("the log has revision {}", record.mod_revision));
        }
        Ok(self.pager.seal.open(key, record.stored)?.plain)
    }
}

impl Drop for Paged {
    fn drop(&mut self) {
        if let Held::Kept(_) = self.held.get_mut() {
            self.pager.used.fetch_sub(self.len, Ordering::Relaxed);
        }
    }
}

/// The bytes of one entry.
pub(crate) enum Stored {
    /// In memory for good.
    Kept(Bytes),
    /// In memory now and then.
    Paged(Arc<Paged>),
}

impl Stored {
    /// What a transaction is about to write.
    pub(crate) fn drafted(pager: Option<&Arc<Pager>>, bytes: Bytes) -> Stored {
        match pager {
            None => Stored::Kept(bytes),
            Some(pager) => Stored::Paged(Paged::pinned(pager, bytes)),
        }
    }

    /// What was found in the log.
    pub(crate) fn found(pager: Option<&Arc<Pager>>, bytes: Bytes) -> Stored {
        match pager {
            None => Stored::Kept(bytes),
            Some(pager) => Stored::Paged(Paged::kept(pager, bytes)),
        }
    }
}

impl From<Bytes> for Stored {
    fn from(bytes: Bytes) -> Stored {
        Stored::Kept(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plain;

    struct Nothing;

    impl Values for Nothing {
        fn read(&self, _: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
            Ok(None)
        }
    }

    fn pager(limit: usize) -> Arc<Pager> {
        Pager::new(limit, Arc::new(Nothing), Arc::new(Plain))
    }

    fn kilobyte(pager: &Arc<Pager>) -> Arc<Paged> {
        Paged::kept(pager, Bytes::from(vec![0; 1000]))
    }

    #[test]
    fn the_budget_lets_go_of_what_was_not_read() {
        let pager = pager(10_000);
        let first = kilobyte(&pager);
        let mut others = Vec::new();
        for _ in 0..100 {
            others.push(kilobyte(&pager));
            first.touched.store(true, Ordering::Relaxed);
            assert!(pager.used() <= 10_000);
        }
        assert!(first.held().is_some(), "what is read stays");
        assert_eq!(others.iter().filter(|p| p.held().is_some()).count(), 9);
    }

    #[test]
    fn what_the_log_lacks_stays() {
        let pager = pager(2_000);
        let pinned: Vec<_> = (0..20)
            .map(|_| Paged::pinned(&pager, Bytes::from(vec![0; 1000])))
            .collect();
        assert!(pinned.iter().all(|p| p.held().is_some()));
        assert_eq!(pager.used(), 0, "pinned values are charged to history");
        pinned.iter().for_each(Paged::release);
        assert_eq!(pager.used(), 2_000);
        drop(pinned);
        assert_eq!(pager.used(), 0);
    }
}
