//! Version 1 (and hybrid): one directory per hierarchy, limits in each controller's own files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::devices::DeviceRule;
use super::{Hierarchy, find_key, read_key, read_number, write, write_if_present};
use crate::config::Resources;
use crate::status::{CpuStats, MemoryStats};

/// Makes the directories; new cpuset ones copy CPUs and memory nodes, or no process could join.
pub fn ensure(hierarchies: &[Hierarchy], path: &str) -> io::Result<()> {
    for hierarchy in hierarchies {
        let target = hierarchy.mount.join(path);
        if target.is_dir() {
            continue;
        }
        if hierarchy.has("cpuset") {
            ensure_cpuset(&hierarchy.mount, path)?;
        } else {
            fs::create_dir_all(&target).map_err(|error| named(&target, error))?;
        }
    }
    Ok(())
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("make cgroup {}: {error}", path.display()),
    )
}

fn ensure_cpuset(mount: &Path, path: &str) -> io::Result<()> {
    let mut directory = mount.to_path_buf();
    for component in path.split('/').filter(|c| !c.is_empty()) {
        let parent = directory.clone();
        directory.push(component);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(named(&directory, error));
            }
            _ => {}
        }
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(directory.join(file)).is_ok_and(|text| text.trim().is_empty()) {
                write(
                    &directory.join(file),
                    fs::read_to_string(parent.join(file))?.trim(),
                )?;
            }
        }
    }
    Ok(())
}

fn directory(hierarchies: &[Hierarchy], controller: &str, path: &str) -> Option<PathBuf> {
    hierarchies
        .iter()
        .find(|h| h.has(controller))
        .map(|h| h.mount.join(path))
}

pub fn apply(hierarchies: &[Hierarchy], path: &str, resources: &Resources) -> io::Result<()> {
    if let Some(cpu) = directory(hierarchies, "cpu", path) {
        apply_cpu(&cpu, resources)?;
    }
    if let Some(memory) = directory(hierarchies, "memory", path) {
        apply_memory(&memory, resources)?;
    }
    if let (Some(pids), Some(limit)) = (directory(hierarchies, "pids", path), resources.pids_limit)
    {
        let text = if limit <= 0 {
            "max".to_owned()
        } else {
            limit.to_string()
        };
        write(&pids.join("pids.max"), &text)?;
    }
    if let Some(cpuset) = directory(hierarchies, "cpuset", path) {
        for (file, value) in [
            ("cpuset.cpus", &resources.cpuset_cpus),
            ("cpuset.mems", &resources.cpuset_mems),
        ] {
            if !value.is_empty() {
                write(&cpuset.join(file), value)?;
            }
        }
    }
    if let Some(hugetlb) = directory(hierarchies, "hugetlb", path) {
        for (size, limit) in &resources.hugepage_limits {
            let file = format!("hugetlb.{size}.limit_in_bytes");
            write_if_present(&hugetlb.join(file), &limit.to_string())?;
        }
    }
    Ok(())
}

fn apply_cpu(cpu: &Path, resources: &Resources) -> io::Result<()> {
    if let Some(shares) = resources.cpu_shares.filter(|s| *s > 0) {
        write(&cpu.join("cpu.shares"), &shares.to_string())?;
    }
    let quota = |value: i64| write(&cpu.join("cpu.cfs_quota_us"), &value.to_string());
    let Some(period) = resources.cpu_period.filter(|p| *p > 0) else {
        return resources
            .cpu_quota
            .filter(|q| *q != 0)
            .map_or(Ok(()), quota);
    };
    let set_period = || write(&cpu.join("cpu.cfs_period_us"), &period.to_string());
    let Some(value) = resources.cpu_quota.filter(|q| *q != 0) else {
        return set_period();
    };
    // Between the two writes the ratio may exceed the parent's; then the other order works.
    if set_period().is_ok() {
        return quota(value);
    }
    quota(value)?;
    set_period()
}

fn apply_memory(memory: &Path, resources: &Resources) -> io::Result<()> {
    let swap_file = memory.join("memory.memsw.limit_in_bytes");
    let swap = resources
        .memory_swap_limit
        .filter(|s| *s != 0 && swap_file.exists());
    let set_swap = |value: i64| write(&swap_file, &value.to_string());
    let Some(limit) = resources.memory_limit.filter(|l| *l != 0) else {
        return swap.map_or(Ok(()), set_swap);
    };
    let set_limit = || write(&memory.join("memory.limit_in_bytes"), &limit.to_string());
    match (set_limit(), swap) {
        (Ok(()), None) => Ok(()),
        (Ok(()), Some(value)) => set_swap(value),
        (Err(error), None) => Err(error),
        (Err(_), Some(value)) => {
            set_swap(value)?; // raising memory above the old memory+swap needs the sum raised first
            set_limit()
        }
    }
}

pub fn restrict_devices(
    hierarchies: &[Hierarchy],
    path: &str,
    rules: &[DeviceRule],
) -> io::Result<()> {
    let Some(devices) = directory(hierarchies, "devices", path) else {
        return Ok(());
    };
    write(&devices.join("devices.deny"), "a")?;
    for rule in rules {
        write(&devices.join("devices.allow"), &rule.to_string())?;
    }
    Ok(())
}

pub fn oom_kills(hierarchies: &[Hierarchy], path: &str) -> u64 {
    directory(hierarchies, "memory", path).map_or(0, |memory| {
        read_key(&memory.join("memory.oom_control"), "oom_kill")
    })
}

pub fn stats(hierarchies: &[Hierarchy], path: &str) -> (CpuStats, MemoryStats, u64) {
    let mut cpu = CpuStats::default();
    if let Some(accounting) = directory(hierarchies, "cpuacct", path) {
        cpu.usage_nanos = read_number(&accounting.join("cpuacct.usage"));
    }
    if let Some(Ok(text)) =
        directory(hierarchies, "cpu", path).map(|d| fs::read_to_string(d.join("cpu.stat")))
    {
        cpu.throttled_periods = find_key(&text, "nr_throttled");
        cpu.throttled_nanos = find_key(&text, "throttled_time");
    }
    let mut memory = MemoryStats::default();
    if let Some(directory) = directory(hierarchies, "memory", path) {
        let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
        memory.usage = read_number(&directory.join("memory.usage_in_bytes"));
        memory.working_set = memory
            .usage
            .saturating_sub(find_key(&stat, "total_inactive_file"));
        memory.rss = find_key(&stat, "total_rss");
        memory.page_faults = find_key(&stat, "total_pgfault");
        memory.major_page_faults = find_key(&stat, "total_pgmajfault");
        let limit = read_number(&directory.join("memory.limit_in_bytes"));
        memory.limit = (limit < 1 << 60).then_some(limit); // unlimited reads as the largest multiple of a page
    }
    let pids = directory(hierarchies, "pids", path)
        .map_or(0, |directory| read_number(&directory.join("pids.current")));
    (cpu, memory, pids)
}
