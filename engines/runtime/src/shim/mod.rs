//! The supervisor process of one pod. It owns the pod's namespaces (by living in them), is the parent of every
//! container, writes their logs, records their ends, and serves the agent over a socket; it needs no agent to go on.
//! Invariant: one thread, and nothing but the event loop waits.

mod attach;
mod child;
mod containers;
mod exec;
mod log;
mod poller;
mod server;
mod setup;
mod writer;

use std::path::PathBuf;

pub use child::set_size;

/// Runs a shim with the arguments that follow the argv prefix of [`crate::CoreOptions::shim`]: state directory, run
/// directory, sandbox id. The calling process returns from here by exiting once the shim is ready (status 0) or has
/// failed (status 1, reason on stderr); the shim itself goes on in the background.
pub fn shim_main(args: impl IntoIterator<Item = String>) -> ! {
    let args: Vec<String> = args.into_iter().collect();
    let [root, run, id] = args.as_slice() else {
        eprintln!("expected state directory, run directory and sandbox id");
        std::process::exit(1);
    };
    match setup::start(&PathBuf::from(root), &PathBuf::from(run), id) {
        Ok(Some(server)) => server.run(),
        Ok(None) => std::process::exit(0),
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(1);
        }
    }
}
