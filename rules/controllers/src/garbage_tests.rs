//! The collector in fixtures: who stays, who goes, in which way, and what the server has to confirm first.

use super::CONTROLLER;
use crate::testing::World;
use corten_api::apps::v1::ReplicaSet;
use corten_api::core::v1::{ConfigMap, Pod};
use corten_api::meta::v1::OwnerReference;
use corten_core::Time;
use corten_meta::{GroupResource, ObjectKey, Snapshot};
use expect_test::expect;

/// A config map `name`; `owners` are words `kind/name` or `kind/name!`, which blocks.
fn map(name: &str, owners: &str) -> String {
    let owner = |word: &str| {
        let (word, blocks) = match word.strip_suffix('!') {
            Some(word) => (word, true),
            None => (word, false),
        };
        let (kind, name) = word.split_once('/').expect("kind/name");
        let version = if kind == "ReplicaSet" {
            "apps/v1"
        } else {
            "v1"
        };
        let uid = format!("{}-{name}", kind.to_lowercase());
        format!(
            "{{apiVersion: {version}, kind: {kind}, name: {name}, uid: {uid}, blockOwnerDeletion: {blocks}}}"
        )
    };
    let owners: Vec<String> = owners.split_whitespace().map(owner).collect();
    let owners = owners.join(", ");
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default, ownerReferences: [{owners}]}}\n"
    )
}

fn set(name: &str, meta: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {{name: {name}, namespace: default{meta}}}\n"
    )
}

const MAP: &str = "configmaps/default/m";

#[test]
fn an_owner_that_was_never_seen_is_asked_for() {
    let mut world = World::new(&map("m", "ReplicaSet/s"));
    expect!["delete configmaps default/m Background if replicasets default/s is gone"]
        .assert_eq(&world.step(&CONTROLLER, MAP));
}

#[test]
fn an_owner_that_was_seen_to_go_needs_no_question() {
    let mut world = World::new(&(set("s", "") + &map("m", "ReplicaSet/s")));
    expect![""].assert_eq(&world.step(&CONTROLLER, MAP));
    world.snapshot.remove(
        &GroupResource::of::<ReplicaSet>(),
        &ObjectKey::new("default", "s"),
    );
    expect!["delete configmaps default/m Background"].assert_eq(&world.step(&CONTROLLER, MAP));
}

#[test]
fn another_object_of_the_same_name_is_not_the_owner() {
    let text = set("s", ", uid: another") + &map("m", "ReplicaSet/s");
    expect!["delete configmaps default/m Background if replicasets default/s is gone"]
        .assert_eq(&World::new(&text).step(&CONTROLLER, MAP));
}

#[test]
fn one_living_owner_is_enough() {
    let text = set("s", "") + &map("m", "ReplicaSet/s ReplicaSet/t");
    let mut world = World::new(&text);
    expect![[r#"patch configmaps default/m {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":false,"kind":"ReplicaSet","name":"s","uid":"replicaset-s"}]}} if replicasets default/t is gone"#]]
    .assert_eq(&world.step(&CONTROLLER, MAP));
    expect![""].assert_eq(&world.step(&CONTROLLER, MAP));
}

#[test]
fn owners_of_unknown_kinds_keep_their_dependents() {
    let text = map("m", "ReplicaSet/s").replace("apps/v1", "example.com/v1");
    expect![""].assert_eq(&World::new(&text).step(&CONTROLLER, MAP));
}

#[test]
fn a_cluster_wide_object_cannot_be_owned_from_a_namespace() {
    let text = "
apiVersion: v1
kind: Node
metadata: {name: n1, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: s, uid: x}]}
";
    expect![""].assert_eq(&World::new(text).step(&CONTROLLER, "nodes//n1"));
}

#[test]
fn dependents_of_an_owner_in_no_namespace_are_asked_for_there() {
    let mut world = World::new(&map("m", "Node/n1"));
    expect!["delete configmaps default/m Background if nodes n1 is gone"]
        .assert_eq(&world.step(&CONTROLLER, MAP));
}

#[test]
fn finalizers_on_a_dependent_choose_how_it_goes() {
    for (finalizer, how) in [("orphan", "Orphan"), ("foregroundDeletion", "Foreground")] {
        let mut world = World::new(&map("m", "ReplicaSet/s"));
        world.edit::<ConfigMap>("default", "m", |m| {
            m.metadata.add_finalizer(finalizer);
        });
        let done = world.step(&CONTROLLER, MAP);
        assert!(
            done.starts_with(&format!("delete configmaps default/m {how} if")),
            "{done}"
        );
    }
}

fn going(finalizer: &str) -> String {
    format!(", deletionTimestamp: '2026-01-01T00:00:00Z', finalizers: [{finalizer}]")
}

#[test]
fn foreground_deletion_waits_for_those_who_block() {
    let text = set("s", &going("foregroundDeletion"))
        + &map("m", "ReplicaSet/s!")
        + &map("free", "ReplicaSet/s");
    let mut world = World::new(&text);
    let owner = "replicasets.apps/default/s";
    expect![""].assert_eq(&world.step(&CONTROLLER, owner));
    // One that has no dependents of its own need not wait for any.
    expect!["delete configmaps default/m Background"].assert_eq(&world.step(&CONTROLLER, MAP));
    expect![[r#"patch replicasets default/s {"metadata":{"finalizers":[]}}"#]]
        .assert_eq(&world.step(&CONTROLLER, owner));
    assert_eq!(world.snapshot.list::<ReplicaSet>().count(), 0);
}

#[test]
fn a_dependent_with_dependents_goes_in_the_foreground_too() {
    let pod = "
---
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: m, uid: configmap-m, blockOwnerDeletion: true}]}
";
    let text = set("s", &going("foregroundDeletion")) + &map("m", "ReplicaSet/s!") + pod;
    let mut world = World::new(&text);
    expect!["delete configmaps default/m Foreground"].assert_eq(&world.step(&CONTROLLER, MAP));
    expect!["delete pods default/p Background"]
        .assert_eq(&world.step(&CONTROLLER, "pods/default/p"));
    assert_eq!(world.snapshot.list::<Pod>().count(), 0);
}

#[test]
fn circles_that_wait_for_each_other_are_broken() {
    let text = set("s", &going("foregroundDeletion"))
        .replace("namespace: default", "namespace: default, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: m, uid: configmap-m, blockOwnerDeletion: true}]")
        + &map("m", "ReplicaSet/s!");
    let mut world = World::new(&text);
    expect![[r#"
        patch configmaps default/m {"metadata":{"ownerReferences":[{"apiVersion":"apps/v1","blockOwnerDeletion":false,"kind":"ReplicaSet","name":"s","uid":"replicaset-s"}]}}
        delete configmaps default/m Foreground"#]]
    .assert_eq(&world.run(&CONTROLLER, MAP));
    expect![[r#"patch replicasets default/s {"metadata":{"finalizers":[]}}"#]]
        .assert_eq(&world.run(&CONTROLLER, "replicasets.apps/default/s"));
    world.settle(10);
    assert_eq!(world.snapshot.list::<ConfigMap>().count(), 0);
}

#[test]
fn an_owner_that_leaves_its_dependents_behind_frees_them_first() {
    let text = set("s", &going("orphan")) + &map("m", "ReplicaSet/s!");
    let mut world = World::new(&text);
    expect![[r#"
        patch configmaps default/m {"metadata":{"ownerReferences":[]}}
        patch replicasets default/s {"metadata":{"finalizers":[]}}"#]]
    .assert_eq(&world.step(&CONTROLLER, "replicasets.apps/default/s"));
    expect![""].assert_eq(&world.step(&CONTROLLER, MAP));
    assert_eq!(world.snapshot.list::<ConfigMap>().count(), 1);
}

#[test]
fn what_goes_wakes_its_dependents_and_those_who_wait_for_it() {
    let text = set("s", "") + &map("m", "ReplicaSet/s");
    let mut world = World::new(&text);
    let wake = |snapshot: &Snapshot, object: &corten_api::Object| -> Vec<String> {
        super::itself_and_relatives(snapshot, object)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    let sets = GroupResource::of::<ReplicaSet>();
    let key = ObjectKey::new("default", "s");
    let owner = world.snapshot.object(&sets, &key).unwrap().clone();
    assert!(wake(&world.snapshot, &owner).is_empty(), "it lives");
    world.snapshot.remove(&sets, &key);
    assert_eq!(wake(&world.snapshot, &owner), ["configmaps/default/m"]);
    world.edit::<ConfigMap>("default", "m", |m| {
        m.metadata.owner_references.push(OwnerReference::default());
        m.metadata.deletion_timestamp = Some(Time::from_unix(0));
    });
    let maps = GroupResource::of::<ConfigMap>();
    let map = world
        .snapshot
        .object(&maps, &ObjectKey::new("default", "m"))
        .unwrap();
    assert_eq!(wake(&world.snapshot, map), ["configmaps/default/m"]);
}

const DEFINITION: &str = "
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: things, kind: Thing}
  versions: [{name: v2, served: true, storage: false}, {name: v1, served: true, storage: true}]
status: {conditions: [{type: Established, status: 'True'}]}
";

#[test]
fn custom_owners_are_known_by_their_definition() {
    let owned = map("m", "ReplicaSet/s")
        .replace("apps/v1", "example.com/v2")
        .replace("ReplicaSet", "Thing");
    let mut world = World::new(&(owned + DEFINITION));
    expect!["delete configmaps default/m Background if things default/s is gone"]
        .assert_eq(&world.step(&CONTROLLER, MAP));
}

#[test]
fn a_new_definition_wakes_those_whom_it_may_own() {
    let owned = map("m", "ReplicaSet/s")
        .replace("apps/v1", "example.com/v2")
        .replace("ReplicaSet", "Thing");
    let world = World::new(&(owned + &map("other", "ReplicaSet/s") + DEFINITION));
    let (_, definitions) = world
        .snapshot
        .resources()
        .find(|(r, _)| r.resource == "customresourcedefinitions")
        .unwrap();
    let definition = definitions.values().next().unwrap();
    let woken = super::those_owned_by_its_kind(&world.snapshot, definition);
    assert_eq!(woken, [ObjectKey::new("configmaps/default", "m")]);
}
