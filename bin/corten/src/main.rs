//! The one binary: subcommands, flags and wiring. Everything that decides or acts is elsewhere; here are only names,
//! ports, paths and the order in which things are started and stopped.

mod access;
mod admission;
mod apiserver;
mod cli;
mod control_plane;
mod demo;
mod image;
mod instance;
mod layout;
mod node;
mod reset;
mod store;
mod store_migrate;
mod store_serve;
mod telemetry;
mod up;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches};
use cli::{Cli, Command};
use rustix::thread::disable_transparent_huge_pages;
use std::process::ExitCode;

/// Names and values of flags.
type Flags = Vec<(String, String)>;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    if let Command::Shim { args } = cli.command {
        // Containers inherit the choice from here, and theirs is the kernel's default.
        let _ = disable_transparent_huge_pages(false);
        // Before any thread exists: a shim forks.
        corten_runtime::shim_main(args)
    }
    // Many small objects that come and go would keep whole huge pages resident.
    let _ = disable_transparent_huge_pages(true);
    telemetry::start(&cli.log, cli.logging_format);
    match run(cli.command, cli::flags(&matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, flags_given: Flags) -> Result<()> {
    // The only TLS provider; nothing else in the process chooses one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // A second thread on one core only takes it from the first.
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // What nests as deep as it may (expressions, schemas) ends by its limit, not by the stack.
        .thread_stack_size(8 << 20)
        .enable_all()
        .worker_threads(cores.min(2))
        .build()?;
    let result = runtime.block_on(async {
        match command {
            Command::Apiserver(flags) => apiserver::run(flags, flags_given).await,
            Command::Store(command) => store::run(command).await,
            Command::Image(command) => image::run(command).await,
            Command::Down(data) => instance::stop(&data.data_dir).await,
            Command::Status(data) => instance::status(&data.data_dir).await,
            Command::Up(flags) => up::run(flags, flags_given).await,
            Command::Reset(flags) => reset::run(flags).await,
            Command::Shim { .. } => Ok(()),
        }
    });
    // Everything that was acknowledged is on disk: nothing in the background is worth waiting for.
    runtime.shutdown_background();
    result
}
