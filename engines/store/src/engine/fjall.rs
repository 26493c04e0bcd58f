//! The engine on a local directory: fjall's log-structured tree. One batch is one journal write and one
//! fdatasync. The tree is read only at open, since the store keeps its whole state in memory. Writing slows
//! down while fjall's worker lags behind by several memtables.

use super::lock::DirectoryLock;
use super::{Batch, Damage, Engine, EngineError, Identity, Loaded, Logged, Write, record};
use crate::{Entry, Revision};
use fjall::{Database, Error, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The database, below the data directory.
const DATABASE: &str = "db";
/// A database that is being written anew: worth nothing yet.
const NEXT: &str = "db-next";
/// A database that was written anew and takes the place of the other.
const READY: &str = "db-ready";
/// How many entries are written anew in one step.
const REBUILD_ENTRIES: usize = 1000;
/// fjall writes this file last when it makes a database.
const MADE: &str = "version";
const MEMTABLE_BYTES: u64 = 8 << 20;
const CACHE_BYTES: u64 = 1 << 20;
const JOURNAL_BYTES: u64 = 128 << 20;
/// Unreadable blocks after which loading gives up.
const DAMAGE_MAX: usize = 16;

const FORMAT: &[u8] = b"format";
const CLUSTER_ID: &[u8] = b"cluster";
const REVISION: &[u8] = b"revision";

/// A store in a directory of the local disk.
pub struct FjallEngine {
    directory: PathBuf,
    open: Option<Open>,
    written: u64,
    /// Last, so that it is released after the database is closed.
    _lock: DirectoryLock,
}

struct Open {
    data: Keyspace,
    meta: Keyspace,
    database: Database,
}

impl FjallEngine {
    /// Opens the store in a directory, which is made if it does not exist.
    pub fn open(directory: &Path) -> Result<FjallEngine, EngineError> {
        std::fs::create_dir_all(directory).map_err(|source| {
            EngineError::io(
                &format!("making the data directory {}", directory.display()),
                source,
            )
        })?;
        let lock = DirectoryLock::acquire(directory)?;
        settle(directory)?;
        let open = Open::at(&directory.join(DATABASE))?;
        Ok(FjallEngine {
            directory: directory.to_owned(),
            open: Some(open),
            written: 0,
            _lock: lock,
        })
    }

    fn opened(&self) -> Result<&Open, EngineError> {
        self.open.as_ref().ok_or(EngineError::Stopped)
    }
}

impl Open {
    fn at(path: &Path) -> Result<Open, EngineError> {
        let attempt = format!("opening the database {}", path.display());
        if path.exists() && !path.join(MADE).exists() {
            // Its making was interrupted, so nothing was ever acknowledged from it.
            remove(path)?;
        }
        let failed = |error| engine_error(&attempt, error);
        let database = Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let data = database.keyspace("data", options).map_err(failed)?;
        let meta = database.keyspace("meta", options).map_err(failed)?;
        Ok(Open {
            data,
            meta,
            database,
        })
    }

    /// Answers the bytes handed to the log.
    fn append(&self, batch: &Batch, mode: PersistMode) -> Result<u64, EngineError> {
        // Without a mode the journal would only reach the kernel's memory, if that.
        let mut log = self.database.batch().durability(Some(mode));
        let mut written = 0;
        for write in batch
            .transactions
            .iter()
            .flat_map(|transaction| &transaction.writes)
        {
            let path = write.key().path();
            written += path.len();
            match write {
                Write::Put(entry, _) => {
                    let record = record::encode(&path, entry);
                    written += record.len();
                    log.insert(&self.data, path, record);
                }
                Write::Delete(..) => log.remove(&self.data, path),
            }
        }
        if let Some(identity) = batch.identity {
            log.insert(&self.meta, FORMAT, fact(FORMAT, u64::from(identity.format)));
            log.insert(
                &self.meta,
                CLUSTER_ID,
                fact(CLUSTER_ID, identity.cluster_id),
            );
        }
        log.insert(&self.meta, REVISION, fact(REVISION, batch.revision.0));
        log.commit()
            .map_err(|error| engine_error("writing the log", error))?;
        Ok(written as u64)
    }

    fn fact(&self, name: &[u8], damage: &mut Vec<Damage>) -> Result<Option<u64>, EngineError> {
        let attempt = "reading the store's facts";
        let Some(bytes) = self
            .meta
            .get(name)
            .map_err(|error| engine_error(attempt, error))?
        else {
            return Ok(None);
        };
        let fact = bytes
            .split_first_chunk::<8>()
            .filter(|(value, sum)| *sum == fact_sum(name, *value));
        if fact.is_none() {
            let key = format!("(store) {}", String::from_utf8_lossy(name));
            damage.push(Damage {
                key,
                reason: "its checksum does not match".to_owned(),
            });
        }
        Ok(fact.map(|(value, _)| u64::from_le_bytes(*value)))
    }
}

/// Finishes or forgets what an interrupted rebuilding left behind.
fn settle(directory: &Path) -> Result<(), EngineError> {
    remove(&directory.join(NEXT))?;
    let ready = directory.join(READY);
    if ready.exists() {
        let database = directory.join(DATABASE);
        remove(&database)?;
        rename(&ready, &database)?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), EngineError> {
    match std::fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(EngineError::io(
            &format!("removing {}", path.display()),
            source,
        )),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Renames within a directory, durably.
fn rename(from: &Path, to: &Path) -> Result<(), EngineError> {
    let directory = to.parent().unwrap_or(to);
    std::fs::rename(from, to)
        .and_then(|()| std::fs::File::open(directory)?.sync_all())
        .map_err(|source| EngineError::io(&format!("renaming {}", from.display()), source))
}

fn fact_sum(name: &[u8], value: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(name), value).to_le_bytes()
}

fn fact(name: &[u8], value: u64) -> Vec<u8> {
    let value = value.to_le_bytes();
    [&value[..], &fact_sum(name, &value)].concat()
}

impl Engine for FjallEngine {
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Loaded, EngineError> {
        let open = self.opened()?;
        let mut damage = Vec::new();
        let format = open.fact(FORMAT, &mut damage)?;
        let cluster_id = open.fact(CLUSTER_ID, &mut damage)?;
        let revision = open.fact(REVISION, &mut damage)?;
        let mut last = String::new();
        for item in open.data.iter() {
            match item.into_inner() {
                Ok((path, record)) => {
                    last = String::from_utf8_lossy(&path).into_owned();
                    each(&path, &record);
                }
                Err(error) => damage.push(Damage {
                    key: format!("(after {last})"),
                    reason: error.to_string(),
                }),
            }
            if damage.len() >= DAMAGE_MAX {
                break;
            }
        }
        // A damaged fact must not make the store look new.
        let known =
            format.is_some() || cluster_id.is_some() || revision.is_some() || !damage.is_empty();
        let identity = known.then(|| Identity {
            format: format.unwrap_or(u64::from(super::FORMAT)) as u32,
            cluster_id: cluster_id.unwrap_or(0),
        });
        Ok(Loaded {
            identity,
            revision: Revision(revision.unwrap_or(0)),
            damage,
        })
    }

    fn append(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let result = self.opened()?.append(batch, PersistMode::SyncData);
        self.written += result.as_ref().copied().unwrap_or(0);
        if result.is_err() {
            // fjall accepts nothing more after a failure; opening again starts from what the disk has.
            self.open = None;
        }
        result.map(drop)
    }

    fn reopen(&mut self) -> Result<(), EngineError> {
        self.open = None;
        settle(&self.directory)?;
        self.open = Some(Open::at(&self.directory.join(DATABASE))?);
        Ok(())
    }

    fn rebuild(
        &mut self,
        identity: Identity,
        revision: Revision,
        entries: &mut dyn Iterator<Item = &Arc<Entry>>,
    ) -> Result<(), EngineError> {
        self.open = None;
        let next = self.directory.join(NEXT);
        remove(&next)?;
        let open = Open::at(&next)?;
        let mut written = 0;
        loop {
            let some = (&mut *entries).take(REBUILD_ENTRIES);
            let writes: Vec<Write> = some
                .map(|entry| Write::Put(entry.clone(), Revision::NONE))
                .collect();
            // Sealed parts of the journal are synced by fjall, and this syncs the last one.
            let last = writes.is_empty();
            let transactions = vec![Logged { revision, writes }];
            let identity = last.then_some(identity);
            let mode = if last {
                PersistMode::SyncAll
            } else {
                PersistMode::Buffer
            };
            written += open.append(
                &Batch {
                    identity,
                    revision,
                    transactions,
                },
                mode,
            )?;
            if last {
                break;
            }
        }
        drop(open);
        self.written += written;
        rename(&next, &self.directory.join(READY))?;
        self.reopen()
    }

    fn bytes_written(&self) -> u64 {
        self.written
    }
}

fn engine_error(attempt: &str, error: Error) -> EngineError {
    match error {
        Error::Io(source) | Error::Storage(LsmError::Io(source)) => {
            EngineError::io(attempt, source)
        }
        Error::Poisoned => EngineError::Stopped,
        other => EngineError::Damaged {
            attempt: attempt.to_owned(),
            reason: other.to_string(),
        },
    }
}
