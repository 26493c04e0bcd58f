//! Replica sets in fixtures: how many pods are made, which go first, who is adopted, and what the status tells.

use super::CONTROLLER;
use crate::plan::Failure;
use crate::testing::{START, World};
use corten_api::apps::v1::ReplicaSet;
use corten_api::core::v1::{ContainerStatus, Pod, PodCondition};
use corten_core::Time;
use expect_test::expect;

fn set(replicas: i32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {{name: s, namespace: default}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: s}}}}
  template: {{metadata: {{labels: {{app: s}}}}, spec: {{containers: [{{name: c, image: i}}]}}}}
"
    )
}

fn pod(name: &str, owner: &str) -> String {
    let owner = match owner {
        "" => String::new(),
        uid => format!(
            ", ownerReferences: [{{apiVersion: apps/v1, kind: ReplicaSet, name: s, uid: {uid}, controller: true}}]"
        ),
    };
    format!(
        "
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: s}}{owner}}}
spec: {{nodeName: n1}}
status: {{phase: Running}}
"
    )
}

fn owned(name: &str) -> String {
    pod(name, "replicaset-s")
}

/// The first lines of what is done, without the status.
fn writes(done: &str) -> String {
    let lines = done.lines().filter(|l| !l.contains("/status"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn missing_pods_are_made_and_surplus_ones_deleted() {
    let mut world = World::new(&set(2));
    expect![[r#"
        create pods default/s-
        create pods default/s-"#]]
    .assert_eq(&writes(&world.step(&CONTROLLER, "default/s")));
    world.run(&CONTROLLER, "default/s");
    world.edit::<ReplicaSet>("default", "s", |s| s.spec.replicas = Some(0));
    let done = writes(&world.step(&CONTROLLER, "default/s"));
    assert_eq!(
        done.lines()
            .filter(|l| l.starts_with("delete pods"))
            .count(),
        2,
        "{done}"
    );
}

#[test]
fn a_plan_makes_at_most_five_hundred() {
    let world = World::new(&set(1200));
    assert_eq!(
        world.plan(&CONTROLLER, "default/s").steps.len(),
        501,
        "and tells of it"
    );
}

/// The pods in the order in which they would go.
fn order(world: &mut World) -> Vec<String> {
    let mut order = Vec::new();
    let count = world.snapshot.list::<Pod>().count() as i32;
    for left in (0..count).rev() {
        world.edit::<ReplicaSet>("default", "s", |s| s.spec.replicas = Some(left));
        let plan = world.plan(&CONTROLLER, "default/s");
        let done = crate::testing::show(&plan);
        let gone = done
            .lines()
            .find_map(|l| l.strip_prefix("delete pods default/"));
        let gone = gone.expect("one pod goes").to_owned();
        let key = corten_meta::ObjectKey::new("default", gone.as_str());
        world
            .snapshot
            .remove(&corten_meta::GroupResource::of::<Pod>(), &key);
        order.push(gone);
    }
    order
}

fn ready(pod: &mut Pod, ago: i64) {
    pod.status.conditions.push(PodCondition {
        type_: "Ready".into(),
        status: "True".into(),
        last_transition_time: Time::from_unix(START - ago),
        ..PodCondition::default()
    });
}

/// The rules of upstream's ActivePodsWithRanks, from the most to the least expendable.
#[test]
fn the_least_useful_pods_go_first() {
    let names = [
        "unbound",
        "pending",
        "unready",
        "cheap",
        "young",
        "restarted",
        "steady",
        "old",
    ];
    let pods: String = names.iter().map(|name| owned(name)).collect();
    let mut world = World::new(&(set(8) + &pods));
    let mut edit =
        |name: &str, change: &dyn Fn(&mut Pod)| world.edit::<Pod>("default", name, change);
    edit("unbound", &|p| p.spec.node_name = "".into());
    edit("unbound", &|p| p.status.phase = "Pending".into());
    edit("pending", &|p| p.status.phase = "Pending".into());
    edit("cheap", &|p| {
        ready(p, 3000);
        p.metadata
            .annotations
            .insert(crate::pods::DELETION_COST, "-5");
    });
    edit("young", &|p| ready(p, 10));
    edit("restarted", &|p| {
        ready(p, 3000);
        p.status.container_statuses.push(ContainerStatus {
            restart_count: 4,
            ..ContainerStatus::default()
        });
    });
    edit("steady", &|p| ready(p, 3000));
    edit("old", &|p| {
        ready(p, 3000);
        p.metadata.creation_timestamp = Time::from_unix(START - 1_000_000);
    });
    assert_eq!(order(&mut world), names);
}

#[test]
fn crowded_nodes_lose_pods_first() {
    let text = set(3) + &owned("a") + &owned("b") + &owned("c");
    let mut world = World::new(&text.replace("name: s, namespace: default}", "name: s, namespace: default, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: d, uid: d, controller: true}]}"));
    for name in ["a", "b", "c"] {
        world.edit::<Pod>("default", name, |p| ready(p, 3000));
    }
    world.edit::<Pod>("default", "a", |p| p.spec.node_name = "n2".into());
    assert_eq!(order(&mut world)[0], "b");
}

/// Ages count on a logarithmic scale: within one step of it the UID decides, not which pod is a little younger.
#[test]
fn ages_that_are_close_are_alike() {
    let text = set(2) + &owned("a") + &owned("b");
    let order_at = |a: i64, b: i64| {
        let mut world = World::new(&text);
        world.edit::<Pod>("default", "a", |p| ready(p, a));
        world.edit::<Pod>("default", "b", |p| ready(p, b));
        order(&mut world)[0].clone()
    };
    assert_eq!(order_at(10_000, 10), "b");
    assert_eq!(
        order_at(10_000, 9_000),
        "a",
        "8590 and 17179 seconds bound one step"
    );
    assert_eq!(order_at(9_000, 8_000), "b", "8590 seconds lie between");
}

#[test]
fn orphans_that_match_are_adopted_and_others_pods_left_alone() {
    let text = set(1) + &pod("mine", "") + &pod("theirs", "another");
    let mut world = World::new(&text);
    expect![[r#"patch pods default/mine {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":true,"controller":true,"kind":"ReplicaSet","name":"s","uid":"replicaset-s"}]}}"#]]
    .assert_eq(&writes(&world.step(&CONTROLLER, "default/s")));
    expect![""].assert_eq(&writes(&world.run(&CONTROLLER, "default/s")));
}

#[test]
fn pods_that_match_no_longer_are_released_and_replaced() {
    let mut world = World::new(&(set(1) + &owned("a")));
    world.edit::<Pod>("default", "a", |p| {
        p.metadata.labels.insert("app", "debug");
    });
    let done = writes(&world.run(&CONTROLLER, "default/s"));
    expect![[r#"
        patch pods default/a {"metadata":{"ownerReferences":[]}}
        create pods default/s-"#]]
    .assert_eq(&done);
}

#[test]
fn a_set_that_goes_makes_and_deletes_nothing() {
    let mut world = World::new(&(set(3) + &owned("a")));
    world.edit::<ReplicaSet>("default", "s", |s| {
        s.metadata.deletion_timestamp = Some(Time::from_unix(START));
        s.metadata.add_finalizer("foregroundDeletion");
    });
    expect![""].assert_eq(&writes(&world.run(&CONTROLLER, "default/s")));
}

#[test]
fn failed_pods_are_replaced() {
    let mut world = World::new(&(set(1) + &owned("a")));
    world.edit::<Pod>("default", "a", |p| p.status.phase = "Failed".into());
    expect!["create pods default/s-"].assert_eq(&writes(&world.run(&CONTROLLER, "default/s")));
}

#[test]
fn availability_waits_for_the_minimum() {
    let text = set(1).replace("replicas: 1", "replicas: 1\n  minReadySeconds: 30");
    let mut world = World::new(&(text + &owned("a")));
    world.edit::<Pod>("default", "a", |p| ready(p, 10));
    expect![[r#"
        patch replicasets default/s /status {"status":{"fullyLabeledReplicas":1,"observedGeneration":1,"readyReplicas":1,"replicas":1,"terminatingReplicas":0}}
        wake at +20s"#]]
    .assert_eq(&world.step(&CONTROLLER, "default/s"));
    world.later(20);
    expect![[r#"patch replicasets default/s /status {"status":{"availableReplicas":1}}"#]]
        .assert_eq(&world.step(&CONTROLLER, "default/s"));
}

#[test]
fn a_failure_shows_until_a_plan_succeeds() {
    let mut world = World::new(&set(1));
    world.context.failure = Some(Failure {
        verb: "create",
        reason: "Forbidden".to_owned(),
        message: "exceeded quota".to_owned(),
    });
    world.step(&CONTROLLER, "default/s");
    let told = |world: &World| {
        let set = world.snapshot.get::<ReplicaSet>("default", "s").unwrap();
        let conditions = set.status.conditions.iter();
        conditions
            .map(|c| format!("{} {} {}", c.type_, c.reason, c.message))
            .collect::<String>()
    };
    assert_eq!(told(&world), "ReplicaFailure FailedCreate exceeded quota");
    world.context.failure = None;
    world.run(&CONTROLLER, "default/s");
    assert_eq!(told(&world), "");
}
