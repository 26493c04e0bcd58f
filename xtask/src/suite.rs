//! `cargo xtask test`: every test of the project. Builds what the tests need, runs them all, runs the
//! unsafe core again under AddressSanitizer and Miri, and ends at the first red with totals.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::progress::Steps;
use crate::workspace::{Workspace, run_loud};
use crate::{apt, images, python, tools};

/// Sums of the runner's `test result:` lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
    binaries: u64,
}

/// Runs all tests.
pub fn run(workspace: &Workspace) -> Result<()> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        bail!("tests start real containers: run this as root (sudo)");
    }
    let started = Instant::now();
    let mut steps = Steps::new(8);
    steps.run("Looking for Debian packages that tests use", |_| {
        apt::ensure(apt::FOR_IMAGES)?;
        apt::ensure(apt::FOR_TESTS)?;
        apt::ensure(python::PACKAGES)
    })?;
    steps.run("Building upstream's commands", |step| {
        tools::ensure(workspace, tools::FOR_TESTS, step)
    })?;
    steps.run("Installing the Kubernetes client for Python", |_| {
        python::ensure(workspace)
    })?;
    steps.run("Building test images", |step| {
        images::ensure(workspace, images::ALL, step).map(|_| ())
    })?;
    steps.run_loud("Building corten", || {
        run_loud(workspace.cargo().args(["build", "--workspace", "--bins"]))
    })?;
    let mut totals = Totals::default();
    steps.run_loud("Testing the workspace", || {
        test_workspace(workspace, &mut totals)
    })?;
    steps.run_loud(
        "Testing the unsafe core and its users under AddressSanitizer",
        || test_sanitized(workspace, &mut totals),
    )?;
    steps.run_loud("Testing the unsafe core under Miri", || {
        test_in_miri(workspace, &mut totals)
    })?;
    println!(
        "\nall tests passed: {} passed, {} failed, {} ignored in {} test programs, {:.0} s",
        totals.passed,
        totals.failed,
        totals.ignored,
        totals.binaries,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn test_workspace(workspace: &Workspace, totals: &mut Totals) -> Result<()> {
    let binary = workspace.target_dir()?.join("debug/corten");
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .env("CORTEN_BIN", binary);
    count(cargo, totals)
}

fn test_sanitized(workspace: &Workspace, totals: &mut Totals) -> Result<()> {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut cargo = workspace.cargo();
    cargo.args([
        "test",
        "--package",
        "corten-core",
        "--lib",
        "--tests",
        "--target",
        &target,
    ]);
    // The sanitizer's switch is not stable yet; it changes no code, only how this one run is built.
    cargo
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zsanitizer=address");
    cargo.env("CARGO_TARGET_DIR", workspace.target_dir()?.join("asan"));
    count(cargo, totals)
}

/// Miri comes with nightly toolchains and is not there on every machine; AddressSanitizer is.
fn test_in_miri(workspace: &Workspace, totals: &mut Totals) -> Result<()> {
    let nightly = || {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(workspace.root())
            .arg("+nightly")
            .arg("miri");
        // What the stable cargo told this program would hold for the nightly one too.
        for name in [
            "CARGO",
            "CARGO_MANIFEST_DIR",
            "RUSTC",
            "RUSTDOC",
            "RUSTUP_TOOLCHAIN",
        ] {
            cargo.env_remove(name);
        }
        cargo
    };
    let version = nightly().arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("      not installed (rustup component add miri rust-src --toolchain nightly)");
        return Ok(());
    }
    let mut cargo = nightly();
    cargo.args(["test", "--package", "corten-core", "--lib", "--"]);
    // 146,000 days are too many for an interpreter, and there is nothing unsafe in them.
    cargo.args(["--skip", "every_day_of_four_centuries"]);
    cargo.env("CARGO_TARGET_DIR", workspace.target_dir()?.join("miri"));
    cargo.env("MIRIFLAGS", "-Zmiri-disable-isolation");
    count(cargo, totals)
}

/// Runs cargo, shows what it prints and adds up the totals.
fn count(mut cargo: Command, totals: &mut Totals) -> Result<()> {
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("could not start cargo")?;
    let output = child.stdout.take().context("cargo's output is piped")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("reading cargo's output")?;
        totals.add(&line);
        writeln!(std::io::stdout(), "{line}")?;
    }
    let status = child.wait().context("waiting for cargo")?;
    if !status.success() {
        bail!(
            "tests failed ({status}); so far {} passed, {} failed",
            totals.passed,
            totals.failed
        );
    }
    Ok(())
}

impl Totals {
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        self.binaries += 1;
        for part in counts.split("; ") {
            let Some((number, word)) = part.split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_over_test_programs() {
        let mut totals = Totals::default();
        totals.add("running 3 tests");
        totals.add(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        totals.add(
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(
            totals,
            Totals {
                passed: 4,
                failed: 2,
                ignored: 1,
                binaries: 2
            }
        );
    }
}
