//! Detached mounts: overlays of image layers, volumes cloned from the node's tree, and the kernel's file systems.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, open_tree,
};

use super::{RootSpec, Step, at, is_node};
use crate::config::{Access, ContainerConfig, Mount, MountSource, Propagation};
use crate::sys::{self, Depth};

/// Longest value of a mount option given as a string.
const OPTION_MAX: usize = 255;

/// A mount without a place yet.
pub struct Detached {
    pub fd: OwnedFd,
    /// Absolute path inside the container.
    pub target: PathBuf,
    pub directory: bool,
    /// One of the runtime's own rather than a volume.
    pub of_kernel: bool,
}

/// An overlay of `layers` (lowest first); without writable directories it is read-only.
pub fn overlay(layers: &[PathBuf], writable: Option<(&Path, &Path)>) -> Step<OwnedFd> {
    if layers.is_empty() {
        return Err("the image has no layers".to_owned());
    }
    // The layer's files are lost with the container anyway: without `volatile` unmounting would sync the whole disk.
    match overlay_with(layers, writable, true) {
        Err(error) if writable.is_some() => {
            overlay_with(layers, writable, false).map_err(|_| error)
        }
        other => other,
    }
}

fn overlay_with(
    layers: &[PathBuf],
    writable: Option<(&Path, &Path)>,
    volatile: bool,
) -> Step<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(at("open overlay"))?;
    for layer in layers.iter().rev() {
        set_directory(&context, "lowerdir+", layer)?;
    }
    if let Some((upper, work)) = writable {
        set_directory(&context, "upperdir", upper)?;
        set_directory(&context, "workdir", work)?;
        if volatile {
            fsconfig_set_flag(&context, "volatile").map_err(at("set overlay option volatile"))?;
        }
    }
    create(&context, "overlay", MountAttrFlags::empty())
}

/// Short paths as text, long ones by descriptor (newer kernels).
fn set_directory(context: &OwnedFd, key: &str, path: &Path) -> Step<()> {
    let words = || format!("set overlay option {key} to {}", path.display());
    if path.as_os_str().len() <= OPTION_MAX {
        return fsconfig_set_string(context, key, path).map_err(at(words()));
    }
    let directory = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(at(format!("open {}", path.display())))?;
    fsconfig_set_fd(context, key, &directory).map_err(at(words()))
}

fn create(context: &OwnedFd, name: &str, attributes: MountAttrFlags) -> Step<OwnedFd> {
    fsconfig_create(context)
        .map_err(|error| format!("make {name} file system: {error}{}", explanation(context)))?;
    fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).map_err(at(format!("mount {name}")))
}

/// What the kernel has to say about a failed mount.
fn explanation(context: &OwnedFd) -> String {
    let mut buffer = [0u8; 512];
    match rustix::io::read(context, &mut buffer) {
        Ok(length) => format!(" ({})", String::from_utf8_lossy(&buffer[..length]).trim()),
        Err(_) => String::new(),
    }
}

/// A new instance of a kernel file system, with options; an empty value is a flag.
pub fn file_system(
    name: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Step<OwnedFd> {
    let context = fsopen(name, FsOpenFlags::FSOPEN_CLOEXEC).map_err(at(format!("open {name}")))?;
    for (key, value) in options {
        let set = if value.is_empty() {
            fsconfig_set_flag(&context, *key)
        } else {
            fsconfig_set_string(&context, *key, *value)
        };
        set.map_err(at(format!("set {name} option {key}")))?;
    }
    create(&context, name, attributes)
}

pub const SECURE: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// /proc, /dev, /sys and what lies below them, except what `taken` says a volume replaces.
pub fn kernel(spec: &RootSpec<'_>, taken: &dyn Fn(&str) -> bool) -> Step<Vec<Detached>> {
    let mut list = Vec::new();
    let mut add = |target: &str, fd: Step<OwnedFd>| -> Step<()> {
        list.push(Detached {
            fd: fd?,
            target: target.into(),
            directory: true,
            of_kernel: true,
        });
        Ok(())
    };
    let wanted = |target: &str| !taken(target);
    add("/proc", file_system("proc", &[], SECURE))?; // also under a volume, for the checks of mount targets
    if wanted("/dev") {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_STRICTATIME;
        add(
            "/dev",
            file_system("tmpfs", &[("mode", "755"), ("size", "65536k")], attributes),
        )?;
    }
    let terminals = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    if wanted("/dev/pts") {
        let options = [("ptmxmode", "0666"), ("mode", "0620"), ("gid", "5")];
        add("/dev/pts", file_system("devpts", &options, terminals))?;
    }
    if wanted("/dev/mqueue") {
        add("/dev/mqueue", file_system("mqueue", &[], SECURE))?;
    }
    if wanted("/sys") {
        let readonly = if spec.config.security.privileged {
            MountAttrFlags::empty()
        } else {
            MountAttrFlags::MOUNT_ATTR_RDONLY
        };
        add("/sys", file_system("sysfs", &[], SECURE | readonly))?;
    }
    if wanted("/dev/shm") {
        let node = Path::new("/dev/shm");
        let source = if is_node(spec.sandbox.ipc) {
            node
        } else {
            &spec.shm
        };
        add(
            "/dev/shm",
            clone(source, Propagation::Private, Access::ReadWrite),
        )?;
    }
    Ok(list)
}

/// The container's volumes, parents before what lies below them.
pub fn volumes(config: &ContainerConfig) -> Step<Vec<Detached>> {
    let mut order: Vec<&Mount> = config.mounts.iter().collect();
    order.sort_by_key(|mount| mount.target.components().count());
    order.into_iter().map(volume).collect()
}

fn volume(mount: &Mount) -> Step<Detached> {
    if !mount.target.is_absolute() {
        return Err(format!(
            "mount target {} is not absolute",
            mount.target.display()
        ));
    }
    let fd = match &mount.source {
        MountSource::HostPath(path) => {
            if !path.exists() {
                std::fs::create_dir_all(path)
                    .map_err(at(format!("make missing host path {}", path.display())))?;
            }
            clone(path, mount.propagation, mount.access)?
        }
        MountSource::Layers { layers, sub_path } => image_volume(layers, sub_path.as_deref())?,
    };
    let facts = rustix::fs::fstat(&fd).map_err(at("stat mount"))?;
    let directory = rustix::fs::FileType::from_raw_mode(facts.st_mode).is_dir();
    Ok(Detached {
        fd,
        target: mount.target.clone(),
        directory,
        of_kernel: false,
    })
}

fn image_volume(layers: &[PathBuf], sub_path: Option<&Path>) -> Step<OwnedFd> {
    let whole = match layers {
        [single] => clone(single, Propagation::Private, Access::ReadOnly)?,
        _ => overlay(layers, None)?,
    };
    let mount = match sub_path {
        None => whole,
        Some(sub_path) => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let words = || format!("open {} inside the image volume", sub_path.display());
            let inside = rustix::fs::openat2(
                &whole,
                sub_path,
                flags,
                Mode::empty(),
                ResolveFlags::IN_ROOT,
            )
            .map_err(at(words()))?;
            clone_of(&inside, OpenTreeFlags::empty()).map_err(at(words()))?
        }
    };
    let attributes = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    sys::mount_setattr(mount.as_fd(), attributes, 0, Depth::One)
        .map_err(at("make the image volume read-only"))?;
    Ok(mount)
}

/// A detached copy of the mount at an open path.
pub fn clone_of(place: impl AsFd, depth: OpenTreeFlags) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(place, c"", flags | depth)?)
}

/// A detached copy of a node's path with all mounts below it.
fn clone(source: &Path, propagation: Propagation, access: Access) -> Step<OwnedFd> {
    let words = || format!("bind {}", source.display());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, source, flags).map_err(at(words()))?;
    let mode = match propagation {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::HostToContainer => libc::MS_SLAVE,
        Propagation::Bidirectional => libc::MS_SHARED,
    };
    check_propagation(source, propagation)?;
    sys::mount_setattr(tree.as_fd(), 0, mode, Depth::Tree).map_err(at(words()))?;
    let depth = match access {
        Access::ReadWrite => return Ok(tree),
        Access::ReadOnly => Depth::One,
        Access::RecursiveReadOnly => Depth::Tree,
    };
    let attributes = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    sys::mount_setattr(tree.as_fd(), attributes, 0, depth).map_err(at(words()))?;
    Ok(tree)
}

/// Propagation needs a source that takes part in it.
fn check_propagation(source: &Path, propagation: Propagation) -> Step<()> {
    let needed: &[&str] = match propagation {
        Propagation::Private => return Ok(()),
        Propagation::HostToContainer => &["shared:", "master:"],
        Propagation::Bidirectional => &["shared:"],
    };
    let place = rustix::fs::open(source, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(at(format!("open {}", source.display())))?;
    let line = mount_line(place.as_fd()).map_err(at("read the mount table"))?;
    let marks = line.split(" - ").next().unwrap_or_default();
    if marks
        .split(' ')
        .skip(6)
        .any(|mark| needed.iter().any(|n| mark.starts_with(n)))
    {
        return Ok(());
    }
    let kind = if needed.len() == 1 {
        "a shared"
    } else {
        "a shared or slave"
    };
    let mounted = marks.split(' ').nth(4).unwrap_or("?");
    Err(format!(
        "path {} is mounted on {mounted} but it is not {kind} mount",
        source.display()
    ))
}

/// The mount table's line for the mount that an open path lies on.
fn mount_line(place: BorrowedFd<'_>) -> io::Result<String> {
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", place.as_raw_fd()))?;
    let id = facts
        .lines()
        .find_map(|line| line.strip_prefix("mnt_id:"))
        .map_or("", str::trim);
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let line = table
        .lines()
        .find(|line| line.split(' ').next() == Some(id));
    Ok(line.unwrap_or_default().to_owned())
}
