//! Runs specs: small groups, several at once, each in a process of e2e.test; serial specs after the others, alone.
//! Invariant: every chosen spec gets exactly one result; one that e2e.test did not report has failed.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use corten_tests::{Cluster, program};
use serde_json::Value;

use crate::specs::{self, Spec};

/// Specs in one process at most: starting one costs seconds, and its end is when progress shows.
const GROUP_MAX: usize = 6;
/// A process that takes longer is given up.
const GROUP_TIMEOUT: &str = "40m";

/// How a spec ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end.
    Passed,
    /// It did not.
    Failed,
    /// Upstream's own code decided that it does not apply to this cluster.
    Skipped,
}

/// What came of one spec.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The spec.
    pub spec: Spec,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took.
    pub duration: Duration,
    /// Why it failed or was skipped.
    pub message: String,
}

/// Runs all of them.
pub fn run(
    cluster: &Cluster,
    directory: &Path,
    chosen: Vec<Spec>,
    parallel: usize,
) -> Result<Vec<Finished>> {
    let total = chosen.len();
    let (serial, others): (Vec<Spec>, Vec<Spec>) = chosen.into_iter().partition(Spec::is_serial);
    let mut results = Vec::with_capacity(total);
    for (specs, processes) in [(others, parallel), (serial, 1)] {
        let size = specs
            .len()
            .div_ceil(processes.max(1) * 4)
            .clamp(1, GROUP_MAX);
        let groups: VecDeque<Vec<Spec>> = specs.chunks(size).map(<[Spec]>::to_vec).collect();
        let shared = Shared {
            cluster,
            directory,
            queue: Mutex::new(groups),
            results: Mutex::new(std::mem::take(&mut results)),
            number: AtomicUsize::new(0),
            total,
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..processes)
                .map(|_| scope.spawn(|| shared.work()))
                .collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
        })?;
        results = shared
            .results
            .into_inner()
            .map_err(|_| anyhow!("a worker panicked"))?;
    }
    Ok(results)
}

struct Shared<'a> {
    cluster: &'a Cluster,
    directory: &'a Path,
    queue: Mutex<VecDeque<Vec<Spec>>>,
    results: Mutex<Vec<Finished>>,
    number: AtomicUsize,
    total: usize,
}

impl Shared<'_> {
    fn work(&self) -> Result<()> {
        let next = || -> Result<Option<Vec<Spec>>> {
            let mut queue = self
                .queue
                .lock()
                .map_err(|_| anyhow!("a worker panicked"))?;
            Ok(queue.pop_front())
        };
        while let Some(group) = next()? {
            let number = self.number.fetch_add(1, Ordering::Relaxed);
            let finished = self.run_group(number, &group)?;
            let mut results = self
                .results
                .lock()
                .map_err(|_| anyhow!("a worker panicked"))?;
            results.extend(finished.iter().cloned());
            for one in &finished {
                let word = match one.outcome {
                    Outcome::Passed => "ok     ",
                    Outcome::Failed => "FAILED ",
                    Outcome::Skipped => "skipped",
                };
                println!(
                    "{word} {:>5.1} s  {}",
                    one.duration.as_secs_f64(),
                    one.spec.name
                );
            }
            println!("-- {}/{}", results.len(), self.total);
        }
        Ok(())
    }

    fn run_group(&self, number: usize, group: &[Spec]) -> Result<Vec<Finished>> {
        let serial = if group.iter().any(Spec::is_serial) {
            "serial-"
        } else {
            ""
        };
        let name = format!("{serial}{number:03}");
        let report = self.directory.join(format!("{name}.json"));
        // A report of an earlier run must not stand for this one.
        let _ = std::fs::remove_file(&report);
        let log = File::create(self.directory.join(format!("{name}.log")))?;
        let focus: Vec<String> = group.iter().map(|spec| escape(&spec.name)).collect();
        let mut suite = Command::new(program("e2e.test")?);
        suite
            .arg(format!(
                "--kubeconfig={}",
                self.cluster.kubeconfig().display()
            ))
            .arg(format!("--kubectl-path={}", program("kubectl")?.display()))
            .args([
                "--provider=skeleton",
                "--dump-logs-on-failure=false",
                "--disable-log-dump",
            ])
            .args([
                "--node-schedulable-timeout=1m",
                "--ginkgo.silence-skips",
                "--ginkgo.no-color",
            ])
            .arg(format!("--ginkgo.timeout={GROUP_TIMEOUT}"))
            .arg(format!("--ginkgo.focus=({})", focus.join("|")))
            .arg(format!("--ginkgo.json-report={}", report.display()))
            .current_dir(self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let status = match self.cluster.network() {
            Ok(network) => network.enter(move || suite.status())?,
            // A given cluster is reached from here.
            Err(_) => suite.status(),
        };
        status.context("could not start e2e.test")?;
        let reports = specs::reports(&report).unwrap_or_default();
        Ok(group.iter().map(|spec| finished(spec, &reports)).collect())
    }
}

fn finished(spec: &Spec, reports: &[Value]) -> Finished {
    let report = reports
        .iter()
        .find(|report| specs::name(report) == spec.name);
    let outcome = match report.map(|report| report["State"].as_str().unwrap_or_default()) {
        Some("passed") => Outcome::Passed,
        // Without a reason it was not chosen: that is our fault, not upstream's decision.
        Some("skipped") if report.is_some_and(says_why) => Outcome::Skipped,
        _ => Outcome::Failed,
    };
    let message = match report {
        Some(report) => report["Failure"]["Message"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        None => "e2e.test did not report it; its log says why".to_owned(),
    };
    let nanoseconds = report.and_then(|report| report["RunTime"].as_u64());
    Finished {
        spec: spec.clone(),
        outcome,
        duration: Duration::from_nanos(nanoseconds.unwrap_or(0)),
        message,
    }
}

fn says_why(report: &Value) -> bool {
    report["Failure"]["Message"]
        .as_str()
        .is_some_and(|text| !text.is_empty())
}

/// The name as a regular expression that matches itself.
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len() + 16);
    for c in name.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_spec_without_a_report_has_failed() {
        let spec = |name: &str| Spec { name: name.into() };
        let reports = [
            json!({"LeafNodeText": "one", "State": "passed", "RunTime": 2_000_000_000_u64}),
            json!({"LeafNodeText": "two", "State": "timedout", "Failure": {"Message": "late"}}),
            json!({"LeafNodeText": "three", "State": "skipped", "Failure": {"Message": "no GPUs"}}),
            json!({"LeafNodeText": "five", "State": "skipped"}),
        ];
        let outcome = |name: &str| finished(&spec(name), &reports);
        assert_eq!(outcome("one").outcome, Outcome::Passed);
        assert_eq!(outcome("one").duration.as_secs(), 2);
        assert_eq!(
            (outcome("two").outcome, outcome("two").message),
            (Outcome::Failed, "late".into())
        );
        assert_eq!(outcome("three").outcome, Outcome::Skipped);
        assert_eq!(outcome("four").outcome, Outcome::Failed);
        assert_eq!(outcome("five").outcome, Outcome::Failed);
    }

    #[test]
    fn names_match_only_themselves() {
        assert_eq!(escape("a [b] (c.d)"), r"a \[b\] \(c\.d\)");
    }
}
