//! Runs work on a thread that stays on one core; processes started there inherit it.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

/// The core of measured servers.
pub const SERVER: usize = 0;
/// The core of the load.
pub const LOAD: usize = 1;

/// Runs `work` on this core, or anywhere when the machine has fewer cores.
pub fn on_core<T: Send>(core: usize, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let pinned = scope.spawn(move || -> Result<T> {
            pin(core)?;
            Ok(work())
        });
        match pinned.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Pins the calling thread.
pub fn pin(core: usize) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    if core >= cores {
        return Ok(());
    }
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).context("pinning a thread to a core")
}
