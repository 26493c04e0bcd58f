//! Removing directory trees without ever leaving them: no link is followed and no mount point entered, so that a volume
//! that is still mounted keeps its data.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxAttributes, StatxFlags};
use rustix::io::Errno;

const OPEN: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Removes `path` with everything in it; it may be missing. Fails at a mount point, having removed nothing behind it.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = match rustix::fs::openat(CWD, parent, OPEN, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    remove_entry(&parent, name.as_encoded_bytes())
}

fn remove_entry(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says EISDIR for a directory, POSIX EPERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(Errno::BUSY) => return Err(still_mounted(name)),
        Err(error) => return Err(error.into()),
    }
    let stat = rustix::fs::statx(parent, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
    if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(still_mounted(name));
    }
    let directory = rustix::fs::openat(parent, name, OPEN, Mode::empty())?;
    for (name, _) in entries(&directory)? {
        remove_entry(&directory, &name)?;
    }
    match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::BUSY) => Err(still_mounted(name)),
        Err(error) => Err(error.into()),
    }
}

fn still_mounted(name: &[u8]) -> io::Error {
    let text = format!("{} is still a mount point", String::from_utf8_lossy(name));
    io::Error::new(io::ErrorKind::ResourceBusy, text)
}

/// The names in a directory and what they are, as far as the file system says.
pub(crate) fn entries(directory: &OwnedFd) -> io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut buffer = Vec::with_capacity(32 << 10);
    let mut found = Vec::new();
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            found.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(found)
}
