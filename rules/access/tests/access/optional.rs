//! Plugins that run only where they are asked for.

use crate::world::{World, admin, object, refusal, user};
use corten_access::admission::Operation;
use corten_api::Object;
use corten_api::core::v1::Pod;

const CLUSTER: &str = r#"
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: a}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: b, annotations: {scheduler.alpha.kubernetes.io/node-selector: "disk=ssd,zone=z", scheduler.alpha.kubernetes.io/defaultTolerations: '[{"key":"team","operator":"Exists"}]', scheduler.alpha.kubernetes.io/tolerationsWhitelist: '[{"key":"team","operator":"Exists"},{"operator":"Exists","key":"node.kubernetes.io/not-ready"},{"operator":"Exists","key":"node.kubernetes.io/unreachable"}]'}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: b}}
---
{apiVersion: v1, kind: Node, metadata: {name: small, labels: {kubernetes.io/os: linux}}, status: {allocatable: {cpu: "1", memory: 1Gi}}}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: writer}, rules: [{apiGroups: [""], resources: [pods], verbs: [create, update]}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: writer}, roleRef: {kind: ClusterRole, name: writer, apiGroup: rbac.authorization.k8s.io}, subjects: [{kind: User, name: ann}]}
"#;

fn pod(namespace: &str, meta: &str, spec: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: {namespace}{meta}}}, spec: {{serviceAccountName: default, {spec}}}}}"
    ))
}

fn spec(object: &Object) -> &corten_api::core::v1::PodSpec {
    &object
        .downcast_ref::<Pod>()
        .expect("the test made a pod")
        .spec
}

#[test]
fn images_are_always_pulled_but_not_for_updates_that_bring_none() {
    let world = World::new(CLUSTER).with(&["AlwaysPullImages"]);
    let containers = "containers: [{name: c, image: i, imagePullPolicy: Never}]";
    let mut new = pod("a", "", containers);
    world.mutate(&admin(), &mut new).unwrap();
    assert_eq!(spec(&new).containers[0].image_pull_policy, "Always");
    let old = pod("a", "", containers);
    let mut same = old.clone();
    let admin = admin();
    let update = world.request(&admin, Operation::Update);
    update.mutate_from(&mut same, Some(&old)).unwrap();
    assert_eq!(spec(&same).containers[0].image_pull_policy, "Never");
    let refused = refusal(world.create(&admin, &old));
    assert!(
        refused.contains("spec.containers[0].imagePullPolicy"),
        "{refused}"
    );
}

#[test]
fn pods_run_on_the_nodes_of_their_namespace() {
    let world = World::new(CLUSTER).with(&["PodNodeSelector"]);
    let mut new = pod("b", "", "nodeSelector: {zone: z}, containers: []");
    world.mutate(&admin(), &mut new).unwrap();
    assert_eq!(
        spec(&new).node_selector.get("disk").map(|v| v.as_str()),
        Some("ssd")
    );
    let mut other = pod("b", "", "nodeSelector: {zone: other}, containers: []");
    let refused = world.mutate(&admin(), &mut other).unwrap_err();
    assert!(
        refused.message.contains("conflicts with its namespace"),
        "{}",
        refused.message
    );
}

#[test]
fn tolerations_are_given_and_limited_by_the_namespace() {
    let world = World::new(CLUSTER).with(&["PodTolerationRestriction"]);
    let mut new = pod("b", "", "containers: []");
    world.mutate(&admin(), &mut new).unwrap();
    assert!(spec(&new).tolerations.iter().any(|t| t.key == "team"));
    let mut wide = pod("b", "", "tolerations: [{operator: Exists}], containers: []");
    assert!(world.mutate(&admin(), &mut wide).is_err());
}

#[test]
fn devices_bring_the_toleration_of_their_taint() {
    let world = World::new(CLUSTER).with(&["ExtendedResourceToleration"]);
    let mut new = pod(
        "a",
        "",
        "containers: [{name: c, image: i, resources: {requests: {example.com/gpu: '1'}}}]",
    );
    world.mutate(&admin(), &mut new).unwrap();
    let found = spec(&new)
        .tolerations
        .iter()
        .find(|t| t.key == "example.com/gpu");
    assert_eq!(
        found.map(|t| (t.operator.as_str(), t.effect.as_str())),
        Some(("Exists", "NoSchedule"))
    );
}

#[test]
fn nobody_keeps_a_zone_for_one_pod() {
    let apart = "affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone}]}}, \
                 containers: []";
    let new = pod("a", "", apart);
    assert!(World::new(CLUSTER).create(&admin(), &new).is_ok());
    let world = World::new(CLUSTER).with(&["LimitPodHardAntiAffinityTopology"]);
    assert!(refusal(world.create(&admin(), &new)).contains("only key kubernetes.io/hostname"));
}

#[test]
fn external_addresses_may_stay_but_not_come() {
    let world = World::new(CLUSTER).with(&["DenyServiceExternalIPs"]);
    let service = |ips: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: a}}, spec: {{externalIPs: [{ips}]}}}}"
        ))
    };
    assert!(
        refusal(world.create(&admin(), &service("1.2.3.4"))).contains("external IPs is denied")
    );
    let old = service("1.2.3.4, 1.2.3.5");
    assert!(world.update(&admin(), &service("1.2.3.5"), &old).is_ok());
    assert!(world.update(&admin(), &service("1.2.3.6"), &old).is_err());
}

#[test]
fn owners_are_set_by_who_may_delete_and_block_by_who_may_finalize() {
    let world = World::new(CLUSTER).with(&["OwnerReferencesPermissionEnforcement"]);
    let owned = |block: &str| {
        let owner = "ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: u";
        pod("a", &format!(", {owner}{block}}}]"), "containers: []")
    };
    let ann = user("ann", &[]);
    assert!(world.create(&ann, &owned("")).is_ok());
    let blocked = refusal(world.create(&ann, &owned(", blockOwnerDeletion: true")));
    assert!(blocked.contains("can't set finalizers on"), "{blocked}");
    let plain = pod("a", "", "containers: []");
    let refused = refusal(world.update(&ann, &owned(""), &plain));
    assert!(refused.contains("can't delete"), "{refused}");
    assert!(
        world
            .update(&admin(), &owned(", blockOwnerDeletion: true"), &plain)
            .is_ok()
    );
}

#[test]
fn pods_grow_only_as_far_as_their_node_allows() {
    let world = World::new(CLUSTER);
    let sized = |node: &str, cpu: &str, generation: i64| {
        let spec = format!(
            "nodeName: {node}, containers: [{{name: c, image: i, resources: {{requests: {{cpu: '{cpu}'}}}}}}]"
        );
        pod("a", &format!(", generation: {generation}"), &spec)
    };
    let admin = admin();
    let mut resize = world.request(&admin, Operation::Update);
    resize.part = "resize";
    let old = sized("small", "100m", 1);
    assert!(
        resize
            .validate(&sized("small", "500m", 2), Some(&old))
            .is_ok()
    );
    let refused = refusal(resize.validate(&sized("small", "2", 2), Some(&old)));
    assert!(
        refused.contains("cpu, requested: 2000, allocatable: 1000"),
        "{refused}"
    );
    let refused = refusal(resize.validate(&sized("gone", "2", 2), Some(&sized("gone", "1", 1))));
    assert!(refused.contains("node \"gone\" not found"), "{refused}");
}

#[test]
fn nothing_happens_in_a_namespace_that_is_not_there() {
    let map = |namespace: &str| {
        object(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m, namespace: {namespace}}}\n"
        ))
    };
    let delete = |world: &World, namespace: &str| {
        let admin = admin();
        world
            .request(&admin, Operation::Delete)
            .delete(&map(namespace))
    };
    let world = World::new(CLUSTER).with(&["NamespaceExists"]);
    delete(&world, "a").expect("the namespace is there");
    let denial = delete(&world, "gone").expect_err("it is not");
    assert_eq!(
        (denial.code, denial.message.as_str()),
        (404, "namespaces \"gone\" not found")
    );
    delete(&World::new(CLUSTER), "gone").expect("nobody asks by default");
}
