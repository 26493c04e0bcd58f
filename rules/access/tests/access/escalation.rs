//! Nobody grants what they do not hold.

use crate::world::{World, admin, object, refusal, user};
use corten_access::admission::Operation;

const CLUSTER: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: all}
rules:
- {apiGroups: ["*"], resources: ["*"], verbs: ["*"]}
- {nonResourceURLs: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: some}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, list]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate], resourceNames: [mine]}
- {apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind], resourceNames: [all]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: all}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all}
subjects: [{kind: User, name: root, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: some, namespace: a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: some}
subjects: [{kind: User, name: ann, apiGroup: rbac.authorization.k8s.io}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: wide, namespace: a}
rules:
- {apiGroups: [""], resources: [pods, secrets], verbs: [get, watch, list]}
- {apiGroups: [apps], resources: [deployments], verbs: [get], resourceNames: [web]}
"#;

fn role(name: &str, rules: &str) -> corten_api::Object {
    object(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {{name: {name}, namespace: a}}, rules: [{rules}]}}"
    ))
}

fn binding(kind: &str, role: &str) -> corten_api::Object {
    object(&format!(
        "{{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {{name: b, namespace: a}}, \
         roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {role}}}}}"
    ))
}

#[test]
fn a_role_holds_no_more_than_its_writer() {
    let world = World::new(CLUSTER);
    let ann = user("ann", &["devs", "system:authenticated"]);
    let less = role("r", "{apiGroups: [''], resources: [pods], verbs: [get]}");
    assert!(world.create(&ann, &less).is_ok());
    let more = role(
        "r",
        "{apiGroups: [''], resources: [pods, pods/log], verbs: [get, delete, watch]}",
    );
    assert_eq!(
        refusal(world.create(&ann, &more)),
        "user \"ann\" (groups=[\"devs\" \"system:authenticated\"]) is attempting to grant RBAC permissions not \
         currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\" \"watch\"]}\n\
         {APIGroups:[\"\"], Resources:[\"pods/log\"], Verbs:[\"get\" \"delete\" \"watch\"]}"
    );
    assert!(world.create(&user("root", &[]), &more).is_ok());
    assert!(world.create(&admin(), &more).is_ok());
    let mine = role("mine", "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}");
    assert!(world.create(&ann, &mine).is_ok(), "may escalate this one");
}

#[test]
fn the_garbage_collector_may_edit_owners() {
    let world = World::new(CLUSTER);
    let ann = user("ann", &[]);
    let old = role("r", "{apiGroups: [''], resources: [secrets], verbs: [get]}");
    let mut new = old.clone();
    new.meta_mut().finalizers.push("x/y");
    assert!(world.update(&ann, &new, &old).is_ok());
    new.meta_mut().labels.insert("a", "b");
    assert!(world.update(&ann, &new, &old).is_err());
}

#[test]
fn bindings_need_the_rights_or_bind() {
    let world = World::new(CLUSTER);
    let ann = user("ann", &[]);
    assert!(world.create(&ann, &binding("ClusterRole", "all")).is_ok());
    assert!(world.create(&ann, &binding("ClusterRole", "some")).is_ok());
    assert_eq!(
        refusal(world.create(&ann, &binding("Role", "wide"))),
        "user \"ann\" (groups=[]) is attempting to grant RBAC permissions not currently held:\n\
         {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"watch\"]}\n\
         {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"watch\" \"list\"]}\n\
         {APIGroups:[\"apps\"], Resources:[\"deployments\"], ResourceNames:[\"web\"], Verbs:[\"get\"]}"
    );
    let missing = world.create(&ann, &binding("Role", "none")).unwrap_err();
    assert_eq!(missing.code, 404);
    assert_eq!(
        missing.message,
        "rolebindings.rbac.authorization.k8s.io \"none\" not found"
    );
    let everywhere = object(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: b}, \
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all}}",
    );
    assert!(
        world.create(&ann, &everywhere).is_err(),
        "holds it in a namespace only"
    );
}

#[test]
fn aggregation_is_for_those_who_hold_everything() {
    let world = World::new(CLUSTER);
    let role = object(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: r}, \
         aggregationRule: {clusterRoleSelectors: [{matchLabels: {a: b}}]}}",
    );
    assert_eq!(
        refusal(world.create(&user("ann", &[]), &role)),
        "must have cluster-admin privileges to use the aggregationRule"
    );
    let root = user("root", &[]);
    let request = world.request(&root, Operation::Create);
    assert!(request.validate(&role, None).is_ok());
}
