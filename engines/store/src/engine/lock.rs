//! The lock on a data directory. The kernel releases it when the holder ends, however it ends.

use super::EngineError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

const LOCK_FILE: &str = "corten.lock";
/// A process that was killed holds its lock until the kernel is done with it, and one that is being started holds its
/// parent's for a moment.
const TRIES: u32 = 25;
const PAUSE: Duration = Duration::from_millis(20);

/// Held as long as the directory is in use.
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock, or tells who has it.
    pub(crate) fn acquire(directory: &Path) -> Result<DirectoryLock, EngineError> {
        let path = directory.join(LOCK_FILE);
        let attempt = || format!("locking the data directory {}", directory.display());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|source| EngineError::io(&attempt(), source))?;
        let mut tried = file.try_lock();
        for _ in 0..TRIES {
            match tried {
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                _ => break,
            }
            tried = file.try_lock();
        }
        match tried {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let pid = pid.trim().parse().unwrap_or(0);
                return Err(EngineError::InUse {
                    path: directory.to_owned(),
                    pid,
                });
            }
            Err(TryLockError::Error(source)) => return Err(EngineError::io(&attempt(), source)),
        }
        // The pid only informs; a full disk must not keep the store from being opened for reading.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(DirectoryLock { _file: file })
    }
}
