//! Writes the files of a volume so that containers see all of the old ones or all of the new ones.
//!
//! In the volume: `..2026_01_02_03_04_05.123` holds the files, `..data` points to it, and every visible name points
//! into `..data`. A change makes a new directory and swaps `..data` by rename, which consumers can watch with inotify.
//! Invariant: names that start with `..` belong to this writer. One writer at a time; the caller sees to that.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::payload::{FileProjection, Payload};
use crate::tree;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// Makes the visible files of `target` those of `payload`. `finish` sets permissions before anything becomes visible.
/// Returns whether anything was written. Modes alone are no reason to write, as upstream has it.
pub(crate) fn write(
    target: &Path,
    payload: &Payload,
    now: SystemTime,
    finish: impl FnOnce() -> io::Result<()>,
) -> io::Result<bool> {
    let data = target.join(DATA);
    let old = match std::fs::read_link(&data) {
        Ok(old) => Some(target.join(old)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let removed = match &old {
        Some(old) => surplus(payload, old)?,
        None => BTreeSet::new(),
    };
    let write = match &old {
        Some(old) => !removed.is_empty() || differs(payload, old)?,
        None => true,
    };
    if write {
        publish(target, payload, now, finish)?;
    }
    let linked = link_visible(target, payload)?;
    for name in removed.iter().filter(|path| !path.contains('/')) {
        remove_file(&target.join(name))?;
    }
    if let Some(old) = old.filter(|_| write) {
        tree::remove(&old)?;
    }
    Ok(write || linked)
}

/// Makes the new directory and swaps the link to it.
fn publish(
    target: &Path,
    payload: &Payload,
    now: SystemTime,
    finish: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let (directory, name) = new_directory(target, now)?;
    let swap = || -> io::Result<()> {
        write_files(&directory, payload)?;
        finish()?;
        let new = target.join(NEW_DATA);
        // Left by a writer that was killed between the next two steps.
        remove_file(&new)?;
        symlink(&name, &new)?;
        std::fs::rename(&new, target.join(DATA))
    };
    swap().inspect_err(|_| {
        if let Err(error) = tree::remove(&directory) {
            tracing::warn!(path = %directory.display(), %error, "failed to remove an unfinished data directory");
        }
    })
}

fn new_directory(target: &Path, now: SystemTime) -> io::Result<(PathBuf, String)> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let stamp = stamp(since.as_secs());
    for attempt in 0..10_000u32 {
        let name = format!(
            "..{stamp}.{}",
            u64::from(since.subsec_nanos()) + u64::from(attempt)
        );
        let path = target.join(&name);
        match std::fs::create_dir(&path) {
            Ok(()) => {
                // Whatever the umask of this process: everybody may enter.
                std::fs::set_permissions(&path, Permissions::from_mode(0o755))?;
                return Ok((path, name));
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// `2026_01_02_03_04_05` in UTC.
fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01 in years that end with February.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}_{month:02}_{day:02}_{:02}_{:02}_{:02}",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

fn write_files(directory: &Path, payload: &Payload) -> io::Result<()> {
    for (path, file) in payload.files() {
        let FileProjection { data, mode, owner } = file;
        let full = directory.join(path);
        let mut below = directory.to_owned();
        for part in path
            .rsplit_once('/')
            .map_or("", |(parent, _)| parent)
            .split('/')
            .filter(|part| !part.is_empty())
        {
            below.push(part);
            match std::fs::create_dir(&below) {
                Ok(()) => std::fs::set_permissions(&below, Permissions::from_mode(0o755))?,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        std::fs::write(&full, data)?;
        std::fs::set_permissions(&full, Permissions::from_mode(*mode))?;
        if owner.is_some() {
            lchown(&full, *owner, None)?;
        }
    }
    Ok(())
}

/// Paths in the old directory that the payload no longer has.
fn surplus(payload: &Payload, old: &Path) -> io::Result<BTreeSet<String>> {
    let mut kept = BTreeSet::new();
    for (path, _) in payload.files() {
        kept.insert(path);
        kept.extend(path.match_indices('/').map(|(at, _)| &path[..at]));
    }
    let mut surplus = BTreeSet::new();
    let mut pending = vec![(old.to_owned(), String::new())];
    while let Some((directory, prefix)) = pending.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                pending.push((entry.path(), format!("{path}/")));
            }
            if !kept.contains(path.as_str()) {
                surplus.insert(path);
            }
        }
    }
    Ok(surplus)
}

fn differs(payload: &Payload, old: &Path) -> io::Result<bool> {
    for (path, file) in payload.files() {
        match std::fs::read(old.join(path)) {
            Ok(content) if content == file.data => {}
            Ok(_) => return Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
                ) =>
            {
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Makes the links of the first parts of all paths. Returns whether any was missing.
fn link_visible(target: &Path, payload: &Payload) -> io::Result<bool> {
    let mut linked = false;
    for (path, file) in payload.files() {
        let name = path.split('/').next().unwrap_or(path);
        let link = target.join(name);
        // A directory made for a mount inside of this volume is in the way of nothing: it stays.
        if std::fs::symlink_metadata(&link).is_ok() {
            continue;
        }
        symlink(Path::new(DATA).join(name), &link)?;
        if file.owner.is_some() {
            lchown(&link, file.owner, None)?;
        }
        linked = true;
    }
    Ok(linked)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_utc() {
        assert_eq!(stamp(0), "1970_01_01_00_00_00");
        assert_eq!(stamp(951_826_154), "2000_02_29_12_09_14");
        assert_eq!(stamp(1_767_225_599), "2025_12_31_23_59_59");
        assert_eq!(stamp(4_107_542_400), "2100_03_01_00_00_00");
    }
}
