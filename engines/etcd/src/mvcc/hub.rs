//! Who wants to know of which keys. A stream of watches has one bell; it rings when a key that the stream covers
//! changed, and remembers the first such revision, so that a stream whose keys are quiet never falls behind.

use super::check::covers;
use super::record::Record;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Notify;

/// Rings for one stream of watches.
#[derive(Default)]
pub struct Bell {
    marks: Mutex<Marks>,
    notify: Notify,
}

/// The revisions of changes that the stream has not looked at: the first and the last one, 0 if there is none.
#[derive(Default)]
struct Marks {
    first: i64,
    last: i64,
}

impl Bell {
    /// There is something to look at at this revision.
    pub(super) fn mark(&self, revision: i64) {
        let mut marks = self.marks.lock();
        if marks.first == 0 {
            marks.first = revision;
        }
        marks.last = marks.last.max(revision);
    }

    /// Wakes who waits.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    /// Waits until somebody was woken, or returns at once if that happened since.
    pub async fn rung(&self) {
        self.notify.notified().await;
    }

    /// The first revision to look at, if it is visible.
    pub fn take(&self, visible: i64) -> Option<i64> {
        let mut marks = self.marks.lock();
        if marks.first == 0 || marks.first > visible {
            return None;
        }
        let first = marks.first;
        if marks.last > visible {
            marks.first = visible + 1;
        } else {
            *marks = Marks::default();
        }
        Some(first)
    }
}

type Listeners = Vec<(usize, Arc<Bell>)>;

#[derive(Default)]
struct Interests {
    keys: HashMap<Bytes, Listeners>,
    /// Every distinct range.
    ranges: HashMap<(Bytes, Bytes), Listeners>,
}

/// All interests of all streams.
#[derive(Default)]
pub struct Hub {
    interests: RwLock<Interests>,
}

impl Hub {
    /// From now on the bell rings for this key or range (an empty end means one key).
    pub fn add(&self, bell: &Arc<Bell>, key: &Bytes, end: &Bytes) {
        let mut interests = self.interests.write();
        let listeners = if end.is_empty() {
            interests.keys.entry(key.clone()).or_default()
        } else {
            let range = (key.clone(), end.clone());
            interests.ranges.entry(range).or_default()
        };
        match listeners.iter_mut().find(|(_, one)| Arc::ptr_eq(one, bell)) {
            Some((count, _)) => *count += 1,
            None => listeners.push((1, bell.clone())),
        }
    }

    /// Undoes one [`Hub::add`].
    pub fn remove(&self, bell: &Arc<Bell>, key: &Bytes, end: &Bytes) {
        let mut interests = self.interests.write();
        if end.is_empty() {
            if let Some(listeners) = interests.keys.get_mut(key)
                && leave(listeners, bell)
            {
                interests.keys.remove(key);
            }
            return;
        }
        let range = (key.clone(), end.clone());
        if let Some(listeners) = interests.ranges.get_mut(&range)
            && leave(listeners, bell)
        {
            interests.ranges.remove(&range);
        }
    }

    /// Marks changes, makes them visible by `publish`, and wakes whom they concern. Nobody who begins to listen
    /// meanwhile misses them: who is too late to be marked sees them as published.
    pub fn publish(&self, changes: &[Arc<Record>], publish: impl FnOnce()) {
        let interests = self.interests.read();
        if interests.keys.is_empty() && interests.ranges.is_empty() {
            publish();
            return;
        }
        let mut woken: Vec<&Arc<Bell>> = Vec::new();
        for change in changes {
            for (_, bell) in interests.keys.get(change.key()).into_iter().flatten() {
                bell.mark(change.main());
                woken.push(bell);
            }
        }
        for ((start, end), listeners) in &interests.ranges {
            let mut concerned = changes
                .iter()
                .filter(|change| covers(start, end, change.key()));
            let Some(first) = concerned.next() else {
                continue;
            };
            let last = concerned.next_back().unwrap_or(first);
            for (_, bell) in listeners {
                bell.mark(first.main());
                bell.mark(last.main());
                woken.push(bell);
            }
        }
        publish();
        for bell in woken {
            bell.wake();
        }
    }
}

/// Answers whether nobody listens any more.
fn leave(listeners: &mut Listeners, bell: &Arc<Bell>) -> bool {
    if let Some(at) = listeners.iter().position(|(_, one)| Arc::ptr_eq(one, bell)) {
        listeners[at].0 -= 1;
        if listeners[at].0 == 0 {
            listeners.swap_remove(at);
        }
    }
    listeners.is_empty()
}
