//! `pod`: from the request that creates a pod to the watch event that shows it Ready, one pod after
//! another, with the time between the writes on the way as stages; then deletion until it is gone.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;
use corten_tests::{
    ApiAccess, Cluster, Kubectl, Options, Running, Sample, find_by_data, manifests,
};
use serde_json::{Value, json};

use crate::history::{percentile, record, round, table};

/// Flags of `pod`.
#[derive(Debug, Args)]
pub struct Pod {
    /// Pods, one after another
    #[arg(long, default_value_t = 100)]
    pods: usize,
}

/// Milliseconds of each pod by stage.
type Stages = BTreeMap<&'static str, Vec<f64>>;

impl Pod {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        let cluster = Cluster::start(Options {
            name: "bench-pod",
            images: &["busybox"],
        })?;
        let outcome = self.measure(&cluster);
        cluster.finish()?;
        outcome
    }

    fn measure(&self, cluster: &Cluster) -> Result<()> {
        let kubectl = cluster.namespace("pods")?;
        let access = ApiAccess::from_kubeconfig(&kubectl)?;
        let mut watch = watch(&kubectl)?;
        let mut stages = Stages::new();
        let data = &cluster.data();
        let before = Sample::of(&find_by_data(data)?);
        for number in 0..self.pods {
            let name = format!("pod-{number}");
            one(&kubectl, &access, &mut watch, &name, &mut stages)
                .with_context(|| format!("{name}: {}", cluster.log_tail()))?;
        }
        let after = Sample::of(&find_by_data(data)?);
        let cpu = (after.cpu_seconds - before.cpu_seconds) * 1000.0 / self.pods as f64;
        let mut rows = vec![["stage", "p50 ms", "p99 ms"].map(str::to_string).to_vec()];
        let mut results = serde_json::Map::new();
        for (stage, values) in &mut stages {
            values.sort_by(f64::total_cmp);
            let (p50, p99) = (percentile(values, 0.5), percentile(values, 0.99));
            rows.push(vec![
                stage.to_string(),
                format!("{p50:.1}"),
                format!("{p99:.1}"),
            ]);
            let result = json!({ "p50_ms": round(p50, 1), "p99_ms": round(p99, 1) });
            results.insert(stage.to_string(), result);
        }
        table(&rows);
        println!("\nCPU of Corten's processes: {cpu:.1} ms for each pod, creation and deletion");
        results.insert("pods".into(), json!(self.pods));
        results.insert("cpu_ms_per_pod".into(), json!(round(cpu, 1)));
        record("pod", results.into())
    }
}

/// A watch on all pods of the namespace from now on.
fn watch(kubectl: &Kubectl) -> Result<Running> {
    let pods = format!("/api/v1/namespaces/{}/pods", kubectl.namespace());
    let list: Value = serde_json::from_str(&kubectl.run(&format!("get --raw {pods}"))?)?;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .context("a list's version")?;
    kubectl.start(&format!(
        "get --raw {pods}?watch=1&resourceVersion={version}"
    ))
}

fn one(
    kubectl: &Kubectl,
    access: &ApiAccess,
    watch: &mut Running,
    name: &str,
    stages: &mut Stages,
) -> Result<()> {
    let path = format!("/api/v1/namespaces/{}/pods", kubectl.namespace());
    let mut client = kubectl.inside(|| access.connect())??;
    let body = manifests::idle_pod(name).to_string();
    let started = Instant::now();
    let answer = client.request("POST", &path, body.as_bytes())?;
    if answer.status != 201 {
        bail!("create answered {}", answer.status);
    }
    let mut last = started;
    let mut note = |stage: &'static str, since: Instant| {
        let now = Instant::now();
        stages
            .entry(stage)
            .or_default()
            .push((now - since).as_secs_f64() * 1000.0);
        now
    };
    last = note("1 create answered", last);
    let (mut bound, mut started_containers) = (false, false);
    loop {
        let object = next(watch, name)?.1;
        if !bound && object["spec"]["nodeName"].is_string() {
            bound = true;
            last = note("2 bound", last);
        }
        let status = &object["status"];
        if !started_containers && status["containerStatuses"][0]["state"]["running"].is_object() {
            started_containers = true;
            last = note("3 running", last);
        }
        let conditions = status["conditions"].as_array();
        if conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
        {
            note("4 ready after running", last);
            note("5 create to Ready", started);
            break;
        }
    }
    let deleted = Instant::now();
    client.request(
        "DELETE",
        &format!("{path}/{name}?gracePeriodSeconds=1"),
        b"",
    )?;
    while next(watch, name)?.0 != "DELETED" {}
    note("6 delete to gone", deleted);
    Ok(())
}

/// The next event of this pod.
fn next(watch: &mut Running, name: &str) -> Result<(String, Value)> {
    loop {
        let line = watch.any()?;
        let event: Value = serde_json::from_str(&line).with_context(|| format!("event {line}"))?;
        if event["object"]["metadata"]["name"] == name {
            let kind = event["type"].as_str().unwrap_or_default().to_string();
            return Ok((kind, event["object"].clone()));
        }
    }
}
