//! A disk under the redb engine: what was not synced is lost, torn or reordered when the power goes, syncs fail and
//! are slow, space runs out, bits flip.
//!
//! Invariant: what a successful sync covered is there after every crash; a handle from before a crash changes nothing.

use crate::rng::Rng;
use corten_store::engine::EngineError;
use corten_store::engine::redb::{Medium, RedbEngine};
use redb::{Builder, Database, DatabaseError, StorageBackend};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the disk writes at once or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What survives.
    durable: Vec<u8>,
    /// What is read.
    current: Vec<u8>,
    /// What a sync makes durable.
    pending: Vec<Change>,
}

#[derive(Debug)]
struct Inside {
    files: BTreeMap<String, File>,
    rng: Rng,
    generation: u64,
    is_full: bool,
    sync_fails: bool,
}

/// A disk. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct VirtualDisk(Arc<Mutex<Inside>>);

impl VirtualDisk {
    /// An empty disk whose accidents follow from a seed.
    pub fn new(seed: u64) -> VirtualDisk {
        VirtualDisk(Arc::new(Mutex::new(Inside {
            files: BTreeMap::new(),
            rng: Rng::new(seed ^ 0xd15c),
            generation: 0,
            is_full: false,
            sync_fails: false,
        })))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An engine on this disk.
    ///
    /// # Errors
    /// As [`RedbEngine::on`].
    pub fn engine(&self) -> Result<RedbEngine, EngineError> {
        RedbEngine::on(self.clone())
    }

    /// No file grows any more.
    pub fn fill(&self) {
        self.inside().is_full = true;
    }

    /// Syncs fail, and what they were to make durable never will be, though it can be read.
    pub fn fail_syncs(&self) {
        self.inside().sync_fails = true;
    }

    /// Ends lasting faults.
    pub fn heal(&self) {
        let mut inside = self.inside();
        (inside.is_full, inside.sync_fails) = (false, false);
    }

    /// The power goes: of what was not synced some is there, in any order, some in parts, some not.
    pub fn crash(&self) {
        let mut inside = self.inside();
        let Inside { files, rng, .. } = &mut *inside;
        for file in files.values_mut() {
            let mut pending = std::mem::take(&mut file.pending);
            rng.shuffle(&mut pending);
            for change in pending {
                match rng.below(3) {
                    0 => {}
                    1 => apply(&mut file.durable, &change),
                    _ => apply(&mut file.durable, &torn(change, rng)),
                }
            }
            file.current = file.durable.clone();
        }
        inside.generation += 1;
        (inside.is_full, inside.sync_fails) = (false, false);
    }

    /// The process ends, the machine does not: what was written is there, but for what a failed sync has lost, since
    /// an engine lets the kernel forget what it keeps of its files when it opens them.
    pub fn kill(&self) {
        let mut inside = self.inside();
        for file in inside.files.values_mut() {
            let File {
                durable,
                current,
                pending,
            } = file;
            pending.iter().for_each(|change| apply(durable, change));
            pending.clear();
            *current = durable.clone();
        }
        inside.generation += 1;
        (inside.is_full, inside.sync_fails) = (false, false);
    }

    /// Flips a bit somewhere; nothing on an empty disk.
    pub fn flip(&self) {
        let mut inside = self.inside();
        let Inside { files, rng, .. } = &mut *inside;
        let Some(file) = files.values_mut().find(|file| !file.durable.is_empty()) else {
            return;
        };
        let at = rng.below(file.durable.len() as u64) as usize;
        file.durable[at] ^= 1 << rng.below(8);
        file.current = file.durable.clone();
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Len(len) => bytes.resize(*len as usize, 0),
        Change::Write(at, data) => {
            let end = *at as usize + data.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at as usize..end].copy_from_slice(data);
        }
    }
}

/// The first sectors of a write.
fn torn(change: Change, rng: &mut Rng) -> Change {
    match change {
        Change::Write(at, mut data) => {
            let sectors = data.len().div_ceil(SECTOR);
            data.truncate(rng.below(sectors as u64) as usize * SECTOR);
            Change::Write(at, data)
        }
        other => other,
    }
}

impl Medium for VirtualDisk {
    fn database(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        let mut inside = self.inside();
        inside.files.entry(name.to_owned()).or_default();
        let generation = inside.generation;
        drop(inside);
        builder.create_with_backend(Handle {
            disk: self.clone(),
            name: name.to_owned(),
            generation,
        })
    }

    fn remove(&self, name: &str) -> Result<(), EngineError> {
        self.inside().files.remove(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), EngineError> {
        let mut inside = self.inside();
        if let Some(file) = inside.files.remove(from) {
            inside.files.insert(to.to_owned(), file);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: VirtualDisk,
    name: String,
    generation: u64,
}

impl Handle {
    fn with<T>(&self, work: impl FnOnce(&mut File, bool, bool) -> io::Result<T>) -> io::Result<T> {
        let mut inside = self.disk.inside();
        let (is_full, sync_fails) = (inside.is_full, inside.sync_fails);
        let is_current = inside.generation == self.generation;
        match inside.files.get_mut(&self.name) {
            Some(file) if is_current => work(file, is_full, sync_fails),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> Result<u64, io::Error> {
        self.with(|file, _, _| Ok(file.current.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.with(|file, _, _| {
            let from = offset as usize;
            let found = file.current.get(from..from + out.len());
            out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.with(|file, is_full, _| {
            if is_full && len as usize > file.current.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let change = Change::Len(len);
            apply(&mut file.current, &change);
            file.pending.push(change);
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.with(|file, _, sync_fails| {
            let pending = std::mem::take(&mut file.pending);
            if sync_fails {
                // As on Linux: the pages are clean now, and a later sync will not try again.
                return Err(io::Error::from_raw_os_error(5));
            }
            pending
                .iter()
                .for_each(|change| apply(&mut file.durable, change));
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.with(|file, is_full, _| {
            if is_full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let change = Change::Write(offset, data.to_vec());
            apply(&mut file.current, &change);
            file.pending.push(change);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(disk: &VirtualDisk) -> Handle {
        disk.inside().files.entry("f".to_owned()).or_default();
        let generation = disk.inside().generation;
        Handle {
            disk: disk.clone(),
            name: "f".to_owned(),
            generation,
        }
    }

    #[test]
    fn what_was_synced_survives_and_nothing_else_must() {
        let mut kept = 0;
        for seed in 0..50 {
            let disk = VirtualDisk::new(seed);
            let file = handle(&disk);
            file.write(0, &[1; 2048]).unwrap();
            file.sync_data().unwrap();
            file.write(2048, &[2; 2048]).unwrap();
            disk.crash();
            assert!(
                file.write(0, &[3]).is_err(),
                "a handle from before the crash"
            );
            let file = handle(&disk);
            let mut bytes = vec![0; 2048];
            file.read(0, &mut bytes).unwrap();
            assert_eq!(bytes, [1; 2048]);
            kept += usize::from(file.len().unwrap() == 4096);
        }
        assert!(kept > 5 && kept < 45, "{kept} of 50 kept all");
    }

    #[test]
    fn a_failed_sync_never_becomes_durable() {
        let disk = VirtualDisk::new(1);
        let file = handle(&disk);
        file.write(0, b"lost").unwrap();
        disk.fail_syncs();
        file.sync_data().unwrap_err();
        disk.heal();
        file.sync_data().unwrap();
        let mut bytes = [0; 4];
        file.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"lost", "the kernel shows it");
        disk.crash();
        assert_eq!(handle(&disk).len().unwrap(), 0, "the disk has not");
    }
}
