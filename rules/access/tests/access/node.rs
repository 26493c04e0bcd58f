//! What nodes may read, and why not.

use crate::world::{World, node, user};
use corten_access::Decision;

const CLUSTER: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: a}
spec:
  nodeName: n1
  serviceAccountName: runner
  imagePullSecrets: [{name: pull}]
  containers:
  - name: c
    env: [{name: E, valueFrom: {secretKeyRef: {name: env, key: k}}}]
    envFrom: [{configMapRef: {name: settings}}]
  volumes:
  - {name: v, persistentVolumeClaim: {claimName: data}}
  - {name: p, projected: {sources: [{secret: {name: projected}}, {configMap: {name: root}}]}}
  - {name: scratch, ephemeral: {volumeClaimTemplate: {spec: {}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: mirror, namespace: a, annotations: {kubernetes.io/config.mirror: x}}
spec:
  nodeName: n1
  containers: []
  volumes: [{name: v, secret: {secretName: stolen}}]
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: a}
spec: {volumeName: pv1}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: pv1}
spec:
  claimRef: {namespace: a, name: data}
  csi: {driver: d, volumeHandle: h, nodeStageSecretRef: {name: stage, namespace: storage}}
---
apiVersion: storage.k8s.io/v1
kind: VolumeAttachment
metadata: {name: va}
spec: {attacher: d, nodeName: n1, source: {persistentVolumeName: pv1}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: slice}
spec: {driver: d, nodeName: n1, pool: {name: p, resourceSliceCount: 1}}
"#;

fn reason(decision: Decision) -> String {
    match decision {
        Decision::Allow(_) => "allowed".to_owned(),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => reason,
    }
}

#[test]
fn a_node_reads_what_its_pods_refer_to() {
    let world = World::new(CLUSTER);
    let own = [
        "get /secrets a pull",
        "watch /secrets a env",
        "list /secrets a projected",
        "get /secrets storage stage",
        "get /configmaps a settings",
        "get /configmaps a root",
        "get /persistentvolumeclaims a data",
        "get /persistentvolumeclaims a web-scratch",
        "patch /persistentvolumeclaims/status a data",
        "get /persistentvolumes - pv1",
        "get storage.k8s.io/volumeattachments - va",
        "create /serviceaccounts/token a runner",
        "get /serviceaccounts a runner",
        "get /pods a web",
        "get /pods a mirror",
        "delete resource.k8s.io/resourceslices - slice",
    ];
    for question in own {
        assert_eq!(
            reason(world.ask(&node("n1"), question)),
            "allowed",
            "{question}"
        );
        assert_eq!(
            reason(world.ask(&node("n2"), question)),
            "no relationship found between node 'n2' and this object",
            "{question}"
        );
    }
    assert_eq!(
        reason(world.ask(&node("n1"), "get /secrets a stolen")),
        "no relationship found between node 'n1' and this object"
    );
}

const REFUSALS: &[(&str, &str)] = &[
    (
        "create /secrets a pull",
        "can only read resources of this type",
    ),
    ("get /secrets/x a pull", "cannot read subresource"),
    (
        "list /secrets - -",
        "can only read namespaced object of this type",
    ),
    ("list /secrets a -", "No Object name found"),
    (
        "list /persistentvolumes - -",
        "can only get individual resources of this type",
    ),
    ("get /persistentvolumes/x - pv1", "cannot get subresource"),
    (
        "get /persistentvolumeclaims/status a data",
        "can only get/update/patch this type",
    ),
    (
        "create /serviceaccounts a -",
        "can only create tokens for individual service accounts",
    ),
    (
        "create /serviceaccounts/x a runner",
        "can only create token subresource of serviceaccount",
    ),
    (
        "list coordination.k8s.io/leases kube-node-lease -",
        "can only get, create, update, patch, or delete a node lease",
    ),
    (
        "get coordination.k8s.io/leases a n1",
        "can only access leases in the \"kube-node-lease\" system namespace",
    ),
    (
        "get coordination.k8s.io/leases kube-node-lease n2",
        "can only access node lease with the same name as the requesting node",
    ),
    (
        "list storage.k8s.io/csinodes - -",
        "can only get, create, update, patch, or delete a CSINode",
    ),
    (
        "get storage.k8s.io/csinodes/x - n1",
        "cannot authorize CSINode subresources",
    ),
    (
        "get storage.k8s.io/csinodes - n2",
        "can only access CSINode with the same name as the requesting node",
    ),
    (
        "list /nodes - -",
        "node 'n1' cannot read all nodes, only its own Node object",
    ),
    (
        "get /nodes - n2",
        "node 'n1' cannot read 'n2', only its own Node object",
    ),
    (
        "list /pods - -",
        "can only list/watch pods with spec.nodeName field selector",
    ),
    (
        "list resource.k8s.io/resourceslices - -",
        "can only list/watch/deletecollection resourceslices with nodeName field selector",
    ),
    ("delete apps/deployments a b", ""),
];

#[test]
fn refusals_say_why() {
    let world = World::new(CLUSTER);
    for (question, wanted) in REFUSALS {
        assert_eq!(
            reason(world.ask(&node("n1"), question)),
            *wanted,
            "{question}"
        );
    }
}

#[test]
fn a_node_has_its_own_things() {
    let world = World::new(CLUSTER);
    let n1 = node("n1");
    for question in [
        "create coordination.k8s.io/leases kube-node-lease -",
        "update coordination.k8s.io/leases kube-node-lease n1",
        "create storage.k8s.io/csinodes - -",
        "create /nodes - -",
        "patch /nodes/status - n1",
        "get /nodes - n1",
        "create /pods a -",
        "update /pods/status a web",
        "create /pods/eviction a web",
        "list /services - -",
        "create /events a -",
    ] {
        assert_eq!(reason(world.ask(&n1, question)), "allowed", "{question}");
    }
    for (question, fields) in [
        ("list /pods - -", "spec.nodeName=n1"),
        (
            "watch resource.k8s.io/resourceslices - -",
            "spec.nodeName=n1",
        ),
    ] {
        let decision = world.ask_selecting(&n1, question, fields);
        assert_eq!(reason(decision), "allowed", "{question}");
    }
    let outsider = user("system:node:n1", &[]);
    assert_eq!(reason(world.ask(&outsider, "get /nodes - n1")), "");
    let nameless = user("system:node:", &["system:nodes"]);
    assert_eq!(
        reason(world.ask(&nameless, "get /nodes - n1")),
        "unknown node for user \"system:node:\""
    );
}
