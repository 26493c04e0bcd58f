//! Upstream's kube-apiserver on the face, and a session with kubectl.

use crate::process::{Killed, Ours, free_port, kubectl};
use anyhow::{Context, Result, bail, ensure};
use corten_tests::{eventually, program};
use std::fs;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// A kube-apiserver on an etcd, and where its kubeconfig is.
pub struct KubeApiserver {
    _process: Killed,
    directory: TempDir,
    pub url: String,
}

impl KubeApiserver {
    pub fn start(etcd: &str) -> Result<KubeApiserver> {
        KubeApiserver::start_with(etcd, &[])
    }

    pub fn start_with(etcd: &str, flags: &[String]) -> Result<KubeApiserver> {
        let directory = TempDir::new()?;
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        fs::write(path("tokens.csv"), "admin,admin,admin,system:masters\n")?;
        let made = Command::new("openssl")
            .args(["genrsa", "-out", &path("sa.key"), "2048"])
            .stderr(Stdio::null())
            .status()?;
        ensure!(made.success(), "openssl genrsa failed");
        let port = free_port()?;
        let log = fs::File::create(path("log"))?;
        let child = Command::new(program("kube-apiserver")?)
            .arg(format!("--etcd-servers={etcd}"))
            .arg(format!("--cert-dir={}", path("certs")))
            .arg(format!("--secure-port={port}"))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--token-auth-file={}", path("tokens.csv")))
            .arg("--authorization-mode=Node,RBAC")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!(
                "--service-account-signing-key-file={}",
                path("sa.key")
            ))
            .arg(format!("--service-account-key-file={}", path("sa.key")))
            .arg("--service-cluster-ip-range=10.96.0.0/16")
            .arg("--etcd-compaction-interval=2s")
            .args(flags)
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting kube-apiserver")?;
        let url = format!("https://127.0.0.1:{port}");
        let server = KubeApiserver {
            _process: Killed(child),
            directory,
            url,
        };
        eventually("kube-apiserver is ready", || {
            match server.kubectl("get --raw /readyz") {
                Ok(text) if text == "ok" => Ok(()),
                Ok(text) => bail!("readyz says {text}"),
                Err(error) => {
                    let log = fs::read_to_string(server.directory.path().join("log"))?;
                    let last: Vec<&str> = log.lines().rev().take(5).collect();
                    Err(error.context(last.join("\n")))
                }
            }
        })?;
        Ok(server)
    }

    pub fn kubectl(&self, line: &str) -> Result<String> {
        self.kubectl_with(line, "")
    }

    pub fn kubectl_with(&self, line: &str, input: &str) -> Result<String> {
        let server = format!("--server={}", self.url);
        let flags = [
            server.as_str(),
            "--token=admin",
            "--insecure-skip-tls-verify",
        ];
        kubectl(self.directory.path(), &flags, line, input)
    }
}

const OBJECTS: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: default}
data: {a: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web}]}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - {name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}
"#;

const WIDGET: &str = r#"
apiVersion: example.com/v1
kind: Widget
metadata: {name: w, namespace: default}
spec: {size: 3}
"#;

/// What people do with kubectl, against any API server.
pub fn session(run: &dyn Fn(&str, &str) -> Result<String>) -> Result<()> {
    run("apply -f -", OBJECTS)?;
    let named = run("get configmap settings -o jsonpath={.data.a}", "")?;
    ensure!(named == "1", "the config map says {named:?}");
    run("patch configmap settings -p {\"data\":{\"a\":\"2\"}}", "")?;
    ensure!(run("get configmap settings -o jsonpath={.data.a}", "")? == "2");
    run("label deployment web tier=front", "")?;
    let by_label = run("get deployments -l tier=front -o name", "")?;
    ensure!(
        by_label.trim() == "deployment.apps/web",
        "found {by_label:?}"
    );
    run(
        "wait --for=condition=established crd/widgets.example.com --timeout=60s",
        "",
    )?;
    eventually("widgets are served", || run("apply -f -", WIDGET))?;
    ensure!(run("get widgets w -o jsonpath={.spec.size}", "")? == "3");
    for number in 0..25 {
        run(&format!("create configmap many-{number}"), "")?;
    }
    let listed = run("get configmaps --chunk-size=7 -o name", "")?;
    ensure!(listed.lines().filter(|line| line.contains("many-")).count() == 25);
    run("delete configmaps --all", "")?;
    run("delete deployment web", "")?;
    run("delete crd widgets.example.com", "")?;
    Ok(())
}

pub fn kube_apiserver_runs_on_the_face() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let ours = runtime.block_on(Ours::start())?;
    let server = KubeApiserver::start(ours.url())?;
    session(&|line, input| server.kubectl_with(line, input))?;
    // It compacts every two seconds: what it watches must go on through that.
    let compacted = || match ours.serving.store().stats().compacted {
        revision if revision > 0 => Ok(revision),
        _ => bail!("nothing was compacted"),
    };
    eventually("kube-apiserver compacts the face", compacted)?;
    session(&|line, input| server.kubectl_with(line, input))?;
    drop(server);
    runtime.block_on(ours.serving.stop());
    Ok(())
}
