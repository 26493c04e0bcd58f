//! `start`: from the start of the process to the first `/readyz` that is ok and to a node that is Ready,
//! with empty and with existing state.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use corten_tests::{ApiAccess, Cluster, Options, Sample};
use rustix::process::Signal;
use serde_json::json;

use crate::history::{percentile, record, round, table};

/// Flags of `start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Starts of each kind
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

#[derive(Debug, Default)]
struct Times {
    api_ms: Vec<f64>,
    node_ms: Vec<f64>,
    cpu_seconds: Vec<f64>,
}

impl Start {
    /// Runs the measurement.
    pub fn run(&self) -> Result<()> {
        let (mut empty, mut existing) = (Times::default(), Times::default());
        for _ in 0..self.runs {
            let cluster = Cluster::prepare(Options {
                name: "bench-start",
                images: &[],
            })?;
            let outcome = measure(&cluster, &mut empty).and_then(|()| {
                cluster.signal(Signal::TERM)?;
                measure(&cluster, &mut existing)
            });
            cluster.finish()?;
            outcome?;
        }
        let mut rows = vec![
            ["state", "API ready ms", "node Ready ms", "CPU s"]
                .map(str::to_string)
                .to_vec(),
        ];
        let mut results = serde_json::Map::new();
        for (name, times) in [("empty", &mut empty), ("existing", &mut existing)] {
            let median = |values: &mut Vec<f64>| {
                values.sort_by(f64::total_cmp);
                percentile(values, 0.5)
            };
            let (api, node) = (median(&mut times.api_ms), median(&mut times.node_ms));
            let cpu = median(&mut times.cpu_seconds);
            rows.push(vec![
                name.to_string(),
                format!("{api:.0}"),
                format!("{node:.0}"),
                format!("{cpu:.2}"),
            ]);
            let result = json!({
                "api_ready_ms": round(api, 0),
                "node_ready_ms": round(node, 0),
                "cpu_seconds": round(cpu, 2),
            });
            results.insert(name.to_string(), result);
        }
        table(&rows);
        record("start", results.into())
    }
}

fn measure(cluster: &Cluster, times: &mut Times) -> Result<()> {
    let kubeconfig = cluster.kubeconfig();
    // A kubeconfig of an earlier start would do for a while; wait for this start's own.
    let _ = std::fs::remove_file(&kubeconfig);
    let started = Instant::now();
    cluster.launch()?;
    let access = until(|| {
        // The file may be there before all of it is.
        ApiAccess::from_file(&kubeconfig)
    })
    .with_context(|| cluster.log_tail())?;
    let ask = |path: &str| -> Result<serde_json::Value> {
        let answer = cluster
            .kubectl()
            .inside(|| access.connect()?.request("GET", path, b""))??;
        match answer.status {
            200 if path == "/readyz" => Ok(serde_json::Value::Null),
            200 => answer.json(),
            status => bail!("{path}: {status}"),
        }
    };
    until(|| ask("/readyz")).with_context(|| cluster.log_tail())?;
    times.api_ms.push(started.elapsed().as_secs_f64() * 1000.0);
    until(|| {
        let nodes = ask("/api/v1/nodes")?;
        let conditions = nodes["items"][0]["status"]["conditions"].as_array();
        match conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Ready" && c["status"] == "True")
        {
            true => Ok(()),
            false => bail!("not Ready yet"),
        }
    })
    .with_context(|| cluster.log_tail())?;
    times.node_ms.push(started.elapsed().as_secs_f64() * 1000.0);
    times
        .cpu_seconds
        .push(Sample::of(&[cluster.process_id()?]).cpu_seconds);
    Ok(())
}

/// Looks every millisecond for at most a minute.
fn until<T>(look: impl Fn() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if started.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}
