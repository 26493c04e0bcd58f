//! Device nodes and links in a container's own /dev, and the cgroup rules that go with them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Step, at};
use crate::cgroup::devices::{DeviceKind, DeviceRule};
use crate::config::ContainerConfig;
use crate::sys;

/// A node to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub device: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

const DEFAULT: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Directories and nodes of the node's /dev that belong to the node or that every container has of its own.
const NOT_SHARED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".udev", "console"];

/// The nodes that `config` asks for beyond the default ones; reads the node's /dev.
pub fn nodes(config: &ContainerConfig) -> Step<Vec<Node>> {
    let mut list = Vec::new();
    if config.security.privileged {
        collect(Path::new("/dev"), Path::new("/dev"), "rwm", &mut list);
        let default = |node: &Node| {
            DEFAULT
                .iter()
                .any(|(path, ..)| node.path == Path::new(path))
        };
        list.retain(|node| !default(node));
    }
    for device in &config.devices {
        let facts = fs::metadata(&device.host_path)
            .map_err(at(format!("read device {}", device.host_path.display())))?;
        if facts.is_dir() {
            collect(
                &device.host_path,
                &device.container_path,
                &device.permissions,
                &mut list,
            );
        } else {
            let real = fs::canonicalize(&device.host_path).unwrap_or_default();
            let node = node(&real, &device.container_path, &device.permissions);
            list.push(
                node.ok_or_else(|| format!("{} is not a device", device.host_path.display()))?,
            );
        }
    }
    Ok(list)
}

/// What the cgroup must allow for `devices`; `None` for privileged containers, which may use everything.
pub fn rules(config: &ContainerConfig) -> Step<Option<Vec<DeviceRule>>> {
    if config.security.privileged {
        return Ok(None);
    }
    let mut rules = crate::cgroup::devices::default_rules();
    for node in nodes(config)? {
        rules.push(DeviceRule {
            kind: node.kind,
            major: Some(libc::major(node.device)),
            minor: Some(libc::minor(node.device)),
            access: node.access,
        });
    }
    Ok(Some(rules))
}

fn collect(host: &Path, inside: &Path, access: &str, list: &mut Vec<Node>) {
    let Ok(entries) = fs::read_dir(host) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        if NOT_SHARED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&entry.path(), &inside.join(&name), access, list),
            Ok(_) => list.extend(node(&entry.path(), &inside.join(&name), access)),
            Err(_) => {}
        }
    }
}

/// The device at `host`; `None` for anything else, symlinks included.
fn node(host: &Path, inside: &Path, access: &str) -> Option<Node> {
    let facts = fs::symlink_metadata(host).ok()?;
    let kind = match FileType::from_raw_mode(facts.mode()) {
        FileType::CharacterDevice => DeviceKind::Char,
        FileType::BlockDevice => DeviceKind::Block,
        _ => return None,
    };
    Some(Node {
        path: inside.to_path_buf(),
        kind,
        device: facts.rdev(),
        mode: facts.permissions().mode() & 0o7777,
        uid: facts.uid(),
        gid: facts.gid(),
        access: access.to_owned(),
    })
}

/// Fills the container's own /dev: default nodes, links, then `extra`.
pub fn populate(extra: &[Node]) -> Step<()> {
    let previous = rustix::process::umask(Mode::empty());
    let done = populate_unmasked(extra);
    rustix::process::umask(previous);
    done
}

fn populate_unmasked(extra: &[Node]) -> Step<()> {
    for (path, major, minor) in DEFAULT {
        let node = Node {
            path: path.into(),
            kind: DeviceKind::Char,
            device: libc::makedev(major, minor),
            mode: 0o666,
            uid: 0,
            gid: 0,
            access: String::new(),
        };
        make(&node).map_err(at(format!("make device {path}")))?;
    }
    for (path, target) in LINKS {
        if !sys::exists(Path::new(path)) {
            std::os::unix::fs::symlink(target, path).map_err(at(format!("link {path}")))?;
        }
    }
    if Path::new("/proc/kcore").exists() && !sys::exists(Path::new("/dev/core")) {
        std::os::unix::fs::symlink("/proc/kcore", "/dev/core").map_err(at("link /dev/core"))?;
    }
    for node in extra {
        make(node).map_err(at(format!("make device {}", node.path.display())))?;
    }
    Ok(())
}

fn make(node: &Node) -> io::Result<()> {
    let kind = match node.kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
    };
    if let Some(parent) = node.path.parent().filter(|parent| !parent.is_dir()) {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
    }
    match mknodat(
        CWD,
        &node.path,
        kind,
        Mode::from_raw_mode(node.mode),
        node.device,
    ) {
        Err(rustix::io::Errno::EXIST) => return Ok(()),
        other => other?,
    }
    if (node.uid, node.gid) != (0, 0) {
        std::os::unix::fs::chown(&node.path, Some(node.uid), Some(node.gid))?;
    }
    Ok(())
}
