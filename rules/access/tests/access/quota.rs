//! ResourceQuota: usage, scopes, refusals and charges.

use crate::world::{Outcome, World, admin, object, refusal};
use corten_access::admission::{Denial, Operation};
use corten_api::Object;
use corten_api::core::v1::ResourceQuota;

fn world(quotas: &[(&str, &str)]) -> World {
    let mut yaml = String::from(
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: a}}",
    );
    for (name, rest) in quotas {
        yaml += &format!(
            "\n---\n{{apiVersion: v1, kind: ResourceQuota, metadata: {{name: {name}, namespace: a, resourceVersion: '1'}}, {rest}}}"
        );
    }
    World::new(&yaml)
}

fn pod(name: &str, spec: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: a, resourceVersion: '5'}}, \
         spec: {{serviceAccountName: default, {spec}}}}}"
    ))
}

/// `quota: name=amount,...` for each charged quota.
fn charged(result: Result<Outcome, Denial>) -> Vec<String> {
    let outcome = result.expect("it fits");
    let charges = outcome.charges.iter();
    charges
        .map(|object| {
            let quota: &ResourceQuota = object.downcast_ref().expect("charges are quotas");
            assert_eq!(quota.metadata.resource_version, "1", "the precondition");
            let used = quota.status.used.iter();
            let used: Vec<String> = used.map(|(k, v)| format!("{k}={v}")).collect();
            format!("{}: {}", quota.metadata.name, used.join(","))
        })
        .collect()
}

#[test]
fn a_pod_is_charged_for_what_it_asks() {
    let world = world(&[(
        "q",
        "status: {hard: {pods: 5, requests.cpu: 2, memory: 1Gi, limits.cpu: 4, count/pods: 9, requests.vendor.com/x: 3}, \
         used: {pods: 1, requests.cpu: 500m, memory: 100Mi, limits.cpu: 1, count/pods: 2, requests.vendor.com/x: 0}}",
    )]);
    let good = pod(
        "p",
        "initContainers: [{name: i, resources: {requests: {cpu: 800m, memory: 1Mi}, limits: {cpu: 1}}}], \
         containers: [{name: c, resources: {requests: {cpu: 300m, memory: 50Mi, vendor.com/x: 2}, limits: {cpu: 1}}}, \
         {name: d, resources: {requests: {cpu: 300m, memory: 50Mi}, limits: {cpu: 1}}}]",
    );
    assert_eq!(
        charged(world.create(&admin(), &good)),
        [
            "q: count/pods=3,limits.cpu=3,memory=200Mi,pods=2,requests.cpu=1300m,requests.vendor.com/x=2"
        ]
    );
}

#[test]
fn too_much_is_refused_and_names_what_is_too_much() {
    let world = world(&[(
        "q",
        "status: {hard: {pods: 5, requests.cpu: '1', requests.memory: 1Gi}, used: {pods: 1, requests.cpu: 500m, requests.memory: 1000Mi}}",
    )]);
    let big = pod(
        "p",
        "containers: [{name: c, resources: {requests: {cpu: 600m, memory: 100Mi}}}]",
    );
    assert_eq!(
        refusal(world.create(&admin(), &big)),
        "exceeded quota: q, requested: requests.cpu=600m,requests.memory=100Mi, used: requests.cpu=500m,requests.memory=1000Mi, \
         limited: requests.cpu=1,requests.memory=1Gi"
    );
    let silent = pod(
        "p",
        "containers: [{name: c}, {name: b}], initContainers: [{name: i, resources: {requests: {cpu: 1}}}]",
    );
    assert_eq!(
        refusal(world.create(&admin(), &silent)),
        "failed quota: q: must specify requests.cpu for: b,c; requests.memory for: b,c,i"
    );
}

#[test]
fn usage_that_is_not_known_yet_refuses() {
    let world = world(&[(
        "q",
        "status: {hard: {pods: 5, count/pods: 3}, used: {pods: 1}}",
    )]);
    let small = pod("p", "containers: [{name: c}]");
    assert_eq!(
        refusal(world.create(&admin(), &small)),
        "status unknown for quota: q, resources: count/pods,pods"
    );
    assert_eq!(
        charged(world.create(
            &admin(),
            &object("{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: a}}")
        ))
        .len(),
        0
    );
}

#[test]
fn scopes_choose_the_quotas() {
    let world = world(&[
        (
            "best",
            "spec: {scopes: [BestEffort]}, status: {hard: {pods: 5}, used: {pods: 0}}",
        ),
        (
            "ends",
            "spec: {scopes: [Terminating]}, status: {hard: {pods: 5}, used: {pods: 1}}",
        ),
        (
            "runs",
            "spec: {scopes: [NotTerminating, NotBestEffort]}, status: {hard: {pods: 5}, used: {pods: 2}}",
        ),
        (
            "high",
            "spec: {scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [high]}]}}, \
             status: {hard: {pods: 5}, used: {pods: 3}}",
        ),
        (
            "far",
            "spec: {scopes: [CrossNamespacePodAffinity]}, status: {hard: {pods: 5}, used: {pods: 4}}",
        ),
    ]);
    let check = |spec: &str, wanted: &[&str]| {
        assert_eq!(
            charged(world.create(&admin(), &pod("p", spec))),
            wanted,
            "{spec}"
        );
    };
    check("containers: [{name: c}]", &["best: pods=1"]);
    check(
        "activeDeadlineSeconds: 5, containers: [{name: c}]",
        &["best: pods=1", "ends: pods=2"],
    );
    check(
        "priorityClassName: high, containers: [{name: c, resources: {requests: {cpu: 1}}}]",
        &["high: pods=4", "runs: pods=3"],
    );
    check(
        "activeDeadlineSeconds: 5, affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: \
         [{topologyKey: x, namespaces: [b]}]}}, containers: [{name: c, resources: {requests: {cpu: 1}}}]",
        &["ends: pods=2", "far: pods=5"],
    );
}

#[test]
fn a_pod_that_gets_a_deadline_moves_to_the_other_scope() {
    let world = world(&[
        (
            "ends",
            "spec: {scopes: [Terminating]}, status: {hard: {pods: 1}, used: {pods: 0}}",
        ),
        (
            "runs",
            "spec: {scopes: [NotTerminating]}, status: {hard: {pods: 5}, used: {pods: 2}}",
        ),
    ]);
    let old = pod("p", "containers: [{name: c}]");
    let new = pod("p", "activeDeadlineSeconds: 5, containers: [{name: c}]");
    assert_eq!(
        charged(world.update(&admin(), &new, &old)),
        ["ends: pods=1"]
    );
    assert!(charged(world.update(&admin(), &old, &old)).is_empty());
}

#[test]
fn services_count_ports_and_balancers() {
    let world = world(&[(
        "q",
        "status: {hard: {services: 5, services.nodeports: 2, services.loadbalancers: 1}, \
         used: {services: 1, services.nodeports: 0, services.loadbalancers: 0}}",
    )]);
    let service = |spec: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: s, namespace: a, resourceVersion: '3'}}, \
             spec: {{{spec}, ports: [{{port: 1}}, {{port: 2, nodePort: 30000}}]}}}}"
        ))
    };
    let create = |spec: &str| charged(world.create(&admin(), &service(spec)));
    assert_eq!(
        create("type: ClusterIP"),
        ["q: services=2,services.loadbalancers=0,services.nodeports=0"]
    );
    assert_eq!(
        create("type: NodePort"),
        ["q: services=2,services.loadbalancers=0,services.nodeports=2"]
    );
    assert_eq!(
        create("type: LoadBalancer"),
        ["q: services=2,services.loadbalancers=1,services.nodeports=2"]
    );
    assert_eq!(
        create("type: LoadBalancer, allocateLoadBalancerNodePorts: false"),
        ["q: services=2,services.loadbalancers=1,services.nodeports=1"]
    );
    let grown = world.update(
        &admin(),
        &service("type: NodePort"),
        &service("type: ClusterIP"),
    );
    assert_eq!(
        charged(grown),
        ["q: services=1,services.loadbalancers=0,services.nodeports=2"]
    );
    let shrunk = world.update(
        &admin(),
        &service("type: ClusterIP"),
        &service("type: NodePort"),
    );
    assert!(charged(shrunk).is_empty(), "the controller lowers usage");
}

#[test]
fn claims_count_by_class() {
    let world = world(&[(
        "q",
        "status: {hard: {requests.storage: 10Gi, persistentvolumeclaims: 4, gold.storageclass.storage.k8s.io/requests.storage: 3Gi, \
         gold.storageclass.storage.k8s.io/persistentvolumeclaims: 2}, used: {requests.storage: 1Gi, persistentvolumeclaims: 1, \
         gold.storageclass.storage.k8s.io/requests.storage: 1Gi, gold.storageclass.storage.k8s.io/persistentvolumeclaims: 1}}",
    )]);
    let claim = |class: &str, size: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: c, namespace: a, resourceVersion: '2'}}, \
             spec: {{storageClassName: {class}, resources: {{requests: {{storage: {size}}}}}}}}}"
        ))
    };
    assert_eq!(
        charged(world.create(&admin(), &claim("gold", "2Gi"))),
        [
            "q: gold.storageclass.storage.k8s.io/persistentvolumeclaims=2,gold.storageclass.storage.k8s.io/requests.storage=3Gi,\
          persistentvolumeclaims=2,requests.storage=3Gi"
        ]
    );
    assert_eq!(
        refusal(world.create(&admin(), &claim("gold", "4Gi"))),
        "exceeded quota: q, requested: gold.storageclass.storage.k8s.io/requests.storage=4Gi, \
         used: gold.storageclass.storage.k8s.io/requests.storage=1Gi, limited: gold.storageclass.storage.k8s.io/requests.storage=3Gi"
    );
    assert!(
        charged(world.create(&admin(), &claim("iron", "4Gi")))[0].ends_with("requests.storage=5Gi")
    );
}

#[test]
fn any_kind_can_be_counted() {
    let world = world(&[(
        "q",
        "status: {hard: {count/deployments.apps: 1, secrets: 2, count/widgets.example.com: 1}, \
         used: {count/deployments.apps: 1, secrets: 1, count/widgets.example.com: 0}}",
    )]);
    let named = |version: &str, kind: &str| {
        object(&format!(
            "{{apiVersion: {version}, kind: {kind}, metadata: {{name: x, namespace: a}}}}"
        ))
    };
    assert_eq!(
        refusal(world.create(&admin(), &named("apps/v1", "Deployment"))),
        "exceeded quota: q, requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1"
    );
    assert_eq!(
        charged(world.create(&admin(), &named("v1", "Secret"))),
        ["q: count/deployments.apps=1,count/widgets.example.com=0,secrets=2"]
    );
    assert_eq!(
        charged(world.create(&admin(), &named("example.com/v1", "Widget"))),
        ["q: count/deployments.apps=1,count/widgets.example.com=1,secrets=1"]
    );
    let user = admin();
    let mut dry = world.request(&user, Operation::Create);
    dry.dry_run = true;
    assert!(charged(dry.validate(&named("v1", "Secret"), None)).is_empty());
    assert!(dry.validate(&named("apps/v1", "Deployment"), None).is_err());
}
