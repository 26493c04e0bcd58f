//! The servers under measurement, each in a network namespace of its own with its data on the same disk, and what
//! they use. Invariant: a server is gone with its data when its handle is dropped.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use corten_tests::{ApiAccess, LoneServer, NetworkNamespace, Oracle, Sample};

use crate::pinned::{SERVER, on_core};

/// A server to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Corten,
    Upstream,
}

impl Which {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Which::Corten => "corten",
            Which::Upstream => "upstream",
        }
    }
}

enum Process {
    Corten(LoneServer),
    Upstream(Oracle),
}

/// A server that runs.
pub struct Running {
    pub which: Which,
    pub network: NetworkNamespace,
    process: Option<Process>,
    directory: PathBuf,
}

/// What the server's processes use at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Use {
    pub cpu_seconds: f64,
    pub resident_kib: u64,
    /// The most that was resident since [`Running::forget_peak`].
    pub peak_kib: u64,
}

impl Running {
    /// Starts one on the servers' core.
    pub fn start(which: Which) -> Result<Running> {
        let directory = tempfile::Builder::new()
            .prefix(&format!("corten-bench-api-{}-", which.name()))
            .tempdir_in("/var/tmp")?
            .keep();
        let network = NetworkNamespace::create()?;
        let mut running = Running {
            which,
            network,
            process: None,
            directory,
        };
        let process = match which {
            Which::Corten => {
                let data = running.directory.join("data");
                // Threads inherit the namespace and the core from the one that starts them.
                let start = || on_core(SERVER, || LoneServer::start(&data, &[]));
                Process::Corten(running.network.enter(start)???)
            }
            Which::Upstream => Process::Upstream(Oracle::start(
                &running.directory,
                &running.network,
                |command| on_core(SERVER, || command.spawn()).map_err(std::io::Error::other)?,
            )?),
        };
        running.process = Some(process);
        Ok(running)
    }

    /// Administrator's access.
    pub fn access(&self) -> &ApiAccess {
        match self.process.as_ref().expect("it was started") {
            Process::Corten(server) => server.access(),
            Process::Upstream(oracle) => oracle.access(),
        }
    }

    fn processes(&self) -> Vec<u32> {
        match self.process.as_ref().expect("it was started") {
            Process::Corten(server) => vec![server.process()],
            Process::Upstream(oracle) => oracle.processes().to_vec(),
        }
    }

    /// What it has used.
    pub fn used(&self) -> Use {
        let processes = self.processes();
        let sample = Sample::of(&processes);
        Use {
            cpu_seconds: sample.cpu_seconds,
            resident_kib: sample.resident_kib,
            peak_kib: processes.iter().map(|p| peak_kib(*p)).sum(),
        }
    }

    /// Starts the peak of memory anew.
    pub fn forget_peak(&self) {
        for process in self.processes() {
            // A kernel without it shows the peak since the start: too much, never too little.
            let _ = fs::write(format!("/proc/{process}/clear_refs"), "5");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.process.take());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
