//! How much a volume takes: what kubelet reports, and compares with `sizeLimit`.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::tree::entries;

/// What a directory tree takes on its file system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes on disk, holes and shared blocks of hard links not counted.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// Measures everything at and below `path` on its own file system. Files that go meanwhile are not counted.
pub fn usage(path: &Path) -> Result<Usage> {
    measure(path).map_err(Error::disk("measure", path))
}

fn measure(path: &Path) -> io::Result<Usage> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let top = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&top)?;
    let mut total = Usage::default();
    let mut links = HashSet::new();
    add(&mut total, &mut links, &stat);
    let device = stat.st_dev;
    let mut pending: Vec<OwnedFd> = vec![top];
    while let Some(directory) = pending.pop() {
        for (name, _) in entries(&directory)? {
            let stat = match rustix::fs::statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if stat.st_dev == device => stat,
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            add(&mut total, &mut links, &stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                match rustix::fs::openat(&directory, &*name, flags, Mode::empty()) {
                    Ok(inner) => pending.push(inner),
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(total)
}

fn add(total: &mut Usage, links: &mut HashSet<u64>, stat: &Stat) {
    let linked = stat.st_nlink > 1 && FileType::from_raw_mode(stat.st_mode) != FileType::Directory;
    if linked && !links.insert(stat.st_ino) {
        return;
    }
    total.bytes += stat.st_blocks as u64 * 512;
    total.inodes += 1;
}
