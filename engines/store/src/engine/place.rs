//! The directory that an engine works in: made, checked and locked before anything in it is touched, and the moves
//! inside it that must survive a power cut.

use super::EngineError;
use super::lock::DirectoryLock;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// File systems on which locks and syncs cannot be relied upon, by the magic number of `statfs`.
const REMOTE: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
];

/// Makes the directory if need be, checks that it can hold a store, and takes it.
pub(super) fn take(directory: &Path) -> Result<DirectoryLock, EngineError> {
    let attempt = |what: &str| format!("{what} the data directory {}", directory.display());
    std::fs::create_dir_all(directory)
        .map_err(|source| EngineError::io(&attempt("making"), source))?;
    let found = std::fs::metadata(directory)
        .map_err(|source| EngineError::io(&attempt("looking at"), source))?;
    let user = rustix::process::geteuid().as_raw();
    if is_foreign(found.uid(), user) {
        return Err(EngineError::Foreign {
            path: directory.to_owned(),
            owner: found.uid(),
            user,
        });
    }
    let kind = rustix::fs::statfs(directory)
        .map_err(|error| EngineError::io(&attempt("looking at"), error.into()))?
        .f_type;
    if let Some(kind) = remote(kind as u64) {
        return Err(EngineError::Remote {
            path: directory.to_owned(),
            kind,
        });
    }
    let lock = DirectoryLock::acquire(directory)?;
    forget_cached(directory)?;
    Ok(lock)
}

/// Makes what a killed process had written durable, and lets the kernel forget what it keeps of the files: after a
/// sync that failed it may show bytes that the disk lacks, and what is built on them would go with the power.
fn forget_cached(directory: &Path) -> Result<(), EngineError> {
    let attempt = || format!("looking into {}", directory.display());
    let failed = |source| EngineError::io(&attempt(), source);
    for found in std::fs::read_dir(directory).map_err(failed)? {
        let found = found.map_err(failed)?;
        if found.file_type().map_err(failed)?.is_dir() {
            forget_cached(&found.path())?;
            continue;
        }
        let file = std::fs::File::open(found.path()).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        // Advice: where it is not taken there is nothing to forget.
        let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    }
    Ok(())
}

/// Whether a user must not work in a directory of this owner. Root may: it hands directories to services.
fn is_foreign(owner: u32, user: u32) -> bool {
    user != 0 && owner != user
}

fn remote(magic: u64) -> Option<&'static str> {
    let magic = magic & 0xffff_ffff;
    let known = REMOTE.iter().find(|(number, _)| *number == magic);
    known.map(|(_, name)| *name)
}

/// Removes a file or a directory; what is not there is removed.
pub(super) fn remove(path: &Path) -> Result<(), EngineError> {
    let removed = match path.is_dir() {
        true => std::fs::remove_dir_all(path),
        false => std::fs::remove_file(path),
    };
    match removed {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io(
            &format!("removing {}", path.display()),
            source,
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tries whether something can be written into a directory, durably.
pub(super) fn probe(directory: &Path) -> Result<(), EngineError> {
    const BYTES: usize = 256 << 10;
    let path = directory.join("probe");
    let write = || {
        let mut file = std::fs::File::create(&path)?;
        std::io::Write::write_all(&mut file, &vec![1; BYTES])?;
        file.sync_all()
    };
    let written = write();
    let removed = remove(&path);
    written.map_err(|source| {
        EngineError::io(&format!("writing into {}", directory.display()), source)
    })?;
    removed
}

/// Renames within a directory, durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), EngineError> {
    let directory = to.parent().unwrap_or(to);
    std::fs::rename(from, to)
        .and_then(|()| std::fs::File::open(directory)?.sync_all())
        .map_err(|source| EngineError::io(&format!("renaming {}", from.display()), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remote_file_systems_are_known() {
        assert_eq!(remote(0x6969), Some("NFS"));
        // Sign-extended, as 32-bit kernels answer it.
        assert_eq!(remote(0xffff_ffff_ff53_4d42), Some("CIFS"));
        assert_eq!(remote(0xef53), None, "ext4");
        assert_eq!(remote(0x0102_1994), None, "tmpfs");
    }

    #[test]
    fn directories_of_others_are_foreign() {
        assert!(is_foreign(0, 1000) && is_foreign(1001, 1000));
        assert!(!is_foreign(1000, 1000) && !is_foreign(1000, 0));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let path = Path::new("/data").to_owned();
        let error = EngineError::Remote {
            path: path.clone(),
            kind: "NFS",
        };
        assert_eq!(
            error.to_string(),
            "the data directory /data is on NFS, where locks and syncs cannot be relied upon; use a local disk"
        );
        let error = EngineError::Foreign {
            path,
            owner: 0,
            user: 7,
        };
        assert_eq!(
            error.to_string(),
            "the data directory /data belongs to user 0, this process runs as user 7; run it as that user or \
             choose another directory"
        );
    }
}
