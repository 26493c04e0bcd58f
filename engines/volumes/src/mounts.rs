//! Mount points: is there one, what is below a directory, and taking them away.

use std::ffi::{CStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use crate::error::errno;

const TMPFS_MAGIC: u64 = 0x0102_1994;
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// What is mounted right at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounted {
    Nothing,
    Tmpfs,
    HugePages,
    Other,
}

/// What is mounted at `path`; nothing when it does not exist.
pub(crate) fn mounted_at(path: &Path) -> io::Result<Mounted> {
    let root = match rustix::fs::statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT,
        StatxFlags::MNT_ID,
    ) {
        Ok(stat) => stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        Err(Errno::NOENT) => false,
        Err(error) => return Err(error.into()),
    };
    if !root {
        return Ok(Mounted::Nothing);
    }
    Ok(match errno(rustix::fs::statfs(path))?.f_type as u64 {
        TMPFS_MAGIC => Mounted::Tmpfs,
        HUGETLBFS_MAGIC => Mounted::HugePages,
        _ => Mounted::Other,
    })
}

/// Mounts a tmpfs that is never swapped out, where the kernel knows how.
pub(crate) fn mount_tmpfs(path: &Path, bytes_max: Option<u64>) -> io::Result<()> {
    let size = bytes_max
        .filter(|bytes| *bytes > 0)
        .map(|bytes| format!("size={bytes}"));
    let options = |extra: &[&str]| {
        let all: Vec<&str> = size
            .as_deref()
            .into_iter()
            .chain(extra.iter().copied())
            .collect();
        c_string(all.join(","))
    };
    match rustix::mount::mount(
        "tmpfs",
        path,
        "tmpfs",
        MountFlags::empty(),
        &*options(&["noswap"]),
    ) {
        Err(Errno::INVAL) => errno(rustix::mount::mount(
            "tmpfs",
            path,
            "tmpfs",
            MountFlags::empty(),
            &*options(&[]),
        )),
        other => errno(other),
    }
}

/// Mounts a hugetlbfs.
pub(crate) fn mount_huge_pages(path: &Path, page_bytes: u64) -> io::Result<()> {
    let options = c_string(format!("pagesize={page_bytes}"));
    errno(rustix::mount::mount(
        "nodev",
        path,
        "hugetlbfs",
        MountFlags::empty(),
        &*options,
    ))
}

fn c_string(text: String) -> std::ffi::CString {
    std::ffi::CString::new(text).expect("numbers and fixed words hold no NUL")
}

/// Unmounts what is mounted right at `path`, also when it is in use.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    match rustix::mount::unmount(path, UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => errno(rustix::mount::unmount(
            path,
            UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        )),
        other => errno(other),
    }
}

/// Unmounts everything at and below `path`, the latest mount first.
pub(crate) fn unmount_below(path: &Path) -> io::Result<()> {
    let mut below = mount_points()?;
    below.retain(|mount| mount.starts_with(path));
    for mount in below.iter().rev() {
        match unmount(mount) {
            // Gone meanwhile, or with the one above it.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
                ) => {}
            other => other?,
        }
    }
    Ok(())
}

/// All mount points of this process in the order they were mounted.
fn mount_points() -> io::Result<Vec<PathBuf>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(mount_point)
        .collect())
}

/// The fifth field of a line of mountinfo.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    Some(PathBuf::from(OsString::from_vec(unescaped(field))))
}

/// Blanks and the like are written `\040`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut at = 0;
    while at < field.len() {
        let octal = field
            .get(at + 1..at + 4)
            .filter(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match octal {
            Some(digits) if field[at] == b'\\' => {
                let value = digits
                    .iter()
                    .fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                out.push(value as u8);
                at += 4;
            }
            _ => {
                out.push(field[at]);
                at += 1;
            }
        }
    }
    out
}

/// Binds the file behind `from` (a path under `/proc/self/fd`) to `to`.
pub(crate) fn bind(from: &str, to: &Path) -> io::Result<()> {
    let none: Option<&CStr> = None;
    errno(rustix::mount::mount(
        from,
        to,
        "none",
        MountFlags::BIND,
        none,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_mountinfo() {
        let line =
            br"36 35 98:0 /mnt1 /mnt2/with\040blank\134x rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line).unwrap(), Path::new(r"/mnt2/with blank\x"));
        assert_eq!(mount_point(b""), None);
        assert!(mount_points().unwrap().contains(&PathBuf::from("/proc")));
    }

    #[test]
    fn knows_mount_points() {
        assert_eq!(mounted_at(Path::new("/proc")).unwrap(), Mounted::Other);
        assert_eq!(
            mounted_at(Path::new("/proc/self")).unwrap(),
            Mounted::Nothing
        );
        assert_eq!(mounted_at(Path::new("/none")).unwrap(), Mounted::Nothing);
    }
}
