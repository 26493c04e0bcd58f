//! `cargo xtask soak sim|crash`: endurance tests that run for as long as one likes. `sim` goes on with seeds of the
//! simulation that the usual run does not reach; `crash` kills the real process. What they found is recorded in
//! docs/reliability.md.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::workspace::{Workspace, run_loud};

/// Seeds of one run of the simulation's tests.
const CHUNK: u64 = 10_000;

/// What to run.
#[derive(Debug, Subcommand)]
pub enum Soak {
    /// Simulate the store with seeds that were not tried before
    Sim(Sim),
    /// Kill the real API server under load, in compactions, backups, restores and migrations
    Crash(Crash),
}

/// Flags of `cargo xtask soak sim`.
#[derive(Debug, Args)]
pub struct Sim {
    /// How long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// The first seed; one that follows from the time if none is given
    #[arg(long)]
    first: Option<u64>,
}

/// Flags of `cargo xtask soak crash`.
#[derive(Debug, Args)]
pub struct Crash {
    /// How many times to kill
    #[arg(long, default_value_t = 50)]
    rounds: u64,
    /// Stop after so many minutes, whatever the rounds
    #[arg(long)]
    minutes: Option<u64>,
    /// Decides when and what
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep state and progress here; a run that was interrupted goes on counting
    #[arg(long)]
    directory: Option<std::path::PathBuf>,
    /// More flags for `corten apiserver`
    #[arg(last = true)]
    flags: Vec<String>,
}

/// Runs one.
pub fn run(workspace: &Workspace, soak: &Soak) -> Result<()> {
    match soak {
        Soak::Sim(sim) => simulate(workspace, sim),
        Soak::Crash(crash) => kill(workspace, crash),
    }
}

fn simulate(workspace: &Workspace, sim: &Sim) -> Result<()> {
    let started = Instant::now();
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    // Far beyond the seeds of the usual run, and others each time.
    let mut first = sim.first.unwrap_or(seconds * 100_000);
    let mut seeds = 0;
    while started.elapsed() < Duration::from_secs(sim.minutes * 60) {
        let tested = run_loud(
            workspace
                .cargo()
                .args(["test", "--release", "--quiet", "--package", "corten-sim"])
                .args([
                    "--test",
                    "store",
                    "--",
                    "the_store_keeps_its_word",
                    "--nocapture",
                ])
                .env("CORTEN_SIM_FIRST", first.to_string())
                .env("CORTEN_SIM_COUNT", CHUNK.to_string()),
        );
        if tested.is_err() {
            bail!(
                "a seed failed after {seeds} that passed; its number is above: add it to FOUND in sim/tests/store.rs"
            );
        }
        (first, seeds) = (first + CHUNK, seeds + CHUNK);
    }
    println!(
        "{seeds} seeds in {:.0} s, none failed",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn kill(workspace: &Workspace, crash: &Crash) -> Result<()> {
    let packages = ["--package", "corten", "--package", "corten-tests"];
    run_loud(
        workspace
            .cargo()
            .args(["build", "--release", "--bins"])
            .args(packages),
    )?;
    let release = workspace.target_dir()?.join("release");
    let mut soak = std::process::Command::new(release.join("corten-soak"));
    soak.arg("crash")
        .args(["--rounds", &crash.rounds.to_string()])
        .args(["--seed", &crash.seed.to_string()])
        .env("CORTEN_BIN", release.join("corten"));
    if let Some(minutes) = crash.minutes {
        soak.args(["--minutes", &minutes.to_string()]);
    }
    if let Some(directory) = &crash.directory {
        soak.arg("--directory").arg(directory);
    }
    soak.arg("--").args(&crash.flags);
    run_loud(&mut soak)
}
