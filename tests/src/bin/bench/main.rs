//! `corten-bench NAME`: measurements of the real binary, run by `cargo xtask bench`. Each prints a table
//! and one JSON line, and appends the line to the history file that documents take their numbers from.
//! Measured processes are pinned to one core and the load to another, where there are two.

mod api;
mod create;
mod history;
mod idle;
mod pinned;
mod pod;
mod start;
mod store;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "corten-bench", about = "Measurements of Corten")]
struct Bench {
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, Subcommand)]
enum Name {
    /// What a cluster with the demo uses while nothing happens
    Idle(idle::Idle),
    /// From process start to API ready and to node Ready
    Start(start::Start),
    /// From a pod's creation to Ready, by stages
    Pod(pod::Pod),
    /// Creates per second and server CPU for each, at 1, 16 and 64 clients
    Create(create::Create),
    /// What operations of the API cost, beside kube-apiserver with etcd
    Api(api::Api),
    /// The etcd face beside etcd: puts, gets, watches; a million objects; leases; under kube-apiserver
    Store(store::Store),
}

fn main() -> ExitCode {
    match run(Bench::parse().name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: Name) -> Result<()> {
    match name {
        Name::Idle(idle) => idle.run(),
        Name::Start(start) => start.run(),
        Name::Pod(pod) => pod.run(),
        Name::Create(create) => create.run(),
        Name::Api(api) => api.run(),
        Name::Store(store) => store.run(),
    }
}
