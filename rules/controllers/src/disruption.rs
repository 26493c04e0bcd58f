//! Disruption: how many pods of a budget may be evicted now.
//!
//! Invariant: when the number of expected pods is not known, no disruption is allowed. Leaves out: controllers of
//! custom kinds, whose scale is not in the snapshot.

use crate::plan::{Context, Note, Plan, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use corten_api::core::v1::{Pod, ReplicationController};
use corten_api::meta::v1::Condition;
use corten_api::policy::v1::PodDisruptionBudget;
use corten_core::{IntOrString, Map, Rounding, Str, Time};
use corten_meta::{ObjectKey, Selector, Snapshot};
use std::collections::BTreeMap;

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "disruption",
    service_account: "disruption-controller",
    primary: resource::<PodDisruptionBudget>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: selecting,
        },
        Wake {
            on: Watched::One(resource::<Deployment>),
            keys: in_namespace,
        },
        Wake {
            on: Watched::One(resource::<ReplicaSet>),
            keys: in_namespace,
        },
        Wake {
            on: Watched::One(resource::<StatefulSet>),
            keys: in_namespace,
        },
        Wake {
            on: Watched::One(resource::<ReplicationController>),
            keys: in_namespace,
        },
    ],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// An evicted pod must have begun to go after so many seconds, or it counts again.
const DELETION_MAX: i64 = 120;

fn selector_of(budget: &PodDisruptionBudget) -> Selector {
    Selector::from_label_selector(budget.spec.selector.as_deref())
        .unwrap_or_else(|_| Selector::nothing())
}

fn key_of(budget: &PodDisruptionBudget) -> ObjectKey {
    ObjectKey::new(
        budget.metadata.namespace.clone(),
        budget.metadata.name.clone(),
    )
}

fn selecting(snapshot: &Snapshot, pod: &Object) -> Vec<ObjectKey> {
    let meta = pod.meta();
    let budgets = snapshot.list_in::<PodDisruptionBudget>(&meta.namespace);
    budgets
        .filter(|b| selector_of(b).matches(&meta.labels))
        .map(key_of)
        .collect()
}

fn in_namespace(snapshot: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    snapshot
        .list_in::<PodDisruptionBudget>(&object.meta().namespace)
        .map(key_of)
        .collect()
}

/// A budget, its pods, and the sum of the wanted sizes of their controllers.
#[derive(Debug)]
pub struct Observed<'a> {
    budget: &'a PodDisruptionBudget,
    pods: Vec<&'a Pod>,
    scale: Result<i32, String>,
    unmanaged: bool,
}

/// What concerns the budget `key`.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let budget = snapshot.get::<PodDisruptionBudget>(&key.namespace, &key.name)?;
    let selector = selector_of(budget);
    let all = snapshot.list_in::<Pod>(&key.namespace);
    let pods: Vec<&Pod> = all
        .filter(|p| selector.matches(&p.metadata.labels))
        .collect();
    let unmanaged = pods.iter().any(|p| p.metadata.controller_of().is_none());
    Some(Observed {
        scale: scale(snapshot, &pods),
        budget,
        pods,
        unmanaged,
    })
}

fn scale(snapshot: &Snapshot, pods: &[&Pod]) -> Result<i32, String> {
    let mut scales: BTreeMap<Str, i32> = BTreeMap::new();
    for pod in pods {
        let Some(owner) = pod.metadata.controller_of() else {
            continue;
        };
        let namespace = &pod.metadata.namespace;
        let group = owner
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        let found = match (group, owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let set = snapshot.get::<ReplicaSet>(namespace, &owner.name);
                set.filter(|s| s.metadata.uid == owner.uid)
                    .map(|s| deployed(snapshot, s))
            }
            ("apps", "StatefulSet") => {
                let set = snapshot.get::<StatefulSet>(namespace, &owner.name);
                set.filter(|s| s.metadata.uid == owner.uid)
                    .map(|s| (s.metadata.uid.clone(), s.spec.replicas))
            }
            ("", "ReplicationController") => {
                let rc = snapshot.get::<ReplicationController>(namespace, &owner.name);
                rc.filter(|c| c.metadata.uid == owner.uid)
                    .map(|c| (c.metadata.uid.clone(), c.spec.replicas))
            }
            _ => None,
        };
        let Some((uid, replicas)) = found else {
            return Err(format!(
                "found no controllers for pod {:?}",
                pod.metadata.name.as_str()
            ));
        };
        scales.insert(uid, replicas.unwrap_or(1));
    }
    Ok(scales.values().sum())
}

/// The size of the deployment behind a replica set, or of the set itself.
fn deployed(snapshot: &Snapshot, set: &ReplicaSet) -> (Str, Option<i32>) {
    let owner = set
        .metadata
        .controller_of()
        .filter(|o| o.kind == "Deployment");
    let deployment = owner.and_then(|o| {
        let found = snapshot.get::<Deployment>(&set.metadata.namespace, &o.name);
        found.filter(|d| d.metadata.uid == o.uid)
    });
    match deployment {
        Some(deployment) => (deployment.metadata.uid.clone(), deployment.spec.replicas),
        None => (set.metadata.uid.clone(), set.spec.replicas),
    }
}

/// Expected pods and how many of them must be healthy.
fn demand(observed: &Observed) -> Result<(i32, i32), String> {
    let spec = &observed.budget.spec;
    let scaled = |value: &IntOrString, total: i32| {
        let pods = value.scaled_value(i64::from(total), Rounding::Up);
        pods.map(|p| i32::try_from(p).unwrap_or(i32::MAX))
            .map_err(|e| e.to_string())
    };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(max), _) => {
            let expected = observed.scale.clone()?;
            Ok((expected, (expected - scaled(max, expected)?).max(0)))
        }
        (None, Some(IntOrString::Int(min))) => Ok((observed.pods.len() as i32, *min)),
        (None, Some(min)) => {
            let expected = observed.scale.clone()?;
            Ok((expected, scaled(min, expected)?))
        }
        (None, None) => Ok((0, 0)),
    }
}

/// Brings the status up to date.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let budget = observed.budget;
    let mut new = budget.clone();
    let fresh = budget.status.observed_generation != budget.metadata.generation;
    match demand(observed) {
        Ok((expected, desired)) => {
            if fresh && observed.pods.is_empty() {
                plan.note(Note::normal(budget, "NoPods", "No matching pods found"));
            }
            let by_scale = !matches!(budget.spec.min_available, Some(IntOrString::Int(_)));
            if fresh && by_scale && observed.unmanaged {
                plan.note(Note::warning(budget, "UnmanagedPods", UNMANAGED));
            }
            let disrupted = disrupted(&mut plan, observed, context.now);
            let healthy = observed.pods.iter().filter(|p| {
                let evicted = disrupted.get(&p.metadata.name).is_some();
                !p.metadata.deleting() && !evicted && pods::is_ready(p)
            });
            let healthy = healthy.count() as i32;
            let allowed = if expected > 0 {
                (healthy - desired).max(0)
            } else {
                0
            };
            let status = &mut new.status;
            status.current_healthy = healthy;
            status.desired_healthy = desired;
            status.expected_pods = expected;
            status.disruptions_allowed = allowed;
            if status.disrupted_pods.len() != disrupted.len() {
                status.disrupted_pods = disrupted;
            }
            status.observed_generation = budget.metadata.generation;
            let enough = if allowed > 0 {
                ("True", "SufficientPods")
            } else {
                ("False", "InsufficientPods")
            };
            set_condition(&mut new, enough, "", context.now);
        }
        Err(error) => {
            new.status.disruptions_allowed = 0;
            set_condition(&mut new, ("False", "SyncFailed"), &error, context.now);
            if new != *budget {
                let text = format!("Failed to calculate the number of expected pods: {error}");
                plan.note(Note::warning(
                    budget,
                    "CalculateExpectedPodCountFailed",
                    text,
                ));
            }
        }
    }
    let write = Write::patch_status(budget, &new, "its pods changed");
    // Evictions count down on the same object: never overwrite one.
    plan.write_if(write.map(|w| w.only_if_unchanged(budget)));
    plan
}

const UNMANAGED: &str = "Some of the pods that this PodDisruptionBudget selects have no controller, so that its \
                         status cannot be right. Set \".spec.minAvailable\" to an integer to account for them.";

/// Evicted pods that have not begun to go yet.
fn disrupted(plan: &mut Plan, observed: &Observed, now: Time) -> Map<Time> {
    let mut left: Map<Time> = Map::NIL;
    for (name, at) in observed.budget.status.disrupted_pods.iter() {
        let pod = observed.pods.iter().find(|p| p.metadata.name == *name);
        let Some(pod) = pod.filter(|p| !p.metadata.deleting()) else {
            continue;
        };
        let end = at.plus_seconds(DELETION_MAX);
        if end < now {
            let name = observed.budget.metadata.full_name();
            let text = format!("Pod was expected by PDB {name} to be deleted but it wasn't");
            plan.note(Note::warning(*pod, "NotDeleted", text));
            continue;
        }
        plan.wake_at(end.plus_seconds(1));
        left.insert(name.clone(), *at);
    }
    left
}

fn set_condition(
    budget: &mut PodDisruptionBudget,
    (status, reason): (&str, &str),
    message: &str,
    now: Time,
) {
    let new = Condition {
        type_: "DisruptionAllowed".into(),
        status: status.into(),
        observed_generation: budget.status.observed_generation,
        last_transition_time: now,
        reason: reason.into(),
        message: message.into(),
    };
    match budget
        .status
        .conditions
        .iter_mut()
        .find(|c| c.type_ == new.type_)
    {
        Some(old) => {
            let since = if old.status == new.status {
                old.last_transition_time
            } else {
                now
            };
            *old = Condition {
                last_transition_time: since,
                ..new
            };
        }
        None => budget.status.conditions.push(new),
    }
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use corten_api::policy::v1::PodDisruptionBudget;
    use expect_test::expect;

    #[test]
    fn budgets_follow_pods_and_scale() {
        let pod = |name: &str, ready: &str| {
            format!(
                "
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: default
  labels: {{app: w}}
  ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: replicaset-r, controller: true}}]
status: {{phase: Running, conditions: [{{type: Ready, status: '{ready}'}}]}}
"
            )
        };
        let budget = |name: &str, limit: &str| {
            format!(
                "
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: {name}, namespace: default}}
spec: {{{limit}, selector: {{matchLabels: {{app: w}}}}}}
"
            )
        };
        let set = "
---
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r, namespace: default}
spec: {replicas: 4}
";
        let mut world = World::new(&format!(
            "{set}{}{}{}{}{}{}",
            pod("a", "True"),
            pod("b", "True"),
            pod("c", "False"),
            budget("half", "minAvailable: 25%"),
            budget("int", "minAvailable: 1"),
            budget("max", "maxUnavailable: 1"),
        ));
        for name in ["half", "int", "max"] {
            world.run(&CONTROLLER, &format!("default/{name}"));
        }
        expect![[r#"
            half expected=4 desired=1 healthy=2 allowed=1 SufficientPods
            int expected=3 desired=1 healthy=2 allowed=1 SufficientPods
            max expected=4 desired=3 healthy=2 allowed=0 InsufficientPods"#]]
        .assert_eq(&world.list::<PodDisruptionBudget>(|b| {
            let s = &b.status;
            format!(
                "expected={} desired={} healthy={} allowed={} {}",
                s.expected_pods,
                s.desired_healthy,
                s.current_healthy,
                s.disruptions_allowed,
                s.conditions[0].reason
            )
        }));
    }
}
