//! The engine on a local directory: fjall's log-structured tree. One batch is one journal write and one
//! fdatasync. The tree is read at open, and beyond that only where the store's memory is bounded. Writing slows
//! down while fjall's worker lags behind by several memtables.

use super::lock::DirectoryLock;
use super::{Batch, Damage, Engine, EngineError, Identity, Loaded, Values, Write, place, record};
use crate::{Durability, Note, Revision};
use fjall::{Database, Error, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode};
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The database, below the data directory.
const DATABASE: &str = "db";
/// A database that is being written anew: worth nothing yet.
const NEXT: &str = "db-next";
/// A database that was written anew and takes the place of the other.
const READY: &str = "db-ready";
/// fjall writes this file when it makes a database, after the journal and before anything else is in it.
const MADE: &str = "version";
/// What that file has at least once it is written.
const MADE_BYTES: u64 = 4;
/// Where fjall's trees are, the first of which is made after that file.
const TREES: &str = "keyspaces";
const MEMTABLE_BYTES: u64 = 8 << 20;
const CACHE_BYTES: u64 = 1 << 20;
const JOURNAL_BYTES: u64 = 128 << 20;
/// Unreadable blocks after which loading gives up.
const DAMAGE_MAX: usize = 16;

const FORMAT: &[u8] = b"format";
const CLUSTER_ID: &[u8] = b"cluster";
const REVISION: &[u8] = b"revision";
/// What the names of notes begin with.
const NOTE: &[u8] = b"note/";

/// A store in a directory of the local disk.
pub struct FjallEngine {
    directory: PathBuf,
    open: Option<Open>,
    /// Where single records are read, if they ever are.
    reading: Option<Arc<Reading>>,
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
        let lock = place::take(directory)?;
        settle(directory)?;
        let open = Open::at(&directory.join(DATABASE))?;
        Ok(FjallEngine {
            directory: directory.to_owned(),
            open: Some(open),
            reading: None,
            written: 0,
            _lock: lock,
        })
    }

    fn opened(&self) -> Result<&Open, EngineError> {
        self.open.as_ref().ok_or(EngineError::Stopped)
    }

    /// Opens the database again, which nobody may have open meanwhile.
    fn open_again(&mut self) -> Result<(), EngineError> {
        let reading = self.reading.clone();
        let mut reading = reading.as_ref().map(|reading| reading.0.write());
        if let Some(reading) = &mut reading {
            **reading = None;
        }
        self.open = None;
        settle(&self.directory)?;
        let open = Open::at(&self.directory.join(DATABASE))?;
        if let Some(reading) = &mut reading {
            **reading = Some(open.data.clone());
        }
        self.open = Some(open);
        Ok(())
    }
}

impl Drop for FjallEngine {
    fn drop(&mut self) {
        // Whoever still holds entries must not keep the directory from being opened again.
        if let Some(reading) = &self.reading {
            *reading.0.write() = None;
        }
    }
}

/// The data of the open database, or of the one that failed and is not opened again yet.
struct Reading(RwLock<Option<Keyspace>>);

impl Values for Reading {
    fn read(&self, path: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let open = self.0.read();
        let data = open.as_ref().ok_or(EngineError::Stopped)?;
        let found = data
            .get(path)
            .map_err(|error| engine_error("reading a record", error))?;
        Ok(found.map(|record| record.to_vec()))
    }
}

impl Open {
    fn at(path: &Path) -> Result<Open, EngineError> {
        let attempt = format!("opening the database {}", path.display());
        if is_unfinished(path) {
            // Its making was interrupted, so nothing was ever acknowledged from it.
            place::remove(path)?;
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
            let path = write.key().bytes();
            written += path.len();
            match write {
                Write::Put(entry, _, stored) => {
                    let record = record::encode(&path, entry, stored);
                    written += record.len();
                    log.insert(&self.data, path, record);
                }
                Write::Delete(..) => log.remove(&self.data, path),
            }
        }
        for note in batch.transactions.iter().flat_map(|logged| &logged.notes) {
            let name = [NOTE, note.name.as_bytes()].concat();
            match &note.text {
                Some(text) => {
                    written += name.len() + text.len();
                    let text = record::encode_note(&name, text);
                    log.insert(&self.meta, name, text);
                }
                None => log.remove(&self.meta, name),
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

    fn notes(&self, damage: &mut Vec<Damage>) -> Vec<Note> {
        let mut notes = Vec::new();
        for item in self.meta.prefix(NOTE) {
            let read = item.into_inner().map_err(|error| Damage {
                key: "(store) note".to_owned(),
                reason: error.to_string(),
            });
            match read.and_then(|(name, text)| record::decode_note(&name, NOTE.len(), &text)) {
                Ok(note) => notes.push(note),
                Err(reason) => damage.push(reason),
            }
        }
        notes
    }
}

/// Whether the making of a database was interrupted before anything could be in it: a process that is killed in the
/// midst of it leaves no such file, or an empty one and no tree.
fn is_unfinished(path: &Path) -> bool {
    let has_trees =
        std::fs::read_dir(path.join(TREES)).is_ok_and(|mut found| found.next().is_some());
    match std::fs::metadata(path.join(MADE)) {
        Ok(made) => made.len() < MADE_BYTES && !has_trees,
        Err(_) => path.exists(),
    }
}

/// Finishes or forgets what an interrupted rebuilding left behind.
fn settle(directory: &Path) -> Result<(), EngineError> {
    place::remove(&directory.join(NEXT))?;
    let ready = directory.join(READY);
    if ready.exists() {
        let database = directory.join(DATABASE);
        place::remove(&database)?;
        place::rename(&ready, &database)?;
    }
    Ok(())
}

fn fact_sum(name: &[u8], value: &[u8]) -> [u8; 4] {
    crc32c::crc32c_append(crc32c::crc32c(name), value).to_le_bytes()
}

fn fact(name: &[u8], value: u64) -> Vec<u8> {
    let value = value.to_le_bytes();
    [&value[..], &fact_sum(name, &value)].concat()
}

impl Engine for FjallEngine {
    fn values(&mut self) -> Option<Arc<dyn Values>> {
        let data = self.open.as_ref().map(|open| open.data.clone());
        let reading = Arc::new(Reading(RwLock::new(data)));
        self.reading = Some(reading.clone());
        Some(reading)
    }

    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Loaded, EngineError> {
        let open = self.opened()?;
        let mut damage = Vec::new();
        let format = open.fact(FORMAT, &mut damage)?;
        let cluster_id = open.fact(CLUSTER_ID, &mut damage)?;
        let revision = open.fact(REVISION, &mut damage)?;
        let notes = open.notes(&mut damage);
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
            notes,
            damage,
        })
    }

    fn append(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let mode = match batch.durability {
            Durability::Synced => PersistMode::SyncData,
            Durability::Relaxed => PersistMode::Buffer,
        };
        let result = self.opened()?.append(batch, mode);
        self.written += result.as_ref().copied().unwrap_or(0);
        if result.is_err() {
            // fjall accepts nothing more after a failure; opening again starts from what the disk has.
            self.open = None;
        }
        result.map(drop)
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        let synced = self
            .opened()?
            .database
            .persist(PersistMode::SyncData)
            .map_err(|error| engine_error("syncing the log", error));
        if synced.is_err() {
            self.open = None;
        }
        synced
    }

    fn compact(&mut self) -> Result<(), EngineError> {
        let attempt = "compacting the database";
        let open = self.opened()?;
        for keyspace in [&open.data, &open.meta] {
            let compacted = keyspace
                .rotate_memtable_and_wait()
                .and_then(|()| keyspace.major_compact());
            compacted.map_err(|error| engine_error(attempt, error))?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), EngineError> {
        self.open = None;
        if self.reading.is_some() {
            // What can still be read is not given up before there is hope.
            place::probe(&self.directory)?;
        }
        self.open_again()
    }

    fn rebuild(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, EngineError>>,
    ) -> Result<(), EngineError> {
        self.open = None;
        let is_blind = |reading: &Arc<Reading>| reading.0.read().is_none();
        if self.reading.as_ref().is_some_and(is_blind) {
            // Values that are not in memory are read from the old database.
            self.open_again()?;
            self.open = None;
        }
        let next = self.directory.join(NEXT);
        place::remove(&next)?;
        let open = Open::at(&next)?;
        let mut written = 0;
        for batch in batches {
            written += open.append(&batch?, PersistMode::Buffer)?;
        }
        // Sealed parts of the journal are synced by fjall, and this syncs the last one.
        open.database
            .persist(PersistMode::SyncAll)
            .map_err(|error| engine_error("writing the log anew", error))?;
        drop(open);
        self.written += written;
        place::rename(&next, &self.directory.join(READY))?;
        self.open_again()
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
