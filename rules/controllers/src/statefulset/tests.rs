//! Stateful sets in fixtures: pods made and updated in order, with their claims and revisions.

use super::CONTROLLER;
use crate::testing::World;
use corten_api::apps::v1::{ControllerRevision, StatefulSet};
use corten_api::core::v1::{PersistentVolumeClaim, Pod};
use expect_test::expect;

fn world(spec: &str) -> World {
    World::new(&format!(
        "
apiVersion: v1
kind: Node
metadata: {{name: n1}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: s, namespace: default}}
spec:
  {spec}
  serviceName: s
  revisionHistoryLimit: 1
  selector: {{matchLabels: {{app: s}}}}
  volumeClaimTemplates: [{{metadata: {{name: data}}, spec: {{accessModes: [ReadWriteOnce]}}}}]
  template:
    metadata: {{labels: {{app: s}}}}
    spec: {{containers: [{{name: c, image: one}}]}}
"
    ))
}

const ROLLING: &str = "updateStrategy: {type: RollingUpdate, rollingUpdate: {partition: 0}}";

fn rest(world: &mut World) -> String {
    let mut done = Vec::new();
    for _ in 0..60 {
        let step = world.run(&CONTROLLER, "default/s");
        let moved = world.live();
        if !moved && step.is_empty() {
            let kept = |line: &&str| !line.contains("/status");
            return done
                .join("\n")
                .lines()
                .filter(kept)
                .collect::<Vec<_>>()
                .join("\n");
        }
        if !step.is_empty() {
            done.push(step);
        }
    }
    panic!("the set does not come to rest");
}

fn images(world: &World) -> String {
    world.list::<Pod>(|p| p.spec.containers[0].image.to_string())
}

#[test]
fn pods_come_and_go_in_order() {
    let mut world = world(&format!(
        "replicas: 2\n  podManagementPolicy: OrderedReady\n  {ROLLING}"
    ));
    let first = world.step(&CONTROLLER, "default/s");
    assert!(
        first.contains("create controllerrevisions default/s-"),
        "{first}"
    );
    assert!(
        first.contains("create pods default/s-0") && !first.contains("s-1"),
        "{first}"
    );
    expect![[r#"
        create persistentvolumeclaims default/data-s-1
        create pods default/s-1"#]]
    .assert_eq(&rest(&mut world));
    let pod = world.snapshot.get::<Pod>("default", "s-1").expect("a pod");
    expect!["s-1 s data-s-1 1"].assert_eq(&format!(
        "{} {} {} {}",
        pod.spec.hostname,
        pod.spec.subdomain,
        pod.spec.volumes[0]
            .volume_source
            .persistent_volume_claim
            .as_ref()
            .expect("a claim")
            .claim_name,
        pod.metadata.label("apps.kubernetes.io/pod-index")
    ));
    world.edit::<StatefulSet>("default", "s", |s| s.spec.replicas = Some(0));
    expect![[r#"
        delete pods default/s-1
        delete pods default/s-0"#]]
    .assert_eq(&rest(&mut world));
    assert_eq!(world.snapshot.list::<PersistentVolumeClaim>().count(), 2);
}

#[test]
fn updates_go_down_to_the_partition() {
    let mut world = world(&format!(
        "replicas: 3\n  {}",
        ROLLING.replace("partition: 0", "partition: 1")
    ));
    rest(&mut world);
    world.edit::<StatefulSet>("default", "s", |s| {
        s.spec.template.spec.containers[0].image = "two".into();
        s.metadata.generation += 1;
    });
    expect![[r#"
        delete pods default/s-2
        create pods default/s-2
        delete pods default/s-1
        create pods default/s-1"#]]
    .assert_eq(
        &rest(&mut world)
            .lines()
            .filter(|l| l.contains("pods"))
            .collect::<Vec<_>>()
            .join("\n"),
    );
    expect![[r#"
        s-0 one
        s-1 two
        s-2 two"#]]
    .assert_eq(&images(&world));
    world.edit::<StatefulSet>("default", "s", |s| {
        s.spec.update_strategy.rolling_update = None
    });
    rest(&mut world);
    assert_eq!(images(&world).matches("two").count(), 3);
    let status = &world
        .snapshot
        .get::<StatefulSet>("default", "s")
        .expect("a set")
        .status;
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!(world.snapshot.list::<ControllerRevision>().count(), 2);
}

#[test]
fn parallel_sets_do_not_wait_and_claims_follow_the_policy() {
    let policy = "persistentVolumeClaimRetentionPolicy: {whenDeleted: Delete, whenScaled: Delete}";
    let mut world = world(&format!(
        "replicas: 2\n  podManagementPolicy: Parallel\n  {policy}\n  {ROLLING}"
    ));
    let first = world.step(&CONTROLLER, "default/s");
    assert!(
        first.contains("pods default/s-0") && first.contains("pods default/s-1"),
        "{first}"
    );
    world.settle(30);
    world.edit::<StatefulSet>("default", "s", |s| s.spec.replicas = Some(1));
    world.settle(30);
    expect!["data-s-0 StatefulSet"].assert_eq(
        &world.list::<PersistentVolumeClaim>(|c| c.metadata.owner_references[0].kind.to_string()),
    );
}
