//! A container's file system: everything is mounted detached, by descriptor, while the node's tree is visible;
//! then the root is entered and the mounts are attached inside it, so that symlinks of the image resolve inside.
//! Invariant: nothing of it shows in the node's mount table, and the last process of the container takes it along.

mod attach;
mod cgroups;
mod detached;
mod devices;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::mount::{MountAttrFlags, UnmountFlags};

use crate::cgroup::Cgroups;
use crate::config::{ContainerConfig, NamespaceMode, SandboxConfig};
use crate::sys;
use detached::Detached;

pub use attach::bind_console;
pub use detached::file_system;
pub use devices::rules as device_rules;

/// What a root file system is made from.
pub struct RootSpec<'a> {
    pub config: &'a ContainerConfig,
    pub sandbox: &'a SandboxConfig,
    /// The container's writable directories, on one file system.
    pub upper: PathBuf,
    pub work: PathBuf,
    /// The pod's shared memory on the node.
    pub shm: PathBuf,
    /// An existing directory on a private mount, where the root is attached for a moment.
    pub pivot: PathBuf,
}

/// Result of the steps here; the text says what failed on which path.
pub type Step<T> = Result<T, String>;

/// Words for a failed step.
pub(crate) fn at<E: std::fmt::Display>(what: impl std::fmt::Display) -> impl FnOnce(E) -> String {
    let what = what.to_string();
    move |error| format!("{what}: {error}")
}

/// A root file system not yet entered.
pub struct PreparedRoot {
    root: OwnedFd,
    mounts: Vec<Detached>,
    nodes: Vec<devices::Node>,
    own_devices: bool,
    /// Links of cgroup v1, with what they point to.
    links: Vec<(PathBuf, String)>,
}

impl PreparedRoot {
    /// Makes the root and all mounts that come from the node. Must run inside the container's mount, PID, IPC and
    /// network namespaces.
    pub fn build(spec: &RootSpec<'_>) -> Step<Self> {
        let root = detached::overlay(&spec.config.image.layers, Some((&spec.upper, &spec.work)))?;
        let volumes = detached::volumes(spec.config)?;
        let taken = |target: &str| volumes.iter().any(|m| m.target == Path::new(target));
        let own_devices = !taken("/dev");
        let mut mounts = detached::kernel(spec, &|target| {
            taken(target) || (!own_devices && target.starts_with("/dev"))
        })?;
        mounts.extend(volumes);
        let nodes = devices::nodes(spec.config)?;
        let links = Vec::new();
        Ok(Self {
            root,
            mounts,
            nodes,
            own_devices,
            links,
        })
    }

    /// The container's root directory.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Adds the cgroup mounts; must run inside the container's cgroup namespace.
    pub fn add_cgroups(&mut self, config: &ContainerConfig, cgroups: &Cgroups) -> Step<()> {
        if self
            .mounts
            .iter()
            .any(|m| m.target == Path::new("/sys/fs/cgroup"))
        {
            return Ok(());
        }
        let mounts = cgroups::mounts(config, cgroups)?;
        let place = self
            .mounts
            .iter()
            .position(|m| m.target == Path::new("/sys"));
        let place = place.map_or(0, |index| index + 1);
        self.mounts.splice(place..place, mounts);
        self.links = cgroups::links(cgroups);
        Ok(())
    }

    /// Makes the root this process's root and attaches everything inside. The node's tree is gone afterwards.
    pub fn enter(self, spec: &RootSpec<'_>) -> Step<()> {
        change_root(&self.root, &spec.pivot)?;
        let mut devices_ready = !self.own_devices;
        for mount in &self.mounts {
            if !devices_ready && !mount.of_kernel {
                devices::populate(&self.nodes)?; // before volumes, which may land on nodes
                devices_ready = true;
            }
            attach::attach(mount)?;
        }
        if !devices_ready {
            devices::populate(&self.nodes)?;
        }
        for (link, target) in self.links.iter().filter(|(link, _)| !sys::exists(link)) {
            std::os::unix::fs::symlink(target, link).map_err(at("link a cgroup controller"))?;
        }
        let cgroups = Path::new("/sys/fs/cgroup");
        match self
            .mounts
            .iter()
            .find(|m| m.of_kernel && m.target == cgroups)
        {
            // Only now: on v1 the directories of the hierarchies had to be made in it.
            Some(mount) if !spec.config.security.privileged => readonly(mount.fd.as_fd()),
            _ => Ok(()),
        }
    }
}

fn readonly(mount: BorrowedFd<'_>) -> Step<()> {
    let attributes = u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits());
    sys::mount_setattr(mount, attributes, 0, sys::Depth::One).map_err(at("make a mount read-only"))
}

/// Hides and protects paths and the root itself: the last changes to the tree.
pub fn seal(config: &ContainerConfig) -> Step<()> {
    let security = &config.security;
    if !security.privileged {
        for path in &security.readonly_paths {
            attach::make_readonly(path)?;
        }
        attach::mask(&security.masked_paths)?;
    }
    if security.readonly_rootfs {
        let root = attach::open_path(Path::new("/")).map_err(at("open /"))?;
        readonly(root.as_fd())?;
    }
    Ok(())
}

/// Makes the working directory if the image lacks it.
pub fn ensure_directory(path: &str) -> Step<()> {
    if Path::new(path).is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(at(format!("mkdir {path}")))
}

/// pivot_root into a detached mount. It must be attached somewhere first; the node's mounts of this namespace
/// become private, so that nothing done here travels back.
fn change_root(root: &OwnedFd, pivot: &Path) -> Step<()> {
    use rustix::mount::{MountPropagationFlags, MoveMountFlags, mount_change, move_mount, unmount};
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(at("make mounts private"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root, c"", rustix::fs::CWD, pivot, flags)
        .map_err(at(format!("attach the root at {}", pivot.display())))?;
    rustix::process::fchdir(root).map_err(at("enter the root"))?;
    rustix::process::pivot_root(".", ".").map_err(at("pivot_root"))?;
    // The old root now lies on top of the new one.
    unmount(".", UnmountFlags::DETACH).map_err(at("detach the node's tree"))?;
    std::env::set_current_dir("/").map_err(at("enter /"))
}

/// Leaves the node's tree for an empty read-only directory: the root of a pod's init.
pub fn enter_empty(pivot: &Path) -> Step<()> {
    let options = [("nr_blocks", "1"), ("nr_inodes", "1")];
    let attributes = detached::SECURE | MountAttrFlags::MOUNT_ATTR_RDONLY;
    change_root(
        &detached::file_system("tmpfs", &options, attributes)?,
        pivot,
    )
}

/// Whether a namespace is the node's.
fn is_node(mode: NamespaceMode) -> bool {
    mode == NamespaceMode::Node
}
