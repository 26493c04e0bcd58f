//! Manifests that many tests use, as JSON (which is YAML too).

use serde_json::{Value, json};

/// A pod with one container `c` that runs a shell script in the busybox image.
pub fn shell_pod(name: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "c",
                "image": "corten.test/busybox:1",
                "command": ["sh", "-c", script],
            }],
        },
    })
}

/// A pod that does nothing until it is deleted, and ends at once then.
pub fn idle_pod(name: &str) -> Value {
    shell_pod(name, "trap \"exit 0\" TERM; sleep 1000000 & wait")
}

/// A pod template's spec: a web server (agnhost netexec) at port 8080 that names its host.
pub fn server_spec() -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "server",
            "image": "corten.test/agnhost:1",
            "args": ["netexec", "--http-port=8080"],
            "ports": [{ "name": "http", "containerPort": 8080 }],
            "readinessProbe": {
                "httpGet": { "path": "/healthz", "port": "http" },
                "periodSeconds": 1,
            },
        }],
    })
}

/// A pod that serves HTTP at port 8080.
pub fn server_pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": server_spec(),
    })
}

/// A Deployment of idle pods with the label `app: NAME`.
pub fn deployment(name: &str, replicas: u32) -> Value {
    let pod = idle_pod(name);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": pod["spec"] },
        },
    })
}

/// A Deployment of web servers with the label `app: NAME`.
pub fn server_deployment(name: &str, replicas: u32) -> Value {
    let mut deployment = deployment(name, replicas);
    deployment["spec"]["template"]["spec"] = server_spec();
    deployment
}

/// A Service of this type in front of the pods with the label `app: NAME`, port 80 to `http`.
pub fn service(name: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name },
        "spec": {
            "type": kind,
            "selector": { "app": name },
            "ports": [{ "name": "http", "port": 80, "targetPort": "http" }],
        },
    })
}
