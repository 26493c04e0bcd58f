//! The cgroup file systems as a container sees them: its own cgroup namespace's root, read-only unless privileged.
//! The read-only mark sits on the mount, never on the file system, which the node shares.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::mount::MountAttrFlags;

use super::Step;
use super::detached::{Detached, SECURE, file_system};
use crate::cgroup::{Cgroups, Hierarchy};
use crate::config::ContainerConfig;

/// Mounts below /sys/fs/cgroup.
pub fn mounts(config: &ContainerConfig, cgroups: &Cgroups) -> Step<Vec<Detached>> {
    let readonly = if config.security.privileged {
        MountAttrFlags::empty()
    } else {
        MountAttrFlags::MOUNT_ATTR_RDONLY
    };
    let attributes = SECURE | MountAttrFlags::MOUNT_ATTR_RELATIME | readonly;
    let place = |fd: OwnedFd, target: PathBuf| Detached {
        fd,
        target,
        directory: true,
        of_kernel: true,
    };
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = match cgroups {
        Cgroups::V2(_) => {
            return Ok(vec![place(
                file_system("cgroup2", &[], attributes)?,
                root.to_path_buf(),
            )]);
        }
        Cgroups::V1(hierarchies) => hierarchies,
    };
    let base = file_system("tmpfs", &[("mode", "755")], SECURE)?;
    let mut list = vec![place(base, root.to_path_buf())];
    for hierarchy in hierarchies {
        let options: Vec<(&str, &str)> = hierarchy
            .controllers
            .iter()
            .map(|controller| controller.split_once('=').unwrap_or((controller, "")))
            .collect();
        let mut all = options;
        if all.iter().all(|(key, _)| *key == "name") {
            all.insert(0, ("none", "")); // a named hierarchy has no controller
        }
        list.push(place(
            file_system("cgroup", &all, attributes)?,
            root.join(name(hierarchy)),
        ));
    }
    Ok(list)
}

/// Links that programs look for where several controllers share a hierarchy: link and what it points to.
pub fn links(cgroups: &Cgroups) -> Vec<(PathBuf, String)> {
    let Cgroups::V1(hierarchies) = cgroups else {
        return Vec::new();
    };
    let shared = hierarchies
        .iter()
        .filter(|hierarchy| hierarchy.controllers.len() > 1);
    shared
        .flat_map(|hierarchy| {
            let link = |controller: &String| {
                (
                    Path::new("/sys/fs/cgroup").join(controller),
                    name(hierarchy),
                )
            };
            hierarchy
                .controllers
                .iter()
                .filter(|c| !c.contains('='))
                .map(link)
        })
        .collect()
}

/// The directory name that programs look for: the mount's own, which systemd and runc use too.
fn name(hierarchy: &Hierarchy) -> String {
    let last = hierarchy.mount.file_name();
    last.map_or_else(
        || hierarchy.controllers.join(","),
        |name| name.to_string_lossy().into_owned(),
    )
}
