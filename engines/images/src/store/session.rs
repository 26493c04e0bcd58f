//! Work in progress: `tmp/<session>/<operation>/`, and the leases that protect layers an operation relies on.
//! Invariant: a session directory whose lock is free belongs to a process that is gone, and may be deleted.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The working area of one open store.
#[derive(Debug)]
pub(crate) struct Session {
    area: Arc<Area>,
    next: AtomicU64,
    tmp: PathBuf,
}

#[derive(Debug)]
struct Area {
    path: PathBuf,
    _lock: File,
}

/// One piece of work with its own directory, deleted when dropped.
#[derive(Debug)]
pub(crate) struct Operation {
    path: PathBuf,
    _area: Arc<Area>,
}

impl Session {
    /// Makes a session under `tmp`, and deletes those of processes that are gone.
    pub(crate) fn open(tmp: &Path) -> Result<Session> {
        let guard_path = tmp.join("lock");
        // Guards the moment between making a session directory and locking it.
        let guard = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&guard_path)
            .and_then(|file| file.lock().map(|()| file))
            .map_err(Error::disk("lock", &guard_path))?;
        for name in entries(tmp)? {
            let path = tmp.join(&name);
            if path.is_dir() && !is_alive(&path) {
                remove_tree(&path).map_err(Error::disk("delete", &path))?;
            }
        }
        let path = (0u64..)
            .map(|n| tmp.join(format!("{}-{n}", std::process::id())))
            .find(|path| !path.exists())
            .expect("some number is free");
        let lock_path = path.join("lock");
        let lock = std::fs::create_dir(&path)
            .and_then(|()| File::create(&lock_path))
            .and_then(|file| file.lock().map(|()| file))
            .map_err(Error::disk("lock", &lock_path))?;
        drop(guard);
        Ok(Session {
            area: Arc::new(Area { path, _lock: lock }),
            next: AtomicU64::new(0),
            tmp: tmp.to_owned(),
        })
    }

    /// Starts an operation.
    pub(crate) fn begin(&self) -> Result<Operation> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.area.path.join(format!("op-{n}"));
        let leases = path.join("leases");
        std::fs::create_dir_all(&leases).map_err(Error::disk("create directory", &leases))?;
        Ok(Operation {
            path,
            _area: self.area.clone(),
        })
    }

    /// The layers (hex chain ids) that any live operation of any process relies on. Call it under the records' lock.
    pub(crate) fn leased_by_all(&self) -> Result<BTreeSet<String>> {
        let mut leased = BTreeSet::new();
        for session in entries(&self.tmp)? {
            let path = self.tmp.join(&session);
            if !path.is_dir() || (path != self.area.path && !is_alive(&path)) {
                continue;
            }
            for operation in entries(&path)? {
                leased.extend(entries(&path.join(operation).join("leases"))?);
            }
        }
        Ok(leased)
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "left a session directory for the next start");
        }
    }
}

impl Operation {
    /// The directory of this operation.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Protects a layer from being collected while this operation lives.
    pub(crate) fn lease(&self, chain_id: &Digest) -> Result<()> {
        let path = self.path.join("leases").join(chain_id.hex());
        File::create(&path)
            .map(drop)
            .map_err(Error::disk("create", &path))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if let Err(error) = remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "failed to delete a working directory; the next start will");
        }
    }
}

fn is_alive(session: &Path) -> bool {
    let Ok(file) = File::open(session.join("lock")) else {
        return false;
    };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// The names in a directory; none when it does not exist.
fn entries(directory: &Path) -> Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    };
    match read() {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(Vec::new())
        }
        other => other.map_err(Error::disk("list", directory)),
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
