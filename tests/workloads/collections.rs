//! Controllers that make and remove objects: namespaces, jobs, daemon sets, owners.

use anyhow::Result;
use corten_tests::{Cluster, expect_equal, expect_parts, manifests};
use serde_json::json;

pub fn namespace_deletion(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("doomed")?;
    let namespace = kubectl.namespace().to_string();
    kubectl.apply(&manifests::deployment("web", 2).to_string())?;
    kubectl.apply(&manifests::service("web", "ClusterIP").to_string())?;
    kubectl.run("create configmap app --from-literal=a=b")?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.run(&format!("delete namespace {namespace} --wait=false"))?;
    let failed = kubectl.fail("create configmap late")?;
    expect_parts(
        &failed.stderr,
        &[
            "is forbidden: unable to create new content in namespace",
            "because it is being terminated",
        ],
    )?;
    kubectl.wait("delete", &format!("namespace/{namespace}"))?;
    let kinds = "pods,configmaps,secrets,serviceaccounts,deployments,replicasets,services,endpoints,endpointslices,events";
    expect_equal(kubectl.run(&format!("get {kinds} -o name"))?, "")
}

pub fn jobs(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("jobs")?;
    let job = |name: &str, script: &str, limit: u32| {
        let mut spec = manifests::shell_pod(name, script)["spec"].clone();
        spec["restartPolicy"] = json!("Never");
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name },
            "spec": { "completions": 3, "parallelism": 2, "backoffLimit": limit,
                      "template": { "spec": spec } },
        })
        .to_string()
    };
    kubectl.apply(&job("good", "echo done", 0))?;
    kubectl.wait("condition=Complete", "job/good")?;
    expect_equal(
        kubectl.run("get job good -o jsonpath={.status.succeeded}")?,
        "3",
    )?;
    expect_equal(kubectl.run("logs job/good")?, "done\n")?;
    kubectl.apply(&job("bad", "exit 1", 0))?;
    kubectl.wait("condition=Failed", "job/bad")?;
    let path = "{.status.conditions[?(@.type==\"Failed\")].reason}";
    expect_equal(
        kubectl.run(&format!("get job bad -o 'jsonpath={path}'"))?,
        "BackoffLimitExceeded",
    )?;
    kubectl.run("delete job good bad")?;
    kubectl.wait("delete", "pods --all")
}

pub fn daemonset(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("daemons")?;
    let mut set = manifests::deployment("agent", 0);
    set["kind"] = json!("DaemonSet");
    if let Some(spec) = set["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    kubectl.apply(&set.to_string())?;
    kubectl.run("rollout status daemonset agent --timeout=120s")?;
    kubectl.wait("jsonpath={.status.numberReady}=1", "daemonset/agent")?;
    kubectl.run("set env daemonset/agent COLOR=red")?;
    kubectl.run("rollout status daemonset agent --timeout=120s")?;
    let pods = kubectl
        .run("get pods -l app=agent -o 'jsonpath={.items[*].spec.containers[0].env[0].value}'")?;
    expect_equal(pods, "red")?;
    kubectl.run("delete daemonset agent")?;
    kubectl.wait("delete", "pods -l app=agent")
}

pub fn owners_and_orphans(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("owners")?;
    for name in ["background", "foreground", "orphan"] {
        kubectl.apply(&manifests::deployment(name, 1).to_string())?;
        kubectl.run(&format!("rollout status deployment {name} --timeout=120s"))?;
    }
    kubectl.run("delete deployment background --cascade=background")?;
    kubectl.wait("delete", "replicasets,pods -l app=background")?;
    kubectl.run("delete deployment foreground --cascade=foreground")?;
    expect_equal(
        kubectl.run("get replicasets,pods -l app=foreground -o name")?,
        "",
    )?;
    kubectl.run("delete deployment orphan --cascade=orphan")?;
    let left = kubectl.run("get replicasets,pods -l app=orphan -o name")?;
    expect_parts(&left, &["replicaset.apps/orphan-", "pod/orphan-"])?;
    let owners = kubectl
        .run("get replicasets -l app=orphan -o 'jsonpath={.items[0].metadata.ownerReferences}'")?;
    expect_equal(owners, "")?;
    // A deleted pod is replaced.
    let pod = kubectl.run("get pods -l app=orphan -o 'jsonpath={.items[0].metadata.name}'")?;
    kubectl.run(&format!("delete pod {pod}"))?;
    kubectl.wait("condition=Ready", "pods -l app=orphan")
}
