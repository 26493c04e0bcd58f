//! What makes the log durable, behind a trait. An engine keeps the current entries and three facts (format,
//! cluster id, revision); history, watches and conflicts are not its business.

pub mod fjall;
mod lock;
pub mod memory;
pub mod record;

use crate::{Entry, Key, Revision};
use std::path::PathBuf;
use std::sync::Arc;

/// The version of the stored format that this program writes.
pub const FORMAT: u32 = 1;

/// Facts about a store that its engine keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The version of the stored format.
    pub format: u32,
    /// The random id given to the store when it was made.
    pub cluster_id: u64,
}

/// One change of one key.
#[derive(Clone, Debug)]
pub enum Write {
    /// The entry to keep, and the revision of the one it replaces (0: none).
    Put(Arc<Entry>, Revision),
    /// The key to forget, and the revision of its entry.
    Delete(Key, Revision),
}

impl Write {
    /// The key it concerns.
    pub fn key(&self) -> &Key {
        match self {
            Write::Put(entry, _) => entry.key(),
            Write::Delete(key, _) => key,
        }
    }
}

/// One transaction as it is logged.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its revision.
    pub revision: Revision,
    /// Its changes.
    pub writes: Vec<Write>,
}

/// Transactions that become durable together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Set when the store is made.
    pub identity: Option<Identity>,
    /// The store's revision after the batch.
    pub revision: Revision,
    /// The transactions in order of revision. A key may occur several times.
    pub transactions: Vec<Logged>,
}

/// What an engine hands out at open.
pub struct Loaded {
    /// None if the engine is empty.
    pub identity: Option<Identity>,
    /// The last durable revision.
    pub revision: Revision,
    /// What could not be read.
    pub damage: Vec<Damage>,
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The path of the key, as far as it is known.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Makes batches durable. Called from one thread.
pub trait Engine: Send {
    /// Hands every stored record to `each`: the key's path and the record's bytes.
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Loaded, EngineError>;

    /// Makes a batch durable, all of it or nothing. After an error the engine answers errors until
    /// [`Engine::reopen`] succeeds, and whether the batch is there is open.
    fn append(&mut self, batch: &Batch) -> Result<(), EngineError>;

    /// Tries to get back to work after an error that left no doubt about what the disk holds.
    fn reopen(&mut self) -> Result<(), EngineError>;

    /// Tries to get back to work after any other error: writes everything anew in a place of its own and, once
    /// that is durable, uses it instead. (After a failed sync the kernel may show bytes that the disk lacks.)
    fn rebuild(
        &mut self,
        identity: Identity,
        revision: Revision,
        entries: &mut dyn Iterator<Item = &Arc<Entry>>,
    ) -> Result<(), EngineError>;

    /// The bytes handed to the log since the engine was opened.
    fn bytes_written(&self) -> u64;
}

/// Why an engine could not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The directory belongs to another process (or to another store in this one).
    #[error("the data directory {} is in use by process {pid}; stop it first or choose another directory", path.display())]
    InUse {
        /// The data directory.
        path: PathBuf,
        /// Who holds it; 0 if it cannot be told.
        pid: u32,
    },
    /// The disk is full or the quota used up.
    #[error("{attempt}: no space left on the device")]
    NoSpace {
        /// What was tried.
        attempt: String,
    },
    /// Reading or writing failed.
    #[error("{attempt}: {source}")]
    Io {
        /// What was tried.
        attempt: String,
        /// How it failed.
        source: std::io::Error,
    },
    /// The engine's own files are damaged.
    #[error("{attempt}: {reason}")]
    Damaged {
        /// What was tried.
        attempt: String,
        /// What is wrong.
        reason: String,
    },
    /// The engine stopped after an earlier failure.
    #[error("the engine stopped after an earlier failure")]
    Stopped,
}

impl EngineError {
    pub(crate) fn io(attempt: &str, source: std::io::Error) -> EngineError {
        let attempt = attempt.to_owned();
        match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                EngineError::NoSpace { attempt }
            }
            _ => EngineError::Io { attempt, source },
        }
    }
}
