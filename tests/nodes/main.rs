//! kubectl verbs that concern nodes: they change what the whole cluster may schedule, so they run on a
//! cluster of their own, one after another.

use std::process::ExitCode;

use anyhow::Result;
use corten_tests::{Cluster, Options, expect_equal, expect_parts, manifests, run_in_turn};

fn main() -> ExitCode {
    let options = Options {
        name: "nodes",
        images: &["busybox"],
    };
    run_in_turn(
        options,
        vec![
            ("describe_node", describe_node),
            ("taint", taint),
            ("cordon_and_drain", cordon_and_drain),
            ("unschedulable_pods_say_why", unschedulable_pods_say_why),
            ("preemption", preemption),
            ("top_says_what_is_missing", top_says_what_is_missing),
        ],
    )
}

fn describe_node(cluster: &Cluster) -> Result<()> {
    let node = cluster.node()?;
    let text = cluster.kubectl().run(&format!("describe node {node}"))?;
    let parts = [
        "Roles:",
        "kubernetes.io/hostname=",
        "MemoryPressure",
        "KubeletReady",
        "InternalIP:",
        "Kubelet Version:            v1.36",
        "Allocatable:",
        "Non-terminated Pods:",
        "HolderIdentity:",
    ];
    expect_parts(&text, &parts)?;
    let row = cluster.kubectl().run("get nodes --no-headers")?;
    expect_parts(&row, &[&node, "Ready", "v1.36"])
}

fn taint(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.kubectl();
    let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"taint-me"}}"#;
    kubectl.apply(node)?;
    let said = kubectl.run("taint node taint-me team=blue:NoSchedule")?;
    expect_equal(said, "node/taint-me tainted\n")?;
    let failed = kubectl.fail("taint node taint-me team=red:NoSchedule")?;
    expect_parts(
        &failed.stderr,
        &[
            "error: node taint-me already has team taint(s) with same effect(s) and --overwrite is false",
        ],
    )?;
    let said = kubectl.run("taint node taint-me team:NoSchedule-")?;
    expect_equal(said, "node/taint-me untainted\n")?;
    kubectl.run("delete node taint-me")?;
    Ok(())
}

fn cordon_and_drain(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("drain")?;
    let node = cluster.node()?;
    kubectl.apply(&manifests::deployment("web", 2).to_string())?;
    kubectl.apply(&manifests::idle_pod("stays").to_string())?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    let said = kubectl.run(&format!("cordon {node}"))?;
    expect_equal(said, format!("node/{node} cordoned\n"))?;
    let row = kubectl.run("get nodes --no-headers")?;
    expect_parts(&row, &["Ready,SchedulingDisabled"])?;
    let said = kubectl.run(&format!(
        "drain {node} --pod-selector=app=web --timeout=120s"
    ))?;
    let drained = format!("node/{node} drained\n");
    expect_parts(
        &said,
        &["evicting pod ", "pod/web-", " evicted\n", &drained],
    )?;
    // Their replacements wait for a node that takes pods.
    kubectl.wait("jsonpath={.status.phase}=Pending", "pods -l app=web")?;
    let said = kubectl.run(&format!("uncordon {node}"))?;
    expect_equal(said, format!("node/{node} uncordoned\n"))?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    let budget = r#"{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"web"},
        "spec":{"minAvailable":2,"selector":{"matchLabels":{"app":"web"}}}}"#;
    kubectl.apply(budget)?;
    let failed = kubectl.fail(&format!("drain {node} --pod-selector=app=web --timeout=3s"))?;
    kubectl.run(&format!("uncordon {node}"))?;
    let text = "Cannot evict pod as it would violate the pod's disruption budget.";
    expect_parts(&failed.stderr, &[text])
}

fn unschedulable_pods_say_why(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("pending")?;
    let mut pod = manifests::idle_pod("big");
    pod["spec"]["containers"][0]["resources"] =
        serde_json::json!({ "requests": { "cpu": "1000" } });
    kubectl.apply(&pod.to_string())?;
    let condition = "{.status.conditions[?(@.type==\"PodScheduled\")].reason}=Unschedulable";
    kubectl.wait(&format!("'jsonpath={condition}'"), "pod/big")?;
    let path = "{.status.conditions[?(@.type==\"PodScheduled\")].message}";
    let message = kubectl.run(&format!("get pod big -o 'jsonpath={path}'"))?;
    expect_parts(&message, &["nodes are available: ", "Insufficient cpu"])?;
    let mut pod = manifests::idle_pod("picky");
    pod["spec"]["nodeSelector"] = serde_json::json!({ "disk": "golden" });
    kubectl.apply(&pod.to_string())?;
    let condition = "{.status.conditions[?(@.type==\"PodScheduled\")].reason}=Unschedulable";
    kubectl.wait(&format!("'jsonpath={condition}'"), "pod/picky")?;
    let message = kubectl.run(&format!("get pod picky -o 'jsonpath={path}'"))?;
    expect_parts(
        &message,
        &["node(s) didn't match Pod's node affinity/selector"],
    )?;
    // A label on the node is all that `picky` waits for.
    let node = cluster.node()?;
    kubectl.run(&format!("label node {node} disk=golden"))?;
    kubectl.wait("condition=Ready", "pod/picky")?;
    kubectl.run(&format!("label node {node} disk-"))?;
    Ok(())
}

fn preemption(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("preempt")?;
    let class = r#"{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"first"},"value":1000}"#;
    kubectl.apply(class)?;
    let node = cluster.node()?;
    // An extended resource of which the node has one, so that the test needs no sums of CPU.
    let one = r#"[{"op":"add","path":"/status/capacity/example.com~1token","value":"1"},{"op":"add","path":"/status/allocatable/example.com~1token","value":"1"}]"#;
    kubectl.run(&format!(
        "patch node {node} --subresource=status --type=json -p '{one}'"
    ))?;
    let with_token = |name: &str, class: &str| {
        let mut pod = manifests::idle_pod(name);
        pod["spec"]["containers"][0]["resources"] =
            serde_json::json!({ "limits": { "example.com/token": "1" } });
        if !class.is_empty() {
            pod["spec"]["priorityClassName"] = class.into();
        }
        pod.to_string()
    };
    kubectl.apply(&with_token("low", ""))?;
    kubectl.wait("condition=Ready", "pod/low")?;
    kubectl.apply(&with_token("high", "first"))?;
    kubectl.wait("condition=Ready", "pod/high")?;
    kubectl.wait("delete", "pod/low")?;
    kubectl.run("delete pod high")?;
    kubectl.run("delete priorityclass first")?;
    Ok(())
}

fn top_says_what_is_missing(cluster: &Cluster) -> Result<()> {
    for line in ["top node", "top pod"] {
        let failed = cluster.kubectl().fail(line)?;
        expect_equal(
            (line, failed.stderr.as_str()),
            (line, "error: Metrics API not available\n"),
        )?;
    }
    Ok(())
}
