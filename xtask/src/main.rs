//! `cargo xtask`: the project's chores in one small program. Each chore is a module; this file only
//! names them.

mod apt;
mod bench;
mod codegen;
mod conformance;
mod diff_api;
mod fuzz;
mod images;
mod progress;
mod python;
mod soak;
mod suite;
mod tidy;
mod tools;
mod up;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::progress::Steps;
use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Chores of the project"
)]
struct Xtask {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Build Corten and run a cluster on this machine (needs root)
    Up(up::Up),
    /// Run every test of the project (needs root)
    Test,
    /// Check the rules of the code that the compiler does not check
    Tidy,
    /// Generate the structs and facts of model/api from upstream's published API description
    Codegen,
    /// Ask Corten and upstream's kube-apiserver the same and compare their answers
    DiffApi(diff_api::DiffApi),
    /// Generate the messages of engines/etcd from etcd's protobuf files
    CodegenEtcd,
    /// Measure: idle, start, pod, create, api, store, engine
    Bench(bench::Bench),
    /// Run upstream's conformance suite against a cluster (needs root)
    Conformance(conformance::Conformance),
    /// Endurance tests: sim, crash
    #[command(subcommand)]
    Soak(soak::Soak),
    /// Feed the decoders with what nobody thought of, each for some minutes
    Fuzz(fuzz::Fuzz),
    /// Build upstream's commands into .cache/bin (kubectl and agnhost unless named)
    Tools {
        /// Programs to build, such as kube-apiserver, etcd, e2e.test
        names: Vec<String>,
    },
    /// Build test and demo images into .cache/images
    Images {
        /// Images to build (all unless named)
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Xtask::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Up(up) => up::run(&workspace, &up),
        Chore::Test => suite::run(&workspace),
        Chore::Tidy => tidy::run(&workspace),
        Chore::Codegen => generate(&workspace),
        Chore::Soak(soak) => soak::run(&workspace, &soak),
        Chore::DiffApi(diff) => diff_api::run(&workspace, &diff),
        Chore::CodegenEtcd => generate_etcd(&workspace),
        Chore::Bench(bench) => bench::run(&workspace, &bench),
        Chore::Conformance(conformance) => conformance::run(&workspace, &conformance),
        Chore::Fuzz(fuzz) => fuzz::run(&workspace, &fuzz),
        Chore::Tools { names } => build_tools(&workspace, &names),
        Chore::Images { names } => build_images(&workspace, &names),
    }
}

fn generate(workspace: &Workspace) -> Result<()> {
    let kubernetes = tools::version(workspace)?;
    let options = codegen::Options {
        modules: tools::module_cache(workspace)?.join("k8s.io"),
        // Staging modules are numbered v0.X.Y for Kubernetes v1.X.Y.
        version: kubernetes.replacen("v1.", "v0.", 1),
        kubernetes,
        out: workspace.path("model/api/src/generated"),
    };
    codegen::run(&options)
}

fn generate_etcd(workspace: &Workspace) -> Result<()> {
    let module = codegen::etcd::module(&tools::module_cache(workspace)?)?;
    let scratch = workspace.target_dir()?.join("codegen-etcd");
    codegen::etcd::run(
        &module,
        &scratch,
        &workspace.path("engines/etcd/src/generated"),
    )
}

fn build_tools(workspace: &Workspace, names: &[String]) -> Result<()> {
    let names = or_default(names, tools::FOR_TESTS);
    Steps::new(1).run("Building upstream's commands", |step| {
        tools::ensure(workspace, &names, step)
    })?;
    println!("{}", workspace.bin_dir().display());
    Ok(())
}

fn build_images(workspace: &Workspace, names: &[String]) -> Result<()> {
    let names = or_default(names, images::ALL);
    let mut steps = Steps::new(3);
    if names
        .iter()
        .any(|name| matches!(*name, "busybox" | "agnhost"))
    {
        steps.run(
            "Looking for Debian packages that images are made of",
            |_| apt::ensure(apt::FOR_IMAGES),
        )?;
    }
    if names.contains(&"agnhost") {
        steps.run("Building upstream's commands", |step| {
            tools::ensure(workspace, &["agnhost"], step)
        })?;
    }
    let archives = steps.run("Building images", |step| {
        images::ensure(workspace, &names, step)
    })?;
    for archive in archives {
        println!("{}", archive.display());
    }
    Ok(())
}

fn or_default<'a>(names: &'a [String], default: &[&'a str]) -> Vec<&'a str> {
    if names.is_empty() {
        return default.to_vec();
    }
    names.iter().map(String::as_str).collect()
}
