//! `cargo xtask fuzz`: builds the targets of `fuzz/` with coverage and AddressSanitizer and runs each for some minutes,
//! from the committed seeds and what earlier runs found (in `.cache/fuzz`). Needs no other toolchain than the stable one
//! and no cargo-fuzz; a C++ compiler builds libFuzzer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::{Workspace, run_loud};

/// Flags of `cargo xtask fuzz`.
#[derive(Debug, Args)]
pub struct Fuzz {
    /// Minutes for each target
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// How much to let others go first (0 to 19)
    #[arg(long, default_value_t = 10)]
    nice: u8,
    /// Targets (all unless named)
    targets: Vec<String>,
}

/// What instruments a build: the coverage that libFuzzer steers by, and the sanitizer.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Zsanitizer=address",
    // The stack frames of instrumented code are large.
    "-Cforce-frame-pointers=yes",
];

/// Largest input; beyond it the fuzzer only wastes time.
const INPUT_MAX: u32 = 16 << 10;

/// Runs the targets one after another; an error if one of them found something.
pub fn run(workspace: &Workspace, fuzz: &Fuzz) -> Result<()> {
    let known = targets(workspace)?;
    let chosen = match fuzz.targets.as_slice() {
        [] => known.clone(),
        named => named.to_vec(),
    };
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(name)) {
        bail!("no fuzz target {unknown}: there are {}", known.join(", "));
    }
    let programs = build(workspace)?;
    let mut failed = Vec::new();
    let mut table = String::from(
        "| target | seconds | executions | covered | found |\n|---|---|---|---|---|\n",
    );
    for target in &chosen {
        let ran = one(workspace, fuzz, &programs.join(target), target)?;
        table.push_str(&format!(
            "| {target} | {} | {} | {} | {} |\n",
            ran.seconds,
            ran.executions,
            ran.covered,
            ran.found.as_deref().unwrap_or("nothing")
        ));
        failed.extend(ran.found);
    }
    println!("{table}");
    match failed.as_slice() {
        [] => Ok(()),
        found => bail!("inputs that make a target fail: {}", found.join(", ")),
    }
}

/// The names of all targets, from the directory they are in.
fn targets(workspace: &Workspace) -> Result<Vec<String>> {
    let directory = workspace.path("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).context("listing the fuzz targets")? {
        let path = entry?.path();
        if let (Some(stem), Some("rs")) =
            (path.file_stem(), path.extension().and_then(|e| e.to_str()))
        {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Builds all targets; answers the directory of the programs.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let out = workspace.target_dir()?.join("fuzz");
    let mut cargo = workspace.cargo();
    cargo
        .args(["build", "--release", "--bins", "--target", &target])
        .arg("--manifest-path")
        .arg(workspace.path("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(&out)
        // Sanitizers are behind a gate of the compiler that this opens.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", FLAGS.join(" "))
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    run_loud(&mut cargo)?;
    Ok(out.join(target).join("release"))
}

/// What a run says of itself.
struct Ran {
    seconds: u64,
    executions: String,
    covered: String,
    /// The file with the input that made the target fail.
    found: Option<String>,
}

fn one(workspace: &Workspace, fuzz: &Fuzz, program: &Path, target: &str) -> Result<Ran> {
    let corpus = workspace.path(".cache/fuzz").join(target);
    let found = workspace.path(".cache/fuzz/found");
    fs::create_dir_all(&corpus).context("making the corpus")?;
    fs::create_dir_all(&found).context("making the place of what is found")?;
    let seeds = workspace.path("fuzz/seeds").join(target);
    let seconds = (fuzz.minutes * 60.0).max(1.0) as u64;
    println!("{target}: {seconds} s");
    let log = workspace.path(".cache/fuzz").join(format!("{target}.log"));
    let started = Instant::now();
    let status = Command::new("nice")
        .args(["-n", &fuzz.nice.to_string()])
        .arg(program)
        .arg(&corpus)
        .args(seeds.is_dir().then_some(&seeds))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={INPUT_MAX}"))
        .arg("-timeout=20")
        .arg("-rss_limit_mb=3072")
        .arg("-print_final_stats=1")
        .arg(format!("-artifact_prefix={}/{target}-", found.display()))
        .env("ASAN_OPTIONS", "detect_odr_violation=0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).context("making the log")?)
        .status()
        .with_context(|| format!("running {}", program.display()))?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let found = match status.success() {
        true => None,
        false => Some(artifact(&said).unwrap_or_else(|| log.display().to_string())),
    };
    Ok(Ran {
        seconds: started.elapsed().as_secs(),
        executions: last(&said, "stat::number_of_executed_units:").unwrap_or_default(),
        covered: last(&said, " cov: ").unwrap_or_default(),
        found,
    })
}

/// The first word after the last place where this stands.
fn last(said: &str, before: &str) -> Option<String> {
    let (_, after) = said.rsplit_once(before)?;
    after.split_whitespace().next().map(str::to_owned)
}

/// The file that the fuzzer says it wrote.
fn artifact(said: &str) -> Option<String> {
    last(said, "Test unit written to")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let said = "#2 INITED cov: 12 ft: 13\n#9 NEW    cov: 34 ft: 40\n\
                    Done 99 runs in 61 second(s)\nstat::number_of_executed_units: 99\n";
        assert_eq!(last(said, " cov: ").as_deref(), Some("34"));
        assert_eq!(
            last(said, "stat::number_of_executed_units:").as_deref(),
            Some("99")
        );
        assert_eq!(artifact(said), None);
        let crashed = "artifact_prefix='x/'; Test unit written to x/crash-1\nBase64: aaa\n";
        assert_eq!(artifact(crashed).as_deref(), Some("x/crash-1"));
    }

    #[test]
    fn every_target_has_seeds_and_a_program() {
        let workspace = Workspace::find().unwrap();
        let manifest = fs::read_to_string(workspace.path("fuzz/Cargo.toml")).unwrap();
        for target in targets(&workspace).unwrap() {
            let seeds = fs::read_dir(workspace.path("fuzz/seeds").join(&target)).unwrap();
            assert!(seeds.count() > 0, "{target} has no seeds");
            assert!(
                manifest.contains(&format!("name = \"{target}\"")),
                "{target}"
            );
        }
    }
}
