//! A Python of the tests' own in `.cache/python`, with the official Kubernetes client in it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Package;
use crate::workspace::{Workspace, run_quiet};

/// What Debian gives for it.
pub const PACKAGES: &[Package] = &[
    Package {
        name: "python3-venv",
        file: "/usr/lib/python3.11/ensurepip/__init__.py",
    },
    Package {
        name: "python3",
        file: "/usr/bin/python3",
    },
];

/// The client's version: its API level is below the server's, as it is for most users.
const CLIENT: &str = "kubernetes==33.1.0";

/// Makes it unless it is there.
pub fn ensure(workspace: &Workspace) -> Result<()> {
    let home = workspace.path(".cache/python");
    let stamp = home.join("corten-client");
    if std::fs::read_to_string(&stamp).is_ok_and(|had| had == CLIENT) {
        return Ok(());
    }
    let mut make = Command::new("/usr/bin/python3");
    run_quiet(make.args(["-m", "venv", "--clear"]).arg(&home))
        .context("making a Python environment")?;
    let mut install = Command::new(home.join("bin/pip"));
    run_quiet(install.args(["install", "--quiet", "--disable-pip-version-check", CLIENT]))
        .context("installing the Kubernetes client for Python")?;
    write(&stamp)
}

fn write(stamp: &Path) -> Result<()> {
    std::fs::write(stamp, CLIENT).with_context(|| format!("writing {}", stamp.display()))
}
