//! The two kinds of directories: read as they are, written beside their place and moved there when they are whole, so
//! that an interrupted copy leaves nothing that looks like a store.

use super::{Kept, State, now};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use corten_etcd::mvcc::{Command, Parts, Position, Record, Store, StoreOptions};
use corten_store::Revision;
use corten_store::engine::fjall::FjallEngine;
use corten_store::raw::RawStore;
use corten_store::remote::RemoteEntry;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The embedded store of a cluster's data directory.
fn embedded(place: &Path) -> PathBuf {
    place.join("store")
}

/// Where a store is made before it is whole.
fn unfinished(place: &Path) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    place.with_file_name(name)
}

pub(super) fn read(place: &Path, prefix: &[u8]) -> Result<State> {
    match embedded(place).is_dir() {
        true => read_embedded(&embedded(place), prefix),
        false => read_served(place, prefix),
    }
}

fn read_served(directory: &Path, prefix: &[u8]) -> Result<State> {
    ensure!(directory.is_dir(), "there is no such directory");
    let store = Store::open(StoreOptions::new(directory.to_owned()))?;
    let (revision, records) = store.current();
    // As when it is started again, every lease has its whole time.
    let leases: HashMap<i64, i64> = store.granted().into_iter().collect();
    let keys = records
        .iter()
        .filter(|record| record.key().starts_with(prefix))
        .map(|record| Kept {
            key: Bytes::copy_from_slice(record.key()),
            value: Bytes::copy_from_slice(record.value()),
            create: record.create(),
            modified: record.main(),
            version: record.version(),
            expires: leases
                .get(&record.lease())
                .map_or(0, |seconds| now() + *seconds as u64),
        });
    let state = State::new(revision, keys.collect());
    store.close();
    Ok(state)
}

fn read_embedded(directory: &Path, prefix: &[u8]) -> Result<State> {
    let store = corten_store::Store::open(RawStore::options(FjallEngine::open(directory)?))?;
    let all = store.snapshot_all();
    let mut keys = Vec::new();
    for resource in all.resources() {
        for entry in all.resource(resource).iter() {
            keys.push(Kept {
                key: entry.key().bytes().into(),
                value: entry.stored()?,
                create: entry.create_revision().0 as i64,
                modified: entry.mod_revision().0 as i64,
                version: entry.version() as i64,
                expires: entry.expires_at().map_or(0, |at| at.as_secs().max(1)),
            });
        }
    }
    keys.retain(|kept: &Kept| kept.key.starts_with(prefix));
    let state = State::new(all.revision().0 as i64, keys);
    store.close();
    Ok(state)
}

/// The directory to write, emptied of what an interrupted copy left.
fn begin(place: &Path) -> Result<PathBuf> {
    let empty = fs::read_dir(place).map_or(true, |mut entries| entries.next().is_none());
    ensure!(empty, "{} exists already", place.display());
    let unfinished = unfinished(place);
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    if let Some(parent) = place.parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    Ok(unfinished)
}

fn finish(unfinished: &Path, place: &Path) -> Result<()> {
    if place.is_dir() {
        // It is empty.
        fs::remove_dir(place)?;
    }
    fs::rename(unfinished, place)
        .with_context(|| format!("cannot rename {}", unfinished.display()))?;
    let parent = place.parent().unwrap_or(Path::new("."));
    let synced = fs::File::open(parent).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("cannot sync {}", parent.display()))
}

pub(super) async fn write_served(place: &Path, state: &State) -> Result<()> {
    let unfinished = begin(place)?;
    let store = Store::open(StoreOptions::new(unfinished.clone()))?;
    let mut leases: BTreeMap<u64, i64> = BTreeMap::new();
    let mut records: Vec<Arc<Record>> = Vec::with_capacity(state.keys.len());
    for kept in &state.keys {
        let next = leases.len() as i64 + 1;
        let lease = match kept.expires {
            0 => 0,
            expires => *leases.entry(expires / 60).or_insert(next),
        };
        let sub = match records.last() {
            Some(last) if last.main() == kept.modified => last.position().sub + 1,
            _ => 0,
        };
        let parts = Parts {
            key: &kept.key,
            value: &kept.value,
            create: kept.create,
            version: kept.version,
            lease,
        };
        let position = Position {
            main: kept.modified,
            sub,
        };
        records.push(Arc::new(Record::put(&parts, position, 1)));
    }
    for (minute, id) in leases {
        let seconds = ((minute + 1) * 60).saturating_sub(now()).max(1) as i64;
        store.submit(Command::Grant(id, seconds)).await?;
    }
    store
        .submit(Command::Import(records, state.revision))
        .await?;
    store.close();
    finish(&unfinished, place)
}

pub(super) fn write_embedded(data: &Path, state: &State) -> Result<()> {
    let place = embedded(data);
    let unfinished = begin(&place)?;
    let entries = state.keys.iter().map(|kept| {
        let entry = RemoteEntry {
            path: kept.key.clone(),
            create_revision: Revision(kept.create as u64),
            mod_revision: Revision(kept.modified as u64),
            version: kept.version as u64,
            lease: 0,
            is_stale: false,
            stored: kept.value.clone(),
        };
        (entry, kept.expires * 1000)
    });
    let mut engine = FjallEngine::open(&unfinished)?;
    let describe = corten_apiserver::describe_by_object();
    corten_store::remote::build(
        &mut engine,
        RandomState::new().hash_one(state.revision),
        Revision(state.revision as u64),
        entries.collect(),
        &*describe,
    )?;
    drop(engine);
    finish(&unfinished, &place)
}
