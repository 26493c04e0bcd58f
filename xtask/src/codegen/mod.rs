//! `cargo xtask codegen`: the generated structs, kinds and resource facts of `model/api` from upstream's published API
//! description (Go declarations, protobuf files and discovery documents in the Go module cache). No Go toolchain runs.
//! Invariant: the output depends on the input only, and is committed; running it again changes nothing.

mod emit;
pub mod etcd;
mod facts;
mod go;
mod names;
mod packages;
mod proto;
mod resources;
mod schema;
mod verify;

use anyhow::{Context, Result};
use std::path::PathBuf;

/// Where to read from and write to.
#[derive(Debug)]
pub struct Options {
    /// The directory `k8s.io` in the Go module cache.
    pub modules: PathBuf,
    /// The version of the staging modules, `v0.36.3`.
    pub version: String,
    /// The version of `k8s.io/kubernetes`, `v1.36.3`.
    pub kubernetes: String,
    /// The directory of the generated files, `model/api/src/generated`.
    pub out: PathBuf,
}

/// Writes all generated files.
pub fn run(options: &Options) -> Result<()> {
    let parsed = packages::read(options)?;
    let schema = schema::resolve(&parsed)?;
    let compared = verify::run(options, &schema)?;
    let resources = resources::read(options)?;
    std::fs::create_dir_all(&options.out)
        .with_context(|| format!("create {}", options.out.display()))?;
    let mut files = Vec::new();
    for module in &schema.modules {
        files.push((
            format!("{}.rs", module.name),
            emit::module(&schema, module, &resources)?,
        ));
    }
    files.push(("kinds.rs".into(), emit::kinds(&schema)));
    files.push(("resources.rs".into(), resources::emit(&resources)));
    files.push(("mod.rs".into(), emit::mods(&schema)));
    for (name, text) in &files {
        let path = options.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    println!(
        "{} messages in {} modules ({compared} checked against OpenAPI), {} resources",
        schema.messages.len(),
        schema.modules.len(),
        resources.list.len()
    );
    Ok(())
}
