//! `cargo xtask conformance`: builds what upstream's suite needs and runs it. How it is run and written down is in
//! `tests/src/bin/conformance`.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::progress::Steps;
use crate::workspace::{Workspace, run_loud, run_quiet};
use crate::{apt, images, tools};

/// Flags of `cargo xtask conformance`.
#[derive(Debug, Args)]
pub struct Conformance {
    /// Only specs of this SIG, such as api-machinery
    #[arg(long)]
    sig: Option<String>,
    /// Only specs whose name matches this regular expression of Go (those of the conformance suite unless given)
    #[arg(long)]
    focus: Option<String>,
    /// Processes of the suite at once
    #[arg(long)]
    parallel: Option<usize>,
    /// Keep the results in docs/conformance.md
    #[arg(long)]
    record: bool,
    /// More flags for the run (see `cargo xtask conformance -- --help`)
    #[arg(last = true)]
    flags: Vec<String>,
}

/// Builds and runs it.
pub fn run(workspace: &Workspace, conformance: &Conformance) -> Result<()> {
    let mut steps = Steps::new(4);
    steps.run_loud("Building corten and the runner", || {
        let packages = ["--package", "corten", "--package", "corten-tests"];
        let mut build = workspace.cargo();
        run_loud(build.args(["build", "--release", "--bins"]).args(packages))
    })?;
    steps.run("Building upstream's commands", |step| {
        let programs = [images::suite::PROGRAMS, &["kubectl", "e2e.test"]].concat();
        tools::ensure(workspace, &programs, step)
    })?;
    steps.run("Building the suite's images", |step| {
        apt::ensure(apt::FOR_IMAGES)?;
        apt::ensure(apt::FOR_SUITE)?;
        images::ensure(workspace, images::suite::IMAGES, step)
    })?;
    let release = workspace.target_dir()?.join("release");
    let mut git = Command::new("git");
    git.current_dir(workspace.root())
        .args(["rev-parse", "--short=10", "HEAD"]);
    let commit = run_quiet(&mut git).unwrap_or_default();
    steps.run_loud("Running the suite", || {
        let mut suite = Command::new(release.join("corten-conformance"));
        suite
            .current_dir(workspace.root())
            .env("CORTEN_BIN", release.join("corten"))
            .env("CORTEN_COMMIT", commit.trim())
            .arg("--report-dir")
            .arg(workspace.target_dir()?.join("conformance"));
        let parallel = conformance.parallel.map(|n| n.to_string());
        for (flag, value) in [
            ("--sig", &conformance.sig),
            ("--focus", &conformance.focus),
            ("--parallel", &parallel),
        ] {
            if let Some(value) = value {
                suite.args([flag, value]);
            }
        }
        if conformance.record {
            suite.arg("--record");
        }
        run_loud(suite.args(&conformance.flags))
    })
}
