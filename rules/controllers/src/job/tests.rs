//! Jobs in fixtures: pods made, counted, retried and ended.

use super::CONTROLLER;
use crate::testing::World;
use corten_api::batch::v1::Job;
use corten_api::core::v1::Pod;
use expect_test::expect;

fn world(spec: &str) -> World {
    World::new(&format!(
        "
apiVersion: v1
kind: Node
metadata: {{name: n1}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: j, namespace: default}}
spec:
  {spec}
  selector: {{matchLabels: {{job: j}}}}
  template:
    metadata: {{labels: {{job: j}}}}
    spec: {{restartPolicy: Never, containers: [{{name: c, image: i}}]}}
"
    ))
}

fn finish(world: &mut World, phase: &str) {
    let running: Vec<String> = world
        .snapshot
        .list::<Pod>()
        .filter(|p| crate::pods::is_active(p))
        .map(|p| p.metadata.name.to_string())
        .collect();
    for name in running {
        world.edit::<Pod>("default", &name, |p| {
            p.status.phase = phase.into();
            p.status.conditions.clear();
        });
    }
}

fn state(world: &World) -> String {
    world.list::<Job>(|j| {
        let conditions: Vec<String> = j
            .status
            .conditions
            .iter()
            .map(|c| format!("{}:{}", c.type_, c.reason))
            .collect();
        format!(
            "active={} succeeded={} failed={} [{}] {}",
            j.status.active,
            j.status.succeeded,
            j.status.failed,
            j.status.completed_indexes,
            conditions.join(" ")
        )
    })
}

#[test]
fn a_pod_succeeds() {
    let mut world = world("parallelism: 1\n  completions: 1\n  backoffLimit: 6");
    expect![[r#"
        create pods default/j-
        patch jobs default/j /status {"status":{"active":1,"ready":0,"startTime":"2026-01-01T00:00:00Z","terminating":0,"uncountedTerminatedPods":{}}}"#]]
    .assert_eq(&world.run(&CONTROLLER, "default/j"));
    world.live();
    world.live();
    expect![[r#"patch jobs default/j /status {"status":{"ready":1}}"#]]
        .assert_eq(&world.run(&CONTROLLER, "default/j"));
    finish(&mut world, "Succeeded");
    let done = world.run(&CONTROLLER, "default/j");
    expect![[r#"
        patch jobs default/j /status {"status":{"active":null,"conditions":[{"lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"SuccessCriteriaMet"}],"ready":0,"uncountedTerminatedPods":{"succeeded":["u3"]}}}
        patch pods default/j-3 {"metadata":{"finalizers":[]}}
        patch jobs default/j /status {"status":{"completionTime":"2026-01-01T00:00:00Z","conditions":[{"lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"SuccessCriteriaMet"},{"lastProbeTime":"2026-01-01T00:00:00Z","lastTransitionTime":"2026-01-01T00:00:00Z","message":"Reached expected number of succeeded pods","reason":"CompletionsReached","status":"True","type":"Complete"}],"succeeded":1,"uncountedTerminatedPods":{"succeeded":null}}}
        Normal Completed Job/j: Job completed"#]]
    .assert_eq(&done);
}

#[test]
fn failures_wait_longer_and_end_at_the_limit() {
    let mut world = world("parallelism: 1\n  completions: 1\n  backoffLimit: 1");
    world.settle(10);
    finish(&mut world, "Failed");
    world.settle(10);
    expect!["j active=0 succeeded=0 failed=1 [] "].assert_eq(&state(&world));
    world.later(3700);
    world.settle(10);
    expect!["j active=1 succeeded=0 failed=1 [] "].assert_eq(&state(&world));
    finish(&mut world, "Failed");
    world.settle(10);
    expect!["j active=0 succeeded=0 failed=2 [] FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded"]
        .assert_eq(&state(&world));
}

#[test]
fn indexes_complete_one_by_one() {
    let mut world =
        world("parallelism: 2\n  completions: 3\n  backoffLimit: 6\n  completionMode: Indexed");
    world.settle(10);
    expect!["j active=2 succeeded=0 failed=0 [] "].assert_eq(&state(&world));
    finish(&mut world, "Succeeded");
    world.settle(10);
    expect!["j active=1 succeeded=2 failed=0 [0,1] "].assert_eq(&state(&world));
    finish(&mut world, "Succeeded");
    world.settle(10);
    expect!["j active=0 succeeded=3 failed=0 [0-2] SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached"]
        .assert_eq(&state(&world));
    assert_eq!(world.snapshot.list::<Pod>().count(), 3);
}

#[test]
fn suspension_deletes_pods_and_resuming_brings_them_back() {
    let mut world = world("parallelism: 2\n  completions: 2\n  backoffLimit: 6");
    world.settle(10);
    world.edit::<Job>("default", "j", |j| j.spec.suspend = Some(true));
    world.settle(12);
    assert_eq!(world.snapshot.list::<Pod>().count(), 0);
    expect!["j active=0 succeeded=0 failed=0 [] Suspended:JobSuspended"].assert_eq(&state(&world));
    world.edit::<Job>("default", "j", |j| j.spec.suspend = Some(false));
    world.later(100);
    world.settle(12);
    expect!["j active=2 succeeded=0 failed=0 [] Suspended:JobResumed"].assert_eq(&state(&world));
}

#[test]
fn deadlines_policies_and_deletion() {
    let mut late = world("parallelism: 1\n  completions: 1\n  activeDeadlineSeconds: 5");
    late.settle(10);
    late.later(5);
    late.settle(12);
    expect![
        "j active=0 succeeded=0 failed=1 [] FailureTarget:DeadlineExceeded Failed:DeadlineExceeded"
    ]
    .assert_eq(&state(&late));
    let policy = "podFailurePolicy: {rules: [{action: FailJob, onPodConditions: [{type: Bad, status: 'True'}]}]}";
    let mut refused = world(&format!("parallelism: 1\n  completions: 1\n  {policy}"));
    refused.settle(10);
    let name = refused
        .snapshot
        .list::<Pod>()
        .next()
        .expect("a pod")
        .metadata
        .name
        .clone();
    refused.edit::<Pod>("default", &name, |p| {
        p.status.phase = "Failed".into();
        p.status.conditions = [corten_api::core::v1::PodCondition {
            type_: "Bad".into(),
            status: "True".into(),
            ..Default::default()
        }]
        .into_iter()
        .collect();
    });
    refused.settle(10);
    expect![
        "j active=0 succeeded=0 failed=1 [] FailureTarget:PodFailurePolicy Failed:PodFailurePolicy"
    ]
    .assert_eq(&state(&refused));
    let key = corten_meta::ObjectKey::new("default", "j");
    refused
        .snapshot
        .remove(&corten_meta::GroupResource::of::<Job>(), &key);
    refused.settle(10);
    assert_eq!(refused.snapshot.list::<Pod>().count(), 0);
}

fn pod(name: &str, owner: &str) -> String {
    format!(
        "
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: default
  labels: {{job: j}}
  finalizers: [batch.kubernetes.io/job-tracking, example.com/other]
  ownerReferences: [{owner}]
"
    )
}

fn owned_by(kind: &str, version: &str, name: &str) -> String {
    let uid = format!("{}-{name}", kind.to_lowercase());
    format!("{{apiVersion: {version}, kind: {kind}, name: {name}, uid: {uid}, controller: true}}")
}

fn job(name: &str, spec: &str) -> String {
    format!(
        "
---
apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: default}}
spec: {{{spec} completions: 0, selector: {{matchLabels: {{job: {name}}}}}}}
"
    )
}

#[test]
fn pods_that_no_job_counts_lose_the_finalizer() {
    let owner = |name| owned_by("Job", "batch/v1", name);
    let set = owned_by("ReplicaSet", "apps/v1", "set");
    let yaml = [
        job("runs", ""),
        job("external", "managedBy: example.com/other,"),
        job("over", ""),
        job("deleted", ""),
        pod("of-runs", &owner("runs")),
        pod("of-external", &owner("external")),
        pod("of-over", &owner("over")),
        pod("of-deleted", &owner("deleted")),
        pod("of-unseen", &owner("unseen")),
        pod("of-set", &set),
        pod("of-nobody", ""),
    ];
    let mut world = World::new(&yaml.concat());
    world.edit::<Job>("default", "over", |job| {
        job.status.conditions = [super::new_condition("Complete", "", "", Default::default())]
            .into_iter()
            .collect();
    });
    let gone = corten_meta::ObjectKey::new("default", "deleted");
    world
        .snapshot
        .remove(&corten_meta::GroupResource::of::<Job>(), &gone);
    let pods = world.list::<Pod>(|_| String::new());
    let plan = |world: &World, pod: &str| {
        crate::testing::show(&world.plan(&CONTROLLER, &format!("pods/default/{pod}")))
    };
    let plans: Vec<String> = pods
        .lines()
        .map(|pod| plan(&world, pod.trim()))
        .filter(|plan| !plan.is_empty())
        .collect();
    expect![[r#"
        patch pods default/of-deleted {"metadata":{"finalizers":["example.com/other"]}}
        patch pods default/of-nobody {"metadata":{"finalizers":["example.com/other"]}}
        patch pods default/of-over {"metadata":{"finalizers":["example.com/other"]}}
        patch pods default/of-unseen {"metadata":{"finalizers":["example.com/other"]}} if jobs default/unseen is gone"#]]
    .assert_eq(&plans.join("\n"));
}

#[test]
fn a_job_that_is_gone_leaves_its_pods_free() {
    let mut world = world("parallelism: 1\n  completions: 1\n  backoffLimit: 6");
    world.settle(10);
    let name = world.snapshot.list::<Pod>().next().expect("a pod");
    let name = name.metadata.name.clone();
    // As the garbage collector does for an owner that leaves its dependents behind.
    world.edit::<Pod>("default", &name, |p| p.metadata.owner_references.clear());
    let key = corten_meta::ObjectKey::new("default", "j");
    world
        .snapshot
        .remove(&corten_meta::GroupResource::of::<Job>(), &key);
    world.settle(10);
    let left = world.snapshot.get::<Pod>("default", &name).expect("a pod");
    assert!(left.metadata.finalizers.is_empty() && !left.metadata.deleting());
}

#[test]
fn adopted_pods_are_counted() {
    let mut world = world("parallelism: 1\n  completions: 1\n  backoffLimit: 6");
    let mut orphan = Pod::default();
    orphan.metadata.name = "p".into();
    orphan.metadata.namespace = "default".into();
    orphan.metadata.uid = "p".into();
    orphan.metadata.labels.insert("job", "j");
    orphan.status.phase = "Succeeded".into();
    world.put(corten_api::Object::from(orphan));
    let adoption = crate::testing::show(&world.plan(&CONTROLLER, "default/j"));
    let first = adoption.lines().next().unwrap_or_default();
    expect![[r#"patch pods default/p {"metadata":{"finalizers":["batch.kubernetes.io/job-tracking"],"ownerReferences":[{"apiVersion":"batch/v1","blockOwnerDeletion":true,"controller":true,"kind":"Job","name":"j","uid":"job-j"}]}}"#]]
    .assert_eq(first);
}
