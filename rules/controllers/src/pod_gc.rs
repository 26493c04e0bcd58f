//! Pod garbage collector: pods that no kubelet will ever finish or remove.
//!
//! Invariant: a pod is deleted at once only when its node does not exist, when it was deleted before it had a node, when
//! its node is out of service, or when more finished pods exist than may be kept and it is among the oldest.

use crate::plan::{Context, Plan, Target, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::core::v1::{Node, Pod, PodCondition};
use corten_meta::{GroupResource, ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "pod-garbage-collector",
    service_account: "pod-garbage-collector",
    primary: resource::<Pod>,
    wakes: &[Wake {
        on: Watched::One(resource::<Node>),
        keys: pods_on,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

/// Finished pods that may stay, upstream's default.
const FINISHED_MAX: usize = 12_500;
/// A node that a fresh pod names may be about to appear: upstream's quarantine, in seconds.
const QUARANTINE: i64 = 40;
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// The pods that are bound to a node.
pub(crate) fn pods_on(snapshot: &Snapshot, node: &Object) -> Vec<ObjectKey> {
    let name = &node.meta().name;
    let bound = snapshot.list::<Pod>().filter(|p| p.spec.node_name == *name);
    bound
        .map(|p| ObjectKey::new(p.metadata.namespace.clone(), p.metadata.name.clone()))
        .collect()
}

/// A pod that nobody looks after, and why.
#[derive(Debug)]
pub struct Observed<'a> {
    pod: &'a Pod,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Why {
    Orphaned,
    NeverScheduled,
    OutOfService,
    TooManyFinished,
}

/// What concerns the pod `key`; nothing for pods that are looked after.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let pod = snapshot.get::<Pod>(&key.namespace, &key.name)?;
    let node = snapshot.get::<Node>("", &pod.spec.node_name);
    let deleting = pod.metadata.deleting();
    let why = match node {
        _ if pod.spec.node_name.is_empty() && deleting => Why::NeverScheduled,
        None if !pod.spec.node_name.is_empty() => Why::Orphaned,
        Some(node) if deleting && is_out_of_service(node) => Why::OutOfService,
        _ if pods::is_finished(pod) && !deleting && is_surplus(snapshot, pod) => {
            Why::TooManyFinished
        }
        _ => return None,
    };
    Some(Observed { pod, why })
}

fn is_out_of_service(node: &Node) -> bool {
    let ready = node.status.conditions.iter().find(|c| c.type_ == "Ready");
    ready.is_none_or(|c| c.status != "True")
        && node.spec.taints.iter().any(|t| t.key == OUT_OF_SERVICE)
}

fn is_surplus(snapshot: &Snapshot, pod: &Pod) -> bool {
    let stored = snapshot
        .table(&GroupResource::of::<Pod>())
        .map_or(0, |t| t.len());
    if stored <= FINISHED_MAX {
        return false;
    }
    let age = |p: &Pod| (p.metadata.creation_timestamp, p.metadata.name.clone());
    let own = age(pod);
    let younger = snapshot
        .list::<Pod>()
        .filter(|p| pods::is_finished(p) && age(p) > own)
        .count();
    younger >= FINISHED_MAX
}

/// Marks the pod as failed, then removes it without grace.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let pod = observed.pod;
    if observed.why == Why::Orphaned {
        let sure = pod.metadata.creation_timestamp.plus_seconds(QUARANTINE);
        if sure > context.now {
            plan.wake_at(sure);
            return plan;
        }
    }
    let because = match observed.why {
        Why::Orphaned => "PodGC: node no longer exists",
        Why::NeverScheduled => "it was deleted before it had a node",
        Why::OutOfService => "its node is out of service",
        Why::TooManyFinished => "too many finished pods are kept",
    };
    if !pods::is_finished(pod) {
        let mut new = pod.clone();
        new.status.phase = "Failed".into();
        if observed.why == Why::Orphaned {
            let condition = PodCondition {
                type_: "DisruptionTarget".into(),
                status: "True".into(),
                reason: "DeletionByPodGC".into(),
                message: because.into(),
                last_transition_time: context.now,
                ..Default::default()
            };
            new.status
                .conditions
                .retain(|c| c.type_ != "DisruptionTarget");
            new.status.conditions.push(condition);
        }
        plan.write_if(Write::patch_status(pod, &new, because));
    }
    if !(pod.metadata.deleting() && pod.metadata.deletion_grace_period_seconds == Some(0)) {
        plan.write(Write::Delete {
            target: Target::of(pod),
            propagation: None,
            grace_period: Some(0),
            because: because.to_owned(),
        });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use expect_test::expect;

    #[test]
    fn pods_of_missing_nodes_go() {
        let mut world = World::new(
            "
apiVersion: v1
kind: Pod
metadata: {name: lost, namespace: default}
spec: {nodeName: gone}
---
apiVersion: v1
kind: Pod
metadata: {name: never, namespace: default, deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [x/y]}
---
apiVersion: v1
kind: Pod
metadata: {name: waiting, namespace: default}
",
        );
        expect![[r#"
            patch pods default/lost /status {"status":{"conditions":[{"lastProbeTime":null,"lastTransitionTime":"2026-01-01T00:00:00Z","message":"PodGC: node no longer exists","reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"phase":"Failed"}}
            delete pods default/lost grace=0"#]]
        .assert_eq(&world.step(&CONTROLLER, "default/lost"));
        expect![[r#"
            patch pods default/never /status {"status":{"phase":"Failed"}}
            delete pods default/never grace=0"#]]
        .assert_eq(&world.step(&CONTROLLER, "default/never"));
        expect![""].assert_eq(&world.step(&CONTROLLER, "default/waiting"));
    }
}
