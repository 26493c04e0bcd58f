//! What `/proc` says about processes: who runs a program, and what it has used so far.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// What some processes have used since they started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sample {
    /// CPU time of all threads, user and system, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Proportional share of memory in KiB: shared pages counted once over all who map them.
    pub proportional_kib: u64,
    /// Bytes handed to disks.
    pub written_bytes: u64,
    /// Context switches that the processes made by waiting: one for each wakeup.
    pub wakeups: u64,
}

impl Sample {
    /// The sum over processes; those that are gone count nothing.
    pub fn of(processes: &[u32]) -> Sample {
        let mut sum = Sample::default();
        for process in processes {
            if let Ok(one) = read(*process) {
                sum.cpu_seconds += one.cpu_seconds;
                sum.resident_kib += one.resident_kib;
                sum.proportional_kib += one.proportional_kib;
                sum.written_bytes += one.written_bytes;
                sum.wakeups += one.wakeups;
            }
        }
        sum
    }
}

/// Processes of the cluster on this data directory: one of their arguments is in it. Supervisors of pods
/// run a copy of the program, so that its path does not tell.
pub fn find_by_data(data: &Path) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("listing /proc")? {
        let entry = entry?;
        let Some(process) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        if line
            .split('\0')
            .any(|word| Path::new(word).starts_with(data))
        {
            found.push(process);
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn read(process: u32) -> Result<Sample> {
    let directory = format!("/proc/{process}");
    let stat = fs::read_to_string(format!("{directory}/stat"))?;
    let after_name = stat
        .rsplit_once(')')
        .context("a process's name ends with )")?
        .1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let mut wakeups = 0;
    for task in fs::read_dir(format!("{directory}/task"))? {
        let status = fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        wakeups += value(&status, "voluntary_ctxt_switches:");
    }
    let status = fs::read_to_string(format!("{directory}/status"))?;
    let rollup = fs::read_to_string(format!("{directory}/smaps_rollup")).unwrap_or_default();
    let io = fs::read_to_string(format!("{directory}/io")).unwrap_or_default();
    Ok(Sample {
        cpu_seconds: (ticks(11) + ticks(12)) as f64 / per_second,
        resident_kib: value(&status, "VmRSS:"),
        proportional_kib: value(&rollup, "Pss:"),
        written_bytes: value(&io, "write_bytes:"),
        wakeups,
    })
}

fn value(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_found_and_sampled() {
        let data = std::env::temp_dir().join(format!("corten-find-{}", std::process::id()));
        let mut child = std::process::Command::new("tail")
            .args(["-F", "--quiet"])
            .arg(data.join("runtime"))
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // A process that is just beginning has no arguments yet for a moment.
        let looks = (0..10_000).map(|_| {
            std::thread::yield_now();
            find_by_data(&data).unwrap()
        });
        let found = looks.into_iter().find(|found| !found.is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.unwrap_or_default(), [child.id()]);
        assert!(Sample::of(&[std::process::id()]).resident_kib > 100);
    }
}
