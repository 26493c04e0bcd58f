//! Node lifecycle: a node that is silent is Unknown, its pods are not ready, and taints tell of its conditions.
//!
//! Invariant: silence counts from the last renewal of the lease or the last heartbeat, but never from before the
//! controllers started. Leaves out: eviction (taint_eviction), and slower tainting when most nodes of a zone are silent.

use crate::plan::{Context, Note, Plan, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::coordination::v1::Lease;
use corten_api::core::v1::{Node, NodeCondition, Pod, Taint};
use corten_core::{Str, Time};
use corten_meta::{ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "node-lifecycle",
    service_account: "node-controller",
    primary: resource::<Node>,
    wakes: &[Wake {
        on: Watched::One(resource::<Lease>),
        keys: its_node,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

const LEASES: &str = "kube-node-lease";
/// Seconds of silence after which a node is Unknown; upstream's default.
const GRACE: i64 = 50;
/// The same for a node that never reported anything.
const STARTUP_GRACE: i64 = 60;
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Conditions, the status that matters, and the taint that tells of it.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];
/// Conditions that only the kubelet knows.
const KUBELETS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
/// Labels and the older ones that repeat them.
const LABELS: [(&str, &str); 2] = [
    ("kubernetes.io/os", "beta.kubernetes.io/os"),
    ("kubernetes.io/arch", "beta.kubernetes.io/arch"),
];

fn its_node(_: &Snapshot, lease: &Object) -> Vec<ObjectKey> {
    let meta = lease.meta();
    match meta.namespace == LEASES {
        true => vec![ObjectKey::new("", meta.name.clone())],
        false => Vec::new(),
    }
}

/// A node, when it was last heard of, and its pods.
#[derive(Debug)]
pub struct Observed<'a> {
    node: &'a Node,
    heard: Time,
    pods: Vec<&'a Pod>,
}

/// What concerns the node `key`.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let node = snapshot.get::<Node>("", &key.name)?;
    let lease = snapshot.get::<Lease>(LEASES, &key.name);
    let renewed = lease
        .and_then(|l| l.spec.renew_time)
        .map(|t| Time::from_unix(t.unix()));
    let beat = condition(node, "Ready")
        .map_or(node.metadata.creation_timestamp, |c| c.last_heartbeat_time);
    let heard = beat.max(renewed.unwrap_or(beat));
    let silent = condition(node, "Ready").is_none_or(|c| c.status != "True" || renewed.is_some());
    let pods = match silent {
        true => snapshot
            .list::<Pod>()
            .filter(|p| p.spec.node_name == key.name)
            .collect(),
        false => Vec::new(),
    };
    Some(Observed { node, heard, pods })
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.conditions.iter().find(|c| c.type_ == kind)
}

/// The writes that make the node's status, taints and pods tell how it is.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let node = observed.node;
    let reported = condition(node, "Ready").is_some();
    let grace = if reported { GRACE } else { STARTUP_GRACE };
    let deadline = observed.heard.max(context.started).plus_seconds(grace);
    let mut judged = node.clone();
    if deadline < context.now {
        silence(&mut judged, context.now);
        let write = Write::patch_status(node, &judged, "its kubelet is silent");
        if let Some(write) = write {
            plan.write(write.only_if_unchanged(node));
            if condition(node, "Ready").is_some_and(|c| c.status == "True") {
                let name = &node.metadata.name;
                let text = format!("Node {name} status is now: NodeNotReady");
                plan.note(Note::normal(node, "NodeNotReady", text));
            }
        }
        mark_pods(&mut plan, observed, context.now);
    } else {
        plan.wake_at(deadline.plus_seconds(1));
    }
    let mut new = node.clone();
    taint(&mut new, &judged, context.now);
    for (label, older) in LABELS {
        if let Some(value) = new.metadata.labels.get(label).cloned() {
            new.metadata.labels.insert(older, value);
        }
    }
    // The revision is that of the status just written when both change: taints follow with the next plan.
    if plan.steps.is_empty() {
        let write = Write::patch(node, &new, "taints and labels follow its conditions");
        plan.write_if(write.map(|w| w.only_if_unchanged(node)));
    }
    plan
}

fn silence(node: &mut Node, now: Time) {
    for kind in KUBELETS {
        match node.status.conditions.iter_mut().find(|c| c.type_ == kind) {
            Some(known) if known.status != "Unknown" => {
                known.status = "Unknown".into();
                known.reason = "NodeStatusUnknown".into();
                known.message = "Kubelet stopped posting node status.".into();
                known.last_transition_time = now;
            }
            Some(_) => {}
            None => node.status.conditions.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: "NodeStatusNeverUpdated".into(),
                message: "Kubelet never posted node status.".into(),
                last_heartbeat_time: node.metadata.creation_timestamp,
                last_transition_time: now,
            }),
        }
    }
}

/// Nobody tells any more whether the pods of a silent node are ready.
fn mark_pods(plan: &mut Plan, observed: &Observed, now: Time) {
    for pod in observed.pods.iter().filter(|p| pods::is_ready(p)) {
        let mut new = (*pod).clone();
        for condition in new
            .status
            .conditions
            .iter_mut()
            .filter(|c| c.type_ == "Ready")
        {
            condition.status = "False".into();
            condition.last_transition_time = now;
        }
        let write = Write::patch_status(*pod, &new, "its node is silent");
        plan.write_if(write.map(|w| w.only_if_unchanged(*pod)));
        plan.note(Note::warning(*pod, "NodeNotReady", "Node is not ready"));
    }
}

/// Gives `node` the taints that its conditions in `judged` ask for.
fn taint(node: &mut Node, judged: &Node, now: Time) {
    let holds =
        |kind: &str, status: &str| condition(judged, kind).is_some_and(|c| c.status == status);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (kind, status, key) in TAINTS {
        if holds(kind, status) {
            wanted.push((key, "NoSchedule"));
            if kind == "Ready" {
                wanted.push((key, "NoExecute"));
            }
        }
    }
    if node.spec.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ready_known = condition(judged, "Ready").is_some();
    let ours = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => {
            taint.key == UNSCHEDULABLE || TAINTS.iter().any(|t| t.2 == taint.key.as_str())
        }
        "NoExecute" => ready_known && (taint.key == NOT_READY || taint.key == UNREACHABLE),
        _ => false,
    };
    // A node that has not reported yet keeps the taint with which it was admitted.
    let kept_at_start = |taint: &Taint| !ready_known && taint.key == NOT_READY;
    node.spec.taints.retain(|taint| {
        let is_wanted = wanted
            .iter()
            .any(|w| *w == (taint.key.as_str(), taint.effect.as_str()));
        is_wanted || !ours(taint) || kept_at_start(taint)
    });
    for (key, effect) in wanted {
        if !node
            .spec
            .taints
            .iter()
            .any(|t| t.key == key && t.effect == effect)
        {
            node.spec.taints.push(Taint {
                key: key.into(),
                value: Str::EMPTY,
                effect: effect.into(),
                time_added: Some(now),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use corten_api::core::v1::{Node, Pod};
    use expect_test::expect;

    fn world() -> World {
        World::new(
            "
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {kubernetes.io/os: linux}}
status: {conditions: [{type: Ready, status: 'True', lastHeartbeatTime: '2026-01-01T00:00:00Z'}]}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: n1, namespace: kube-node-lease}
spec: {renewTime: '2026-01-01T00:00:10.000000Z'}
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec: {nodeName: n1}
status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}
",
        )
    }

    fn taints(world: &World) -> String {
        world.list::<Node>(|n| {
            n.spec
                .taints
                .iter()
                .map(|t| format!("{}:{}", t.key, t.effect))
                .collect::<Vec<_>>()
                .join(" ")
        })
    }

    #[test]
    fn a_silent_node_is_unknown_and_comes_back() {
        let mut world = world();
        expect![[r#"
            patch nodes n1 {"metadata":{"labels":{"beta.kubernetes.io/os":"linux"}}}
            wake at +61s"#]]
        .assert_eq(&world.step(&CONTROLLER, "n1"));
        world.later(61);
        world.run(&CONTROLLER, "n1");
        expect![
            "n1 node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute"
        ]
        .assert_eq(&taints(&world));
        assert!(!crate::pods::is_ready(
            world.snapshot.get::<Pod>("default", "p").expect("a pod")
        ));
        let now = world.context.now;
        world.edit::<Node>("", "n1", |n| {
            for condition in n.status.conditions.iter_mut() {
                condition.status = if condition.type_ == "Ready" {
                    "True"
                } else {
                    "False"
                }
                .into();
                condition.last_heartbeat_time = now;
            }
        });
        world.run(&CONTROLLER, "n1");
        expect!["n1 "].assert_eq(&taints(&world));
    }

    #[test]
    fn nothing_is_silent_before_the_controllers_started() {
        let mut world = world();
        world.later(1000);
        world.context.started = world.context.now;
        world.run(&CONTROLLER, "n1");
        expect!["n1 "].assert_eq(&taints(&world));
        world.edit::<Node>("", "n1", |n| n.spec.unschedulable = true);
        world.run(&CONTROLLER, "n1");
        expect!["n1 node.kubernetes.io/unschedulable:NoSchedule"].assert_eq(&taints(&world));
    }
}
