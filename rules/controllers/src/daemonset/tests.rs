//! Daemon sets in fixtures: which pods and revisions each state of a cluster leads to.

use super::{CONTROLLER, HASH};
use crate::testing::World;
use corten_api::Object;
use corten_api::apps::v1::{ControllerRevision, DaemonSet};
use corten_api::core::v1::{Node, Pod, Taint};
use expect_test::expect;

fn world(strategy: &str) -> World {
    let node =
        |name: &str| format!("---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n");
    World::new(&format!(
        "{}{}{}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: d, namespace: default}}
spec:
  updateStrategy: {strategy}
  revisionHistoryLimit: 1
  selector: {{matchLabels: {{app: d}}}}
  template:
    metadata: {{labels: {{app: d}}}}
    spec: {{containers: [{{name: c, image: one}}]}}
",
        node("n1"),
        node("n2"),
        node("n3"),
    ))
}

/// Binds pods where their affinity says.
fn bind(world: &mut World) {
    let waiting: Vec<Pod> = world
        .snapshot
        .list::<Pod>()
        .filter(|p| p.spec.node_name.is_empty())
        .cloned()
        .collect();
    for pod in waiting {
        let node = crate::node_fit::pinned_node(&pod.spec)
            .cloned()
            .expect("a node");
        world.edit::<Pod>("default", &pod.metadata.name, |p| p.spec.node_name = node);
    }
}

fn rest(world: &mut World) -> usize {
    let mut most_gone = 0;
    for _ in 0..40 {
        let done = world.run(&CONTROLLER, "default/d");
        bind(world);
        let ready = world
            .snapshot
            .list::<Pod>()
            .filter(|p| crate::pods::is_ready(p) && !p.metadata.deleting());
        most_gone = most_gone.max(3usize.saturating_sub(ready.count()));
        if !world.live() && done.is_empty() {
            return most_gone;
        }
    }
    panic!("the set does not come to rest");
}

fn status(world: &World) -> String {
    world.list::<DaemonSet>(|d| {
        let s = &d.status;
        format!(
            "desired={} current={} ready={} updated={} available={} misscheduled={}",
            s.desired_number_scheduled,
            s.current_number_scheduled,
            s.number_ready,
            s.updated_number_scheduled,
            s.number_available,
            s.number_misscheduled
        )
    })
}

fn update(world: &mut World, image: &str) {
    world.edit::<DaemonSet>("default", "d", |d| {
        d.spec.template.spec.containers[0].image = image.into();
        d.metadata.generation += 1;
    });
}

#[test]
fn every_fitting_node_has_one_pod() {
    let mut world = world("{type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}");
    world.edit::<Node>("", "n3", |n| {
        n.spec.taints.push(Taint {
            key: "x".into(),
            effect: "NoSchedule".into(),
            ..Taint::default()
        });
    });
    rest(&mut world);
    expect!["d desired=2 current=2 ready=2 updated=2 available=2 misscheduled=0"]
        .assert_eq(&status(&world));
    world.edit::<Node>("", "n3", |n| n.spec.taints.clear());
    rest(&mut world);
    expect!["d desired=3 current=3 ready=3 updated=3 available=3 misscheduled=0"]
        .assert_eq(&status(&world));
    world.edit::<Node>("", "n1", |n| {
        n.spec.taints.push(Taint {
            key: "x".into(),
            effect: "NoExecute".into(),
            ..Taint::default()
        });
    });
    rest(&mut world);
    assert_eq!(world.snapshot.list::<Pod>().count(), 2);
}

#[test]
fn updates_keep_to_their_limits() {
    for (strategy, limit) in [
        (
            "{type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}",
            1,
        ),
        (
            "{type: RollingUpdate, rollingUpdate: {maxUnavailable: 0, maxSurge: 1}}",
            0,
        ),
    ] {
        let mut world = world(strategy);
        rest(&mut world);
        for image in ["two", "three", "two"] {
            update(&mut world, image);
            assert!(rest(&mut world) <= limit, "{strategy}");
            let images = world.list::<Pod>(|p| p.spec.containers[0].image.to_string());
            assert_eq!(images.matches(image).count(), 3, "{images}");
        }
        assert_eq!(world.snapshot.list::<ControllerRevision>().count(), 2);
    }
}

#[test]
fn on_delete_waits_for_the_user() {
    let mut world = world("{type: OnDelete}");
    rest(&mut world);
    update(&mut world, "two");
    rest(&mut world);
    expect!["d desired=3 current=3 ready=3 updated=0 available=3 misscheduled=0"]
        .assert_eq(&status(&world));
}

fn revisions(world: &World) -> String {
    world.list::<ControllerRevision>(|r| {
        let owner = r.metadata.controller_of().map(|o| o.uid.to_string());
        format!("{} of {}", r.revision, owner.unwrap_or_default())
    })
}

#[test]
fn orphaned_revisions_are_adopted() {
    let mut world = world("{type: OnDelete}");
    rest(&mut world);
    for image in ["two", "three"] {
        update(&mut world, image);
        rest(&mut world);
    }
    let made = revisions(&world);
    // As after a deletion that leaves them behind.
    let names: Vec<String> = made
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
        .collect();
    for name in &names {
        world.edit::<ControllerRevision>("default", name, |r| r.metadata.owner_references.clear());
    }
    rest(&mut world);
    assert_eq!(revisions(&world), made);
    // As another set's, which was deleted and took its name along: good enough until it has gone.
    for name in &names {
        world.edit::<ControllerRevision>("default", name, |r| {
            r.metadata.owner_references[0].uid = "gone".into();
        });
    }
    let taken = revisions(&world);
    rest(&mut world);
    assert_eq!(revisions(&world), taken);
}

#[test]
fn another_template_under_the_same_name_is_a_collision() {
    let mut first = world("{type: OnDelete}");
    rest(&mut first);
    let mut taken = first
        .snapshot
        .list::<ControllerRevision>()
        .next()
        .expect("a revision")
        .clone();
    taken.metadata.owner_references.clear();
    taken.metadata.labels = Default::default();
    taken.data = corten_core::RawJson::from(String::from("{}"));
    let name = taken.metadata.name.clone();
    let mut world = world("{type: OnDelete}");
    world.put(Object::from(taken));
    rest(&mut world);
    let set = world
        .snapshot
        .get::<DaemonSet>("default", "d")
        .expect("a set");
    assert_eq!(set.status.collision_count, Some(1));
    let made = world.snapshot.list::<ControllerRevision>();
    let made: Vec<_> = made.filter(|r| r.metadata.name != name).collect();
    assert_eq!(made.len(), 1);
    let hash = made[0].metadata.label(HASH);
    assert!(
        world
            .snapshot
            .list::<Pod>()
            .all(|p| p.metadata.label(HASH) == hash)
    );
}
