//! Puts one archive entry into a layer directory: every file type, owner, mode (suid too), extended attributes and
//! times, and whiteouts in overlayfs' form.
//! Invariant: owner, then mode, then attributes, because chown(2) clears both suid and `security.capability`.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;
use tar::EntryType;

use super::root::{Root, Spot, clean};
use super::tarball::Entry;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE_MARK: &[u8] = b".wh..wh..opq";
const OPAQUE: &[u8] = b"trusted.overlay.opaque";

/// Places the entries of one layer.
pub(crate) struct Placer {
    root: Root,
    /// Directory times are set at the end, when nothing changes them any more.
    times: Vec<(Vec<u8>, (i64, i64))>,
    bytes: u64,
}

impl Placer {
    pub(crate) fn new(root: Root) -> Placer {
        Placer {
            root,
            times: Vec::new(),
            bytes: 0,
        }
    }

    /// Places `entry`, reading its content from `content`.
    pub(crate) fn place(&mut self, entry: &Entry, content: &mut impl Read) -> io::Result<()> {
        let path = clean(&entry.path)?;
        if path.is_empty() {
            if entry.kind != EntryType::Directory {
                return Err(invalid("the top of the layer is not a directory"));
            }
            self.times.push((Vec::new(), entry.mtime));
            return set_attributes(self.root.top().as_fd(), entry);
        }
        let spot = self.root.spot(&path)?;
        if let Some(hidden) = spot.name.strip_prefix(WHITEOUT) {
            let hidden = hidden.to_vec();
            return whiteout(spot, hidden);
        }
        let mut opaque = false;
        if let Some(stat) = spot.stat()? {
            let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if !(is_directory && entry.kind == EntryType::Directory) {
                if is_directory || FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    self.root.forget_directories();
                }
                opaque = entry.kind == EntryType::Directory && is_whiteout(&stat);
                spot.remove(&stat)?;
            }
        }
        match entry.kind {
            EntryType::Regular | EntryType::Continuous => self.file(&spot, entry, content)?,
            EntryType::Directory => self.directory(&spot, entry, path, opaque)?,
            EntryType::Symlink => symlink(&spot, entry)?,
            EntryType::Link => self.hard_link(&spot, entry)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo => node(&spot, entry)?,
            other => {
                return Err(invalid(format!(
                    "unknown entry type {:?}",
                    char::from(other.as_byte())
                )));
            }
        }
        Ok(())
    }

    /// Sets the directory times. Returns the bytes of all files and the implied directories.
    pub(crate) fn finish(self) -> io::Result<(u64, Vec<Vec<u8>>)> {
        for (path, time) in &self.times {
            match self.root.open_directory(path) {
                Ok(directory) => rustix::fs::futimens(&directory, &timestamps(*time))?,
                // Replaced by a later entry.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((self.bytes, self.root.into_implied()))
    }

    fn file(&mut self, spot: &Spot, entry: &Entry, content: &mut impl Read) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(
            &*spot.parent,
            &*spot.name,
            flags,
            Mode::from_raw_mode(0o600),
        )?;
        let mut file = std::fs::File::from(fd);
        let copied = copy(content, &mut file)?;
        if copied != entry.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.bytes += copied;
        let fd = OwnedFd::from(file);
        set_attributes(fd.as_fd(), entry)?;
        Ok(rustix::fs::futimens(&fd, &timestamps(entry.mtime))?)
    }

    fn directory(
        &mut self,
        spot: &Spot,
        entry: &Entry,
        path: Vec<u8>,
        opaque: bool,
    ) -> io::Result<()> {
        match rustix::fs::mkdirat(&*spot.parent, &*spot.name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*spot.parent, &*spot.name, flags, Mode::empty())?;
        set_attributes(fd.as_fd(), entry)?;
        if opaque {
            rustix::fs::fsetxattr(&fd, OPAQUE, b"y", XattrFlags::empty())?;
        }
        self.root.described(&path);
        self.times.push((path, entry.mtime));
        Ok(())
    }

    fn hard_link(&mut self, spot: &Spot, entry: &Entry) -> io::Result<()> {
        let target = clean(&entry.link)?;
        if target.is_empty() {
            return Err(invalid("a hard link without a target"));
        }
        let missing = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT) => invalid(format!(
                "the target of the hard link, {}, is not in the layer",
                String::from_utf8_lossy(&target)
            )),
            _ => error,
        };
        let target_spot = self.root.existing_spot(&target).map_err(missing)?;
        rustix::fs::linkat(
            &*target_spot.parent,
            &*target_spot.name,
            &*spot.parent,
            &*spot.name,
            AtFlags::empty(),
        )
        .map_err(|error| missing(error.into()))
    }
}

/// `.wh.name` hides `name` of the layers below; `.wh..wh..opq` hides everything below in its directory.
fn whiteout(spot: Spot, hidden: Vec<u8>) -> io::Result<()> {
    if spot.name == OPAQUE_MARK {
        let path = spot.proc_path();
        let parent = &path[..path.len() - spot.name.len() - 1];
        return Ok(rustix::fs::setxattr(
            parent,
            OPAQUE,
            b"y",
            XattrFlags::empty(),
        )?);
    }
    if hidden.starts_with(WHITEOUT) {
        // Bookkeeping of aufs: nothing that a container may see.
        return Ok(());
    }
    if hidden.is_empty() || hidden == b"." || hidden == b".." {
        return Err(invalid("a whiteout without a name"));
    }
    let spot = Spot {
        parent: spot.parent,
        name: hidden,
    };
    match spot.stat()? {
        None => Ok(rustix::fs::mknodat(
            &*spot.parent,
            &*spot.name,
            FileType::CharacterDevice,
            Mode::empty(),
            makedev(0, 0),
        )?),
        // The same layer has a new directory of that name: the old content below stays hidden.
        Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Ok(
            rustix::fs::lsetxattr(&*spot.proc_path(), OPAQUE, b"y", XattrFlags::empty())?,
        ),
        // Anything else of the same layer hides what is below by itself.
        Some(_) => Ok(()),
    }
}

fn symlink(spot: &Spot, entry: &Entry) -> io::Result<()> {
    rustix::fs::symlinkat(&*entry.link, &*spot.parent, &*spot.name)?;
    own_and_mark(spot, entry)
}

fn node(spot: &Spot, entry: &Entry) -> io::Result<()> {
    let (kind, device) = match entry.kind {
        EntryType::Char => (
            FileType::CharacterDevice,
            makedev(entry.device.0, entry.device.1),
        ),
        EntryType::Block => (
            FileType::BlockDevice,
            makedev(entry.device.0, entry.device.1),
        ),
        _ => (FileType::Fifo, 0),
    };
    rustix::fs::mknodat(
        &*spot.parent,
        &*spot.name,
        kind,
        Mode::from_raw_mode(0o600),
        device,
    )?;
    own_and_mark(spot, entry)
}

/// Attributes of files that cannot be opened: by name, never following a link.
fn own_and_mark(spot: &Spot, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = owner(entry);
    rustix::fs::chownat(
        &*spot.parent,
        &*spot.name,
        uid,
        gid,
        AtFlags::SYMLINK_NOFOLLOW,
    )?;
    if entry.kind != EntryType::Symlink {
        rustix::fs::chmodat(&*spot.parent, &*spot.name, mode(entry), AtFlags::empty())?;
    }
    let path = spot.proc_path();
    for (name, value) in safe_xattrs(entry) {
        tolerate(
            rustix::fs::lsetxattr(&*path, name, value, XattrFlags::empty()),
            entry.kind,
        )?;
    }
    let times = timestamps(entry.mtime);
    Ok(rustix::fs::utimensat(
        &*spot.parent,
        &*spot.name,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

fn set_attributes(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = owner(entry);
    rustix::fs::fchown(fd, uid, gid)?;
    rustix::fs::fchmod(fd, mode(entry))?;
    for (name, value) in safe_xattrs(entry) {
        tolerate(
            rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            entry.kind,
        )?;
    }
    Ok(())
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

fn mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode & 0o7777)
}

/// Overlayfs' own attributes would let an image redirect look-ups to other directories of the store.
fn safe_xattrs(entry: &Entry) -> impl Iterator<Item = (&[u8], &[u8])> {
    let own =
        |name: &[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    entry
        .xattrs
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .filter(move |(name, _)| !own(name))
}

/// A file system without extended attributes, or `user.` on something that cannot have any, is no reason to fail.
fn tolerate(result: Result<(), Errno>, kind: EntryType) -> io::Result<()> {
    match result {
        Err(Errno::OPNOTSUPP) => Ok(()),
        Err(Errno::PERM) if !matches!(kind, EntryType::Regular | EntryType::Directory) => Ok(()),
        other => Ok(other?),
    }
}

fn is_whiteout(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn timestamps((seconds, nanos): (i64, i64)) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanos,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn copy(from: &mut impl Read, to: &mut std::fs::File) -> io::Result<u64> {
    let mut buffer = [0u8; 64 << 10];
    let mut total = 0;
    loop {
        let n = from.read(&mut buffer)?;
        if n == 0 {
            return Ok(total);
        }
        to.write_all(&buffer[..n])?;
        total += n as u64;
    }
}

fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message.into())
}
