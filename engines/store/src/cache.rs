//! What is made from an object once and shared by all readers: the typed object and its encodings, under one
//! memory budget. Invariant: everything held here can be made again, so dropping it is always correct.

use bytes::Bytes;
use parking_lot::Mutex;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// A typed object of any kind.
pub type AnyObject = Arc<dyn Any + Send + Sync>;

/// Names one encoding of an object or an event: format, version, framing. The caller chooses the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Encoding(pub u32);

/// The memory that cached objects and encodings may take together. When it is exceeded, the least recently
/// used ones are dropped (second chance).
pub(crate) struct Budget {
    limit: usize,
    used: AtomicUsize,
    queue: Mutex<VecDeque<Weak<Cell>>>,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Arc<Budget> {
        Arc::new(Budget {
            limit,
            used: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn charge(&self, cell: &Arc<Cell>, bytes: usize, enters: Enters) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if enters == Enters::Queue {
            let mut queue = self.queue.lock();
            queue.push_back(Arc::downgrade(cell));
            // Two looked at for each one added: cells whose entry is gone leave without a sweep.
            for _ in 0..2 {
                if let Some(front) = queue.pop_front()
                    && front.strong_count() > 0
                {
                    queue.push_back(front);
                }
            }
        }
        if used > self.limit {
            self.evict();
        }
    }

    fn evict(&self) {
        let mut dropped = Vec::new();
        let mut queue = self.queue.lock();
        let mut looks = queue.len() * 2;
        while self.used() > self.limit && looks > 0 {
            looks -= 1;
            let Some(weak) = queue.pop_front() else { break };
            let Some(cell) = weak.upgrade() else { continue };
            if cell.touched.swap(false, Ordering::Relaxed) {
                queue.push_back(weak);
            } else {
                let held = std::mem::take(&mut *cell.held.lock());
                self.used.fetch_sub(held.size(), Ordering::Relaxed);
                dropped.push((held, cell));
            }
        }
        // Freed after the lock, since freeing objects takes a while.
        drop(queue);
    }
}

#[derive(PartialEq, Clone, Copy)]
enum Enters {
    Queue,
    Nothing,
}

/// What is held for one entry or one event.
struct Cell {
    budget: Arc<Budget>,
    touched: AtomicBool,
    held: Mutex<Held>,
}

impl Drop for Cell {
    fn drop(&mut self) {
        self.budget
            .used
            .fetch_sub(self.held.get_mut().size(), Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Held {
    object: Option<(AnyObject, usize)>,
    encodings: Vec<(Encoding, Bytes)>,
}

impl Held {
    fn size(&self) -> usize {
        self.object.as_ref().map_or(0, |(_, size)| *size)
            + self
                .encodings
                .iter()
                .map(|(_, bytes)| bytes.len())
                .sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.object.is_none() && self.encodings.is_empty()
    }
}

/// The lazily filled slots of one entry or event.
pub(crate) struct Slots {
    budget: Arc<Budget>,
    cell: OnceLock<Arc<Cell>>,
}

impl Slots {
    pub(crate) fn new(budget: &Arc<Budget>) -> Slots {
        Slots {
            budget: budget.clone(),
            cell: OnceLock::new(),
        }
    }

    pub(crate) fn object(&self) -> Option<AnyObject> {
        let cell = self.cell.get()?;
        let object = cell
            .held
            .lock()
            .object
            .as_ref()
            .map(|(object, _)| object.clone())?;
        cell.touched.store(true, Ordering::Relaxed);
        Some(object)
    }

    /// Keeps an object of about `size` bytes; answers the one that is shared (the first to come).
    pub(crate) fn keep_object(&self, object: AnyObject, size: usize) -> AnyObject {
        let cell = self.cell();
        let mut held = cell.held.lock();
        if let Some((first, _)) = &held.object {
            return first.clone();
        }
        let enters = if held.is_empty() {
            Enters::Queue
        } else {
            Enters::Nothing
        };
        held.object = Some((object.clone(), size));
        drop(held);
        self.budget.charge(cell, size, enters);
        object
    }

    pub(crate) fn forget_object(&self) {
        let Some(cell) = self.cell.get() else { return };
        let forgotten = cell.held.lock().object.take();
        if let Some((_, size)) = &forgotten {
            self.budget.used.fetch_sub(*size, Ordering::Relaxed);
        }
    }

    pub(crate) fn encoded(&self, encoding: Encoding) -> Option<Bytes> {
        let cell = self.cell.get()?;
        let bytes = cell
            .held
            .lock()
            .encodings
            .iter()
            .find(|(of, _)| *of == encoding)
            .map(|(_, b)| b.clone())?;
        // Lists read thousands: what is marked already is not written to.
        if !cell.touched.load(Ordering::Relaxed) {
            cell.touched.store(true, Ordering::Relaxed);
        }
        Some(bytes)
    }

    pub(crate) fn keep_encoded(&self, encoding: Encoding, bytes: Bytes) -> Bytes {
        let cell = self.cell();
        let mut held = cell.held.lock();
        if let Some((_, first)) = held.encodings.iter().find(|(of, _)| *of == encoding) {
            return first.clone();
        }
        let enters = if held.is_empty() {
            Enters::Queue
        } else {
            Enters::Nothing
        };
        held.encodings.reserve_exact(1);
        held.encodings.push((encoding, bytes.clone()));
        drop(held);
        self.budget.charge(cell, bytes.len(), enters);
        bytes
    }

    fn cell(&self) -> &Arc<Cell> {
        self.cell.get_or_init(|| {
            Arc::new(Cell {
                budget: self.budget.clone(),
                touched: AtomicBool::new(false),
                held: Mutex::default(),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kilobyte(slots: &Slots) {
        slots.keep_encoded(Encoding(1), Bytes::from(vec![0; 1000]));
    }

    #[test]
    fn the_budget_drops_what_was_not_read() {
        let budget = Budget::new(10_000);
        let slots: Vec<Slots> = (0..20).map(|_| Slots::new(&budget)).collect();
        kilobyte(&slots[0]);
        for slot in &slots[1..] {
            kilobyte(slot);
            assert!(
                slots[0].encoded(Encoding(1)).is_some(),
                "what is read stays"
            );
        }
        assert_eq!(budget.used(), 10_000);
        assert_eq!(
            slots
                .iter()
                .filter(|slots| slots.encoded(Encoding(1)).is_some())
                .count(),
            10
        );
    }

    #[test]
    fn what_is_gone_is_no_longer_charged() {
        let budget = Budget::new(10_000);
        for _ in 0..1000 {
            let slots = Slots::new(&budget);
            kilobyte(&slots);
            slots.keep_object(Arc::new(5u32), 24);
        }
        assert_eq!(budget.used(), 0);
        assert!(budget.queue.lock().len() < 4);
    }

    #[test]
    fn the_first_to_come_is_shared() {
        let budget = Budget::new(10_000);
        let slots = Slots::new(&budget);
        let first = slots.keep_object(Arc::new(1u32), 4);
        let second = slots.keep_object(Arc::new(2u32), 4);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(
            slots.keep_encoded(Encoding(7), Bytes::from_static(b"a")),
            "a"
        );
        assert_eq!(
            slots.keep_encoded(Encoding(7), Bytes::from_static(b"bb")),
            "a"
        );
        assert_eq!(budget.used(), 5);
    }
}
