//! A second engine on a local directory: redb's copy-on-write B-tree. One batch is one transaction and one sync.
//! It is the second opinion in differential tests, and smaller than fjall where writes are few.

use super::lock::DirectoryLock;
use super::{Batch, Damage, Engine, EngineError, Identity, Loaded, Write, place, record};
use crate::{Note, Revision};
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

const DATABASE: &str = "store.redb";
/// A database that is being written anew: worth nothing yet.
const NEXT: &str = "store.redb-next";
const DATA: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("data");
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");
const FACTS: TableDefinition<'_, &str, u64> = TableDefinition::new("facts");
const CACHE_BYTES: usize = 4 << 20;
/// A process that was killed keeps its lock until the kernel is done with it.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Unreadable pages after which loading gives up.
const DAMAGE_MAX: usize = 16;

/// Where the files of the database are.
pub trait Medium: Send {
    /// Opens a database, which is made if there is none of this name.
    fn database(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError>;
    /// Removes a file, if it is there.
    fn remove(&self, name: &str) -> Result<(), EngineError>;
    /// Renames a file, durably.
    fn rename(&self, from: &str, to: &str) -> Result<(), EngineError>;
}

/// A directory of the local disk.
struct Directory {
    path: PathBuf,
    _lock: DirectoryLock,
}

impl Medium for Directory {
    fn database(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create(self.path.join(name))
    }

    fn remove(&self, name: &str) -> Result<(), EngineError> {
        place::remove(&self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), EngineError> {
        place::rename(&self.path.join(from), &self.path.join(to))
    }
}

/// A store in one file.
pub struct RedbEngine {
    open: Option<Database>,
    written: u64,
    /// Last, so that it is let go after the database is closed.
    medium: Box<dyn Medium>,
}

impl RedbEngine {
    /// Opens the store in a directory, which is made if it does not exist.
    pub fn open(directory: &Path) -> Result<RedbEngine, EngineError> {
        RedbEngine::on(Directory {
            path: directory.to_owned(),
            _lock: place::take(directory)?,
        })
    }

    /// Opens the store on a medium of its own.
    pub fn on(medium: impl Medium + 'static) -> Result<RedbEngine, EngineError> {
        medium.remove(NEXT)?;
        let open = Some(database(&medium, DATABASE)?);
        Ok(RedbEngine {
            open,
            written: 0,
            medium: Box::new(medium),
        })
    }

    fn opened(&self) -> Result<&Database, EngineError> {
        self.open.as_ref().ok_or(EngineError::Stopped)
    }
}

fn database(medium: &dyn Medium, name: &str) -> Result<Database, EngineError> {
    let attempt = format!("opening the database {name}");
    let mut builder = Database::builder();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    for _ in 1..LOCK_TRIES {
        match medium.database(name, &builder) {
            Err(DatabaseError::DatabaseAlreadyOpen) => std::thread::sleep(LOCK_PAUSE),
            other => return other.map_err(|error| engine_error(&attempt, error)),
        }
    }
    Err(engine_error(&attempt, DatabaseError::DatabaseAlreadyOpen))
}

fn append(database: &Database, batch: &Batch, durability: Durability) -> Result<u64, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    let mut written = 0;
    {
        let mut data = transaction.open_table(DATA)?;
        let mut notes = transaction.open_table(NOTES)?;
        let mut facts = transaction.open_table(FACTS)?;
        for logged in &batch.transactions {
            for write in &logged.writes {
                let path = write.key().bytes();
                written += path.len();
                match write {
                    Write::Put(entry, _, stored) => {
                        let record = record::encode(&path, entry, stored);
                        written += record.len();
                        data.insert(&path[..], &record[..])?;
                    }
                    Write::Delete(..) => drop(data.remove(&path[..])?),
                }
            }
            for note in &logged.notes {
                match &note.text {
                    Some(text) => {
                        let text = record::encode_note(note.name.as_bytes(), text);
                        written += note.name.len() + text.len();
                        notes.insert(&*note.name, &text[..])?;
                    }
                    None => drop(notes.remove(&*note.name)?),
                }
            }
        }
        if let Some(identity) = batch.identity {
            facts.insert("format", u64::from(identity.format))?;
            facts.insert("cluster", identity.cluster_id)?;
        }
        facts.insert("revision", batch.revision.0)?;
    }
    transaction.commit()?;
    Ok(written as u64)
}

impl Engine for RedbEngine {
    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Loaded, EngineError> {
        let mut loaded = Loaded {
            identity: None,
            revision: Revision::NONE,
            notes: Vec::new(),
            damage: Vec::new(),
        };
        let read = read(self.opened()?, each, &mut loaded);
        match read {
            // A database without tables was never written to.
            Ok(()) | Err(redb::Error::TableDoesNotExist(_)) => Ok(loaded),
            Err(error) => Err(engine_error("reading the database", error)),
        }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), EngineError> {
        let result = append(self.opened()?, batch, Durability::Immediate)
            .map_err(|error| engine_error("writing the log", error));
        self.written += result.as_ref().copied().unwrap_or(0);
        if result.is_err() {
            self.open = None;
        }
        result.map(drop)
    }

    fn compact(&mut self) -> Result<(), EngineError> {
        let open = self.open.as_mut().ok_or(EngineError::Stopped)?;
        open.compact()
            .map_err(|error| engine_error("compacting the database", error))?;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), EngineError> {
        self.open = None;
        self.medium.remove(NEXT)?;
        self.open = Some(database(&*self.medium, DATABASE)?);
        Ok(())
    }

    fn rebuild(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, EngineError>>,
    ) -> Result<(), EngineError> {
        self.open = None;
        self.medium.remove(NEXT)?;
        let anew = database(&*self.medium, NEXT)?;
        let mut written = 0;
        let mut batches = batches.peekable();
        while let Some(batch) = batches.next() {
            let durability = match batches.peek() {
                Some(_) => Durability::None,
                None => Durability::Immediate,
            };
            written += append(&anew, &batch?, durability)
                .map_err(|error| engine_error("writing the log anew", error))?;
        }
        drop(anew);
        self.written += written;
        self.medium.rename(NEXT, DATABASE)?;
        self.reopen()
    }

    fn bytes_written(&self) -> u64 {
        self.written
    }
}

fn read(
    database: &Database,
    each: &mut dyn FnMut(&[u8], &[u8]),
    loaded: &mut Loaded,
) -> Result<(), redb::Error> {
    let transaction = database.begin_read()?;
    let facts = transaction.open_table(FACTS)?;
    let fact = |name: &str| -> Result<Option<u64>, redb::Error> {
        Ok(facts.get(name)?.map(|value| value.value()))
    };
    loaded.revision = Revision(fact("revision")?.unwrap_or(0));
    let (format, cluster_id) = (fact("format")?, fact("cluster")?);
    loaded.identity = format.zip(cluster_id).map(|(format, cluster_id)| Identity {
        format: format as u32,
        cluster_id,
    });
    for item in transaction.open_table(NOTES)?.iter()? {
        let (name, text) = item?;
        let note: Result<Note, Damage> =
            record::decode_note(name.value().as_bytes(), 0, text.value());
        match note {
            Ok(note) => loaded.notes.push(note),
            Err(damage) => loaded.damage.push(damage),
        }
    }
    let mut last = String::new();
    for item in transaction.open_table(DATA)?.iter()? {
        match item {
            Ok((path, record)) => {
                last = String::from_utf8_lossy(path.value()).into_owned();
                each(path.value(), record.value());
            }
            Err(error) => loaded.damage.push(Damage {
                key: format!("(after {last})"),
                reason: error.to_string(),
            }),
        }
        if loaded.damage.len() >= DAMAGE_MAX {
            break;
        }
    }
    Ok(())
}

fn engine_error(attempt: &str, error: impl Into<redb::Error>) -> EngineError {
    match error.into() {
        redb::Error::Io(source) => EngineError::io(attempt, source),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => EngineError::Stopped,
        other => EngineError::Damaged {
            attempt: attempt.to_owned(),
            reason: other.to_string(),
        },
    }
}
