//! The queue of keys that want a reconcile: pure, driven by the caller's clock in milliseconds.
//!
//! Invariant: a key is with at most one worker; a wake that comes while it is there is kept and served afterwards. A
//! failed key waits 5 ms, doubled with each failure up to 1000 s, as client-go's default rate limiter does.

use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeSet, VecDeque};
use std::hash::Hash;

/// The wait after a first failure, milliseconds.
const BACKOFF_BASE: u64 = 5;
/// The longest wait, milliseconds.
const BACKOFF_MAX: u64 = 1_000_000;

/// Keys waiting, being worked on, and due later.
#[derive(Debug)]
pub struct Queue<K> {
    ready: VecDeque<K>,
    queued: FxHashSet<K>,
    working: FxHashSet<K>,
    later: BTreeSet<(u64, K)>,
    deadlines: FxHashMap<K, u64>,
    failures: FxHashMap<K, u32>,
}

impl<K: Clone + Eq + Hash + Ord> Default for Queue<K> {
    fn default() -> Self {
        Queue {
            ready: VecDeque::new(),
            queued: FxHashSet::default(),
            working: FxHashSet::default(),
            later: BTreeSet::new(),
            deadlines: FxHashMap::default(),
            failures: FxHashMap::default(),
        }
    }
}

impl<K: Clone + Eq + Hash + Ord> Queue<K> {
    /// Asks for a reconcile of `key` as soon as a worker is free.
    pub fn wake(&mut self, key: K) {
        if self.queued.insert(key.clone()) && !self.working.contains(&key) {
            self.ready.push_back(key);
        }
    }

    /// Asks for a reconcile of `key` at `at` at the latest.
    pub fn wake_at(&mut self, key: K, at: u64) {
        match self.deadlines.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.later.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.deadlines.insert(key.clone(), at);
        self.later.insert((at, key));
    }

    /// The next key to work on; it stays with the caller until [`Queue::done`].
    pub fn take(&mut self, now: u64) -> Option<K> {
        while let Some((at, _)) = self.later.first() {
            if *at > now {
                break;
            }
            if let Some((_, key)) = self.later.pop_first() {
                self.deadlines.remove(&key);
                self.wake(key);
            }
        }
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }

    /// The caller has finished with `key`.
    pub fn done(&mut self, key: &K) {
        self.working.remove(key);
        if self.queued.contains(key) {
            self.ready.push_back(key.clone());
        }
    }

    /// The reconcile failed: try again after the key's backoff, which grows.
    pub fn retry(&mut self, key: K, now: u64) {
        let failures = self.failures.entry(key.clone()).or_insert(0);
        let wait = BACKOFF_BASE
            .saturating_mul(1 << (*failures).min(30))
            .min(BACKOFF_MAX);
        *failures += 1;
        self.wake_at(key, now + wait);
    }

    /// The reconcile succeeded: the next failure waits the shortest time again.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// When [`Queue::take`] may have something although nothing is woken before.
    pub fn next_deadline(&self) -> Option<u64> {
        self.later.first().map(|(at, _)| *at)
    }

    /// Nothing is ready and nothing is being worked on; keys that are due later do not count.
    pub fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.working.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_with_one_worker_and_wakes_meanwhile_are_kept() {
        let mut queue = Queue::default();
        queue.wake("a");
        queue.wake("a");
        assert_eq!(queue.take(0), Some("a"));
        assert_eq!(queue.take(0), None);
        queue.wake("a");
        assert_eq!(queue.take(0), None, "it is being worked on");
        queue.done(&"a");
        assert_eq!(queue.take(0), Some("a"));
        queue.done(&"a");
        assert_eq!(queue.take(0), None);
        assert!(queue.is_idle());
    }

    #[test]
    fn failures_back_off_and_success_forgets() {
        let mut queue = Queue::default();
        queue.retry("a", 100);
        assert_eq!(queue.next_deadline(), Some(105));
        assert_eq!(queue.take(104), None);
        assert_eq!(queue.take(105), Some("a"));
        queue.done(&"a");
        queue.retry("a", 105);
        assert_eq!(queue.next_deadline(), Some(115));
        assert_eq!(queue.take(115), Some("a"));
        queue.forget(&"a");
        queue.done(&"a");
        queue.retry("a", 200);
        assert_eq!(queue.next_deadline(), Some(205));
    }

    #[test]
    fn the_earliest_deadline_wins() {
        let mut queue = Queue::default();
        queue.wake_at("a", 50);
        queue.wake_at("a", 80);
        queue.wake_at("a", 20);
        assert_eq!(queue.next_deadline(), Some(20));
        assert_eq!(queue.take(20), Some("a"));
        queue.done(&"a");
        assert_eq!(queue.take(1000), None);
    }

    #[test]
    fn the_backoff_is_bounded() {
        let mut queue = Queue::default();
        for _ in 0..80 {
            queue.retry("a", 0);
        }
        assert!(queue.next_deadline().is_some_and(|at| at <= BACKOFF_MAX));
    }
}
