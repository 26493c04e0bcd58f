//! ReplicaSet: as many active pods as `spec.replicas`, made from `spec.template`.
//!
//! Invariant: only pods whose controller reference names this set are counted or deleted; matching orphans are adopted
//! and own pods that match no longer are released first. Leaves out: rolling updates (deployment), pod clean-up (gc).

use crate::claim::{self, Claim};
use crate::plan::{Context, Plan, Told, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use crate::template;
use corten_api::apps::v1::{ReplicaSet, ReplicaSetCondition};
use corten_api::core::v1::Pod;
use corten_core::Time;
use corten_meta::{ObjectKey, Selector, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "replicaset",
    service_account: "replicaset-controller",
    primary: resource::<ReplicaSet>,
    wakes: &[Wake {
        on: Watched::One(resource::<Pod>),
        keys: claim::owner_or_selecting::<ReplicaSet>,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// At most so many pods are created or deleted by one plan.
const BURST: usize = 500;

/// One set and the pods that concern it.
#[derive(Debug)]
pub struct Observed<'a> {
    set: &'a ReplicaSet,
    selector: Selector,
    /// Own pods and orphans that match.
    pods: Vec<&'a Pod>,
    /// Pods of sets with the same owner: they tell which nodes are crowded.
    related: Vec<&'a Pod>,
}

/// What concerns the set `key`; nothing when it does not exist or selects nothing sensible.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let set = snapshot.get::<ReplicaSet>(&key.namespace, &key.name)?;
    let selector = Selector::from_label_selector(set.spec.selector.as_deref()).ok()?;
    let pods = claim::candidates(snapshot, set, &selector);
    let related = related_pods(snapshot, set);
    Some(Observed {
        set,
        selector,
        pods,
        related,
    })
}

fn related_pods<'a>(snapshot: &'a Snapshot, set: &ReplicaSet) -> Vec<&'a Pod> {
    let Some(owner) = set.metadata.controller_of() else {
        return Vec::new();
    };
    let siblings: Vec<&ReplicaSet> = snapshot
        .list_in::<ReplicaSet>(&set.metadata.namespace)
        .filter(|s| {
            s.metadata
                .controller_of()
                .is_some_and(|o| o.uid == owner.uid)
        })
        .collect();
    snapshot
        .list_in::<Pod>(&set.metadata.namespace)
        .filter(|p| {
            p.metadata
                .controller_of()
                .is_some_and(|o| siblings.iter().any(|s| s.metadata.uid == o.uid))
        })
        .collect()
}

/// The plan for a set whose pods are known, without siblings.
pub(crate) fn plan_for(
    set: &ReplicaSet,
    selector: Selector,
    pods: Vec<&Pod>,
    context: &Context,
) -> Plan {
    let observed = Observed {
        set,
        selector,
        pods,
        related: Vec::new(),
    };
    plan(&observed, context)
}

/// The writes that bring the set closer to its spec.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let set = observed.set;
    let claim = Claim::new(set, &observed.selector, &observed.pods);
    claim.plan(&mut plan, set);
    let owned: Vec<&Pod> = claim
        .owned
        .iter()
        .copied()
        .filter(|p| !pods::is_finished(p))
        .collect();
    let active: Vec<&Pod> = owned
        .iter()
        .copied()
        .filter(|p| pods::is_active(p))
        .collect();
    if set.metadata.deletion_timestamp.is_none() && claim.adopted.is_empty() {
        scale(&mut plan, observed, &active, context.now);
    }
    status(&mut plan, observed, &owned, &active, context);
    plan
}

fn scale(plan: &mut Plan, observed: &Observed, active: &[&Pod], now: Time) {
    let set = observed.set;
    let wanted = set.spec.replicas.unwrap_or(1).max(0) as usize;
    if active.len() < wanted {
        let missing = (wanted - active.len()).min(BURST);
        for _ in 0..missing {
            let pod = template::pod_from(set, &set.spec.template);
            let because = format!("{} of {wanted} pods exist", active.len());
            plan.write_told(Write::create(pod, because), pod_created(set));
        }
        return;
    }
    let surplus = (active.len() - wanted).min(BURST);
    if surplus == 0 {
        return;
    }
    let crowd = |p: &Pod| {
        let same_node =
            |other: &&&Pod| other.spec.node_name == p.spec.node_name && pods::is_active(other);
        observed.related.iter().filter(same_node).count()
    };
    let mut order = active.to_vec();
    order.sort_by(|a, b| pods::deletion_order(a, b, crowd, now));
    for pod in &order[..surplus] {
        let because = format!("{} pods exist and {wanted} are wanted", active.len());
        plan.write_told(Write::delete(*pod, because), pod_deleted(set));
    }
}

fn pod_created(set: &ReplicaSet) -> Told {
    Told::about(
        set,
        ("SuccessfulCreate", "Created pod: {name}"),
        ("FailedCreate", "Error creating: {error}"),
    )
}

fn pod_deleted(set: &ReplicaSet) -> Told {
    Told::about(
        set,
        ("SuccessfulDelete", "Deleted pod: {name}"),
        ("FailedDelete", "Error deleting: {error}"),
    )
}

fn status(
    plan: &mut Plan,
    observed: &Observed,
    owned: &[&Pod],
    active: &[&Pod],
    context: &Context,
) {
    let set = observed.set;
    let mut new = set.clone();
    let min_ready = set.spec.min_ready_seconds;
    let count = |test: &dyn Fn(&Pod) -> bool| active.iter().filter(|p| test(p)).count() as i32;
    let template_labels = &set.spec.template.metadata.labels;
    let status = &mut new.status;
    status.replicas = active.len() as i32;
    status.fully_labeled_replicas = count(&|p| {
        template_labels
            .iter()
            .all(|(k, v)| p.metadata.labels.get(k) == Some(v))
    });
    status.ready_replicas = count(&|p| pods::is_ready(p));
    status.available_replicas = count(&|p| pods::is_available(p, min_ready, context.now));
    status.terminating_replicas = Some((owned.len() - active.len()) as i32);
    status.observed_generation = set.metadata.generation;
    replica_failure(&mut new, active.len(), context);
    plan.write_if(Write::patch_status(set, &new, "the observed pods changed"));
    for since in active
        .iter()
        .filter_map(|p| pods::available_since(p, min_ready))
        .filter(|t| *t > context.now)
    {
        plan.wake_at(since);
    }
}

/// Keeps the ReplicaFailure condition equal to how the last plan ended.
fn replica_failure(set: &mut ReplicaSet, active: usize, context: &Context) {
    let wanted = set.spec.replicas.unwrap_or(1).max(0) as usize;
    let has = set
        .status
        .conditions
        .iter()
        .any(|c| c.type_ == "ReplicaFailure");
    match &context.failure {
        Some(failure) if !has => set.status.conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: if active < wanted {
                "FailedCreate".into()
            } else {
                "FailedDelete".into()
            },
            message: failure.message.as_str().into(),
            last_transition_time: context.now,
        }),
        None if has => {
            set.status.conditions = std::mem::take(&mut set.status.conditions)
                .into_iter()
                .filter(|c| c.type_ != "ReplicaFailure")
                .collect();
        }
        _ => {}
    }
}

#[cfg(test)]
#[path = "replicaset_tests.rs"]
mod tests;
