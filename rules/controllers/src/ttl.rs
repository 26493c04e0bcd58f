//! TTL: tells each node how long its kubelet may keep secrets and config maps before it looks again, which is longer in
//! larger clusters.
//!
//! Invariant: sizes overlap between steps, so that a cluster on a boundary does not rewrite its nodes all the time; a
//! node's own annotation is the step that it was given last. Nodes learn of a new step when they change next.

use crate::plan::{Plan, Write};
use crate::registry::{Controller, resource};
use corten_api::core::v1::Node;
use corten_meta::{GroupResource, ObjectKey, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "ttl",
    service_account: "ttl-controller",
    primary: resource::<Node>,
    wakes: &[],
    reconcile: |snapshot, key, _| plan(snapshot, key),
};

/// The annotation that kubelets read.
const TTL: &str = "node.alpha.kubernetes.io/ttl";
/// Fewest nodes, most nodes, seconds.
const STEPS: [(usize, usize, &str); 5] = [
    (0, 100, "0"),
    (90, 500, "15"),
    (450, 1000, "30"),
    (900, 2000, "60"),
    (1800, usize::MAX, "300"),
];

fn step(nodes: usize, given: Option<&str>) -> &'static str {
    let mut at = STEPS.iter().position(|s| given == Some(s.2)).unwrap_or(0);
    while nodes > STEPS[at].1 {
        at += 1;
    }
    while nodes < STEPS[at].0 {
        at -= 1;
    }
    STEPS[at].2
}

fn plan(snapshot: &Snapshot, key: &ObjectKey) -> Option<Plan> {
    let node = snapshot.get::<Node>("", &key.name)?;
    let nodes = snapshot.table(&GroupResource::of::<Node>())?.len();
    let given = node.metadata.annotations.get(TTL).map(|t| t.as_str());
    let wanted = step(nodes, given);
    let mut plan = Plan::default();
    if given != Some(wanted) {
        let mut new = node.clone();
        new.metadata.annotations.insert(TTL, wanted);
        let because = format!("the cluster has {nodes} nodes");
        plan.write_if(Write::patch(node, &new, because));
    }
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::{CONTROLLER, step};
    use crate::testing::World;
    use expect_test::expect;

    /// Upstream's boundaries.
    #[test]
    fn larger_clusters_look_less_often() {
        for (nodes, given, wanted) in [
            (1, None, "0"),
            (100, Some("0"), "0"),
            (101, Some("0"), "15"),
            (95, Some("15"), "15"),
            (89, Some("15"), "0"),
            (700, None, "30"),
            (5000, Some("0"), "300"),
            (1799, Some("300"), "60"),
            (3, Some("unknown"), "0"),
        ] {
            assert_eq!(step(nodes, given), wanted, "{nodes} {given:?}");
        }
    }

    #[test]
    fn a_node_is_told_once() {
        let mut world = World::new("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n");
        expect![[
            r#"patch nodes n1 {"metadata":{"annotations":{"node.alpha.kubernetes.io/ttl":"0"}}}"#
        ]]
        .assert_eq(&world.step(&CONTROLLER, "n1"));
        expect![""].assert_eq(&world.step(&CONTROLLER, "n1"));
    }
}
