//! Probes: what a failing one does to endpoints and containers.

use anyhow::Result;
use corten_tests::{Cluster, eventually, expect_equal, expect_parts, manifests};
use serde_json::json;

pub fn readiness(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("ready")?;
    let mut pod = manifests::idle_pod("web");
    let container = &mut pod["spec"]["containers"][0];
    container["ports"] = json!([{ "name": "http", "containerPort": 8080 }]);
    container["readinessProbe"] = json!({
        "exec": { "command": ["test", "-e", "/tmp/ready"] },
        "periodSeconds": 1,
        "failureThreshold": 1,
    });
    kubectl.apply(&pod.to_string())?;
    kubectl.apply(&manifests::service("web", "ClusterIP").to_string())?;
    kubectl.wait("jsonpath={.status.phase}=Running", "pod/web")?;
    let slice = "endpointslice -l kubernetes.io/service-name=web";
    kubectl.wait("jsonpath={.endpoints[0].conditions.ready}=false", slice)?;
    kubectl.run("exec web -- touch /tmp/ready")?;
    kubectl.wait("condition=Ready", "pod/web")?;
    kubectl.wait("jsonpath={.endpoints[0].conditions.ready}=true", slice)?;
    kubectl.wait(
        "jsonpath={.subsets[0].addresses[0].targetRef.name}=web",
        "endpoints/web",
    )?;
    kubectl.run("exec web -- rm /tmp/ready")?;
    kubectl.wait("jsonpath={.endpoints[0].conditions.ready}=false", slice)?;
    kubectl.wait("condition=Ready=false", "pod/web")?;
    let restarts =
        kubectl.run("get pod web -o 'jsonpath={.status.containerStatuses[0].restartCount}'")?;
    expect_equal(restarts, "0")
}

pub fn liveness(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("live")?;
    let mut pod = manifests::idle_pod("web");
    pod["spec"]["containers"][0]["livenessProbe"] = json!({
        "exec": { "command": ["test", "!", "-e", "/tmp/sick"] },
        "periodSeconds": 1,
        "failureThreshold": 1,
    });
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("condition=Ready", "pod/web")?;
    kubectl.run("exec web -- touch /tmp/sick")?;
    kubectl.wait(
        "jsonpath={.status.containerStatuses[0].restartCount}=1",
        "pod/web",
    )?;
    kubectl.wait("condition=Ready", "pod/web")?;
    eventually("the restart is told", || {
        let text = kubectl.run("describe pod web")?;
        let killed = "Container c failed liveness probe, will be restarted";
        expect_parts(
            &text,
            &["Unhealthy", "Liveness probe failed", "Killing", killed],
        )
    })
}

pub fn every_kind(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("kinds")?;
    let probes = [
        (
            "http",
            json!({ "httpGet": { "path": "/healthz", "port": 8080 } }),
        ),
        ("tcp", json!({ "tcpSocket": { "port": 8080 } })),
        ("exec", json!({ "exec": { "command": ["true"] } })),
    ];
    for (name, mut probe) in probes {
        probe["periodSeconds"] = json!(1);
        let mut pod = manifests::server_pod(name);
        let container = &mut pod["spec"]["containers"][0];
        container["readinessProbe"] = probe.clone();
        container["livenessProbe"] = probe;
        kubectl.apply(&pod.to_string())?;
    }
    let mut pod = manifests::server_pod("grpc");
    let container = &mut pod["spec"]["containers"][0];
    container["args"] = json!(["grpc-health-checking"]);
    container["readinessProbe"] = json!({ "grpc": { "port": 5000 }, "periodSeconds": 1 });
    container["livenessProbe"] = container["readinessProbe"].clone();
    kubectl.apply(&pod.to_string())?;
    for name in ["http", "tcp", "exec", "grpc"] {
        kubectl.wait("condition=Ready", &format!("pod/{name}"))?;
    }
    let mut pod = manifests::server_pod("missing");
    pod["spec"]["containers"][0]["readinessProbe"] = json!({ "httpGet": { "path": "/echo?msg=gone&code=404", "port": 8080 }, "periodSeconds": 1 });
    kubectl.apply(&pod.to_string())?;
    eventually("the failing probe is told", || {
        let text = kubectl.run("describe pod missing")?;
        expect_parts(
            &text,
            &["Readiness probe failed: HTTP probe failed with statuscode: 404"],
        )
    })?;
    kubectl.wait("condition=ContainersReady=false", "pod/missing")
}

pub fn startup(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("startup")?;
    let mut pod = manifests::idle_pod("slow");
    let container = &mut pod["spec"]["containers"][0];
    container["startupProbe"] = json!({
        "exec": { "command": ["test", "-e", "/tmp/started"] },
        "periodSeconds": 1,
        "failureThreshold": 1000,
    });
    // It would fail at once if it ran before the container has started.
    container["livenessProbe"] = json!({
        "exec": { "command": ["test", "-e", "/tmp/started"] },
        "periodSeconds": 1,
        "failureThreshold": 1,
    });
    kubectl.apply(&pod.to_string())?;
    kubectl.wait("jsonpath={.status.phase}=Running", "pod/slow")?;
    let started = "get pod slow -o 'jsonpath={.status.containerStatuses[0].started}'";
    expect_equal(kubectl.run(started)?, "false")?;
    kubectl.run("exec slow -- touch /tmp/started")?;
    kubectl.wait("condition=Ready", "pod/slow")?;
    expect_equal(kubectl.run(started)?, "true")?;
    let restarts = "get pod slow -o 'jsonpath={.status.containerStatuses[0].restartCount}'";
    expect_equal(kubectl.run(restarts)?, "0")
}
