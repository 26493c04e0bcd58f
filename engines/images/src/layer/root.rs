//! A directory that paths from an archive cannot leave: every look-up goes through openat2(2) with RESOLVE_IN_ROOT.
//! Invariant: nothing outside the directory is created, changed or removed, whatever symbolic links the archive made.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

const CACHE_MAX: usize = 128;
/// As many links as the kernel follows in one look-up.
const LINKS_MAX: u32 = 40;

/// The directory a layer is unpacked into.
pub(crate) struct Root {
    top: Rc<OwnedFd>,
    cache: HashMap<Vec<u8>, Rc<OwnedFd>>,
    implied: BTreeSet<Vec<u8>>,
}

/// A cleaned relative path split into the directory and the last name.
pub(crate) struct Spot {
    pub(crate) parent: Rc<OwnedFd>,
    pub(crate) name: Vec<u8>,
}

impl Root {
    /// Opens `path`, which must exist.
    pub(crate) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = Rc::new(rustix::fs::openat(CWD, path, flags, Mode::empty())?);
        Ok(Root {
            top,
            cache: HashMap::new(),
            implied: BTreeSet::new(),
        })
    }

    /// The directory itself.
    pub(crate) fn top(&self) -> &OwnedFd {
        &self.top
    }

    /// Where `path` (cleaned, not empty) lives; missing directories are made and noted as implied.
    pub(crate) fn spot(&mut self, path: &[u8]) -> io::Result<Spot> {
        let (parent, name) = split(path);
        Ok(Spot {
            parent: self.directory(parent)?,
            name: name.to_vec(),
        })
    }

    /// Where `path` (cleaned, not empty) lives, when its directory exists.
    pub(crate) fn existing_spot(&mut self, path: &[u8]) -> io::Result<Spot> {
        let (parent, name) = split(path);
        let parent = match self.cache.get(parent) {
            Some(found) => found.clone(),
            None => Rc::new(self.look_up(parent)?),
        };
        Ok(Spot {
            parent,
            name: name.to_vec(),
        })
    }

    /// Opens the directory at `path` for reading its attributes and changing them.
    pub(crate) fn open_directory(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(
            &*self.top,
            dot(path),
            flags,
            Mode::empty(),
            RESOLVE,
        )?)
    }

    /// Forgets what is known about directories, because one was replaced.
    pub(crate) fn forget_directories(&mut self) {
        self.cache.clear();
    }

    /// The archive described the directory at `path` itself.
    pub(crate) fn described(&mut self, path: &[u8]) {
        self.implied.remove(path);
    }

    /// Directories that the archive only implied, parents first.
    pub(crate) fn into_implied(self) -> Vec<Vec<u8>> {
        self.implied.into_iter().collect()
    }

    fn look_up(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat2(&*self.top, dot(path), flags, Mode::empty(), RESOLVE)
    }

    fn directory(&mut self, path: &[u8]) -> io::Result<Rc<OwnedFd>> {
        if let Some(found) = self.cache.get(path) {
            return Ok(found.clone());
        }
        let found = match self.look_up(path) {
            Ok(found) => found,
            Err(Errno::NOENT) => {
                self.make_directories(path, LINKS_MAX)?;
                self.look_up(path)?
            }
            Err(error) => return Err(error.into()),
        };
        let found = Rc::new(found);
        if self.cache.len() >= CACHE_MAX {
            self.cache.clear();
        }
        self.cache.insert(path.to_vec(), found.clone());
        Ok(found)
    }

    /// Makes what is missing of `path`, also behind symbolic links that lead nowhere yet.
    fn make_directories(&mut self, path: &[u8], links_left: u32) -> io::Result<()> {
        let ends = path
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let prefix = &path[..end];
            match self.look_up(prefix) {
                Ok(_) => continue,
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
            let (parent, name) = split(prefix);
            let parent_fd = self.look_up(parent)?;
            match rustix::fs::mkdirat(&parent_fd, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    rustix::fs::chmodat(
                        &parent_fd,
                        name,
                        Mode::from_raw_mode(0o755),
                        AtFlags::empty(),
                    )?;
                    self.implied.insert(prefix.to_vec());
                }
                Err(Errno::EXIST) => {
                    if links_left == 0 {
                        return Err(Errno::LOOP.into());
                    }
                    let target = rustix::fs::readlinkat(&parent_fd, name, Vec::new())?;
                    let target = link_target(parent, target.as_bytes());
                    self.make_directories(&target, links_left - 1)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

const RESOLVE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl Spot {
    /// What is there, without following a link; `None` when nothing is.
    pub(crate) fn stat(&self) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&*self.parent, &*self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is there, a directory with all its content.
    pub(crate) fn remove(&self, stat: &Stat) -> io::Result<()> {
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            remove_directory(&self.parent, &self.name)
        } else {
            Ok(rustix::fs::unlinkat(
                &*self.parent,
                &*self.name,
                AtFlags::empty(),
            )?)
        }
    }

    /// A path for calls that have no descriptor form. It stays valid as long as the spot.
    pub(crate) fn proc_path(&self) -> Vec<u8> {
        use std::os::fd::AsRawFd;
        let mut path = format!("/proc/self/fd/{}/", self.parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(&self.name);
        path
    }
}

/// Removes a directory tree by descriptors, never following a link.
fn remove_directory(parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let mut buffer = Vec::with_capacity(8192);
    let mut names = Vec::new();
    let mut entries = RawDir::new(&directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let entry_name = entry.file_name().to_bytes();
        if entry_name != b"." && entry_name != b".." {
            names.push((entry_name.to_vec(), entry.file_type()));
        }
    }
    for (name, kind) in names {
        if kind == FileType::Directory {
            remove_directory(&directory, &name)?;
        } else {
            rustix::fs::unlinkat(&directory, &*name, AtFlags::empty())?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Cleans a name from an archive: relative, without `.`, empty parts and trailing slashes. `..` is refused: no honest
/// archive needs it.
pub(crate) fn clean(path: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the path leaves the layer (..)",
                ));
            }
            part if part.contains(&0) => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the path holds a NUL byte",
                ));
            }
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Ok(out)
}

/// Where a link in directory `parent` leads, as a path within the root (`..` stops there).
fn link_target(parent: &[u8], target: &[u8]) -> Vec<u8> {
    let start = if target.starts_with(b"/") {
        &b""[..]
    } else {
        parent
    };
    let mut parts: Vec<&[u8]> = start
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
        .collect();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

fn dot(path: &[u8]) -> &[u8] {
    if path.is_empty() { b"." } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        assert_eq!(clean(b"./a//b/").unwrap(), b"a/b");
        assert_eq!(clean(b"/etc/passwd").unwrap(), b"etc/passwd");
        assert_eq!(clean(b"./").unwrap(), b"");
        assert!(clean(b"a/../../b").is_err());
        assert!(clean(b"..").is_err());
        assert!(clean(b"a\0b").is_err());
    }

    #[test]
    fn link_targets_stay_inside() {
        assert_eq!(link_target(b"a/b", b"../c"), b"a/c");
        assert_eq!(link_target(b"a", b"/x/y"), b"x/y");
        assert_eq!(link_target(b"a", b"../../../etc"), b"etc");
    }
}
