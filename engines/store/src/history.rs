//! Views at old revisions. The events since then are undone on the nearest retained state at or after it, of
//! which one is kept every so many revisions; states share everything that did not change between them.

use crate::entry::ByKey;
use crate::snapshot::{State, Tree};
use crate::window::Channel;
use crate::{Compacted, Resource, Revision, Snapshot};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::Arc;

/// How many revisions apart the retained states are: the most events that have to be undone.
const STRIDE: u64 = 1024;

#[derive(Default)]
pub(crate) struct History {
    /// (when, state), oldest first.
    states: RwLock<VecDeque<(u64, Arc<State>)>>,
}

impl History {
    /// Keeps a state if the last one kept is long ago.
    pub(crate) fn keep(&self, at: u64, state: &Arc<State>) {
        let last = self
            .states
            .read()
            .back()
            .map_or(Revision::NONE, |(_, state)| state.revision);
        if state.revision.0 >= last.0 + STRIDE {
            self.states.write().push_back((at, state.clone()));
        }
    }

    pub(crate) fn drop_before(&self, oldest: u64) {
        while self
            .states
            .read()
            .front()
            .is_some_and(|(at, _)| *at < oldest)
        {
            let front = self.states.write().pop_front();
            drop(front);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.states.read().is_empty()
    }

    /// One resource as it was at `revision`, which is not after `current`.
    pub(crate) fn at(
        &self,
        current: &Arc<State>,
        channel: &Channel,
        resource: &Resource,
        revision: Revision,
    ) -> Result<Snapshot, Compacted> {
        let base = {
            let states = self.states.read();
            let index = states.partition_point(|(_, state)| state.revision < revision);
            states
                .get(index)
                .map(|(_, state)| state)
                .filter(|state| state.revision < current.revision)
                .unwrap_or(current)
                .clone()
        };
        let undo = {
            let window = channel.window.read();
            if revision < window.floor {
                return Err(Compacted {
                    requested: revision,
                    oldest: window.floor,
                    current: current.revision,
                });
            }
            let from = (window.position_after(revision) - window.first) as usize;
            let to = (window.position_after(base.revision) - window.first) as usize;
            window.events.range(from..to).cloned().collect::<Vec<_>>()
        };
        let mut tree: Tree = base.trees.get(resource).cloned().unwrap_or_default();
        for event in undo.iter().rev() {
            match event.previous() {
                Some(previous) => drop(tree.entries.insert(ByKey(previous.clone()))),
                None => drop(tree.entries.remove(event.key().tail())),
            }
        }
        Ok(Snapshot::new(revision, tree))
    }
}
