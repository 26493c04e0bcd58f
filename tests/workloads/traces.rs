//! The golden trace: every write to a pod from its creation to Ready, and the budget it must keep.
//! `UPDATE_EXPECT=1 cargo test` writes the trace anew when a change is meant.

use anyhow::{Result, bail};
use corten_tests::{Cluster, PodTrace, manifests};
use expect_test::expect_file;

pub fn pod_life(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.namespace("trace")?;
    let mut trace = PodTrace::start(&kubectl, "idle")?;
    kubectl.apply(&manifests::idle_pod("idle").to_string())?;
    let steps = trace.until_ready()?;
    let count = |verb: &str| steps.iter().filter(|step| step.verb == verb).count();
    let (creates, binds, updates) = (count("create"), count("bind"), count("update"));
    if creates != 1 || binds != 1 || count("status") > 3 || updates != 0 {
        bail!("over budget (1 create, 1 bind, at most 3 status writes): {steps:#?}");
    }
    let text: String = trace
        .merged()
        .iter()
        .map(|step| format!("{step}\n"))
        .collect();
    expect_file!["../traces/pod_life.txt"].assert_eq(&text);
    Ok(())
}
