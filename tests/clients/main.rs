//! Real clients beside kubectl: client-go's informers and leader election, controller-runtime with envtest, kube-rs, the
//! official Python client, Helm 3 and 4, Kustomize and pruning, and upstream's sample API server. Their programs are in
//! this directory and in `.cache`.

mod wardle;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use corten_tests::{Cluster, Kubectl, Options, expect_equal, expect_parts, program, run};

fn main() -> ExitCode {
    let options = Options {
        name: "clients",
        images: &["busybox"],
    };
    run(
        options,
        vec![
            ("client_go_informers", |c| go(c, "informers")),
            ("client_go_leader_election", |c| go(c, "leader")),
            // Both install the same definition.
            ("controller_runtime", |c| {
                go(c, "manager")?;
                go(c, "envtest")
            }),
            ("kube_rs", kube_rs),
            ("python", python),
            ("helm_3_and_4", |c| {
                helm(c, "helm3")?;
                helm(c, "helm4")
            }),
            ("kustomize_and_prune", kustomize_and_prune),
            ("sample_apiserver", wardle::sample_apiserver),
        ],
    )
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// Runs a program in the cluster's network with the cluster's kubeconfig; its output, or an error with all it said.
fn client(cluster: &Cluster, mut command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    command
        .env("KUBECONFIG", cluster.kubeconfig())
        // Helm keeps things below the home directory.
        .env("HOME", cluster.directory())
        .stdin(Stdio::null());
    let output = cluster
        .network()?
        .enter(move || command.output())?
        .with_context(|| format!("could not start {shown}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{shown}: {}\n{stdout}{stderr}", output.status);
    }
    Ok(stdout)
}

fn go(cluster: &Cluster, what: &str) -> Result<()> {
    let kubectl = cluster.namespace(what)?;
    let mut command = Command::new(program("clients")?);
    command.args([what, kubectl.namespace()]);
    expect_equal(client(cluster, command)?.as_str(), "ok\n")
}

fn kube_rs(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("kube-rs")?;
    let mut command = Command::new(program("kube-rs")?);
    command.arg(kubectl.namespace());
    expect_equal(client(cluster, command)?.as_str(), "ok\n")
}

fn python(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("python")?;
    let interpreter = here().join("../../.cache/python/bin/python3");
    if !interpreter.exists() {
        bail!(
            "{} is missing: run `cargo xtask test`, which makes it",
            interpreter.display()
        );
    }
    let mut command = Command::new(interpreter);
    command
        .arg(here().join("client.py"))
        .arg(kubectl.namespace());
    expect_equal(client(cluster, command)?.as_str(), "ok\n")
}

/// A chart with a definition, a custom resource, hooks and a workload: installed, upgraded, rolled back, removed.
fn helm(cluster: &Cluster, version: &str) -> Result<()> {
    let kubectl = cluster.namespace(version)?;
    let chart = here().join("chart");
    let helm = |arguments: &[&str]| -> Result<String> {
        let mut command = Command::new(program(version)?);
        command
            .args(arguments)
            .args(["--namespace", kubectl.namespace()]);
        client(cluster, command)
    };
    let greeting = |kubectl: &Kubectl| {
        kubectl.run("get widget/web configmap/web -o jsonpath={.items[*].spec.greeting}/{.items[*].data.greeting}")
    };
    let path = chart.to_string_lossy().into_owned();
    helm(&["install", "web", &path, "--wait", "--timeout", "3m"])?;
    expect_equal(greeting(&kubectl)?.as_str(), "hello/hello")?;
    helm(&[
        "upgrade",
        "web",
        &path,
        "--wait",
        "--timeout",
        "3m",
        "--set",
        "greeting=hi,replicas=2",
    ])?;
    expect_equal(greeting(&kubectl)?.as_str(), "hi/hi")?;
    let ready = kubectl.run("get deployment web -o jsonpath={.status.readyReplicas}")?;
    expect_equal(ready.as_str(), "2")?;
    helm(&["rollback", "web", "1", "--wait", "--timeout", "3m"])?;
    expect_equal(greeting(&kubectl)?.as_str(), "hello/hello")?;
    let history = helm(&["history", "web"])?;
    expect_parts(
        &history,
        &["superseded", "Upgrade complete", "Rollback to 1"],
    )?;
    helm(&["uninstall", "web", "--wait", "--timeout", "3m"])?;
    expect_equal(
        kubectl
            .run("get widgets,deployments,jobs -o name")?
            .as_str(),
        "",
    )?;
    // Helm leaves definitions; the next version installs its own.
    kubectl
        .run("delete crd widgets.chart.corten.test")
        .map(drop)
}

fn kustomize_and_prune(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("kustomize")?;
    let directory = cluster.directory().join("kustomize");
    std::fs::create_dir_all(&directory)?;
    let kustomization = "namePrefix: team-\ncommonLabels: {team: blue}\nconfigMapGenerator:\n- {name: one, literals: [a=1], options: {disableNameSuffixHash: true}}\n";
    let both = format!(
        "{kustomization}- {{name: two, literals: [b=2], options: {{disableNameSuffixHash: true}}}}\n"
    );
    let write = |text: &str| std::fs::write(directory.join("kustomization.yaml"), text);
    // kubectl does not prune what was applied on the server's side.
    let apply = format!(
        "apply -k {} --prune -l team=blue --prune-allowlist=core/v1/ConfigMap",
        directory.display()
    );
    write(&both)?;
    kubectl.run(&apply)?;
    let names = "get configmaps -l team=blue -o name";
    expect_equal(
        kubectl.run(names)?.as_str(),
        "configmap/team-one\nconfigmap/team-two\n",
    )?;
    write(kustomization)?;
    expect_parts(&kubectl.run(&apply)?, &["configmap/team-two pruned"])?;
    let taken_over = format!(
        "apply --server-side --force-conflicts -k {}",
        directory.display()
    );
    let said = kubectl.run(&taken_over)?;
    expect_parts(&said, &["configmap/team-one serverside-applied"])?;
    expect_equal(kubectl.run(names)?.as_str(), "configmap/team-one\n")
}
