//! The published certificate in fixtures.

use super::CONTROLLER;
use crate::testing::World;
use corten_api::core::v1::ConfigMap;
use expect_test::expect;

fn namespace(phase: &str) -> World {
    World::new(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\nstatus: {{phase: {phase}}}\n"
    ))
}

#[test]
fn every_namespace_holds_the_certificate() {
    let mut world = namespace("Active");
    expect!["create configmaps a/kube-root-ca.crt"].assert_eq(&world.step(&CONTROLLER, "a"));
    expect![""].assert_eq(&world.step(&CONTROLLER, "a"));
    expect![""].assert_eq(&namespace("Terminating").step(&CONTROLLER, "a"));
}

#[test]
fn what_others_change_is_put_right() {
    let mut world = namespace("Active");
    world.step(&CONTROLLER, "a");
    world.edit::<ConfigMap>("a", "kube-root-ca.crt", |m| {
        m.data.insert("ca.crt", "forged");
        m.data.insert("more", "x");
    });
    expect![[r#"patch configmaps a/kube-root-ca.crt {"data":{"ca.crt":"CA","more":null}}"#]]
        .assert_eq(&world.step(&CONTROLLER, "a"));
    world.context.cluster.root_ca = "another".into();
    expect![[r#"patch configmaps a/kube-root-ca.crt {"data":{"ca.crt":"another"}}"#]]
        .assert_eq(&world.step(&CONTROLLER, "a"));
}

#[test]
fn nothing_is_published_without_a_certificate() {
    let mut world = namespace("Active");
    world.context.cluster.root_ca = "".into();
    expect![""].assert_eq(&world.step(&CONTROLLER, "a"));
}
