//! `subPath`: a part of a volume, bound to a place of its own so that a container cannot swap it for a link.
//! Invariant: what is bound was reached below the volume without following any link at the time of opening
//! (RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS), and it is bound by descriptor, not by name.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};

use crate::error::{Error, Result, errno};
use crate::mounts::{self, Mounted, mounted_at};

/// A `subPath` of a container's volume mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubPath {
    /// The name of the volume.
    pub volume: String,
    /// Where the volume is ([`crate::Ensured::path`]).
    pub volume_path: PathBuf,
    /// The container.
    pub container: String,
    /// The position in the container's `volumeMounts`.
    pub index: usize,
    /// The path in the volume, environment variables expanded.
    pub path: String,
}

/// Prepares `subpath` and binds it to `target`, the parent of which exists. A missing directory is made.
pub(crate) fn prepare(subpath: &SubPath, target: &Path) -> Result<()> {
    if subpath.path.starts_with('/') {
        return Err(Error::SubPathAbsolute(subpath.path.clone()));
    }
    if subpath.path.split('/').any(|part| part == "..") {
        return Err(Error::SubPathBacksteps(subpath.path.clone()));
    }
    let (volume, container) = (subpath.volume.clone(), subpath.container.clone());
    let full = subpath.volume_path.join(&subpath.path);
    if matches!(std::fs::metadata(&full), Err(error) if error.kind() == ErrorKind::NotFound)
        && let Err(cause) = make_directories(&subpath.volume_path, &subpath.path)
    {
        tracing::error!(path = %full.display(), error = %cause, "failed to make the directory of a subPath");
        return Err(Error::SubPathMake {
            volume,
            container,
            cause,
        });
    }
    bind(&subpath.volume_path, &full, target).map_err(|cause| {
        tracing::error!(path = %full.display(), error = %cause, "failed to prepare a subPath");
        Error::SubPathPrepare {
            volume,
            container,
            cause,
        }
    })
}

/// Makes the directories `path` below `base` with the mode of `base`.
fn make_directories(base: &Path, path: &str) -> io::Result<()> {
    let base = base.canonicalize()?;
    let mode = Mode::from_raw_mode(std::fs::metadata(&base)?.mode() & 0o7777);
    let mut existing = base.clone();
    let mut missing: Vec<&OsStr> = Vec::new();
    for component in Path::new(path).components() {
        let Component::Normal(name) = component else {
            continue;
        };
        if missing.is_empty() && std::fs::metadata(existing.join(name)).is_ok() {
            existing.push(name);
        } else {
            missing.push(name);
        }
    }
    // Links inside of the volume may be followed as long as they end inside of it.
    let mut directory = open_beneath(&base, &existing.canonicalize()?)?;
    for name in missing {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        errno(rustix::fs::mkdirat(&directory, name, mode))?;
        let made = errno(rustix::fs::openat(&directory, name, flags, Mode::empty()))?;
        errno(rustix::fs::fchmod(&made, mode))?;
        directory = made;
    }
    Ok(())
}

fn bind(volume: &Path, full: &Path, target: &Path) -> io::Result<()> {
    let volume = volume.canonicalize()?;
    let source = open_beneath(&volume, &full.canonicalize()?)?;
    let stat = errno(rustix::fs::fstat(&source))?;
    if mounted_at(target)? != Mounted::Nothing {
        let there = std::fs::symlink_metadata(target)?;
        if (there.dev(), there.ino()) == (stat.st_dev, stat.st_ino) {
            return Ok(());
        }
        mounts::unmount(target)?;
    }
    place_target(
        target,
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
    )?;
    mounts::bind(&format!("/proc/self/fd/{}", source.as_raw_fd()), target)
}

/// A directory for a directory, a file for everything else; what an earlier attempt left may be of the other kind.
fn place_target(target: &Path, directory: bool) -> io::Result<()> {
    match std::fs::symlink_metadata(target) {
        Ok(there) if there.is_dir() == directory => return Ok(()),
        Ok(_) => crate::tree::remove(target)?,
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if directory {
        std::fs::create_dir(target)
    } else {
        std::fs::write(target, "")
    }
}

/// Opens `path`, a resolved path, which must be `base` or below; nobody may have put a link in the way meanwhile.
fn open_beneath(base: &Path, path: &Path) -> io::Result<OwnedFd> {
    let outside = |_| {
        let text = format!("subpath {path:?} not within volume path {base:?}");
        io::Error::new(ErrorKind::InvalidInput, text)
    };
    let relative = path.strip_prefix(base).map_err(outside)?;
    let relative = if relative.as_os_str().as_bytes().is_empty() {
        Path::new(".")
    } else {
        relative
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let base = match errno(rustix::fs::openat(CWD, base, flags, Mode::empty())) {
        // A volume may be a single file (hostPath); then it is the sub-path itself.
        Err(error) if error.kind() == ErrorKind::NotADirectory && relative == Path::new(".") => {
            return errno(rustix::fs::openat(
                CWD,
                base,
                OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            ));
        }
        other => other?,
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    errno(rustix::fs::openat2(
        &base,
        relative,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    ))
}
