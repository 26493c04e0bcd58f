//! Every controller at once, on many small clusters: all of them come to rest, and stay there.

use crate::testing::World;
use corten_api::apps::v1::{Deployment, ReplicaSet};
use corten_api::core::v1::{ConfigMap, Namespace, Pod};
use corten_core::Time;

const BASE: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: default}
spec: {finalizers: [kubernetes]}
status: {phase: Active}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status:
  allocatable: {cpu: '4', memory: 8Gi, pods: '110'}
  conditions: [{type: Ready, status: 'True'}]
";

fn deployment(replicas: usize, strategy: &str) -> String {
    format!(
        "
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: {replicas}
  strategy: {{type: {strategy}}}
  revisionHistoryLimit: 1
  progressDeadlineSeconds: 600
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: c, image: one}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec: {{clusterIP: 10.96.0.7, ipFamilies: [IPv4], selector: {{app: web}}, ports: [{{port: 80, protocol: TCP}}]}}
"
    )
}

#[test]
fn deployments_come_to_rest() {
    for replicas in 0..4 {
        for strategy in ["RollingUpdate", "Recreate"] {
            let mut world = World::new(&format!("{BASE}{}", deployment(replicas, strategy)));
            world.settle(30);
            assert_eq!(world.snapshot.list::<Pod>().count(), replicas);
            assert_eq!(world.snapshot.list::<ConfigMap>().count(), 1);
            for image in ["two", "three"] {
                world.edit::<Deployment>("default", "web", |d| {
                    d.spec.template.spec.containers[0].image = image.into();
                    d.metadata.generation += 1;
                });
                world.later(60);
                world.settle(60);
            }
            let images = world.list::<Pod>(|p| p.spec.containers[0].image.to_string());
            assert_eq!(images.matches("three").count(), replicas, "{images}");
            assert_eq!(world.snapshot.list::<ReplicaSet>().count(), 2);
        }
    }
}

#[test]
fn deleted_owners_take_their_dependents_along() {
    let mut world = World::new(&format!("{BASE}{}", deployment(2, "RollingUpdate")));
    world.settle(30);
    let key = corten_meta::ObjectKey::new("default", "web");
    world
        .snapshot
        .remove(&corten_meta::GroupResource::of::<Deployment>(), &key);
    world.settle(30);
    assert_eq!(world.snapshot.list::<ReplicaSet>().count(), 0);
    assert_eq!(world.snapshot.list::<Pod>().count(), 0);
}

#[test]
fn a_deleted_namespace_is_emptied_and_goes() {
    let mut world = World::new(&format!("{BASE}{}", deployment(2, "RollingUpdate")));
    world.settle(30);
    let now: Time = world.context.now;
    world.edit::<Namespace>("", "default", |n| {
        n.metadata.deletion_timestamp = Some(now);
        n.status.phase = "Terminating".into();
    });
    world.settle(40);
    assert_eq!(world.snapshot.list::<Namespace>().count(), 0);
    assert_eq!(world.snapshot.list::<Pod>().count(), 0);
}

/// Everything at once, of sizes that a small generator draws from `seed`.
fn mixed(seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let template = |app: &str| {
        format!(
            "selector: {{matchLabels: {{app: {app}}}}}\n  template: {{metadata: {{labels: {{app: {app}}}}}, spec: {{containers: [{{name: c, image: one}}]}}}}"
        )
    };
    let policy = ["OrderedReady", "Parallel"][draw(2) as usize];
    let mode = ["NonIndexed", "Indexed"][draw(2) as usize];
    format!(
        "{BASE}{}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: s, namespace: default}}
spec:
  replicas: {}
  podManagementPolicy: {policy}
  {}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: d, namespace: default}}
spec:
  {}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: j, namespace: default}}
spec:
  parallelism: {}
  completions: {}
  completionMode: {mode}
  {}
---
apiVersion: batch/v1
kind: CronJob
metadata: {{name: c, namespace: default}}
spec:
  schedule: '*/{} * * * *'
  jobTemplate: {{spec: {{selector: {{matchLabels: {{app: c}}}}, parallelism: 1, completions: 1, template: {{metadata: {{labels: {{app: c}}}}, spec: {{containers: [{{name: c}}]}}}}}}}}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {{name: b, namespace: default}}
spec: {{maxUnavailable: {}, selector: {{matchLabels: {{app: web}}}}}}
",
        deployment(draw(4) as usize, ["RollingUpdate", "Recreate"][draw(2) as usize]),
        draw(4),
        template("s"),
        template("d"),
        draw(3),
        draw(4),
        template("j"),
        1 + draw(20),
        draw(3),
    )
}

#[test]
fn mixed_clusters_come_to_rest_and_stay() {
    for seed in 0..24 {
        let mut world = World::new(&mixed(seed));
        world.settle(40);
        // At rest means at rest: one more round changes nothing.
        let revision = world.revision();
        world.settle(1);
        assert_eq!(world.revision(), revision, "seed {seed}");
        world.later(30);
        world.settle(40);
        let now = world.context.now;
        world.edit::<Namespace>("", "default", |n| {
            n.metadata.deletion_timestamp = Some(now);
            n.status.phase = "Terminating".into();
        });
        world.settle(60);
        assert_eq!(world.snapshot.list::<Pod>().count(), 0, "seed {seed}");
    }
}
