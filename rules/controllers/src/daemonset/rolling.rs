//! Rolling updates of daemon sets: old pods go first within maxUnavailable, or new ones come first within maxSurge.

use super::{Changes, Sync, nodes};
use crate::pods;
use corten_api::apps::v1::DaemonSet;
use corten_api::core::v1::{Node, Pod};
use corten_core::{IntOrString, Rounding};

fn scaled(value: Option<&IntOrString>, total: usize) -> usize {
    let Some(value) = value else { return 0 };
    let pods = value.scaled_value(total as i64, Rounding::Up).unwrap_or(0);
    usize::try_from(pods).unwrap_or(0)
}

/// Whether new pods start beside old ones.
pub(super) fn surges(set: &DaemonSet) -> bool {
    let strategy = &set.spec.update_strategy;
    let rolling = strategy
        .rolling_update
        .as_deref()
        .filter(|_| strategy.type_ != "OnDelete");
    rolling.is_some_and(|r| scaled(r.max_surge.as_ref(), 1) > 0)
}

/// The pods of one node sorted out: the new one and the old one. Nothing when there are more.
fn pair<'a>(sync: &Sync<'a>, on_node: &[&'a Pod]) -> Option<(Option<&'a Pod>, Option<&'a Pod>)> {
    let (mut new, mut old) = (None, None);
    for pod in on_node.iter().copied().filter(|p| !p.metadata.deleting()) {
        let slot = if sync.is_updated(pod) {
            &mut new
        } else {
            &mut old
        };
        if slot.replace(pod).is_some() {
            return None;
        }
    }
    Some((new, old))
}

/// The next step of an update.
pub(super) fn step<'a>(sync: &Sync<'a>) -> Changes<'a> {
    let wanted: Vec<&Node> = sync
        .nodes
        .iter()
        .copied()
        .filter(|node| nodes::should_run(sync.set, node).0)
        .collect();
    let rolling = sync.set.spec.update_strategy.rolling_update.as_deref();
    let surge = rolling.map_or(0, |r| scaled(r.max_surge.as_ref(), wanted.len()));
    let unavailable = rolling.map_or(1, |r| scaled(r.max_unavailable.as_ref(), wanted.len()));
    match surge {
        0 => replace(sync, &wanted, unavailable.max(1)),
        surge => surge_step(sync, surge, wanted.len()),
    }
}

/// Deletes old pods, unavailable ones first.
fn replace<'a>(sync: &Sync<'a>, wanted: &[&Node], max_unavailable: usize) -> Changes<'a> {
    let mut changes = Changes::default();
    let mut candidates = Vec::new();
    let empty = wanted.iter().filter(|n| sync.pods_on(n).is_empty()).count();
    let mut unavailable = empty;
    for on_node in sync.by_node.values() {
        match pair(sync, on_node) {
            Some((None, Some(old))) if !sync.is_available(old) => {
                changes.delete.push(old);
                unavailable += 1;
            }
            Some((None, Some(old))) => candidates.push(old),
            Some((Some(new), None)) => unavailable += usize::from(!sync.is_available(new)),
            _ => unavailable += 1,
        }
    }
    let room = max_unavailable.saturating_sub(unavailable);
    changes.delete.extend(candidates.into_iter().take(room));
    changes
}

/// Creates new pods beside old ones, and deletes old ones whose successor is available.
fn surge_step<'a>(sync: &Sync<'a>, max_surge: usize, desired: usize) -> Changes<'a> {
    let mut changes = Changes::default();
    let (mut candidates, mut misplaced) = (Vec::new(), Vec::new());
    let (mut surging, mut available) = (0, 0);
    for (name, on_node) in &sync.by_node {
        let Some((new, old)) = pair(sync, on_node) else {
            surging += 1;
            continue;
        };
        available += usize::from(old.or(new).is_some_and(|p| sync.is_available(p)));
        let Some(old) = old else { continue };
        let node = sync.nodes.iter().find(|n| n.metadata.name == *name);
        let belongs = node.is_some_and(|n| nodes::should_run(sync.set, n).0);
        match (new, sync.is_available(old)) {
            (Some(new), _) if sync.is_available(new) => changes.delete.push(old),
            (Some(_), _) => surging += 1,
            (None, false) if belongs => changes.create_on.push(name.clone()),
            (None, false) => changes.delete.push(old),
            (None, true) if belongs => candidates.push(name.clone()),
            (None, true) => misplaced.push(old),
        }
    }
    // A pod that does not belong on its node goes only when others do its work.
    changes.delete.extend(
        misplaced
            .into_iter()
            .take(available.saturating_sub(desired)),
    );
    let room = max_surge.saturating_sub(surging);
    changes.create_on.extend(candidates.into_iter().take(room));
    changes
}

/// With surge, a node keeps one new and one old pod, and the old one only while it serves and the new one does not.
pub(super) fn prune<'a>(sync: &Sync<'a>, running: &[&'a Pod], changes: &mut Changes<'a>) {
    if running.len() < 2 {
        return;
    }
    let (new, old): (Vec<&Pod>, Vec<&Pod>) =
        running.iter().copied().partition(|p| sync.is_updated(p));
    changes
        .delete
        .extend(new.iter().skip(1).chain(old.iter().skip(1)));
    if let (Some(new), Some(old)) = (new.first(), old.first())
        && (!pods::is_ready(old) || sync.is_available(new))
    {
        changes.delete.push(old);
    }
}
