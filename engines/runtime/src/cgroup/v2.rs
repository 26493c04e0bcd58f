//! Version 2: one directory, limits in unified files, controllers passed down by every ancestor.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{find_key, read_number, write, write_if_present};
use crate::config::Resources;
use crate::status::{CpuStats, MemoryStats};

const WANTED: &[&str] = &["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];

/// Makes the directories and enables the wanted controllers in every ancestor's subtree.
pub fn ensure(mount: &Path, path: &str) -> io::Result<()> {
    let mut directory = mount.to_path_buf();
    for component in path.split('/').filter(|c| !c.is_empty()) {
        enable_controllers(&directory);
        directory.push(component);
        match fs::create_dir(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                let text = format!("make cgroup {}: {error}", directory.display());
                return Err(io::Error::new(error.kind(), text));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Best effort per controller: a limit that cannot be set later fails with the file's name.
fn enable_controllers(directory: &Path) {
    let available = fs::read_to_string(directory.join("cgroup.controllers")).unwrap_or_default();
    let enabled = fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap_or_default();
    for controller in WANTED {
        let has = |text: &str| text.split_whitespace().any(|name| name == *controller);
        if has(&available) && !has(&enabled) {
            let _ = write(
                &directory.join("cgroup.subtree_control"),
                &format!("+{controller}"),
            );
        }
    }
}

pub fn open_directory(directory: &Path) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?)
}

/// cpu.weight for v1 shares: a curve through (2, 1), (1024, 100) and (262144, 10000).
pub fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = (shares as f64).log2();
    10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0).ceil() as u64
}

fn or_max(value: i64) -> String {
    if value < 0 {
        "max".to_owned()
    } else {
        value.to_string()
    }
}

pub fn apply(directory: &Path, resources: &Resources) -> io::Result<()> {
    if let Some(shares) = resources.cpu_shares.filter(|s| *s > 0) {
        write(&directory.join("cpu.weight"), &weight(shares).to_string())?;
    }
    if let Some(text) = cpu_max(resources) {
        write(&directory.join("cpu.max"), &text)?;
    }
    if let Some(swap) = resources.memory_swap_limit.filter(|s| *s != 0) {
        let value = match resources.memory_limit {
            Some(memory) if swap > 0 && memory > 0 => (swap - memory).max(0),
            _ => swap,
        };
        write_if_present(&directory.join("memory.swap.max"), &or_max(value))?;
    }
    if let Some(memory) = resources.memory_limit.filter(|m| *m != 0) {
        write(&directory.join("memory.max"), &or_max(memory))?;
    }
    if let Some(pids) = resources.pids_limit.filter(|p| *p != 0) {
        write(&directory.join("pids.max"), &or_max(pids))?;
    }
    for (file, value) in [
        ("cpuset.cpus", &resources.cpuset_cpus),
        ("cpuset.mems", &resources.cpuset_mems),
    ] {
        if !value.is_empty() {
            write(&directory.join(file), value)?;
        }
    }
    for (size, limit) in &resources.hugepage_limits {
        write_if_present(
            &directory.join(format!("hugetlb.{size}.max")),
            &limit.to_string(),
        )?;
    }
    for (file, value) in &resources.unified {
        if file.contains('/') {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{file} is not a file name"),
            ));
        }
        write(&directory.join(file), value)?;
    }
    Ok(())
}

/// The text of `cpu.max`, if quota or period are set.
fn cpu_max(resources: &Resources) -> Option<String> {
    let quota = resources.cpu_quota.filter(|q| *q != 0);
    let period = resources.cpu_period.filter(|p| *p > 0);
    let quota_text = or_max(quota.unwrap_or(-1));
    match (quota, period) {
        (None, None) => None,
        (Some(_), None) => Some(quota_text),
        (_, Some(period)) => Some(format!("{quota_text} {period}")),
    }
}

pub fn stats(directory: &Path) -> (CpuStats, MemoryStats, u64) {
    let text = |file: &str| fs::read_to_string(directory.join(file)).unwrap_or_default();
    let (cpu, memory) = (text("cpu.stat"), text("memory.stat"));
    let usage = read_number(&directory.join("memory.current"));
    (
        CpuStats {
            usage_nanos: find_key(&cpu, "usage_usec") * 1000,
            throttled_periods: find_key(&cpu, "nr_throttled"),
            throttled_nanos: find_key(&cpu, "throttled_usec") * 1000,
        },
        MemoryStats {
            usage,
            working_set: usage.saturating_sub(find_key(&memory, "inactive_file")),
            rss: find_key(&memory, "anon"),
            page_faults: find_key(&memory, "pgfault"),
            major_page_faults: find_key(&memory, "pgmajfault"),
            limit: text("memory.max").trim().parse().ok(),
        },
        read_number(&directory.join("pids.current")),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights() {
        let table = [
            (0, 1),
            (2, 1),
            (102, 17),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
        ];
        for (shares, expected) in table {
            assert_eq!(weight(shares), expected, "{shares} shares");
        }
    }

    #[test]
    fn limits_land_in_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for file in [
            "cpu.weight",
            "cpu.max",
            "memory.max",
            "memory.swap.max",
            "pids.max",
            "memory.oom.group",
        ] {
            fs::write(path.join(file), "").unwrap();
        }
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit: Some(100),
            memory_swap_limit: Some(150),
            pids_limit: Some(-1),
            unified: [("memory.oom.group".to_owned(), "1".to_owned())].into(),
            ..Resources::default()
        };
        apply(path, &resources).unwrap();
        let read = |file: &str| fs::read_to_string(path.join(file)).unwrap();
        assert_eq!(read("cpu.weight"), "100");
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(
            (read("memory.max"), read("memory.swap.max")),
            ("100".into(), "50".into())
        );
        assert_eq!(
            (read("pids.max"), read("memory.oom.group")),
            ("max".into(), "1".into())
        );
        let escape = [("../x".to_owned(), "1".to_owned())].into();
        assert!(
            apply(
                path,
                &Resources {
                    unified: escape,
                    ..Resources::default()
                }
            )
            .is_err()
        );
    }

    #[test]
    fn statistics_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(directory.path().join(file), text).unwrap();
        put(
            "cpu.stat",
            "usage_usec 5\nuser_usec 3\nnr_throttled 2\nthrottled_usec 7\n",
        );
        put(
            "memory.stat",
            "anon 10\ninactive_file 30\npgfault 4\npgmajfault 1\n",
        );
        put("memory.current", "100\n");
        put("memory.max", "max\n");
        put("pids.current", "3\n");
        let (cpu, memory, pids) = stats(directory.path());
        assert_eq!(
            cpu,
            CpuStats {
                usage_nanos: 5000,
                throttled_periods: 2,
                throttled_nanos: 7000
            }
        );
        assert_eq!(
            (memory.working_set, memory.rss, memory.limit),
            (70, 10, None)
        );
        assert_eq!(pids, 3);
    }

    #[test]
    fn cpu_max_keeps_what_is_unset() {
        let of = |quota, period| {
            cpu_max(&Resources {
                cpu_quota: quota,
                cpu_period: period,
                ..Resources::default()
            })
        };
        assert_eq!(of(None, None), None);
        assert_eq!(of(Some(-1), Some(100_000)).as_deref(), Some("max 100000"));
        assert_eq!(of(Some(1000), None).as_deref(), Some("1000"));
    }
}
