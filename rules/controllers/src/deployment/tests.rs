//! Deployments in fixtures: how big each replica set becomes, what a rollout waits for, and what history is kept.

use super::{CONTROLLER, condition};
use crate::plan::Write;
use crate::testing::{World, show};
use corten_api::apps::v1::{Deployment, ReplicaSet};
use corten_api::core::v1::Pod;
use corten_core::IntOrString;
use expect_test::expect;
use std::collections::BTreeMap;

const LABEL: &str = "pod-template-hash";

/// A deployment `web` in `default` of image `new`; `strategy` is YAML.
fn deployment(replicas: i32, strategy: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, namespace: default}}
spec:
  replicas: {replicas}
  strategy: {strategy}
  revisionHistoryLimit: 10
  progressDeadlineSeconds: 600
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: c, image: new}}]}}
"
    )
}

fn rolling(surge: u32, unavailable: u32) -> String {
    format!(
        "{{type: RollingUpdate, rollingUpdate: {{maxSurge: {surge}, maxUnavailable: {unavailable}}}}}"
    )
}

/// Replica sets, one in each word: `name=replicas` or `name=replicas/available`, older first; `new` has the template of
/// the deployment. All were last scaled for a deployment of `desired` with `max` pods.
fn sets(words: &str, desired: i32, max: i32) -> String {
    let set = |(age, word): (usize, &str)| {
        let (name, size) = word.split_once('=').expect("name=size");
        let (replicas, available) = size.split_once('/').unwrap_or((size, size));
        format!(
            "
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: web-{name}
  namespace: default
  creationTimestamp: 2025-12-31T{age:02}:00:00Z
  labels: {{app: web, {LABEL}: {name}}}
  annotations:
    deployment.kubernetes.io/desired-replicas: '{desired}'
    deployment.kubernetes.io/max-replicas: '{max}'
    deployment.kubernetes.io/revision: '{}'
  ownerReferences: [{{apiVersion: apps/v1, kind: Deployment, name: web, uid: deployment-web, controller: true, blockOwnerDeletion: true}}]
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web, {LABEL}: {name}}}}}
  template:
    metadata: {{labels: {{app: web, {LABEL}: {name}}}}}
    spec: {{containers: [{{name: c, image: {name}}}]}}
status: {{replicas: {replicas}, readyReplicas: {available}, availableReplicas: {available}, observedGeneration: 1}}
",
            age + 1
        )
    };
    words.split_whitespace().enumerate().map(set).collect()
}

fn sizes(world: &World) -> String {
    let sizes: Vec<String> = world
        .snapshot
        .list::<ReplicaSet>()
        .map(|s| {
            let name = s.metadata.name.trim_start_matches("web-");
            let name = if name.len() > 4 { "made" } else { name };
            format!("{name}={}", s.spec.replicas.unwrap_or(1))
        })
        .collect();
    sizes.join(" ")
}

/// The sizes after one plan for a deployment resized from `old` to `new`.
fn resized(old: (i32, i32), new: i32, surge: u32, unavailable: u32, words: &str) -> String {
    let mut world = World::new(&format!(
        "{}{}",
        deployment(new, &rolling(surge, unavailable)),
        sets(words, old.0, old.1)
    ));
    world.step(&CONTROLLER, "default/web");
    sizes(&world)
}

/// Upstream's table TestScale; a deployment without surge and tolerance may lose one pod.
#[test]
fn a_resize_is_shared_in_proportion() {
    let cases = [
        ((10, 10), 12, "new=10", "new=12"),
        ((10, 10), 5, "new=10", "new=5"),
        ((5, 5), 10, "v1=3 new=2", "new=4 v1=6"),
        ((5, 5), 3, "v1=3 new=2", "new=1 v1=2"),
        ((9, 9), 4, "v1=1 new=8", "new=4 v1=0"),
        ((7, 7), 10, "v1=2 v2=3 new=2", "new=3 v1=3 v2=4"),
        ((13, 13), 8, "v1=3 v2=8 new=2", "new=1 v1=2 v2=5"),
        ((3, 3), 4, "v1=1 v2=1 new=1", "new=2 v1=1 v2=1"),
        ((3, 3), 2, "v1=1 v2=1 new=1", "new=1 v1=0 v2=1"),
        ((4, 4), 5, "v1=2 v2=2", "v1=2 v2=3"),
        ((6, 6), 0, "v1=1 v2=2 new=3", "new=0 v1=0 v2=0"),
        ((10, 10), 14, "v1=3 v2=7", "v1=4 v2=10"),
    ];
    for (old, new, before, after) in cases {
        assert_eq!(
            resized(old, new, 0, 0, before),
            after,
            "{before}: {old:?} -> {new}"
        );
    }
    assert_eq!(resized((10, 12), 20, 2, 0, "v1=6 new=6"), "new=11 v1=11");
    assert_eq!(resized((10, 13), 50, 6, 0, "v1=8 new=5"), "new=22 v1=34");
    assert_eq!(resized((2, 3), 2, 1, 1, "v1=1 new=2/0"), "new=2 v1=1");
}

/// The new size of one set after one step of a rolling update of ten pods.
fn stepped(surge: u32, unavailable: u32, words: &str) -> String {
    resized((10, 10 + surge as i32), 10, surge, unavailable, words)
}

/// Upstream's tables of reconcileNewReplicaSet and reconcileOldReplicaSets.
#[test]
fn a_rolling_update_keeps_to_its_fences() {
    assert_eq!(stepped(2, 0, "old=10 new=0"), "new=2 old=10");
    assert_eq!(stepped(2, 0, "old=5 new=0"), "new=7 old=5");
    assert_eq!(stepped(2, 0, "old=10 new=2/0"), "new=2 old=10");
    assert_eq!(stepped(2, 0, "old=2 new=11"), "new=10 old=2");
    // Neither surge nor tolerance: one pod may be missing, or nothing would ever move.
    assert_eq!(stepped(0, 0, "old=10 new=0"), "new=0 old=9");
    assert_eq!(stepped(0, 2, "old=10 new=0"), "new=0 old=8");
    // Pods that are not available go first.
    assert_eq!(stepped(0, 2, "old=10/8 new=0"), "new=0 old=8");
    assert_eq!(stepped(0, 2, "old=10/9 new=0"), "new=0 old=8");
    assert_eq!(stepped(0, 2, "old=8 new=2/0"), "new=2 old=8");
}

fn deletions(limit: i32, words: &str) -> usize {
    let text = deployment(1, &rolling(1, 0)).replace(
        "revisionHistoryLimit: 10",
        &format!("revisionHistoryLimit: {limit}"),
    );
    let text = text.replace("replicas: 1\n", "replicas: 1\n  paused: true\n");
    let world = World::new(&format!("{text}{}", sets(&format!("{words} new=1"), 1, 2)));
    let plan = world.plan(&CONTROLLER, "default/web");
    let steps = plan.steps.iter();
    steps
        .filter(|s| matches!(s.write, Write::Delete { .. }))
        .count()
}

/// Upstream's table of cleanupDeployment.
#[test]
fn history_beyond_the_limit_goes() {
    assert_eq!(deletions(1, "a=0 b=0 c=0"), 2);
    assert_eq!(deletions(0, "a=0 b=0/1 c=1/0 d=1"), 2);
    assert_eq!(deletions(0, "a=0 b=0"), 2);
    assert_eq!(deletions(0, "a=1 b=1"), 0);
    assert_eq!(deletions(i32::MAX, "a=0 b=0 c=0"), 0);
}

#[test]
fn a_new_template_makes_a_set_and_counts_the_revision() {
    let mut world = World::new(&format!(
        "{}{}",
        deployment(3, &rolling(1, 0)),
        sets("v1=3", 3, 4)
    ));
    let plan = world.plan(&CONTROLLER, "default/web");
    let text = show(&plan);
    let text = text.lines().next().unwrap_or_default();
    assert!(
        text.starts_with("create replicasets default/web-"),
        "{text}"
    );
    world.apply(plan);
    assert_eq!(sizes(&world), "made=1 v1=3");
    world.run(&CONTROLLER, "default/web");
    let revisions = world.list::<ReplicaSet>(|s| {
        s.metadata
            .label("deployment.kubernetes.io/revision")
            .to_owned()
            + s.metadata
                .annotations
                .get("deployment.kubernetes.io/revision")
                .map_or("", |r| r.as_str())
    });
    let counted: BTreeMap<&str, usize> =
        revisions.lines().fold(BTreeMap::new(), |mut all, line| {
            *all.entry(line.rsplit(' ').next().unwrap_or_default())
                .or_default() += 1;
            all
        });
    // The first set had revision 1; this one is the next.
    assert_eq!(counted, BTreeMap::from([("1", 1), ("2", 1)]));
}

#[test]
fn going_back_takes_the_old_set_and_a_new_revision() {
    let mut world = World::new(&format!(
        "{}{}",
        deployment(2, &rolling(1, 0)),
        sets("new=0 v2=2", 2, 3)
    ));
    world.run(&CONTROLLER, "default/web");
    assert_eq!(sizes(&world), "new=1 v2=2");
    let set = world
        .snapshot
        .get::<ReplicaSet>("default", "web-new")
        .unwrap();
    let annotations = &set.metadata.annotations;
    assert_eq!(
        annotations
            .get("deployment.kubernetes.io/revision")
            .unwrap(),
        "3"
    );
    assert_eq!(
        annotations
            .get("deployment.kubernetes.io/revision-history")
            .unwrap(),
        "1"
    );
    let deployment = world.snapshot.get::<Deployment>("default", "web").unwrap();
    assert_eq!(
        deployment
            .metadata
            .annotations
            .get("deployment.kubernetes.io/revision")
            .unwrap(),
        "3"
    );
}

#[test]
fn a_paused_deployment_only_scales() {
    let text =
        deployment(4, &rolling(1, 0)).replace("replicas: 4\n", "replicas: 4\n  paused: true\n");
    let mut world = World::new(&format!("{text}{}", sets("v1=2", 2, 3)));
    world.run(&CONTROLLER, "default/web");
    assert_eq!(sizes(&world), "v1=4", "no set is made for the new template");
    let deployment = world.snapshot.get::<Deployment>("default", "web").unwrap();
    let progress = condition(&deployment.status, "Progressing").unwrap();
    assert_eq!(
        (progress.status.as_str(), progress.reason.as_str()),
        ("Unknown", "DeploymentPaused")
    );
    world.edit::<Deployment>("default", "web", |d| d.spec.paused = false);
    world.run(&CONTROLLER, "default/web");
    assert_eq!(sizes(&world), "made=1 v1=4");
}

#[test]
fn recreating_waits_for_the_last_old_pod() {
    let pod = "
---
apiVersion: v1
kind: Pod
metadata:
  name: web-v1-a
  namespace: default
  labels: {app: web, pod-template-hash: v1}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: web-v1, uid: replicaset-web-v1, controller: true}]
status: {phase: Running}
";
    let text = format!(
        "{}{}{pod}",
        deployment(2, "{type: Recreate}"),
        sets("v1=1", 1, 1)
    );
    let mut world = World::new(&text);
    world.run(&CONTROLLER, "default/web");
    assert_eq!(sizes(&world), "v1=0");
    world.edit::<ReplicaSet>("default", "web-v1", |s| {
        s.status.replicas = 0;
        s.status.available_replicas = 0;
        s.status.ready_replicas = 0;
    });
    world.run(&CONTROLLER, "default/web");
    assert_eq!(sizes(&world), "v1=0", "its pod still runs");
    world.edit::<Pod>("default", "web-v1-a", |p| {
        p.status.phase = "Succeeded".into()
    });
    world.run(&CONTROLLER, "default/web");
    assert_eq!(sizes(&world), "made=2 v1=0");
}

#[test]
fn a_rollout_that_stands_still_exceeds_its_deadline() {
    let mut world = World::new(&format!(
        "{}{}",
        deployment(2, &rolling(1, 0)),
        sets("v1=2", 2, 3)
    ));
    world.run(&CONTROLLER, "default/web");
    let progress = |world: &World| {
        let deployment = world.snapshot.get::<Deployment>("default", "web").unwrap();
        let c = condition(&deployment.status, "Progressing").unwrap();
        format!("{} {} {}", c.status, c.reason, c.message)
    };
    assert!(
        progress(&world).starts_with("True "),
        "{}",
        progress(&world)
    );
    let plan = world.plan(&CONTROLLER, "default/web");
    let at = plan.wake_at.expect("a deadline");
    assert_eq!(at.seconds_since(world.context.now), 601);
    world.later(601);
    world.run(&CONTROLLER, "default/web");
    let told = progress(&world);
    assert!(
        told.starts_with("False ProgressDeadlineExceeded ReplicaSet \"web-"),
        "{told}"
    );
    assert!(told.ends_with("has timed out progressing."), "{told}");
    // Pods that come after all clear it.
    let set = world
        .snapshot
        .list::<ReplicaSet>()
        .find(|s| s.metadata.name != "web-v1");
    let name = set.unwrap().metadata.name.clone();
    world.edit::<ReplicaSet>("default", &name, |s| {
        s.status.replicas = 1;
        s.status.ready_replicas = 1;
        s.status.available_replicas = 1;
    });
    world.run(&CONTROLLER, "default/web");
    assert!(
        progress(&world).starts_with("True ReplicaSetUpdated"),
        "{}",
        progress(&world)
    );
}

#[test]
fn percentages_round_up_for_surge_and_down_for_unavailability() {
    for (replicas, surge, unavailable) in [(1, 1, 0), (3, 1, 0), (4, 1, 1), (10, 3, 2)] {
        let mut d = Deployment::default();
        d.spec.replicas = Some(replicas);
        d.spec.strategy.type_ = "RollingUpdate".into();
        let rolling = d.spec.strategy.rolling_update.get_or_insert_default();
        rolling.max_surge = Some(IntOrString::parse("25%"));
        rolling.max_unavailable = Some(IntOrString::parse("25%"));
        assert_eq!(
            (
                super::scale::max_surge(&d),
                super::scale::max_unavailable(&d)
            ),
            (surge, unavailable)
        );
    }
}

#[test]
fn an_empty_selector_is_refused_with_an_event() {
    let text = deployment(1, &rolling(1, 0)).replace("{matchLabels: {app: web}}", "{}");
    let mut world = World::new(&text);
    expect![[r#"
        patch deployments default/web /status {"status":{"observedGeneration":1}}
        Warning SelectingAll Deployment/web: This deployment is selecting all pods. A non-empty selector is required."#]]
    .assert_eq(&world.run(&CONTROLLER, "default/web"));
}
