//! Verbs on Deployments that need pods to run: scale, rollout, set image, expose.

use anyhow::Result;
use corten_tests::{Cluster, expect_equal, expect_parts, manifests};

pub fn scale(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("scale")?;
    kubectl.apply(&manifests::deployment("web", 1).to_string())?;
    kubectl.wait("condition=Available", "deployment/web")?;
    let said = kubectl.run("scale deployment web --replicas=3")?;
    expect_equal(said, "deployment.apps/web scaled\n")?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.wait("jsonpath={.status.readyReplicas}=3", "deployment/web")?;
    let failed = kubectl.fail("scale deployment web --current-replicas=7 --replicas=1")?;
    expect_parts(&failed.stderr, &["error: Expected replicas to be 7, was 3"])?;
    kubectl.run("scale deployment web --replicas=1")?;
    kubectl.wait("jsonpath={.status.replicas}=1", "deployment/web")?;
    let row = kubectl.run("get deployment web --no-headers")?;
    expect_parts(&row, &["1/1"])
}

pub fn rollout_status_history_undo(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("rollout")?;
    kubectl.apply(&manifests::deployment("web", 2).to_string())?;
    let said = kubectl.run("rollout status deployment web --timeout=120s")?;
    expect_parts(&said, &["deployment \"web\" successfully rolled out\n"])?;
    kubectl.run("annotate deployment web kubernetes.io/change-cause=first")?;
    kubectl.run("set env deployment/web COLOR=red")?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.run("annotate deployment web kubernetes.io/change-cause=second --overwrite")?;
    let wait = "jsonpath={.metadata.annotations.deployment\\.kubernetes\\.io/revision}=2";
    kubectl.wait(wait, "deployment/web")?;
    let history = kubectl.run("rollout history deployment web")?;
    expect_parts(
        &history,
        &["deployment.apps/web \nREVISION  CHANGE-CAUSE\n1 ", "\n2 "],
    )?;
    let second = kubectl.run("rollout history deployment web --revision=2")?;
    expect_parts(&second, &["Pod Template:", "COLOR:\tred"])?;
    let said = kubectl.run("rollout undo deployment web")?;
    expect_equal(said, "deployment.apps/web rolled back\n")?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    let env = "get deployment web -o 'jsonpath={.spec.template.spec.containers[0].env}'";
    expect_equal(kubectl.run(env)?, "")?;
    let said = kubectl.run("rollout restart deployment web")?;
    expect_equal(said, "deployment.apps/web restarted\n")?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.run("rollout pause deployment web")?;
    expect_equal(
        kubectl.run("rollout resume deployment web")?,
        "deployment.apps/web resumed\n",
    )
}

pub fn set_image(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("image")?;
    kubectl.apply(&manifests::deployment("web", 1).to_string())?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    let said = kubectl.run("set image deployment/web c=corten.test/agnhost:1")?;
    expect_equal(said, "deployment.apps/web image updated\n")?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.wait("jsonpath={.status.replicas}=1", "deployment/web")?;
    let path = "{.items[?(@.status.phase==\"Running\")].spec.containers[0].image}";
    let images = kubectl.run(&format!("get pods -l app=web -o 'jsonpath={path}'"))?;
    expect_parts(&images, &["corten.test/agnhost:1"])
}

pub fn expose_and_get_all(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("expose")?;
    kubectl.apply(&manifests::server_deployment("web", 1).to_string())?;
    let said = kubectl.run("expose deployment web --port=80 --target-port=8080")?;
    expect_equal(said, "service/web exposed\n")?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    kubectl.wait("jsonpath={.subsets[0].addresses[0].ip}", "endpoints/web")?;
    let all = kubectl.run("get all")?;
    expect_parts(
        &all,
        &[
            "pod/web-",
            "service/web",
            "deployment.apps/web",
            "replicaset.apps/web-",
        ],
    )?;
    let wide = kubectl.run("get pods -o wide")?;
    let header: Vec<&str> = wide
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let columns = ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"];
    expect_equal(&header[..7], columns)?;
    expect_parts(&wide, &["1/1", "Running", &cluster.node()?])
}
