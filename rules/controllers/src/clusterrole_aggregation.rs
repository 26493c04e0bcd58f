//! ClusterRole aggregation: a role with an aggregation rule holds the rules of all roles that it selects.
//!
//! Invariant: rules keep the order of the selectors and, within one, of the names; a rule is listed once.

use crate::plan::{Plan, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::Object;
use corten_api::rbac::v1::{ClusterRole, PolicyRule};
use corten_core::{List, semantic_eq};
use corten_meta::{ObjectKey, Selector, Snapshot};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "clusterrole-aggregation",
    service_account: "clusterrole-aggregation-controller",
    primary: resource::<ClusterRole>,
    wakes: &[Wake {
        on: Watched::One(resource::<ClusterRole>),
        keys: aggregating,
    }],
    reconcile: |snapshot, key, _| observe(snapshot, key).map(|observed| plan(&observed)),
};

/// Any role may be part of any that aggregates.
fn aggregating(snapshot: &Snapshot, _: &Object) -> Vec<ObjectKey> {
    let all = snapshot
        .list::<ClusterRole>()
        .filter(|role| role.aggregation_rule.is_some());
    all.map(|role| ObjectKey::new("", role.metadata.name.clone()))
        .collect()
}

/// A role that aggregates, and the roles that it selects.
#[derive(Debug)]
pub struct Observed<'a> {
    role: &'a ClusterRole,
    parts: Vec<&'a ClusterRole>,
}

/// What concerns the role `key`; nothing when it has no aggregation rule.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let role = snapshot.get::<ClusterRole>("", &key.name)?;
    let rule = role.aggregation_rule.as_deref()?;
    let mut parts = Vec::new();
    for selector in rule.cluster_role_selectors.iter() {
        let selector = Selector::from_label_selector(Some(selector)).ok()?;
        let selected = snapshot.list::<ClusterRole>().filter(|part| {
            part.metadata.name != role.metadata.name && selector.matches(&part.metadata.labels)
        });
        parts.extend(selected);
    }
    Some(Observed { role, parts })
}

/// Writes the rules when they changed.
pub fn plan(observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in observed.parts.iter().flat_map(|part| part.rules.iter()) {
        if !rules.iter().any(|known| semantic_eq(known, rule)) {
            rules.push(rule.clone());
        }
    }
    let mut new = observed.role.clone();
    new.rules = List::from(rules);
    if !semantic_eq(observed.role, &new) {
        plan.write_if(Write::patch(
            observed.role,
            &new,
            "the roles that it is made of changed",
        ));
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use expect_test::expect;

    #[test]
    fn rules_of_selected_roles_are_put_together() {
        let mut world = World::new(
            "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: view}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {to-view: 'true'}}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: b, labels: {to-view: 'true'}}
rules: [{apiGroups: [''], resources: [pods], verbs: [get]}, {apiGroups: [''], resources: [nodes], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: a, labels: {to-view: 'true'}}
rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]
",
        );
        expect![[r#"patch clusterroles view {"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]},{"apiGroups":[""],"resources":["nodes"],"verbs":["get"]}]}"#]]
            .assert_eq(&world.run(&CONTROLLER, "view"));
    }
}
