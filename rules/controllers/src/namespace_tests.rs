//! Namespaces in fixtures: what is deleted in which order, what is told meanwhile, and when they go.

use super::CONTROLLER;
use crate::testing::World;
use corten_api::core::v1::{Namespace, Pod};
use expect_test::expect;

const GOING: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: a, deletionTimestamp: '2026-01-01T00:00:00Z'}
spec: {finalizers: [kubernetes]}
status: {phase: Terminating}
";

const POD: &str = "
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: a}
spec: {nodeName: n1}
status: {phase: Running}
";

const EVENT: &str = "
---
apiVersion: v1
kind: Event
metadata: {name: e, namespace: a}
";

fn conditions(world: &World) -> String {
    world.list::<Namespace>(|n| {
        let conditions = n.status.conditions.iter();
        let lines =
            conditions.map(|c| format!("\n{} {} {}: {}", c.type_, c.status, c.reason, c.message));
        lines.collect::<String>()
    })
}

#[test]
fn a_living_namespace_is_left_alone() {
    let text = GOING.replace(", deletionTimestamp: '2026-01-01T00:00:00Z'", "");
    expect![""].assert_eq(&World::new(&(text + POD)).step(&CONTROLLER, "a"));
}

#[test]
fn an_empty_one_goes_when_the_server_says_that_it_is_empty() {
    let mut world = World::new(GOING);
    expect![[r#"patch namespaces a /finalize {"spec":{"finalizers":[]}} if a is empty"#]]
        .assert_eq(&world.step(&CONTROLLER, "a"));
    assert_eq!(world.snapshot.list::<Namespace>().count(), 0);
}

#[test]
fn other_finalizers_are_left_to_their_owners() {
    let text = GOING.replace("[kubernetes]", "[kubernetes, example.com/mine]");
    let mut world = World::new(&text);
    let done = world.step(&CONTROLLER, "a");
    assert!(
        done.starts_with("patch namespaces a /status"),
        "it stays, so that its status counts: {done}"
    );
    expect![[
        r#"patch namespaces a /finalize {"spec":{"finalizers":["example.com/mine"]}} if a is empty"#
    ]]
    .assert_eq(&world.step(&CONTROLLER, "a"));
    expect![""].assert_eq(&world.step(&CONTROLLER, "a"));
}

#[test]
fn pods_go_before_the_events_about_them() {
    let mut world = World::new(&format!("{GOING}{POD}{EVENT}"));
    let done = world.step(&CONTROLLER, "a");
    let writes: Vec<&str> = done.lines().filter(|l| l.starts_with("delete")).collect();
    assert_eq!(writes, ["delete pods a/p Background"]);
    expect![[r#"
        a 
        NamespaceDeletionDiscoveryFailure False ResourcesDiscovered: All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions: All legacy kube types successfully parsed
        NamespaceDeletionContentFailure False ContentDeleted: All content successfully deleted, may be waiting on finalization
        NamespaceContentRemaining True SomeResourcesRemain: Some resources are remaining: events. has 1 resource instances, pods. has 1 resource instances
        NamespaceFinalizersRemaining False ContentHasNoFinalizers: All content-preserving finalizers finished"#]]
    .assert_eq(&conditions(&world));
    expect![""].assert_eq(&world.step(&CONTROLLER, "a"));
    world.live();
    let done = world.step(&CONTROLLER, "a");
    assert!(done.ends_with("delete events a/e Background"), "{done}");
    world.run(&CONTROLLER, "a");
    assert_eq!(world.snapshot.list::<Namespace>().count(), 0);
}

#[test]
fn what_keeps_an_object_is_told() {
    let mut world = World::new(&format!("{GOING}{POD}"));
    world.edit::<Pod>("a", "p", |p| {
        p.metadata.add_finalizer("example.com/wait");
    });
    world.run(&CONTROLLER, "a");
    let told = conditions(&world);
    assert!(
        told.contains("NamespaceFinalizersRemaining True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/wait in 1 resource instances"),
        "{told}"
    );
}
