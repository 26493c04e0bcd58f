//! A watch: a cursor into the shared window plus the wake-up. Invariant: it yields every event of its scope
//! after its start, in order and once, or ends with a reason; it never skips.

use crate::store::Shared;
use crate::window::Channel;
use crate::{Event, Revision, Scope};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// How many events a watch looks at under one lock.
const LOOK_MAX: usize = 1024;

/// Why a watch ended, or why a revision cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the history at revision {requested} is compacted; the oldest that is kept is {oldest}, now is {current}"
)]
pub struct Compacted {
    /// The revision asked for.
    pub requested: Revision,
    /// The oldest revision from which the history is complete.
    pub oldest: Revision,
    /// The store's revision.
    pub current: Revision,
}

/// Why a watch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher read too slowly: events it had not seen have left the window.
    #[error(
        "the watch fell behind: it has seen all up to revision {seen}, but the history starts at {oldest}"
    )]
    TooSlow {
        /// The revision up to which it has seen everything.
        seen: Revision,
        /// The oldest revision from which a new watch can start.
        oldest: Revision,
    },
    /// The store was closed; every event before that has been seen.
    #[error("the store is closed")]
    Closed,
}

/// A stream of events. Dropping it ends it.
pub struct Watch {
    shared: Arc<Shared>,
    channel: Arc<Channel>,
    bell: watch::Receiver<Revision>,
    scope: Scope,
    /// Events at or before this revision are not wanted.
    from: Revision,
    /// The number of the next event to look at.
    next: u64,
    seen: Revision,
}

impl Watch {
    pub(crate) fn start(
        shared: Arc<Shared>,
        channel: Arc<Channel>,
        scope: Scope,
        from: Revision,
    ) -> Result<Watch, Compacted> {
        let bell = channel.bell.subscribe();
        let window = channel.window.read();
        if from < window.floor {
            return Err(Compacted {
                requested: from,
                oldest: window.floor,
                current: shared.revision(),
            });
        }
        let next = window.position_after(from);
        drop(window);
        shared.watchers.fetch_add(1, Ordering::Relaxed);
        Ok(Watch {
            shared,
            channel,
            bell,
            scope,
            from,
            next,
            seen: from,
        })
    }

    /// Waits for the next event. Cancel safe.
    pub async fn next(&mut self) -> Result<Arc<Event>, WatchEnd> {
        loop {
            self.bell.borrow_and_update();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            self.ring().await;
        }
    }

    /// Waits until there is at least one event and adds those there are, at most `limit`, to `events`. Cancel safe.
    pub async fn next_batch(
        &mut self,
        events: &mut Vec<Arc<Event>>,
        limit: usize,
    ) -> Result<(), WatchEnd> {
        loop {
            self.bell.borrow_and_update();
            let before = events.len();
            self.try_batch(events, limit)?;
            if events.len() > before || limit == 0 {
                return Ok(());
            }
            self.ring().await;
        }
    }

    /// Waits until everything up to `revision` has been seen, adding the events on the way: what a reader that
    /// must be as new as a known write does. Returns at the latest when `limit` events were added.
    pub async fn catch_up(
        &mut self,
        revision: Revision,
        events: &mut Vec<Arc<Event>>,
        limit: usize,
    ) -> Result<(), WatchEnd> {
        let _ = self.shared.wait_for(revision).await;
        self.try_batch(events, limit)
    }

    /// The next event, if there is one now.
    pub fn try_next(&mut self) -> Result<Option<Arc<Event>>, WatchEnd> {
        let mut found = None;
        self.take(1, |event| found = Some(event.clone()))?;
        Ok(found)
    }

    /// Adds the events there are now, at most `limit`.
    pub fn try_batch(
        &mut self,
        events: &mut Vec<Arc<Event>>,
        limit: usize,
    ) -> Result<(), WatchEnd> {
        self.take(limit, |event| events.push(event.clone()))
    }

    /// The revision up to which this watch has seen everything there is in its scope: what a bookmark says.
    pub fn progress(&mut self) -> Revision {
        // Events out of scope are passed over, wanted ones are not.
        let _ = self.take(0, |_| ());
        self.seen
    }

    /// What it covers.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    async fn ring(&mut self) {
        // An error means that the sender is gone, which the channel held here rules out.
        let _ = self.bell.changed().await;
    }

    fn take(&mut self, limit: usize, mut found: impl FnMut(&Arc<Event>)) -> Result<(), WatchEnd> {
        // In this order: what was published before the flag was set is still to be seen.
        let closed = self.shared.closed.load(Ordering::Acquire);
        let visible = self.shared.revision();
        let mut taken = 0;
        loop {
            let window = self.channel.window.read();
            if self.next < window.first && self.seen < window.floor {
                return Err(WatchEnd::TooSlow {
                    seen: self.seen,
                    oldest: window.floor,
                });
            }
            let start = self.next.max(window.first);
            self.next = start;
            let skip = (start - window.first) as usize;
            for event in window.events.iter().skip(skip).take(LOOK_MAX) {
                // The revisions before this event's have been passed over whole, its own perhaps not.
                let whole = Revision(event.revision().0 - 1).min(visible);
                self.seen = self.seen.max(whole);
                let wanted = event.revision() > self.from && self.scope.covers(event.key());
                if event.revision() > visible || (wanted && taken >= limit) {
                    return Ok(());
                }
                if wanted {
                    taken += 1;
                    found(event);
                }
                self.next += 1;
            }
            if self.next >= window.end() {
                self.seen = self.seen.max(visible);
                return if closed && taken == 0 && limit > 0 {
                    Err(WatchEnd::Closed)
                } else {
                    Ok(())
                };
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}
