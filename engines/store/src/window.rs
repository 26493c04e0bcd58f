//! The retained history of one resource: a window of events that the writer extends at one end and drops from
//! at the other, and the bell that wakes its watchers. Invariant: events after the floor are all there.

use crate::snapshot::Tree;
use crate::{Event, Revision};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// How many events apart the retained trees are: about the most that have to be undone for an old view.
const STRIDE: usize = 1024;
/// Events that adding some drops beside as many as were added.
const PUSH_DROPS: usize = 512;

/// How much history is kept for watches, for lists at old revisions and for continue tokens.
#[derive(Clone, Debug)]
pub struct Retention {
    /// History older than this goes.
    pub age: std::time::Duration,
    /// The events of one resource beyond this number go, oldest first.
    pub events: usize,
    /// When the history of all resources takes more bytes than this, the largest gives way.
    pub bytes: usize,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            age: std::time::Duration::from_secs(300),
            events: 10_000_000,
            bytes: 256 << 20,
        }
    }
}

pub(crate) struct Window {
    /// The number of the first retained event; numbers never repeat.
    pub(crate) first: u64,
    pub(crate) events: VecDeque<Arc<Event>>,
    /// Events at or before this revision are gone, or will be soon.
    pub(crate) floor: Revision,
    pub(crate) bytes: usize,
    /// The resource as it was at some revisions from the floor on, oldest first: one every [`STRIDE`] events.
    pub(crate) trees: VecDeque<(Revision, Tree)>,
    /// The events since the newest of them.
    since_tree: usize,
}

impl Window {
    pub(crate) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The number of the first retained event after a revision.
    pub(crate) fn position_after(&self, revision: Revision) -> u64 {
        self.first
            + self
                .events
                .partition_point(|event| event.revision() <= revision) as u64
    }

    /// Drops from the front what is at or before the floor and what `gone` says, at most `limit` events; they are
    /// answered so that they are freed after the lock.
    fn drop_front(
        &mut self,
        limit: usize,
        gone: impl Fn(&Window, &Event) -> bool,
    ) -> Vec<Arc<Event>> {
        let mut dropped = Vec::new();
        while let Some(front) = self.events.front() {
            let started = front.revision() <= self.floor;
            if dropped.len() >= limit || (!started && !gone(self, front)) {
                break;
            }
            self.floor = self.floor.max(front.revision());
            self.bytes -= front.cost();
            self.first += 1;
            dropped.extend(self.events.pop_front());
        }
        // What such a tree holds beside the others' entries is nothing but entries of dropped events.
        while self
            .trees
            .front()
            .is_some_and(|(revision, _)| *revision < self.floor)
        {
            self.trees.pop_front();
        }
        dropped
    }
}

/// One resource's window and bell.
pub(crate) struct Channel {
    pub(crate) window: RwLock<Window>,
    /// Rings with the published revision after the resource changed.
    pub(crate) bell: watch::Sender<Revision>,
}

impl Channel {
    pub(crate) fn starting_at(floor: Revision) -> Channel {
        let window = Window {
            first: 0,
            events: VecDeque::new(),
            floor,
            bytes: 0,
            trees: VecDeque::new(),
            since_tree: 0,
        };
        Channel {
            window: RwLock::new(window),
            bell: watch::Sender::new(floor),
        }
    }

    /// Adds events, after which the resource is `tree`, and keeps the number of retained ones bounded; answers
    /// by how many bytes it grew (or shrank).
    pub(crate) fn push(
        &self,
        events: Vec<Arc<Event>>,
        revision: Revision,
        tree: &Tree,
        retention: &Retention,
    ) -> isize {
        let mut window = self.window.write();
        let before = window.bytes;
        // After a compaction much may wait to be dropped, which must not hold up this writer.
        let limit = events.len() + PUSH_DROPS;
        window.since_tree += events.len();
        if window.since_tree >= STRIDE {
            window.since_tree = 0;
            window.trees.push_back((revision, tree.clone()));
        }
        window.bytes += events.iter().map(|event| event.cost()).sum::<usize>();
        window.events.extend(events);
        let dropped = window.drop_front(limit, |window, _| window.events.len() > retention.events);
        let growth = window.bytes as isize - before as isize;
        drop(window);
        drop(dropped);
        growth
    }

    /// Drops at most `limit` events that happened before `oldest` (milliseconds); answers (events, bytes).
    pub(crate) fn drop_before(&self, oldest: u64, limit: usize) -> (usize, usize) {
        let window = self.window.read();
        let floor = window.floor;
        let due = window
            .events
            .front()
            .is_some_and(|event| event.at < oldest || event.revision() <= floor);
        drop(window);
        if !due {
            return (0, 0);
        }
        self.shrink(limit, |_, event| event.at < oldest)
    }

    /// Forgets what happened at or before a revision; [`Channel::drop_before`] frees it.
    pub(crate) fn raise_floor(&self, to: Revision) {
        let mut window = self.window.write();
        window.floor = window.floor.max(to);
    }

    /// Drops from the older half, at most `limit` events; answers (events, bytes).
    pub(crate) fn shrink_by_half(&self, limit: usize) -> (usize, usize) {
        let keep = self.window.read().bytes / 2;
        self.shrink(limit, |window, _| window.bytes > keep)
    }

    fn shrink(&self, limit: usize, gone: impl Fn(&Window, &Event) -> bool) -> (usize, usize) {
        let mut window = self.window.write();
        let before = window.bytes;
        let dropped = window.drop_front(limit, gone);
        let freed = before - window.bytes;
        drop(window);
        (dropped.len(), freed)
    }
}
