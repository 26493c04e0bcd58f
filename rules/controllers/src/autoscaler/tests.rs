//! Autoscalers judged: what metrics lead to, what bounds it, and what the status says.

use super::{Decision, History, Observed, Scale, Usage, decide, settle};
use crate::testing::{START, World};
use corten_api::autoscaling::v2::HorizontalPodAutoscaler;
use corten_core::{Map, Quantity, Str, Time};
use corten_meta::Selector;
use expect_test::{Expect, expect};
use std::fmt::Write;

fn world(spec: &str, pods: &[&str]) -> World {
    let mut yaml = format!(
        "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {{name: web, namespace: d}}\nspec: {{scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: web}}, {spec}}}\n"
    );
    for (index, pod) in pods.iter().enumerate() {
        let status = match *pod {
            "ready" => {
                "{phase: Running, startTime: '2025-12-31T00:00:00Z', conditions: [{type: Ready, status: 'True', lastTransitionTime: '2025-12-31T00:00:00Z'}]}"
            }
            "pending" => "{phase: Pending}",
            _ => {
                "{phase: Running, startTime: '2025-12-31T23:59:00Z', conditions: [{type: Ready, status: 'False', lastTransitionTime: '2025-12-31T23:59:00Z'}]}"
            }
        };
        let _ = write!(
            yaml,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{index}, namespace: d, labels: {{app: web}}}}\nspec: {{containers: [{{name: c, resources: {{requests: {{cpu: 100m, memory: 100Mi}}}}}}]}}\nstatus: {status}\n"
        );
    }
    World::new(&yaml)
}

const CPU: &str = "maxReplicas: 10, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]";

fn usage(all: &[&str]) -> Result<Vec<Usage>, String> {
    let of = |(index, cpu): (usize, &&str)| {
        let mut own: Map<Quantity> = Map::default();
        own.insert("cpu", Quantity::parse(cpu).unwrap());
        own.insert("memory", Quantity::parse("50Mi").unwrap());
        Usage {
            pod: format!("p{index}").into(),
            at: Time::from_unix(START),
            window: 15,
            containers: vec![("c".into(), own)],
        }
    };
    Ok(all.iter().enumerate().map(of).collect())
}

fn look(
    world: &World,
    wanted: i32,
    usage: Result<Vec<Usage>, String>,
    history: &mut History,
    later: i64,
) -> Decision {
    let autoscaler = world
        .snapshot
        .get::<HorizontalPodAutoscaler>("d", "web")
        .unwrap();
    let selector = Selector::parse("app=web").unwrap();
    let selectors: Vec<(Str, Selector)> = vec![("web".into(), selector)];
    let now = Time::from_unix(START + later);
    let observed = Observed {
        autoscaler,
        scale: Ok(Scale {
            wanted,
            current: wanted,
            selector: "app=web".to_owned(),
        }),
        usage,
        snapshot: &world.snapshot,
        selectors: &selectors,
        now,
    };
    let mut decision = decide(&observed, history);
    if decision.rescale.is_some() {
        settle(&mut decision, history, Ok(()), now);
    }
    decision
}

fn show(decision: &Decision) -> String {
    let status = &decision.autoscaler.status;
    let mut out = format!(
        "{} -> {}\n",
        status.current_replicas, status.desired_replicas
    );
    for c in &status.conditions {
        let _ = writeln!(out, "{} {} {}: {}", c.type_, c.status, c.reason, c.message);
    }
    for (kind, reason, message) in &decision.events {
        let _ = writeln!(out, "{kind} {reason}: {message}");
    }
    out
}

fn check(
    spec: &str,
    pods: &[&str],
    wanted: i32,
    used: Result<Vec<Usage>, String>,
    expected: Expect,
) {
    let decision = look(&world(spec, pods), wanted, used, &mut History::default(), 0);
    expected.assert_eq(&show(&decision));
}

#[test]
fn more_usage_means_more_replicas() {
    check(
        CPU,
        &["ready", "ready"],
        2,
        usage(&["90m", "90m"]),
        expect![[r#"
        2 -> 4
        AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 4
        ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
        ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
        Normal SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target
    "#]],
    );
}

#[test]
fn little_differences_change_nothing() {
    check(
        CPU,
        &["ready", "ready"],
        2,
        usage(&["54m", "54m"]),
        expect![[r#"
        2 -> 2
        AbleToScale True ReadyForNewScale: recommended size matches current size
        ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
        ScalingLimited False DesiredWithinRange: the desired count is within the acceptable range
    "#]],
    );
}

#[test]
fn growth_is_limited() {
    check(
        CPU,
        &["ready"],
        1,
        usage(&["900m"]),
        expect![[r#"
        1 -> 4
        AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 4
        ScalingActive True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
        ScalingLimited True ScaleUpLimit: the desired replica count is increasing faster than the maximum scale rate
        Normal SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target
    "#]],
    );
}

#[test]
fn without_a_metrics_api_nothing_is_known() {
    let none = Err(
        "the server could not find the requested resource (get pods.metrics.k8s.io)".to_owned(),
    );
    check(
        CPU,
        &["ready"],
        1,
        none,
        expect![[r#"
        1 -> 0
        AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
        ScalingActive False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        Warning FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        Warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
    "#]],
    );
}

#[test]
fn bounds_and_zero_need_no_metrics() {
    check(
        "minReplicas: 3, maxReplicas: 5",
        &[],
        1,
        Ok(Vec::new()),
        expect![[r#"
        1 -> 3
        AbleToScale True SucceededRescale: the HPA controller was able to update the target scale to 3
        Normal SuccessfulRescale: New size: 3; reason: Current number of replicas below Spec.MinReplicas
    "#]],
    );
    check(
        CPU,
        &[],
        0,
        Ok(Vec::new()),
        expect![[r#"
        0 -> 0
        AbleToScale True SucceededGetScale: the HPA controller was able to get the target's current scale
        ScalingActive False ScalingDisabled: scaling is disabled since the replica count of the target is zero
    "#]],
    );
}

#[test]
fn unready_and_missing_pods_dampen() {
    // One of three is not measured and one is not ready: what remains leads to no change of direction.
    let decision = look(
        &world(CPU, &["ready", "starting", "ready"]),
        3,
        usage(&["90m", "90m"]),
        &mut History::default(),
        0,
    );
    assert_eq!(decision.autoscaler.status.desired_replicas, 3);
}

#[test]
fn shrinking_waits_five_minutes() {
    let world = world(CPU, &["ready", "ready", "ready", "ready"]);
    let mut history = History::default();
    let idle = || usage(&["5m", "5m", "5m", "5m"]);
    let first = look(&world, 4, idle(), &mut history, 0);
    assert_eq!(first.autoscaler.status.desired_replicas, 4);
    let held = &first.autoscaler.status.conditions[0];
    assert_eq!(held.reason, "ScaleDownStabilized");
    let later = look(&world, 4, idle(), &mut history, 301);
    assert_eq!(later.autoscaler.status.desired_replicas, 1);
}

#[test]
fn behavior_paces() {
    let spec = format!(
        "{CPU}, behavior: {{scaleUp: {{stabilizationWindowSeconds: 0, selectPolicy: Max, policies: [{{type: Pods, value: 1, periodSeconds: 60}}]}}, scaleDown: {{selectPolicy: Disabled, policies: [{{type: Percent, value: 100, periodSeconds: 15}}]}}}}"
    );
    let world = world(&spec, &["ready", "ready"]);
    let mut history = History::default();
    let busy = || usage(&["100m", "100m"]);
    let first = look(&world, 2, busy(), &mut history, 0);
    assert_eq!(first.autoscaler.status.desired_replicas, 3);
    let second = look(&world, 3, busy(), &mut history, 15);
    assert_eq!(
        second.autoscaler.status.desired_replicas, 3,
        "one pod a minute"
    );
    let idle = look(&world, 3, usage(&["1m", "1m"]), &mut history, 3000);
    assert_eq!(idle.autoscaler.status.desired_replicas, 3, "never down");
}
