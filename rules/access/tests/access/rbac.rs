//! RBAC decisions and their reasons.

use crate::world::{World, user};
use corten_access::Decision;

const CLUSTER: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [pods, "*/scale"], verbs: [get, list]}
- {apiGroups: [apps], resources: ["*"], verbs: ["*"], resourceNames: [web]}
- {nonResourceURLs: ["/healthz", "/logs/*"], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: writer, namespace: a}
rules:
- {apiGroups: [""], resources: [pods/log], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: all-readers}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reader}
subjects:
- {kind: Group, name: readers, apiGroup: rbac.authorization.k8s.io}
- {kind: ServiceAccount, name: bot, namespace: b}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: writers, namespace: a}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: writer}
subjects:
- {kind: User, name: ann, apiGroup: rbac.authorization.k8s.io}
- {kind: ServiceAccount, name: bot}
"#;

fn allowed(reason: &str) -> Decision {
    Decision::Allow(reason.to_owned())
}

fn none() -> Decision {
    Decision::NoOpinion(String::new())
}

#[test]
fn reasons_name_the_binding_the_role_and_the_subject() {
    let world = World::new(CLUSTER);
    let cluster =
        r#"RBAC: allowed by ClusterRoleBinding "all-readers" of ClusterRole "reader" to "#;
    let local = r#"RBAC: allowed by RoleBinding "writers/a" of Role "writer" to "#;
    let ann = user("ann", &["readers"]);
    assert_eq!(
        world.ask(&ann, "get /pods x y"),
        allowed(&format!("{cluster}Group \"readers\""))
    );
    assert_eq!(
        world.ask(&ann, "get /pods/log a y"),
        allowed(&format!("{local}User \"ann\""))
    );
    let elsewhere = user("system:serviceaccount:b:bot", &[]);
    assert_eq!(
        world.ask(&elsewhere, "list /pods - -"),
        allowed(&format!("{cluster}ServiceAccount \"bot/b\""))
    );
    let here = user("system:serviceaccount:a:bot", &[]);
    assert_eq!(
        world.ask(&here, "get /pods/log a y"),
        allowed(&format!("{local}ServiceAccount \"bot/a\""))
    );
}

#[test]
fn resources_subresources_names_and_paths_must_fit() {
    let world = World::new(CLUSTER);
    let ann = user("bob", &["readers"]);
    let fits = |question: &str| world.ask(&ann, question) != none();
    assert!(fits("get /deployments/scale a b"));
    assert!(!fits("get /pods/log a b"));
    assert!(!fits("delete /pods a b"));
    assert!(!fits("get batch/pods a b"));
    assert!(fits("delete apps/deployments/status a web"));
    assert!(!fits("delete apps/deployments a db"));
    assert!(!fits("list apps/deployments a -"));
    assert!(fits("get /healthz"));
    assert!(fits("get /logs/kernel"));
    assert!(!fits("get /healthz/etcd"));
    assert!(!fits("post /healthz"));
}

#[test]
fn roles_of_a_namespace_end_at_it() {
    let world = World::new(CLUSTER);
    let ann = user("ann", &[]);
    assert_eq!(world.ask(&ann, "get /pods/log b y"), none());
    assert_eq!(world.ask(&ann, "get /pods/log - y"), none());
    let masters = user("root", &["system:masters"]);
    assert_eq!(world.ask(&masters, "delete any/thing b y"), allowed(""));
}

#[test]
fn rules_of_a_user_are_listed() {
    let world = World::new(CLUSTER);
    let found = corten_access::rbac_rules(&world.rules, &user("ann", &["readers"]), "a");
    let resources: Vec<&str> = found
        .resource
        .iter()
        .map(|r| r.resources[0].as_str())
        .collect();
    assert_eq!(resources, ["pods", "*", "pods/log"]);
    assert_eq!(found.non_resource.len(), 1);
    assert!(!found.incomplete && found.error.is_empty());
    let found = corten_access::node_rules(&crate::world::node("n"));
    assert!(found.incomplete);
    assert_eq!(
        found.error,
        "node authorizer does not support user rule resolution"
    );
}
