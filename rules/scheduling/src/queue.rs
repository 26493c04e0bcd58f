//! The pods that wait for a node: a pure state machine, driven by the caller's clock in milliseconds.
//!
//! Invariant: a pod is in one place: ready, backing off, or set aside until something changes. More important pods
//! come first, then those that have waited longer. A pod that was set aside comes back after five minutes at the latest.

use corten_meta::ObjectKey;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The wait after a first failed attempt, milliseconds.
const BACKOFF_MIN: u64 = 1_000;
/// The longest wait, milliseconds.
const BACKOFF_MAX: u64 = 10_000;
/// A pod is not set aside for longer, milliseconds.
const ASIDE_MAX: u64 = 300_000;

#[derive(Clone, Debug)]
struct Waiting {
    priority: i32,
    /// Its place among pods of equal priority.
    since: u64,
    attempts: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready,
    /// Until this moment.
    Backoff(u64),
    /// Until something changes, or this moment.
    Aside {
        since: u64,
        backoff_until: u64,
    },
    /// An attempt is under way; whether something changed meanwhile.
    Attempted {
        changed: bool,
    },
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    pods: BTreeMap<ObjectKey, Waiting>,
    ready: BTreeSet<(Reverse<i32>, u64, ObjectKey)>,
    counter: u64,
}

impl Queue {
    /// Takes a pod in, or a change of it: a change may make it schedulable.
    pub fn add(&mut self, key: ObjectKey, priority: i32, now: u64) {
        self.counter += 1;
        let since = self.counter;
        let attempts = match self.pods.get(&key) {
            Some(Waiting {
                place: Place::Ready | Place::Backoff(_) | Place::Attempted { .. },
                ..
            }) => return,
            Some(known) => known.attempts,
            None => 0,
        };
        self.pods.insert(
            key.clone(),
            Waiting {
                priority,
                since,
                attempts,
                place: Place::Ready,
            },
        );
        self.ready.insert((Reverse(priority), since, key));
        let _ = now;
    }

    /// Takes a pod out: it has a node, or is gone.
    pub fn remove(&mut self, key: &ObjectKey) {
        if let Some(pod) = self.pods.remove(key) {
            self.ready
                .remove(&(Reverse(pod.priority), pod.since, key.clone()));
        }
    }

    /// The next pod to place; it stays with the caller until it is removed or failed.
    pub fn take(&mut self, now: u64) -> Option<ObjectKey> {
        self.wake_due(now);
        let (_, _, key) = self.ready.pop_first()?;
        let pod = self.pods.get_mut(&key)?;
        pod.attempts += 1;
        pod.place = Place::Attempted { changed: false };
        Some(key)
    }

    /// The attempt found no node: set the pod aside until something changes.
    pub fn failed(&mut self, key: &ObjectKey, now: u64) {
        let Some(pod) = self.pods.get_mut(key) else {
            return;
        };
        let wait = BACKOFF_MIN
            .saturating_mul(1 << (pod.attempts.saturating_sub(1)).min(10))
            .min(BACKOFF_MAX);
        let backoff_until = now + wait;
        pod.place = match pod.place {
            Place::Attempted { changed: true } => Place::Backoff(backoff_until),
            _ => Place::Aside {
                since: now,
                backoff_until,
            },
        };
    }

    /// Something changed that may make room: pods that were set aside try again once their backoff is over.
    pub fn changed(&mut self, now: u64) {
        for pod in self.pods.values_mut() {
            match pod.place {
                Place::Aside { backoff_until, .. } => pod.place = Place::Backoff(backoff_until),
                Place::Attempted { .. } => pod.place = Place::Attempted { changed: true },
                Place::Ready | Place::Backoff(_) => {}
            }
        }
        self.wake_due(now);
    }

    fn wake_due(&mut self, now: u64) {
        for (key, pod) in &mut self.pods {
            let due = match pod.place {
                Place::Backoff(until) => until <= now,
                Place::Aside { since, .. } => since + ASIDE_MAX <= now,
                Place::Ready | Place::Attempted { .. } => false,
            };
            if due {
                pod.place = Place::Ready;
                self.ready
                    .insert((Reverse(pod.priority), pod.since, key.clone()));
            }
        }
    }

    /// When [`Queue::take`] may have something although nothing changes before.
    pub fn next_deadline(&self) -> Option<u64> {
        let due = |pod: &Waiting| match pod.place {
            Place::Backoff(until) => Some(until),
            Place::Aside { since, .. } => Some(since + ASIDE_MAX),
            Place::Ready | Place::Attempted { .. } => None,
        };
        self.pods.values().filter_map(due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ObjectKey {
        ObjectKey::new("default", name)
    }

    #[test]
    fn important_pods_first_then_older_ones() {
        let mut queue = Queue::default();
        queue.add(key("a"), 0, 0);
        queue.add(key("b"), 10, 0);
        queue.add(key("c"), 0, 0);
        let order: Vec<_> = std::iter::from_fn(|| queue.take(0))
            .map(|k| k.name.to_string())
            .collect();
        assert_eq!(order, ["b", "a", "c"]);
    }

    #[test]
    fn a_failed_pod_waits_for_a_change_and_its_backoff() {
        let mut queue = Queue::default();
        queue.add(key("a"), 0, 0);
        assert_eq!(queue.take(0), Some(key("a")));
        queue.failed(&key("a"), 0);
        assert_eq!(queue.take(60_000), None);
        queue.changed(60_000);
        assert_eq!(queue.take(60_000), Some(key("a")));
        queue.failed(&key("a"), 60_000);
        queue.changed(60_100);
        assert_eq!(queue.take(60_100), None, "the backoff is two seconds now");
        assert_eq!(queue.next_deadline(), Some(62_000));
        assert_eq!(queue.take(62_000), Some(key("a")));
    }

    #[test]
    fn a_change_during_an_attempt_counts() {
        let mut queue = Queue::default();
        queue.add(key("a"), 0, 0);
        queue.take(0);
        queue.changed(5);
        queue.failed(&key("a"), 10);
        assert_eq!(queue.next_deadline(), Some(1_010));
    }

    #[test]
    fn nothing_is_set_aside_for_ever() {
        let mut queue = Queue::default();
        queue.add(key("a"), 0, 0);
        queue.take(0);
        queue.failed(&key("a"), 0);
        assert_eq!(queue.take(ASIDE_MAX), Some(key("a")));
    }
}
