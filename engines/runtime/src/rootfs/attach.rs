//! Attaching mounts inside the container's root, and changing what is attached. Runs after the root was entered,
//! so every symlink resolves inside the container; targets are opened first and checked, then mounted on by descriptor.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MoveMountFlags, OpenTreeFlags, move_mount};

use super::detached::{Detached, clone_of, file_system};
use super::{Step, at};
use crate::sys::{self, Depth};

/// Files below /proc that volumes may replace, as upstream's runtimes allow (lxcfs provides them).
const PROC_REPLACEABLE: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// A descriptor of a path only, following symlinks.
pub fn open_path(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Puts a mount at its target, making that first if it is missing.
pub fn attach(mount: &Detached) -> Step<()> {
    let target = mount.target.as_path();
    let words = || format!("mount on {}", target.display());
    if mount.of_kernel {
        refuse_symlink(target)?;
    }
    make_target(target, mount.directory).map_err(at(words()))?;
    let place = open_path(target).map_err(at(words()))?;
    if !mount.of_kernel {
        check_place(mount, &place)?;
    }
    place_on(mount.fd.as_fd(), &place).map_err(at(words()))?;
    if target == Path::new("/proc") && !is_proc(rustix::fs::statfs("/proc/self")) {
        return Err("/proc is not a proc file system after mounting".to_owned());
    }
    Ok(())
}

fn place_on(mount: impl AsFd, place: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, c"", place, c"", flags)?)
}

/// An image must not send the kernel's file systems elsewhere.
fn refuse_symlink(target: &Path) -> Step<()> {
    match target.symlink_metadata() {
        Ok(facts) if facts.is_symlink() => {
            Err(format!("{} of the image is a symlink", target.display()))
        }
        _ => Ok(()),
    }
}

fn make_target(target: &Path, directory: bool) -> io::Result<()> {
    if target.exists() {
        return Ok(());
    }
    if directory {
        return fs::create_dir_all(target);
    }
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o755)
        .open(target)
        .map(drop)
}

/// Volumes may not cover /proc, unless with another proc, nor most of what lies in it.
fn check_place(mount: &Detached, place: &OwnedFd) -> Step<()> {
    let real = fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))
        .map_err(at("find where a volume goes"))?;
    if !real.starts_with("/proc") || PROC_REPLACEABLE.iter().any(|p| real == Path::new(p)) {
        return Ok(());
    }
    let is_proc = || is_proc(rustix::fs::fstatfs(&mount.fd));
    if real == Path::new("/proc") && is_proc() {
        return Ok(());
    }
    let (target, real) = (mount.target.display(), real.display());
    Err(format!(
        "{target} cannot be mounted because {real} is inside /proc"
    ))
}

fn is_proc(facts: rustix::io::Result<rustix::fs::StatFs>) -> bool {
    facts.is_ok_and(|facts| facts.f_type == libc::PROC_SUPER_MAGIC)
}

/// Binds a path onto itself read-only; a missing one is fine.
pub fn make_readonly(path: &str) -> Step<()> {
    let words = || format!("make {path} read-only");
    let place = match open_path(Path::new(path)) {
        Err(error) if absent(&error) => return Ok(()),
        other => other.map_err(at(words()))?,
    };
    let copy = clone_of(&place, OpenTreeFlags::AT_RECURSIVE).map_err(at(words()))?;
    let attributes = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    sys::mount_setattr(copy.as_fd(), attributes, 0, Depth::One).map_err(at(words()))?;
    place_on(&copy, &place).map_err(at(words()))
}

/// Covers files with /dev/null and directories with an empty read-only tmpfs; missing ones are fine.
pub fn mask(paths: &[String]) -> Step<()> {
    let mut null = None;
    for path in paths {
        let words = || format!("mask {path}");
        let place = match open_path(Path::new(path)) {
            Err(error) if absent(&error) => continue,
            other => other.map_err(at(words()))?,
        };
        let facts = rustix::fs::fstat(&place).map_err(at(words()))?;
        if rustix::fs::FileType::from_raw_mode(facts.st_mode).is_dir() {
            let empty = file_system("tmpfs", &[("ro", "")], MountAttrFlags::MOUNT_ATTR_RDONLY)?;
            place_on(&empty, &place).map_err(at(words()))?;
            continue;
        }
        let null = match &null {
            Some(null) => null,
            None => null.insert(real_null()?),
        };
        let copy = clone_of(null, OpenTreeFlags::empty()).map_err(at(words()))?;
        place_on(&copy, &place).map_err(at(words()))?;
    }
    Ok(())
}

/// The container's /dev/null, if it is one.
fn real_null() -> Step<OwnedFd> {
    let null = open_path(Path::new("/dev/null")).map_err(at("open /dev/null"))?;
    let facts = rustix::fs::fstat(&null).map_err(at("stat /dev/null"))?;
    let device = rustix::fs::FileType::from_raw_mode(facts.st_mode).is_char_device();
    if !device || facts.st_rdev != libc::makedev(1, 3) {
        return Err("/dev/null of the container is not the null device".to_owned());
    }
    Ok(null)
}

fn absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

/// Shows the container's terminal as /dev/console.
pub fn bind_console(terminal: &str) -> Step<()> {
    let words = "bind the terminal on /dev/console";
    let terminal = open_path(Path::new(terminal)).map_err(at(words))?;
    let copy = clone_of(&terminal, OpenTreeFlags::empty()).map_err(at(words))?;
    let console = Path::new("/dev/console");
    refuse_symlink(console)?;
    make_target(console, false).map_err(at(words))?;
    place_on(&copy, &open_path(console).map_err(at(words))?).map_err(at(words))
}
