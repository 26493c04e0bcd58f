//! A Deployment scaled up and down by what its pods use, as a small resource metrics API under the cluster's roof tells.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use corten_tests::{Cluster, Kubectl, eventually, expect_equal, expect_parts, manifests};
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};

/// Serves `metrics.k8s.io/v1beta1` for pods of one namespace on loopback, until the test's process ends.
struct Metrics {
    port: u16,
    /// What each pod uses, thousandths of a processor.
    usage: Arc<AtomicU32>,
}

fn tls() -> Result<Arc<rustls::ServerConfig>> {
    let names = ["localhost".to_owned()];
    let own = rcgen::generate_simple_self_signed(names).context("a certificate")?;
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der());
    let key = key.map_err(|why| anyhow::anyhow!("its key: {why}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)?;
    Ok(Arc::new(config))
}

impl Metrics {
    fn serve(cluster: &Cluster, kubectl: Kubectl) -> Result<Metrics> {
        let listener = cluster
            .network()?
            .enter(|| TcpListener::bind("127.0.0.1:0"))??;
        let port = listener.local_addr()?.port();
        let usage = Arc::new(AtomicU32::new(0));
        let (config, told) = (tls()?, usage.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Ok(connection) = rustls::ServerConnection::new(config.clone()) else {
                    return;
                };
                let (kubectl, usage) = (kubectl.clone(), told.load(Ordering::Relaxed));
                std::thread::spawn(move || {
                    let mut stream = rustls::StreamOwned::new(connection, stream);
                    // A client that goes away needs no answer.
                    let _ = answer(&mut stream, &kubectl, usage);
                });
            }
        });
        Ok(Metrics { port, usage })
    }
}

/// Reads one request and answers it.
fn answer(stream: &mut (impl Read + Write), kubectl: &Kubectl, usage: u32) -> Result<()> {
    let mut seen = Vec::new();
    let mut part = [0; 4096];
    while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
        let count = stream.read(&mut part)?;
        ensure!(count > 0, "the client went");
        seen.extend_from_slice(&part[..count]);
    }
    let text = String::from_utf8_lossy(&seen);
    let path = text.split(' ').nth(1).unwrap_or_default();
    let body = match path.split('?').next() {
        Some("/apis/metrics.k8s.io/v1beta1") => Some(resources()),
        Some(path) if path.ends_with("/pods") => Some(used(kubectl, usage)?),
        _ => None,
    };
    let (status, body) = match body {
        Some(body) => ("200 OK", body.to_string()),
        None => ("404 Not Found", "{}".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    Ok(stream.flush()?)
}

fn resources() -> Value {
    json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
        "resources": [{ "name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"] }],
    })
}

/// The same usage for every pod that there is.
fn used(kubectl: &Kubectl, usage: u32) -> Result<Value> {
    let pods = kubectl.json("get pods -o json")?;
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let now = Command::new("date").args(["-u", "+%FT%TZ"]).output()?;
    let now = String::from_utf8(now.stdout)?.trim().to_owned();
    let items: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let container = &pod["spec"]["containers"][0]["name"];
            json!({
                "metadata": { "name": pod["metadata"]["name"], "namespace": pod["metadata"]["namespace"], "labels": pod["metadata"]["labels"] },
                "timestamp": now, "window": "1s",
                "containers": [{ "name": container, "usage": { "cpu": format!("{usage}m"), "memory": "1Mi" } }],
            })
        })
        .collect();
    Ok(json!({
        "kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": {}, "items": items,
    }))
}

fn service(namespace: &str, port: u16) -> String {
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "metrics", "namespace": namespace },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    });
    let registered = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": { "name": "v1beta1.metrics.k8s.io" },
        "spec": {
            "group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
            "insecureSkipTLSVerify": true,
            "service": { "name": "metrics", "namespace": namespace, "port": port },
        },
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [service, registered] }).to_string()
}

pub fn horizontal(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("autoscaling")?;
    let metrics = Metrics::serve(cluster, kubectl.clone())?;
    metrics.usage.store(200, Ordering::Relaxed);
    kubectl.apply(&service(kubectl.namespace(), metrics.port))?;
    kubectl.wait("condition=Available", "apiservice/v1beta1.metrics.k8s.io")?;
    let mut web = manifests::deployment("web", 1);
    web["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({ "requests": { "cpu": "100m" } });
    kubectl.apply(&web.to_string())?;
    kubectl.run("rollout status deployment web --timeout=120s")?;
    let scaler = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "minReplicas": 1, "maxReplicas": 3,
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 50 } } }],
            "behavior": { "scaleDown": { "stabilizationWindowSeconds": 0 } },
        },
    });
    kubectl.apply(&scaler.to_string())?;
    let replicas = |wanted: &str| {
        eventually("the deployment is scaled", || {
            let found = kubectl.run("get deployment web -o jsonpath={.spec.replicas}")?;
            expect_equal(found.as_str(), wanted)
        })
    };
    // Four times what each should use: four pods, of which three are allowed.
    replicas("3")?;
    let described = kubectl.run("describe hpa web")?;
    expect_parts(
        &described,
        &[
            "SuccessfulRescale",
            "New size: 3",
            "the desired replica count is more than the maximum replica count",
        ],
    )?;
    let usage =
        "get hpa web -o jsonpath={.status.currentMetrics[0].resource.current.averageUtilization}";
    expect_equal(kubectl.run(usage)?.as_str(), "200")?;
    metrics.usage.store(10, Ordering::Relaxed);
    replicas("1")?;
    kubectl.run("delete apiservice v1beta1.metrics.k8s.io")?;
    kubectl.run("delete hpa web").map(drop)
}
