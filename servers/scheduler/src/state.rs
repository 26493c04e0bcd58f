//! What the scheduler knows: the nodes with what runs on them, and the pods that wait.

use crate::NAME;
use corten_api::Object;
use corten_api::core::v1::{Node, Pod};
use corten_client::Changed;
use corten_meta::{GroupResource, ObjectKey, Snapshot};
use corten_scheduling::Cluster;
use corten_scheduling::queue::Queue;
use corten_scheduling::requests;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct State {
    pub cluster: Cluster,
    pub queue: Queue,
    /// Pods without a node that chose this scheduler.
    pub pending: BTreeMap<ObjectKey, Arc<Object>>,
    /// Pods that were given a node whose binding has not been seen yet.
    pub assumed: BTreeSet<ObjectKey>,
}

fn is_pending(pod: &Pod) -> bool {
    let chosen = pod.spec.scheduler_name.is_empty() || pod.spec.scheduler_name == NAME;
    let finished = pod.status.phase == "Succeeded" || pod.status.phase == "Failed";
    pod.spec.node_name.is_empty()
        && chosen
        && !finished
        && pod.metadata.deletion_timestamp.is_none()
}

impl State {
    /// Takes a whole snapshot in: at the start, and after changes were missed.
    pub fn read(&mut self, snapshot: &Snapshot, now: u64) {
        let assumed = std::mem::take(&mut self.assumed);
        let kept: Vec<(ObjectKey, Arc<Object>, String)> = assumed
            .iter()
            .filter_map(|key| {
                Some((
                    key.clone(),
                    self.pending.get(key)?.clone(),
                    self.cluster.place_of(key)?.to_owned(),
                ))
            })
            .collect();
        self.cluster = Cluster::default();
        self.pending.clear();
        for object in snapshot
            .table(&GroupResource::of::<Node>())
            .into_iter()
            .flat_map(|t| t.values())
        {
            self.cluster.set_node(object.clone());
        }
        for (key, object) in snapshot
            .table(&GroupResource::of::<Pod>())
            .into_iter()
            .flatten()
        {
            self.pod(key, object, now);
        }
        for (key, object, node) in kept {
            if self.pending.contains_key(&key) {
                self.cluster.assume(object, &node);
                self.assumed.insert(key);
            }
        }
        self.queue.changed(now);
    }

    /// Takes one change in.
    pub fn apply(&mut self, change: &Changed, now: u64) {
        if !change.resource.group.is_empty() {
            return;
        }
        if change.resource.resource == "nodes" {
            match &change.new {
                Some(object) => {
                    self.cluster.set_node(object.clone());
                    if change.old.as_ref().is_none_or(|old| matters(old, object)) {
                        self.queue.changed(now);
                    }
                }
                None => self.cluster.remove_node(&change.key.name),
            }
        } else if change.resource.resource == "pods" {
            match &change.new {
                Some(object) => {
                    self.pod(&change.key, object, now);
                    if change.old.as_ref().is_some_and(|old| shrank(old, object)) {
                        self.queue.changed(now);
                    }
                }
                None => self.gone(&change.key, now),
            }
        }
    }

    fn pod(&mut self, key: &ObjectKey, object: &Arc<Object>, now: u64) {
        let Some(pod) = object.downcast_ref::<Pod>() else {
            return;
        };
        if is_pending(pod) {
            let known = self.pending.insert(key.clone(), object.clone());
            let is_new = known.as_ref().is_none_or(|old| spec_changed(old, object));
            if is_new && !self.assumed.contains(key) {
                self.queue
                    .add(key.clone(), pod.spec.priority.unwrap_or(0), now);
            }
            return;
        }
        self.pending.remove(key);
        self.queue.remove(key);
        let freed = pod.status.phase == "Succeeded" || pod.status.phase == "Failed";
        let was_placed = self.cluster.place_of(key).is_some();
        self.assumed.remove(key);
        self.cluster.set_pod(object.clone());
        if freed && was_placed {
            self.queue.changed(now);
        }
    }

    fn gone(&mut self, key: &ObjectKey, now: u64) {
        self.pending.remove(key);
        self.assumed.remove(key);
        self.queue.remove(key);
        self.cluster.remove_pod(key);
        self.queue.changed(now);
    }
}

/// Whether a pod that has its node came to count for less: it was resized.
fn shrank(old: &Object, new: &Object) -> bool {
    let (Some(old), Some(new)) = (old.downcast_ref::<Pod>(), new.downcast_ref::<Pod>()) else {
        return false;
    };
    let (before, now) = (requests(old), requests(new));
    !new.spec.node_name.is_empty() && before.iter().any(|(name, amount)| now.get(name) < amount)
}

/// Whether a change of a node may make room: heartbeats do not.
fn matters(old: &Object, new: &Object) -> bool {
    let (Some(old), Some(new)) = (old.downcast_ref::<Node>(), new.downcast_ref::<Node>()) else {
        return true;
    };
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.status.allocatable != new.status.allocatable
}

/// The scheduler's own condition must not wake the pod that it speaks of.
fn spec_changed(old: &Object, new: &Object) -> bool {
    let (Some(old), Some(new)) = (old.downcast_ref::<Pod>(), new.downcast_ref::<Pod>()) else {
        return true;
    };
    old.spec != new.spec
        || old.metadata.uid != new.metadata.uid
        || old.metadata.labels != new.metadata.labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_api::core::v1::Container;
    use corten_core::Quantity;

    fn placed(cpu: &str) -> Object {
        let mut pod = Pod::default();
        pod.spec.node_name = "n".into();
        let mut container = Container::default();
        let cpu = Quantity::parse(cpu).unwrap();
        container.resources.requests.insert("cpu", cpu);
        pod.spec.containers.push(container);
        Object::from(pod)
    }

    #[test]
    fn a_pod_that_shrinks_makes_room() {
        assert!(shrank(&placed("2"), &placed("1")));
        assert!(!shrank(&placed("1"), &placed("2")));
        assert!(!shrank(&placed("1"), &placed("1")));
    }
}
