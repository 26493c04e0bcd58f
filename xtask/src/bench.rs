//! `cargo xtask bench NAME`: builds what a measurement needs in release and runs it. What is measured
//! and how is in `tests/src/bin/bench`.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::progress::Steps;
use crate::workspace::{Workspace, run_loud, run_quiet};
use crate::{apt, images, tools};

/// Flags of `cargo xtask bench`.
#[derive(Debug, Args)]
pub struct Bench {
    /// idle, start, pod, create, api, store or engine
    name: String,
    /// More flags for the measurement (see `cargo xtask bench NAME -- --help`)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// Builds and runs one measurement.
pub fn run(workspace: &Workspace, bench: &Bench) -> Result<()> {
    if bench.name == "engine" {
        return engine(workspace, bench);
    }
    let mut steps = Steps::new(3);
    steps.run_loud("Building corten and the measurements", || {
        let packages = ["--package", "corten", "--package", "corten-tests"];
        run_loud(
            workspace
                .cargo()
                .args(["build", "--release", "--bins"])
                .args(packages),
        )
    })?;
    steps.run("Building upstream's commands and images", |step| {
        let needed: &[&str] = match bench.name.as_str() {
            "create" | "api" => &["kubectl", "kube-apiserver", "etcd"],
            "store" => &["etcd", "kube-apiserver"],
            _ => &["kubectl", "agnhost"],
        };
        tools::ensure(workspace, needed, step)?;
        if !matches!(bench.name.as_str(), "create" | "api" | "store") {
            apt::ensure(apt::FOR_IMAGES)?;
            images::ensure(workspace, images::ALL, step)?;
        }
        Ok(())
    })?;
    let release = workspace.target_dir()?.join("release");
    let mut git = Command::new("git");
    git.current_dir(workspace.root())
        .args(["rev-parse", "--short=10", "HEAD"]);
    let commit = run_quiet(&mut git).unwrap_or_default();
    steps.run_loud(&format!("Measuring {}", bench.name), || {
        let mut measure = Command::new(release.join("corten-bench"));
        measure
            .arg(&bench.name)
            .args(&bench.flags)
            .current_dir(workspace.root());
        measure.env("CORTEN_BIN", release.join("corten"));
        measure.env("CORTEN_COMMIT", commit.trim());
        measure.env(
            "CORTEN_HISTORY",
            workspace.path("docs/benchmarks/history.jsonl"),
        );
        run_loud(&mut measure)
    })
}

/// The embedded store alone, without API or network.
fn engine(workspace: &Workspace, bench: &Bench) -> Result<()> {
    let example = [
        "run",
        "--release",
        "--package",
        "corten-store",
        "--example",
        "bench",
        "--",
    ];
    run_loud(workspace.cargo().args(example).args(&bench.flags))
}
