//! What plugins do with what they are told.

use crate::world::{World, admin, object, refusal, user};
use corten_access::admission::Operation;
use corten_api::Object;
use corten_api::core::v1::Pod;

const CLUSTER: &str = r#"
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: a}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: free, labels: {pod-security.kubernetes.io/enforce: restricted}}}
---
{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: free}}
---
{apiVersion: node.k8s.io/v1, kind: RuntimeClass, metadata: {name: sandbox}, handler: sandbox}
"#;

fn pod(namespace: &str, spec: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: {namespace}}}, spec: {{serviceAccountName: default, {spec}}}}}"
    ))
}

fn inner(object: &Object) -> &corten_api::core::v1::PodSpec {
    &object
        .downcast_ref::<Pod>()
        .expect("the test made a pod")
        .spec
}

#[test]
fn nodes_of_the_cluster_and_of_namespaces() {
    let world = World::new(CLUSTER).with(&["PodNodeSelector"]).told(|s| {
        s.read_node_selectors(
            r#"{"podNodeSelectorPluginConfig":{"clusterDefaultNodeSelector":"pool=main","a":"pool=main,disk=ssd"}}"#,
        )
    });
    let mut new = pod("a", "containers: []");
    world.mutate(&admin(), &mut new).unwrap();
    let chosen = inner(&new).node_selector.get("pool");
    assert_eq!(chosen.map(|v| v.as_str()), Some("main"));
    let other = pod("a", "nodeSelector: {pool: main, disk: hdd}, containers: []");
    let refused = refusal(world.create(&admin(), &other));
    assert_eq!(
        refused,
        "pod node label selector labels conflict with its namespace whitelist"
    );
}

#[test]
fn tolerations_of_the_cluster() {
    let world = World::new(CLUSTER)
        .with(&["PodTolerationRestriction"])
        .told(|s| {
            s.read_tolerations(
                r#"{"apiVersion":"podtolerationrestriction.admission.k8s.io/v1alpha1","kind":"Configuration",
                    "default":[{"key":"team","operator":"Exists"}],"whitelist":[{"key":"team","operator":"Exists"}]}"#,
            )
        });
    let mut new = pod("a", "containers: []");
    let refused = world.mutate(&admin(), &mut new).unwrap_err();
    // The tolerations that every pod gets are not among those allowed.
    assert_eq!((refused.code, refused.reason), (500, ""));
    assert_eq!(
        refused.message,
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its cluster whitelist"
    );
    assert!(inner(&new).tolerations.iter().any(|t| t.key == "team"));
}

#[test]
fn standards_for_namespaces_without_labels_and_exemptions() {
    let told = r#"{"apiVersion":"pod-security.admission.config.k8s.io/v1","kind":"PodSecurityConfiguration",
        "defaults":{"enforce":"baseline","enforce-version":"v1.30"},
        "exemptions":{"usernames":["ann"],"namespaces":["free"],"runtimeClasses":["sandbox"]}}"#;
    let world = World::new(CLUSTER).told(|s| s.read_pod_security(told));
    let rooted = "hostNetwork: true, containers: [{name: c, image: i}]";
    let refused = refusal(world.create(&admin(), &pod("a", rooted)));
    assert!(
        refused.starts_with("violates PodSecurity \"baseline:v1.30\": host namespaces"),
        "{refused}"
    );
    let ann = user("ann", &[]);
    assert!(world.create(&ann, &pod("a", rooted)).is_ok());
    assert!(world.create(&admin(), &pod("free", rooted)).is_ok());
    let sandboxed = format!("runtimeClassName: sandbox, {rooted}");
    assert!(world.create(&admin(), &pod("a", &sandboxed)).is_ok());
    let labels = "{apiVersion: v1, kind: Namespace, metadata: {name: free, labels: {pod-security.kubernetes.io/enforce: restricted}}}";
    let made = world.create(&admin(), &object(labels)).unwrap();
    assert_eq!(
        made.warnings,
        [
            "namespace \"free\" is exempt from Pod Security, and the policy (enforce=restricted:v1.30) will be ignored"
        ]
    );
}

#[test]
fn nothing_without_a_quota() {
    let told = r#"{"apiVersion":"apiserver.config.k8s.io/v1","kind":"ResourceQuotaConfiguration","limitedResources":[
        {"resource":"pods","matchContains":["requests.nvidia.com/gpu"]},
        {"resource":"pods","matchScopes":[{"scopeName":"PriorityClass","operator":"In","values":["high"]}]}]}"#;
    let world = World::new(CLUSTER).told(|s| s.read_quotas(told));
    let gpu = "containers: [{name: c, image: i, resources: {requests: {nvidia.com/gpu: 1}, limits: {nvidia.com/gpu: 1}}}]";
    assert_eq!(
        refusal(world.create(&admin(), &pod("a", gpu))),
        "insufficient quota to consume: requests.nvidia.com/gpu"
    );
    let high = "priorityClassName: high, priority: 0, containers: [{name: c, image: i}]";
    let request = admin();
    let refused = world
        .request(&request, Operation::Create)
        .charge(&pod("a", high))
        .unwrap_err();
    assert_eq!(
        refused.message,
        "insufficient quota to match these scopes: [{PriorityClass In [high]}]"
    );
    let plain = "containers: [{name: c, image: i}]";
    assert!(world.create(&admin(), &pod("a", plain)).is_ok());
    let quota = "\n---\n{apiVersion: v1, kind: ResourceQuota, metadata: {name: q, namespace: a, resourceVersion: '1'}, \
        status: {hard: {requests.nvidia.com/gpu: 1}, used: {requests.nvidia.com/gpu: 0}}}";
    let world = World::new(&format!("{CLUSTER}{quota}")).told(|s| s.read_quotas(told));
    assert!(world.create(&admin(), &pod("a", gpu)).is_ok());
}
