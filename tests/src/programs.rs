//! Where the programs and images under test are: the corten binary, what `cargo xtask tools` built and
//! the archives of `cargo xtask images`. A missing one is an error that names the command to run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The corten binary: `CORTEN_BIN`, or the one that cargo put beside this program.
pub fn corten() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CORTEN_BIN") {
        return existing(PathBuf::from(path), "CORTEN_BIN names no file");
    }
    let here = std::env::current_exe().context("this program's own path")?;
    let beside = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("corten"));
    match beside.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("the corten binary is not built: run `cargo build --package corten` first"),
    }
}

/// A program that `cargo xtask tools NAME` builds.
pub fn program(name: &str) -> Result<PathBuf> {
    existing(
        cache().join("bin").join(name),
        &format!("run `cargo xtask tools {name}` first"),
    )
}

/// An image archive that `cargo xtask images` builds.
pub fn image(name: &str) -> Result<PathBuf> {
    let path = cache().join("images").join(format!("{name}.tar"));
    existing(path, &format!("run `cargo xtask images {name}` first"))
}

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache")
}

fn existing(path: PathBuf, otherwise: &str) -> Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is missing: {otherwise}", path.display());
    }
    path.canonicalize()
        .with_context(|| format!("resolving {}", path.display()))
}
