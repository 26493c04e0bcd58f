//! An engine without a disk: for tests, and for simulation, where it loses what was not synced and fails on
//! command. The "disk" outlives the engine, so that a store can be opened again on what survived.

use super::{Batch, Engine, EngineError, Identity, Loaded, Values, Write, record};
use crate::{Durability, Note, Revision};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the next batch goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The disk is full: nothing is written. Every batch fails until [`MemoryDisk::heal`].
    NoSpace,
    /// The disk is full, which is noticed after the batch was written. Every batch fails until
    /// [`MemoryDisk::heal`].
    NoSpaceLate,
    /// Writing works, syncing does not. Every batch fails until [`MemoryDisk::heal`].
    SyncFails,
    /// The process dies before the batch is written.
    CrashBeforeWrite,
    /// The process dies after the batch was written and before it is synced.
    CrashBeforeSync,
    /// The process dies after the batch was synced and before anybody is told.
    CrashAfterSync,
}

/// What happens to bytes that were written but not synced when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// They are there by luck.
    Kept,
    /// They are gone.
    Lost,
}

#[derive(Default)]
struct Contents {
    identity: Option<Identity>,
    revision: Revision,
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    notes: BTreeMap<Arc<str>, Bytes>,
}

#[derive(Default)]
struct Disk {
    synced: Contents,
    unsynced: Vec<Batch>,
    fault: Option<Fault>,
    written: u64,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> MemoryDisk {
        MemoryDisk::default()
    }

    /// Lets the next batch go wrong.
    pub fn fail(&self, fault: Fault) {
        self.0.lock().fault = Some(fault);
    }

    /// Ends a lasting fault.
    pub fn heal(&self) {
        self.0.lock().fault = None;
    }

    /// The power goes: decides about what was not synced. Open a new engine on the disk afterwards.
    pub fn crash(&self, unsynced: Unsynced) {
        let mut disk = self.0.lock();
        let batches = std::mem::take(&mut disk.unsynced);
        if unsynced == Unsynced::Kept {
            batches.iter().for_each(|batch| disk.synced.apply(batch));
        }
        disk.fault = None;
    }

    /// Flips a bit of a stored record; answers whether there is one under this path.
    pub fn corrupt(&self, path: &str) -> bool {
        let mut disk = self.0.lock();
        let record = disk.synced.records.get_mut(path.as_bytes());
        record
            .and_then(|record| record.last_mut())
            .map(|byte| *byte ^= 1)
            .is_some()
    }
}

impl Contents {
    fn apply(&mut self, batch: &Batch) {
        self.identity = batch.identity.or(self.identity);
        self.revision = batch.revision;
        for write in batch
            .transactions
            .iter()
            .flat_map(|transaction| &transaction.writes)
        {
            let path = write.key().bytes();
            match write {
                Write::Put(entry, _, stored) => {
                    let record = record::encode(&path, entry, stored);
                    self.records.insert(path, record)
                }
                Write::Delete(..) => self.records.remove(&path),
            };
        }
        for note in batch.transactions.iter().flat_map(|logged| &logged.notes) {
            match &note.text {
                Some(text) => self.notes.insert(note.name.clone(), text.clone()),
                None => self.notes.remove(&note.name),
            };
        }
    }
}

/// The engine on a [`MemoryDisk`].
pub struct MemoryEngine {
    disk: MemoryDisk,
    stopped: bool,
}

impl MemoryEngine {
    /// An engine on this disk.
    pub fn on(disk: &MemoryDisk) -> MemoryEngine {
        MemoryEngine {
            disk: disk.clone(),
            stopped: false,
        }
    }
}

/// Reads what was written, synced or not, as a kernel would show it.
impl Values for MemoryDisk {
    fn read(&self, path: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        let disk = self.0.lock();
        let batches = disk.unsynced.iter().rev();
        let transactions = batches.flat_map(|batch| batch.transactions.iter().rev());
        let mut writes = transactions.flat_map(|logged| logged.writes.iter().rev());
        Ok(match writes.find(|write| write.key().bytes() == path) {
            Some(Write::Put(entry, _, stored)) => Some(record::encode(path, entry, stored)),
            Some(Write::Delete(..)) => None,
            None => disk.synced.records.get(path).cloned(),
        })
    }
}

impl Engine for MemoryEngine {
    fn values(&mut self) -> Option<Arc<dyn Values>> {
        Some(Arc::new(self.disk.clone()))
    }

    fn load(&mut self, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<Loaded, EngineError> {
        let disk = self.disk.0.lock();
        for (path, record) in &disk.synced.records {
            each(path, record);
        }
        let notes = disk.synced.notes.iter();
        let notes = notes.map(|(name, text)| Note::set(name, text.clone()));
        Ok(Loaded {
            identity: disk.synced.identity,
            revision: disk.synced.revision,
            notes: notes.collect(),
            damage: Vec::new(),
        })
    }

    fn append(&mut self, batch: &Batch) -> Result<(), EngineError> {
        if self.stopped {
            return Err(EngineError::Stopped);
        }
        let mut disk = self.disk.0.lock();
        let attempt = "appending to memory".to_owned();
        let lost = || EngineError::Io {
            attempt: attempt.clone(),
            source: std::io::ErrorKind::BrokenPipe.into(),
        };
        let fault = disk.fault;
        self.stopped = fault.is_some();
        if !matches!(fault, Some(Fault::NoSpace | Fault::CrashBeforeWrite)) {
            disk.written += batch.transactions.len() as u64;
            disk.unsynced.push(batch.clone());
        }
        match fault {
            Some(Fault::NoSpace | Fault::NoSpaceLate) => {
                return Err(EngineError::NoSpace { attempt });
            }
            Some(Fault::SyncFails | Fault::CrashBeforeWrite | Fault::CrashBeforeSync) => {
                return Err(lost());
            }
            Some(Fault::CrashAfterSync) | None => {}
        }
        if fault.is_none() && batch.durability == Durability::Relaxed {
            return Ok(());
        }
        for batch in std::mem::take(&mut disk.unsynced) {
            disk.synced.apply(&batch);
        }
        if fault.is_some() { Err(lost()) } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), EngineError> {
        if self.stopped {
            return Err(EngineError::Stopped);
        }
        let mut disk = self.disk.0.lock();
        if disk.fault.is_some() {
            self.stopped = true;
            return Err(EngineError::Io {
                attempt: "syncing memory".to_owned(),
                source: std::io::ErrorKind::BrokenPipe.into(),
            });
        }
        for batch in std::mem::take(&mut disk.unsynced) {
            disk.synced.apply(&batch);
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), EngineError> {
        match self.disk.0.lock().fault {
            Some(Fault::NoSpace | Fault::NoSpaceLate) => Err(EngineError::NoSpace {
                attempt: "opening memory again".to_owned(),
            }),
            Some(_) => Err(EngineError::Stopped),
            None => {
                self.stopped = false;
                Ok(())
            }
        }
    }

    fn rebuild(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Batch, EngineError>>,
    ) -> Result<(), EngineError> {
        self.reopen()?;
        let mut anew = Contents::default();
        for batch in batches {
            anew.apply(&batch?);
        }
        let mut disk = self.disk.0.lock();
        disk.unsynced.clear();
        disk.synced = anew;
        Ok(())
    }

    fn bytes_written(&self) -> u64 {
        self.disk.0.lock().written
    }
}
