//! Control groups of either version behind one [`Group`]: directories, limits, membership, killing, statistics.
//! Invariant: only directories at or below a group's own path are written; ancestors are made when missing
//! and, on v2, told to pass controllers down. Left out: freezing on request, IO limits.

pub mod devices;
mod v1;
mod v2;

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::Resources;
use crate::status::{CpuStats, MemoryStats};
use devices::DeviceRule;

/// One mounted v1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Its controllers, or `name=systemd` and the like.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// The cgroup file systems of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// Version 1 or hybrid: controllers live in v1 hierarchies.
    V1(Vec<Hierarchy>),
    /// The unified hierarchy alone, mounted here.
    V2(PathBuf),
}

impl Cgroups {
    /// Finds the hierarchies in this process's mount table.
    pub fn discover() -> io::Result<Self> {
        Self::parse(&fs::read_to_string("/proc/self/mountinfo")?).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted")
        })
    }

    fn parse(mountinfo: &str) -> Option<Self> {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        let mut unified = None;
        for line in mountinfo.lines() {
            let Some((place, file_system)) = line.split_once(" - ") else {
                continue;
            };
            let Some(mount) = place.split(' ').nth(4).map(PathBuf::from) else {
                continue;
            };
            let mut fields = file_system.split(' ');
            match (fields.next(), fields.nth(1)) {
                (Some("cgroup"), Some(options)) => {
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "clone_children"))
                        .filter(|o| !o.starts_with("release_agent=") && *o != "favordynmods")
                        .map(str::to_owned)
                        .collect();
                    if !hierarchies.iter().any(|h| h.controllers == controllers) {
                        hierarchies.push(Hierarchy { mount, controllers });
                    }
                }
                (Some("cgroup2"), _) => unified = unified.or(Some(mount)),
                _ => {}
            }
        }
        let has_controllers = hierarchies
            .iter()
            .any(|h| h.controllers.iter().any(|c| !c.starts_with("name=")));
        match unified {
            Some(mount) if !has_controllers => Some(Self::V2(mount)),
            _ if hierarchies.is_empty() => None,
            _ => Some(Self::V1(hierarchies)),
        }
    }

    /// The group at `path`, absolute from the root of every hierarchy; it need not exist.
    pub fn group(&self, path: &str) -> Group {
        Group {
            cgroups: self.clone(),
            path: path.trim_matches('/').to_owned(),
        }
    }

    /// Whether processes can be born inside a group (v2), or must move into it.
    pub fn is_v2(&self) -> bool {
        matches!(self, Self::V2(_))
    }
}

/// One cgroup.
#[derive(Clone, Debug)]
pub struct Group {
    cgroups: Cgroups,
    path: String,
}

impl Group {
    /// A group below this one.
    pub fn child(&self, name: &str) -> Self {
        Self {
            cgroups: self.cgroups.clone(),
            path: format!("{}/{name}", self.path),
        }
    }

    /// Makes the group and its ancestors.
    pub fn ensure(&self) -> io::Result<()> {
        match &self.cgroups {
            Cgroups::V1(hierarchies) => v1::ensure(hierarchies, &self.path),
            Cgroups::V2(mount) => v2::ensure(mount, &self.path),
        }
    }

    /// Writes the limits that are set.
    pub fn apply(&self, resources: &Resources) -> io::Result<()> {
        match &self.cgroups {
            Cgroups::V1(hierarchies) => v1::apply(hierarchies, &self.path, resources),
            Cgroups::V2(mount) => v2::apply(&mount.join(&self.path), resources),
        }
    }

    /// Allows exactly the devices of `rules`.
    pub fn restrict_devices(&self, rules: &[DeviceRule]) -> io::Result<()> {
        match &self.cgroups {
            Cgroups::V1(hierarchies) => v1::restrict_devices(hierarchies, &self.path, rules),
            Cgroups::V2(mount) => {
                let directory = v2::open_directory(&mount.join(&self.path))?;
                devices::attach_filter(&directory, rules)
            }
        }
    }

    /// Moves the calling process in, if it could not be born here.
    pub fn join(&self) -> io::Result<()> {
        if let Cgroups::V1(_) = &self.cgroups {
            for directory in self.directories() {
                write(&directory.join("cgroup.procs"), "0")?;
            }
        }
        Ok(())
    }

    /// The directory to give to clone on v2; `None` on v1.
    pub fn birthplace(&self) -> io::Result<Option<OwnedFd>> {
        match &self.cgroups {
            Cgroups::V1(_) => Ok(None),
            Cgroups::V2(mount) => v2::open_directory(&mount.join(&self.path)).map(Some),
        }
    }

    /// How often the kernel killed a process of the group for memory.
    pub fn oom_kills(&self) -> u64 {
        match &self.cgroups {
            Cgroups::V1(hierarchies) => v1::oom_kills(hierarchies, &self.path),
            Cgroups::V2(mount) => {
                read_key(&mount.join(&self.path).join("memory.events"), "oom_kill")
            }
        }
    }

    /// CPU, memory and process count.
    pub fn stats(&self) -> (CpuStats, MemoryStats, u64) {
        match &self.cgroups {
            Cgroups::V1(hierarchies) => v1::stats(hierarchies, &self.path),
            Cgroups::V2(mount) => v2::stats(&mount.join(&self.path)),
        }
    }

    /// Kills every process of the group and of the groups below until none is left or the attempts end.
    pub fn kill(&self) -> io::Result<()> {
        for _ in 0..100 {
            if let Cgroups::V2(mount) = &self.cgroups
                && write(&mount.join(&self.path).join("cgroup.kill"), "1").is_ok()
            {
                // Older kernels lack the file; the loop below does for them.
            }
            let pids = self.processes();
            if pids.is_empty() {
                return Ok(());
            }
            self.set_frozen("FROZEN");
            for pid in self.processes() {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                }
            }
            self.set_frozen("THAWED");
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("processes of cgroup {} stay", self.path),
        ))
    }

    /// Stops a v1 group from forking while it is killed; v2 has `cgroup.kill`.
    fn set_frozen(&self, state: &str) {
        if let Cgroups::V1(hierarchies) = &self.cgroups
            && let Some(freezer) = hierarchies.iter().find(|h| h.has("freezer"))
        {
            let _ = write(&freezer.mount.join(&self.path).join("freezer.state"), state);
        }
    }

    /// Processes of the group and of the groups below.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for directory in self.directories() {
            collect_processes(&directory, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Removes the group with the groups below; a missing one is fine. Processes must be gone, or nearly.
    pub fn remove(&self) -> io::Result<()> {
        for directory in self.directories() {
            let mut attempt = 0;
            loop {
                match remove_tree(&directory) {
                    Err(error) if error.raw_os_error() == Some(libc::EBUSY) && attempt < 200 => {
                        attempt += 1; // a reaped process leaves its cgroup a moment later
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    other => break other?,
                }
            }
        }
        Ok(())
    }

    /// Removes the group unless something still lives in it.
    pub fn remove_if_empty(&self) {
        for directory in self.directories() {
            let _ = fs::remove_dir(directory);
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        match &self.cgroups {
            Cgroups::V1(hierarchies) => hierarchies
                .iter()
                .map(|h| h.mount.join(&self.path))
                .collect(),
            Cgroups::V2(mount) => vec![mount.join(&self.path)],
        }
    }
}

fn collect_processes(directory: &Path, into: &mut Vec<i32>) {
    let Ok(text) = fs::read_to_string(directory.join("cgroup.procs")) else {
        return;
    };
    into.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    for below in subdirectories(directory) {
        collect_processes(&below, into);
    }
}

fn subdirectories(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_tree(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
            let below = subdirectories(directory);
            if below.is_empty() {
                return Err(error);
            }
            for child in below {
                remove_tree(&child)?;
            }
            fs::remove_dir(directory)
        }
        other => other,
    }
}

/// Writes a control file in one call, without making it.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let fail = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("write {value:?} to {}: {error}", path.display()),
        )
    };
    let mut file = fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(fail)?;
    file.write_all(value.as_bytes()).map_err(fail)
}

/// Writes a control file unless this kernel does not have it.
fn write_if_present(path: &Path, value: &str) -> io::Result<()> {
    if path.exists() {
        write(path, value)
    } else {
        Ok(())
    }
}

fn read_number(path: &Path) -> u64 {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// The number after `key` in a file of `key value` lines.
fn read_key(path: &Path, key: &str) -> u64 {
    fs::read_to_string(path).map_or(0, |text| find_key(&text, key))
}

fn find_key(text: &str, key: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == key)
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_tables_are_understood() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n\
            40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let Some(Cgroups::V1(hierarchies)) = Cgroups::parse(hybrid) else {
            panic!("v1")
        };
        assert_eq!(hierarchies.len(), 2);
        assert_eq!(hierarchies[0].controllers, ["cpu", "cpuacct"]);
        assert_eq!(hierarchies[1].controllers, ["name=systemd"]);
        let unified = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(
            Cgroups::parse(unified),
            Some(Cgroups::V2("/sys/fs/cgroup".into()))
        );
        let systemd_hybrid = "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        assert_eq!(
            Cgroups::parse(systemd_hybrid),
            Some(Cgroups::V2("/sys/fs/cgroup/unified".into()))
        );
        assert_eq!(Cgroups::parse("1 2 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn a_group_is_made_limited_and_removed() {
        let cgroups = Cgroups::discover().unwrap();
        let name = format!("corten-group-test-{}", std::process::id());
        let parent = cgroups.group(&name);
        let group = parent.child("burstable/pod");
        group.ensure().unwrap();
        group.ensure().unwrap();
        group
            .apply(&Resources {
                cpu_shares: Some(512),
                cpu_quota: Some(20_000),
                cpu_period: Some(100_000),
                memory_limit: Some(64 << 20),
                pids_limit: Some(7),
                ..Resources::default()
            })
            .unwrap();
        let (_, memory, pids) = group.stats();
        assert_eq!((memory.limit, pids), (Some(64 << 20), 0));
        group.restrict_devices(&devices::default_rules()).unwrap();
        assert_eq!(group.oom_kills(), 0);
        group.kill().unwrap();
        parent.remove().unwrap();
        assert!(
            parent
                .directories()
                .iter()
                .all(|directory| !directory.exists())
        );
    }

    /// Even on hybrid nodes the unified tree takes processes and device filters, if not limits.
    #[test]
    fn on_v2_processes_are_born_inside_filtered_and_killed() {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = table.lines().find(|line| line.contains(" - cgroup2 "));
        let Some(mount) = line.and_then(|line| line.split(' ').nth(4)) else {
            return;
        };
        let cgroups = Cgroups::V2(mount.into());
        let parent = cgroups.group(&format!("corten-v2-test-{}", std::process::id()));
        let group = parent.child("container");
        group.ensure().unwrap();
        group.restrict_devices(&devices::default_rules()).unwrap();
        let birthplace = group.birthplace().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let open = |path: &std::ffi::CStr| {
            // SAFETY: the child makes system calls only.
            unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) }
        };
        // SAFETY: as above; other threads of the test do not matter to it.
        let child =
            unsafe { crate::sys::fork(0, birthplace.as_ref().map(std::os::fd::AsFd::as_fd)) };
        let Some(child) = child.unwrap() else {
            let as_wanted = open(c"/dev/zero") >= 0 && open(c"/dev/kmsg") < 0;
            let _ = rustix::io::write(&writer, &[u8::from(as_wanted)]);
            crate::sys::pause()
        };
        let mut answer = [9u8];
        rustix::io::read(&reader, &mut answer).unwrap();
        assert_eq!(answer, [1], "the child sees /dev/zero and not /dev/kmsg");
        assert_eq!(group.processes(), [child.pid]);
        group.kill().unwrap();
        let mut status = 0;
        // SAFETY: waits for the own child.
        unsafe { libc::waitpid(child.pid, &mut status, 0) };
        assert!(libc::WIFSIGNALED(status));
        parent.remove().unwrap();
    }
}
