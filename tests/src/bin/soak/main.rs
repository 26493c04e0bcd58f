//! `corten-soak crash`: the real process under load, killed at random moments, again and again; after each start
//! everything that was acknowledged must be there. Run by `cargo xtask soak crash`. A seed decides when and what.

mod beside;
mod crash;
mod progress;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "corten-soak", about = "Endurance tests of Corten")]
struct Soak {
    #[command(subcommand)]
    name: Name,
}

#[derive(Debug, Subcommand)]
enum Name {
    /// Kill the API server under load, in compactions, backups, restores and migrations
    Crash(crash::Crash),
}

fn main() -> ExitCode {
    let result: Result<()> = match Soak::parse().name {
        Name::Crash(crash) => crash.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
