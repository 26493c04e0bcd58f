//! LimitRanger: defaults and ranges.

use crate::world::{World, admin, object, refusal};
use corten_access::admission::Operation;
use corten_api::Object;
use corten_api::core::v1::Pod;

const CLUSTER: &str = r#"
apiVersion: v1
kind: LimitRange
metadata: {name: defaults, namespace: a}
spec:
  limits:
  - type: Container
    default: {cpu: 500m, memory: 64Mi}
    defaultRequest: {cpu: 100m, memory: 32Mi}
---
apiVersion: v1
kind: LimitRange
metadata: {name: ranges, namespace: a}
spec:
  limits:
  - type: Container
    min: {memory: 16Mi}
    max: {cpu: "1"}
    maxLimitRequestRatio: {cpu: "5"}
  - type: Pod
    max: {cpu: "2"}
  - type: PersistentVolumeClaim
    min: {storage: 1Gi}
    max: {storage: 5Gi}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: a}
"#;

fn pod(containers: &str) -> Object {
    object(&format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: p, namespace: a}}, spec: {{serviceAccountName: default, containers: [{containers}]}}}}"
    ))
}

#[test]
fn containers_get_defaults_and_the_pod_says_so() {
    let world = World::new(CLUSTER);
    let mut object =
        pod("{name: one}, {name: two, resources: {limits: {cpu: '1'}, requests: {cpu: '1'}}}");
    world.mutate(&admin(), &mut object).unwrap();
    let pod = object.downcast_ref::<Pod>().unwrap();
    assert_eq!(
        pod.metadata.annotations["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container one; cpu, memory limit for container one; \
         memory request for container two; memory limit for container two"
    );
    let first = &pod.spec.containers[0].resources;
    assert_eq!(first.requests["cpu"].as_str(), "100m");
    assert_eq!(first.limits["memory"].as_str(), "64Mi");
    assert_eq!(
        pod.spec.containers[1].resources.requests["cpu"].as_str(),
        "1"
    );
    assert!(world.create(&admin(), &object).is_ok());
}

#[test]
fn everything_out_of_range_is_named() {
    let world = World::new(CLUSTER);
    let big = pod(
        "{name: c, resources: {requests: {cpu: 100m, memory: 8Mi}, limits: {cpu: 3, memory: 32Mi}}}",
    );
    assert_eq!(
        refusal(world.create(&admin(), &big)),
        "[minimum memory usage per Container is 16Mi, but request is 8Mi, \
         maximum cpu usage per Container is 1, but limit is 3, \
         cpu max limit to request ratio per Container is 5, but provided ratio is 30.000000, \
         maximum cpu usage per Pod is 2, but limit is 3]"
    );
    assert_eq!(
        refusal(world.create(&admin(), &pod("{name: c}"))),
        "[minimum memory usage per Container is 16Mi.  No request is specified, \
         maximum cpu usage per Container is 1.  No limit is specified, \
         cpu max limit to request ratio per Container is 5, but no request is specified or request is 0, \
         maximum cpu usage per Pod is 2.  No limit is specified]"
    );
}

#[test]
fn claims_are_held_to_their_requests() {
    let world = World::new(CLUSTER);
    let claim = |size: &str| {
        object(&format!(
            "{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: c, namespace: a}}, \
             spec: {{resources: {{requests: {{storage: {size}}}}}}}}}"
        ))
    };
    assert!(world.create(&admin(), &claim("2Gi")).is_ok());
    assert_eq!(
        refusal(world.create(&admin(), &claim("6Gi"))),
        "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi"
    );
    assert_eq!(
        refusal(world.create(&admin(), &claim("1"))),
        "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1"
    );
}

#[test]
fn updates_of_pods_are_left_alone_but_resizes_are_not() {
    let world = World::new(CLUSTER);
    let old = pod("{name: c}");
    assert!(world.update(&admin(), &old, &old).is_ok());
    let user = admin();
    let mut request = world.request(&user, Operation::Update);
    request.part = "resize";
    assert!(request.validate(&old, Some(&old)).is_err());
}
