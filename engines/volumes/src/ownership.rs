//! `fsGroup`: giving the files of a volume to a group.
//! Invariant: links are changed themselves, never what they point to; a file that cannot be changed is logged and left.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Mode};

use crate::error::{Error, Result};

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const EXECUTE: u32 = 0o110;
const SET_GID: u32 = 0o2000;

/// `fsGroupChangePolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FsGroupChange {
    /// Always the whole volume.
    #[default]
    Always,
    /// Only when the top of the volume is not as it should be.
    OnRootMismatch,
}

/// Whether containers may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They may.
    ReadWrite,
    /// They may not, as in config maps and secrets.
    ReadOnly,
}

/// Gives everything in `volume` to `group`: its members may read (and write), directories pass the group on.
pub fn apply_fs_group(
    volume: &Path,
    group: u32,
    change: FsGroupChange,
    access: Access,
) -> Result<()> {
    if change == FsGroupChange::OnRootMismatch && !mismatches(volume, group, access) {
        return Ok(());
    }
    let meta = std::fs::symlink_metadata(volume).map_err(Error::disk("look at", volume))?;
    walk(volume, &meta, &|path, meta| set(path, meta, group, access))
        .map_err(Error::disk("set the group of files in", volume))
}

/// Whether the top of the volume differs from what `apply_fs_group` makes of it.
fn mismatches(volume: &Path, group: u32, access: Access) -> bool {
    let Ok(meta) = std::fs::metadata(volume) else {
        return true;
    };
    let wanted = mask(access) | EXECUTE | SET_GID;
    meta.gid() != group || !meta.is_dir() || meta.permissions().mode() & wanted != wanted
}

/// Visits everything below `path` and then `path` itself, so that a top that is right means the rest is too.
fn walk(path: &Path, meta: &Metadata, visit: &dyn Fn(&Path, &Metadata)) -> io::Result<()> {
    if meta.is_dir() {
        for entry in std::fs::read_dir(path)? {
            let entry = entry?;
            // Files may go while the volume is in use.
            match entry.metadata() {
                Ok(meta) => walk(&entry.path(), &meta, visit)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    visit(path, meta);
    Ok(())
}

fn set(path: &Path, meta: &Metadata, group: u32, access: Access) {
    let failed = |what: &str, error: rustix::io::Errno| {
        tracing::warn!(path = %path.display(), %error, "failed to change the {what} of a file in a volume");
    };
    if let Err(error) = rustix::fs::chownat(
        CWD,
        path,
        None,
        Some(Gid::from_raw(group)),
        AtFlags::SYMLINK_NOFOLLOW,
    ) {
        failed("group", error);
    }
    if meta.is_symlink() {
        return;
    }
    let more = if meta.is_dir() {
        mask(access) | EXECUTE | SET_GID
    } else {
        mask(access)
    };
    let mode = Mode::from_raw_mode((meta.permissions().mode() & 0o7777) | more);
    if let Err(error) = rustix::fs::chmodat(CWD, path, mode, AtFlags::empty()) {
        failed("mode", error);
    }
}

fn mask(access: Access) -> u32 {
    match access {
        Access::ReadWrite => READ_WRITE,
        Access::ReadOnly => READ_ONLY,
    }
}
