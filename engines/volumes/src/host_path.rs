//! `hostPath`: checks that what is at the path is what its type says, and makes it where the type allows.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

use crate::desired::HostPathType;
use crate::error::{Error, Result};

/// Checks `path`. Returns whether it was made just now.
pub(crate) fn ensure(path: &str, kind: HostPathType) -> Result<bool> {
    if path.split('/').any(|part| part == "..") {
        return Err(Error::HostPathBacksteps(path.to_owned()));
    }
    if kind == HostPathType::Unset {
        return Ok(false);
    }
    let disk = Path::new(path);
    let found = match std::fs::metadata(disk) {
        Ok(meta) => Some(meta.file_type()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        // Not to be seen: not what is wanted, whatever it is.
        Err(_) => return Err(mismatch(path, kind)),
    };
    match (kind, found) {
        (HostPathType::DirectoryOrCreate, None) => {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(disk)
                .map_err(Error::disk("create directory", disk))?;
            Ok(true)
        }
        (HostPathType::FileOrCreate, None) => {
            std::fs::File::options()
                .create(true)
                .append(true)
                .mode(0o644)
                .open(disk)
                .map_err(Error::disk("create", disk))?;
            Ok(true)
        }
        (_, Some(found)) if fits(kind, found) => Ok(false),
        _ => Err(mismatch(path, kind)),
    }
}

fn fits(kind: HostPathType, found: FileType) -> bool {
    match kind {
        HostPathType::Unset => true,
        HostPathType::Directory | HostPathType::DirectoryOrCreate => found.is_dir(),
        HostPathType::File | HostPathType::FileOrCreate => found.is_file(),
        HostPathType::Socket => found.is_socket(),
        HostPathType::CharDevice => found.is_char_device(),
        HostPathType::BlockDevice => found.is_block_device(),
    }
}

fn mismatch(path: &str, kind: HostPathType) -> Error {
    let expected = match kind {
        HostPathType::Directory | HostPathType::DirectoryOrCreate => "directory",
        HostPathType::File | HostPathType::FileOrCreate => "file",
        HostPathType::Socket => "socket file",
        HostPathType::CharDevice => "character device",
        HostPathType::BlockDevice => "block device",
        HostPathType::Unset => "file",
    };
    Error::HostPathType {
        path: path.to_owned(),
        expected,
    }
}
