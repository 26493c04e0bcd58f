//! What makes the log durable, behind a trait. An engine keeps the current entries, notes and three facts
//! (format, cluster id, revision); history, watches and conflicts are not its business.

pub mod fjall;
mod lock;
pub mod memory;
mod place;
pub mod record;
pub mod redb;

use crate::{Durability, Entry, Key, Note, Revision};
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;

/// The newest version of the stored format that this program knows. A store is made in the oldest version and is
/// lifted by the first write that needs a newer one, so that a program one step older can still read it until then.
/// Version 2 brought leases, notes and encryption at rest.
pub const FORMAT: u32 = 2;
/// The version in which stores are made.
pub const FORMAT_FIRST: u32 = 1;

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
    /// The entry to keep, the revision of the one it replaces (0: none), and its bytes as they are to be kept,
    /// which are not the entry's own when they are encrypted at rest.
    Put(Arc<Entry>, Revision, Bytes),
    /// The key to forget, and the revision of its entry.
    Delete(Key, Revision),
}

impl Write {
    /// The key it concerns.
    pub fn key(&self) -> &Key {
        match self {
            Write::Put(entry, ..) => entry.key(),
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
    /// Its changes beside the revisions.
    pub notes: Vec<Note>,
}

impl Logged {
    /// The oldest format that can hold it.
    pub fn format_needed(&self) -> u32 {
        let is_newer = |write: &Write| match write {
            Write::Put(entry, _, stored) => record::needs_newer(entry, stored),
            Write::Delete(..) => false,
        };
        match self.notes.is_empty() && !self.writes.iter().any(is_newer) {
            true => FORMAT_FIRST,
            false => FORMAT,
        }
    }
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
    /// How durable it must be before [`Engine::append`] answers.
    pub durability: Durability,
}

/// What an engine hands out at open.
pub struct Loaded {
    /// None if the engine is empty.
    pub identity: Option<Identity>,
    /// The last durable revision.
    pub revision: Revision,
    /// The notes, in any order.
    pub notes: Vec<Note>,
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

/// Reads back what an engine keeps, beside its writing and from any thread. It must not keep the engine's files open
/// beyond the engine's life, and reads on while the engine is stopped after a failure, as far as it can.
pub trait Values: Send + Sync {
    /// The record kept under a path now.
    fn read(&self, path: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;
}

/// Makes batches durable. Called from one thread.
pub trait Engine: Send {
    /// A reader of what is kept; none if the engine cannot read single records back.
    fn values(&mut self) -> Option<Arc<dyn Values>> {
        None
    }

    /// Hands every stored record to `each`: the key's path and the record's bytes.
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Loaded, EngineError>;

    /// Makes a batch durable, all of it or nothing; a relaxed one at least as far that it survives the process, if
    /// the engine can tell the difference. After an error the engine answers errors until
    /// [`Engine::reopen`] succeeds, and whether the batch is there is open.
    fn append(&mut self, batch: &Batch) -> Result<(), EngineError>;

    /// Makes relaxed batches durable too.
    fn sync(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Makes its files as small as it can; takes as long as it takes.
    fn compact(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Tries to get back to work after an error that left no doubt about what the disk holds.
    fn reopen(&mut self) -> Result<(), EngineError>;

    /// Tries to get back to work after any other error: writes these batches in a new place and, once that is
    /// durable, uses it instead of the old. (After a failed sync the kernel may show bytes that the disk lacks.)
    fn rebuild(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, EngineError>>,
    ) -> Result<(), EngineError>;

    /// The bytes handed to the log since the engine was opened.
    fn bytes_written(&self) -> u64;
}

/// Takes a store one format back, so that a program of format 1 can read it. Refused, and nothing changed, while
/// anything in it needs the newer format.
pub fn lower(engine: &mut dyn Engine) -> Result<(), EngineError> {
    let mut newer = None;
    let loaded = engine.load(&mut |path, record| {
        if newer.is_none() && !record::is_of_format_one(record) {
            newer = Some(String::from_utf8_lossy(path).into_owned());
        }
    })?;
    let damaged = |reason| EngineError::Damaged {
        attempt: "lowering the format".to_owned(),
        reason,
    };
    let needs = match (newer, loaded.notes.first(), loaded.damage.first()) {
        (Some(key), ..) => format!("{key} has a lease or is encrypted"),
        (_, Some(note), _) => format!("the note {:?} is kept", note.name),
        (.., Some(damage)) => return Err(damaged(format!("{}: {}", damage.key, damage.reason))),
        (None, None, None) => String::new(),
    };
    if !needs.is_empty() {
        return Err(damaged(format!(
            "{needs}, which format {FORMAT_FIRST} does not know"
        )));
    }
    let Some(identity) = loaded.identity else {
        return Ok(());
    };
    engine.append(&Batch {
        identity: Some(Identity {
            format: FORMAT_FIRST,
            ..identity
        }),
        revision: loaded.revision,
        ..Batch::default()
    })
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
    /// The directory belongs to another user.
    #[error(
        "the data directory {} belongs to user {owner}, this process runs as user {user}; run it as that user or \
         choose another directory",
        path.display()
    )]
    Foreign {
        /// The data directory.
        path: PathBuf,
        /// The numeric id of its owner.
        owner: u32,
        /// The numeric id of this process's user.
        user: u32,
    },
    /// The directory is not on a local disk.
    #[error(
        "the data directory {} is on {kind}, where locks and syncs cannot be relied upon; use a local disk",
        path.display()
    )]
    Remote {
        /// The data directory.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
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
    /// An object could not be encrypted.
    #[error("encrypting {key}: {reason}")]
    Seal {
        /// The path of its key.
        key: String,
        /// Why not.
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
