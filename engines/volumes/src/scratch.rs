//! `emptyDir`: a directory on disk, a tmpfs or huge pages. Volumes that kubelet writes live on the same ground.
//! Invariant: the mark `ready` is written only after the volume is complete, owner included.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::desired::Medium;
use crate::error::{Error, Result};
use crate::mounts::{self, Mounted, mounted_at};
use crate::ownership::{Access, FsGroupChange, apply_fs_group};

const READY: &str = "ready";

/// Makes the `emptyDir` at `path`; `marks` is where its mark of readiness lives. Returns whether anything was done.
/// What containers have put in stays.
pub(crate) fn ensure(
    path: &Path,
    marks: &Path,
    medium: &Medium,
    fs_group: Option<u32>,
) -> Result<bool> {
    let ready = marks.join(READY).exists();
    let mounted = mounted_at(path).map_err(Error::disk("look at", path))?;
    let complete = match medium {
        Medium::Disk => path.is_dir(),
        Medium::Memory { .. } => mounted == Mounted::Tmpfs,
        Medium::HugePages { .. } => mounted == Mounted::HugePages,
    };
    if ready && complete {
        return Ok(false);
    }
    ground(path, medium)?;
    if let Some(group) = fs_group {
        apply_fs_group(path, group, FsGroupChange::Always, Access::ReadWrite)?;
    }
    std::fs::create_dir_all(marks)
        .and_then(|()| std::fs::write(marks.join(READY), ""))
        .map_err(Error::disk("mark as ready", marks))?;
    Ok(true)
}

/// Makes the directory, mode 0777, and mounts what belongs there. Returns whether anything was done.
pub(crate) fn ground(path: &Path, medium: &Medium) -> Result<bool> {
    let mounted = mounted_at(path).map_err(Error::disk("look at", path))?;
    let made = !path.is_dir();
    if mounted == Mounted::Nothing {
        open_directory(path).map_err(Error::disk("create directory", path))?;
    }
    let mount = match (medium, mounted) {
        (Medium::Memory { bytes_max }, Mounted::Nothing | Mounted::Other | Mounted::HugePages) => {
            mounts::mount_tmpfs(path, *bytes_max)
        }
        (Medium::HugePages { page_bytes }, Mounted::Nothing | Mounted::Other | Mounted::Tmpfs) => {
            mounts::mount_huge_pages(path, *page_bytes)
        }
        _ => return Ok(made),
    };
    mount.map_err(Error::disk("mount", path))?;
    Ok(true)
}

fn open_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o777))
}
