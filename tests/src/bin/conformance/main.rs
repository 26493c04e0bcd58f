//! `corten-conformance`: upstream's e2e.test against the real binary, run by `cargo xtask conformance`. Starts one
//! cluster in a network namespace of its own (or takes the one of `CORTEN_TESTS_KUBECONFIG`), runs the chosen specs,
//! and writes a JUnit file, a line of history and `docs/conformance.md`.
//! A spec that upstream skips on such a cluster counts as skipped, never as passed.

mod report;
mod specs;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use corten_tests::{Cluster, Options};

/// Archives that the suite's pods run.
const IMAGES: &[&str] = &[
    "suite-agnhost",
    "suite-glibc-dns",
    "suite-busybox",
    "suite-nginx",
    "suite-pause",
    "suite-kitten",
    "suite-nautilus",
    "suite-nonroot",
    "suite-nonewprivs",
    "suite-etcd",
    "suite-sample-apiserver",
];

/// What to run and where to write it.
#[derive(Debug, Parser)]
#[command(
    name = "corten-conformance",
    about = "Upstream's conformance suite against Corten"
)]
struct Flags {
    /// Only specs of this SIG, such as api-machinery
    #[arg(long)]
    sig: Option<String>,
    /// Only specs whose name matches this regular expression of Go
    #[arg(long, default_value = r"\[Conformance\]")]
    focus: String,
    /// Not the specs whose name matches this regular expression of Go
    #[arg(long)]
    skip: Option<String>,
    /// Processes of the suite at once; serial specs always run alone
    #[arg(long, default_value_t = 2)]
    parallel: usize,
    /// Only say which specs would run
    #[arg(long)]
    list: bool,
    /// Directory for the JUnit file, logs and failures
    #[arg(long, default_value = "target/conformance")]
    report_dir: PathBuf,
    /// Keep the results in `docs/conformance.md` and its history
    #[arg(long)]
    record: bool,
}

fn main() -> ExitCode {
    match run(&Flags::parse()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} specs failed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(flags: &Flags) -> Result<usize> {
    std::fs::create_dir_all(&flags.report_dir)
        .with_context(|| format!("creating {}", flags.report_dir.display()))?;
    let directory = flags.report_dir.canonicalize()?;
    let chosen = specs::choose(
        &directory,
        flags.sig.as_deref(),
        &flags.focus,
        flags.skip.as_deref(),
    )?;
    if flags.list {
        chosen.iter().for_each(|spec| println!("{}", spec.name));
        println!("{} specs", chosen.len());
        return Ok(0);
    }
    println!("{} specs; starting a cluster", chosen.len());
    let cluster = Cluster::start(Options {
        name: "conformance",
        images: IMAGES,
    })?;
    let started = Instant::now();
    let results = suite::run(&cluster, &directory, chosen, flags.parallel.max(1));
    let finished = cluster.finish();
    let results = results?;
    let summary = report::Summary::of(&results, started.elapsed());
    report::write_junit(&directory.join("junit.xml"), &results)?;
    report::write_failures(&directory.join("failures.txt"), &results)?;
    summary.print();
    if flags.record {
        report::record(&summary, &results, flags.sig.as_deref(), &flags.focus)?;
    }
    finished.context("the cluster did not leave the host as it was")?;
    Ok(summary.failed())
}
