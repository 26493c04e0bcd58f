//! DaemonSet: one pod on every node that fits its template.
//!
//! Invariant: at most one pod per node, two while an update surges; pods are bound by the scheduler, to which their node
//! affinity leaves no choice. Leaves out: room for the pod on its node, which is the scheduler's.

mod nodes;
mod rolling;

use crate::claim::{self, Claim};
use crate::plan::{Context, Note, Plan, Told, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use crate::revisions::{self, HASH, Known, Style, Update};
use corten_api::Object;
use corten_api::apps::v1::{ControllerRevision, DaemonSet};
use corten_api::core::v1::{Node, Pod};
use corten_core::{Str, Time};
use corten_meta::{ObjectKey, Selector, Snapshot};
use std::collections::BTreeMap;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "daemonset",
    service_account: "daemon-set-controller",
    primary: resource::<DaemonSet>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: claim::owner_or_selecting::<DaemonSet>,
        },
        Wake {
            on: Watched::One(resource::<Node>),
            keys: all,
        },
        Wake {
            on: Watched::One(resource::<ControllerRevision>),
            keys: claim::owner_or_selecting::<DaemonSet>,
        },
    ],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// Pods that one plan creates or deletes, at most.
const BURST: usize = 250;
/// A pod that fails at once is not replaced before it is so old, in seconds.
const RETRY: i64 = 10;

fn all(snapshot: &Snapshot, _: &Object) -> Vec<ObjectKey> {
    let key = |s: &DaemonSet| ObjectKey::new(s.metadata.namespace.clone(), s.metadata.name.clone());
    snapshot.list::<DaemonSet>().map(key).collect()
}

/// A daemon set, its pods and revisions, and all nodes.
#[derive(Debug)]
pub struct Observed<'a> {
    set: &'a DaemonSet,
    selector: Selector,
    pods: Vec<&'a Pod>,
    nodes: Vec<&'a Node>,
    revisions: Known<'a>,
}

/// What concerns the set `key`; nothing when it does not exist.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let set = snapshot.get::<DaemonSet>(&key.namespace, &key.name)?;
    let selector = Selector::from_label_selector(set.spec.selector.as_deref()).ok()?;
    Some(Observed {
        set,
        pods: claim::candidates(snapshot, set, &selector),
        revisions: Known::of(snapshot, set, &selector),
        selector,
        nodes: snapshot.list::<Node>().collect(),
    })
}

/// A daemon set while its plan is being made.
struct Sync<'a> {
    set: &'a DaemonSet,
    nodes: &'a [&'a Node],
    /// Pods by the node for which they are, oldest first.
    by_node: BTreeMap<Str, Vec<&'a Pod>>,
    update: Update,
    now: Time,
}

impl Sync<'_> {
    fn pods_on(&self, node: &Node) -> &[&Pod] {
        self.by_node
            .get(&node.metadata.name)
            .map_or(&[], Vec::as_slice)
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        let generation = nodes::generation(self.set);
        (!self.update.hash.is_empty() && pod.metadata.label(HASH) == self.update.hash.as_str())
            || generation.is_some_and(|g| pod.metadata.label(nodes::GENERATION) == g)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pods::is_available(pod, self.set.spec.min_ready_seconds, self.now)
    }
}

/// Nodes that need a pod, and pods that have to go.
#[derive(Debug, Default)]
struct Changes<'a> {
    create_on: Vec<Str>,
    delete: Vec<&'a Pod>,
}

/// The writes that bring the set closer to its spec.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let set = observed.set;
    if observed.selector.is_everything() {
        let text = "This daemon set is selecting all pods. A non-empty selector is required.";
        if set.status.observed_generation < set.metadata.generation {
            plan.note(Note::warning(set, "SelectingAll", text));
            let mut new = set.clone();
            new.status.observed_generation = set.metadata.generation;
            plan.write_if(Write::patch_status(
                set,
                &new,
                "an empty selector selects every pod",
            ));
        }
        return plan;
    }
    let claim = Claim::new(set, &observed.selector, &observed.pods);
    claim.plan(&mut plan, set);
    let mut draft = Plan::default();
    let style = Style { hash_label: HASH };
    let (template, collisions) = (&set.spec.template, set.status.collision_count);
    let update = revisions::update(
        &mut draft,
        set,
        template,
        collisions,
        &observed.revisions,
        style,
    );
    let sync = Sync {
        set,
        nodes: &observed.nodes,
        by_node: by_node(&claim.owned),
        update,
        now: context.now,
    };
    if !set.metadata.deleting() {
        plan.steps.append(&mut draft.steps);
        let mut changes = manage(&mut plan, &sync);
        let quiet = changes.create_on.is_empty() && changes.delete.is_empty();
        if quiet && set.spec.update_strategy.type_ != "OnDelete" {
            changes = rolling::step(&sync);
        }
        carry_out(&mut plan, &sync, &changes);
        let in_use = |r: &ControllerRevision| {
            let hash = r.metadata.label(HASH);
            r.metadata.name == sync.update.name
                || claim.owned.iter().any(|p| p.metadata.label(HASH) == hash)
        };
        revisions::clean_up(
            &mut plan,
            &observed.revisions.owned,
            set.spec.revision_history_limit,
            in_use,
        );
    }
    status(&mut plan, &sync);
    plan
}

fn by_node<'a>(owned: &[&'a Pod]) -> BTreeMap<Str, Vec<&'a Pod>> {
    let mut by_node: BTreeMap<Str, Vec<&Pod>> = BTreeMap::new();
    for pod in owned.iter().copied() {
        if pods::is_finished(pod) && pod.metadata.deleting() {
            continue;
        }
        if let Some(node) = crate::node_fit::pinned_node(&pod.spec) {
            by_node.entry(node.clone()).or_default().push(pod);
        }
    }
    for pods in by_node.values_mut() {
        // Pods that are on their node come before those that wait for it.
        pods.sort_by_key(|p| {
            (
                p.spec.node_name.is_empty(),
                p.metadata.creation_timestamp,
                p.metadata.name.clone(),
            )
        });
    }
    by_node
}

/// One pod on each node that shall have one; none elsewhere.
fn manage<'a>(plan: &mut Plan, sync: &Sync<'a>) -> Changes<'a> {
    let mut changes = Changes::default();
    for node in sync.nodes {
        let on_node: Vec<&Pod> = sync
            .by_node
            .get(&node.metadata.name)
            .cloned()
            .unwrap_or_default();
        let (runs, stays) = nodes::should_run(sync.set, node);
        if !stays {
            changes
                .delete
                .extend(on_node.iter().copied().filter(|p| !p.metadata.deleting()));
            continue;
        }
        if on_node.is_empty() {
            if runs {
                changes.create_on.push(node.metadata.name.clone());
            }
            continue;
        }
        let alive = on_node.into_iter().filter(|p| !p.metadata.deleting());
        let (finished, running): (Vec<&Pod>, Vec<&Pod>) = alive.partition(|p| pods::is_finished(p));
        for pod in finished {
            replace_finished(plan, sync, node, pod, &mut changes);
        }
        if !rolling::surges(sync.set) {
            changes.delete.extend(running.into_iter().skip(1));
        } else if running.is_empty() {
            if runs && changes.delete.is_empty() {
                changes.create_on.push(node.metadata.name.clone());
            }
        } else {
            rolling::prune(sync, &running, &mut changes);
        }
    }
    let exists = |name: &Str| sync.nodes.iter().any(|n| n.metadata.name == *name);
    for (_, pods) in sync.by_node.iter().filter(|(name, _)| !exists(name)) {
        let waiting = pods
            .iter()
            .filter(|p| p.spec.node_name.is_empty() && !p.metadata.deleting());
        changes.delete.extend(waiting);
    }
    changes
}

fn replace_finished<'a>(
    plan: &mut Plan,
    sync: &Sync<'a>,
    node: &Node,
    pod: &'a Pod,
    changes: &mut Changes<'a>,
) {
    let (name, node) = (pod.metadata.full_name(), &node.metadata.name);
    if pod.status.phase == "Succeeded" {
        let text =
            format!("Found succeeded daemon pod {name} on node {node}, will try to delete it");
        plan.note(Note::normal(sync.set, "SucceededDaemonPod", text));
        changes.delete.push(pod);
        return;
    }
    let retry = pod.metadata.creation_timestamp.plus_seconds(RETRY);
    if retry > sync.now {
        plan.wake_at(retry);
        return;
    }
    let text = format!("Found failed daemon pod {name} on node {node}, will try to kill it");
    plan.note(Note::warning(sync.set, "FailedDaemonPod", text));
    changes.delete.push(pod);
}

fn carry_out(plan: &mut Plan, sync: &Sync, changes: &Changes) {
    for node in changes.create_on.iter().take(BURST) {
        let told = Told::about(
            sync.set,
            ("SuccessfulCreate", "Created pod: {name}"),
            ("FailedCreate", "Error creating: {error}"),
        );
        let pod = nodes::new_pod(sync.set, node, &sync.update.hash);
        plan.write_told(
            Write::create(pod, format!("node {node} has no pod of the set")),
            told,
        );
    }
    for pod in changes.delete.iter().take(BURST) {
        let told = Told::about(
            sync.set,
            ("SuccessfulDelete", "Deleted pod: {name}"),
            ("FailedDelete", "Error deleting: {error}"),
        );
        plan.write_told(
            Write::delete(*pod, "it is old, finished or one too many"),
            told,
        );
    }
}

fn status(plan: &mut Plan, sync: &Sync) {
    let mut new = sync.set.clone();
    let (mut desired, mut current, mut misplaced) = (0, 0, 0);
    let (mut ready, mut available, mut updated) = (0, 0, 0);
    for node in sync.nodes {
        let first = sync.pods_on(node).first();
        if !nodes::should_run(sync.set, node).0 {
            misplaced += i32::from(first.is_some());
            continue;
        }
        desired += 1;
        let Some(pod) = first else { continue };
        current += 1;
        ready += i32::from(pods::is_ready(pod));
        available += i32::from(sync.is_available(pod));
        updated += i32::from(sync.is_updated(pod));
        let since = pods::available_since(pod, sync.set.spec.min_ready_seconds);
        if let Some(at) = since.filter(|at| *at > sync.now) {
            plan.wake_at(at);
        }
    }
    let status = &mut new.status;
    status.desired_number_scheduled = desired;
    status.current_number_scheduled = current;
    status.number_misscheduled = misplaced;
    status.number_ready = ready;
    status.number_available = available;
    status.number_unavailable = desired - available;
    status.updated_number_scheduled = updated;
    status.observed_generation = sync.set.metadata.generation;
    status.collision_count = sync.update.collisions;
    plan.write_if(Write::patch_status(
        sync.set,
        &new,
        "its pods or nodes changed",
    ));
}

#[cfg(test)]
mod tests;
