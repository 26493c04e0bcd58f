//! Views at old revisions: the events since then are undone on the nearest retained tree at or after it. Trees
//! share everything that did not change between them.

use crate::snapshot::State;
use crate::window::Channel;
use crate::{Compacted, Resource, Revision, Snapshot};
use std::sync::Arc;

/// One resource as it was at `revision`, which is not after `current`.
pub(crate) fn at(
    current: &State,
    channel: &Channel,
    resource: &Resource,
    revision: Revision,
) -> Result<Snapshot, Compacted> {
    let (mut tree, undo) = {
        let window = channel.window.read();
        if revision < window.floor {
            let oldest = window.floor;
            return Err(Compacted {
                requested: revision,
                oldest,
                current: current.revision,
            });
        }
        let nearest = window.trees.partition_point(|(at, _)| *at < revision);
        let (at, tree) = match window.trees.get(nearest) {
            Some((at, tree)) => (*at, tree.clone()),
            None => (
                current.revision,
                current.trees.get(resource).cloned().unwrap_or_default(),
            ),
        };
        let from = (window.position_after(revision) - window.first) as usize;
        let to = (window.position_after(at) - window.first) as usize;
        (
            tree,
            window.events.range(from..to).cloned().collect::<Vec<_>>(),
        )
    };
    for event in undo.iter().rev() {
        match event.previous() {
            Some(previous) => drop(tree.insert(Arc::clone(previous))),
            None => drop(tree.remove(event.key().tail())),
        }
    }
    Ok(Snapshot::new(revision, tree))
}
