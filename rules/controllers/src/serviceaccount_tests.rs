//! Default accounts in fixtures.

use super::CONTROLLER;
use crate::testing::World;
use expect_test::expect;

fn namespace(phase: &str) -> World {
    World::new(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\nstatus: {{phase: {phase}}}\n"
    ))
}

#[test]
fn a_namespace_gets_its_default_account_once() {
    let mut world = namespace("Active");
    expect!["create serviceaccounts a/default"].assert_eq(&world.step(&CONTROLLER, "a"));
    expect![""].assert_eq(&world.step(&CONTROLLER, "a"));
}

#[test]
fn one_that_goes_or_is_not_there_gets_none() {
    expect![""].assert_eq(&namespace("Terminating").step(&CONTROLLER, "a"));
    expect![""].assert_eq(&namespace("Active").step(&CONTROLLER, "b"));
}
