//! Taint eviction: pods leave a node with NoExecute taints, at once or when their tolerations end.
//!
//! Invariant: a toleration's seconds count from the latest of: the taint's addition, the pod's binding.

use crate::node_fit::tolerates;
use crate::plan::{Context, Note, Plan, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::core::v1::{Node, Pod, PodCondition, Taint};
use corten_core::Time;
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "taint-eviction-controller",
    service_account: "node-controller",
    primary: resource::<Pod>,
    wakes: &[Wake {
        on: Watched::One(resource::<Node>),
        keys: crate::pod_gc::pods_on,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// A pod on a node with taints that evict.
#[derive(Debug)]
pub struct Observed<'a> {
    pod: &'a Pod,
    node: &'a Node,
    taints: Vec<&'a Taint>,
}

/// What concerns the pod `key`; nothing when its node has no taint that evicts.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let pod = snapshot.get::<Pod>(&key.namespace, &key.name)?;
    let node = snapshot.get::<Node>("", &pod.spec.node_name)?;
    let taints: Vec<&Taint> = node
        .spec
        .taints
        .iter()
        .filter(|t| t.effect == "NoExecute")
        .collect();
    (!taints.is_empty() && !pod.metadata.deleting()).then_some(Observed { pod, node, taints })
}

/// When the pod has to go; nothing when it may stay for ever.
fn due(observed: &Observed) -> Option<Time> {
    let pod = observed.pod;
    let bound = pods::condition(pod, "PodScheduled").map(|c| c.last_transition_time);
    let bound = bound.unwrap_or(pod.metadata.creation_timestamp);
    // A taint without a time was set by a user: it is not younger than the node's last change.
    let changes = observed
        .node
        .metadata
        .managed_fields
        .iter()
        .filter(|f| f.subresource.is_empty());
    let changed = changes
        .filter_map(|f| f.time)
        .max()
        .unwrap_or(observed.node.metadata.creation_timestamp);
    let mut due: Option<Time> = None;
    for taint in &observed.taints {
        let Some(toleration) = pod.spec.tolerations.iter().find(|t| tolerates(t, taint)) else {
            return Some(Time::ZERO);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let since = taint.time_added.unwrap_or(changed).max(bound);
            let end = since.plus_seconds(seconds.max(0));
            due = Some(due.map_or(end, |d| d.min(end)));
        }
    }
    due
}

/// Deletes the pod when its time has come.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let Some(due) = due(observed) else {
        return plan;
    };
    if due > context.now {
        plan.wake_at(due);
        return plan;
    }
    let pod = observed.pod;
    let mut new = pod.clone();
    new.status
        .conditions
        .retain(|c| c.type_ != "DisruptionTarget");
    new.status.conditions.push(PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: "DeletionByTaintManager".into(),
        message: "Taint manager: deleting due to NoExecute taint".into(),
        last_transition_time: context.now,
        ..Default::default()
    });
    let because = "its node has a taint that it does not tolerate any longer";
    plan.write_if(Write::patch_status(pod, &new, because));
    plan.write(Write::delete(pod, because));
    let text = format!("Marking for deletion Pod {}", pod.metadata.full_name());
    plan.note(Note::normal(pod, "TaintManagerEviction", text));
    plan
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use expect_test::expect;

    #[test]
    fn tolerations_end() {
        let mut world = World::new(
            "
apiVersion: v1
kind: Node
metadata: {name: n1}
spec: {taints: [{key: node.kubernetes.io/unreachable, effect: NoExecute, timeAdded: '2026-01-01T00:00:00Z'}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: default}
spec: {nodeName: n1, tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b, namespace: default}
spec: {nodeName: n1, tolerations: [{operator: Exists}]}
---
apiVersion: v1
kind: Pod
metadata: {name: c, namespace: default}
spec: {nodeName: n1}
",
        );
        expect!["wake at +300s"].assert_eq(&world.step(&CONTROLLER, "default/a"));
        expect![""].assert_eq(&world.step(&CONTROLLER, "default/b"));
        assert!(
            world
                .step(&CONTROLLER, "default/c")
                .contains("delete pods default/c")
        );
        world.later(300);
        expect![[r#"
            patch pods default/a /status {"status":{"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:05:00Z","message":"Taint manager: deleting due to NoExecute taint","reason":"DeletionByTaintManager","status":"True","type":"DisruptionTarget"}]}}
            delete pods default/a
            Normal TaintManagerEviction Pod/a: Marking for deletion Pod default/a"#]]
        .assert_eq(&world.step(&CONTROLLER, "default/a"));
    }
}
