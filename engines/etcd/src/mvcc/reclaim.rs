//! Segments of the log written anew without what is no longer retained. Invariant: replaying the new file in the
//! place of the old ones gives the same state, whatever happens in between.

use super::frame::{self, Entry, HEAD, Head, Next};
use super::index::Index;
use super::log::{Log, Rewrite, Sealed};
use super::record::{Position, Record};
use super::store::Shared;
use std::collections::HashMap;
use std::io;

/// Writes a run of neighbouring segments anew as one.
pub(crate) fn run(
    shared: &Shared,
    log: &mut Log,
    dead_grants: &mut HashMap<i64, u32>,
    run: &[Sealed],
) -> io::Result<()> {
    let mut rewrite = log.rewrite(run)?;
    let mut newest = 0;
    for segment in run {
        let bytes = std::fs::read(&segment.path)?;
        let head = Head::decode(&bytes).ok_or(io::ErrorKind::InvalidData)?;
        let (mut at, mut sequence) = (HEAD, 0);
        while let Next::Frame(mut payload, end) = frame::next(&bytes, at, &head, sequence) {
            let index = shared.index.read();
            while let Some(entry) = frame::read_entry(&mut payload).map_err(io::Error::other)? {
                newest = newest.max(keep(&index, dead_grants, segment, &entry, &mut rewrite)?);
            }
            drop(index);
            (at, sequence) = (end, sequence + 1);
        }
        // Sealed files end where their last frame does.
        if (at as u64) < segment.bytes {
            return Err(io::Error::other(format!(
                "{} is damaged",
                segment.path.display()
            )));
        }
    }
    rewrite.entry(&Entry::Baseline(newest))?;
    rewrite.flush()?;
    log.replace(rewrite, run)?;
    let last = run.last().map_or(0, |one| one.last);
    let first = run.first().map_or(0, |one| one.first);
    dead_grants.retain(|_, segment| *segment < first || *segment > last);
    Ok(())
}

/// Copies an entry that still says something; answers its revision.
fn keep(
    index: &Index,
    dead_grants: &HashMap<i64, u32>,
    segment: &Sealed,
    entry: &Entry<'_>,
    rewrite: &mut Rewrite,
) -> io::Result<i64> {
    let (revision, wanted) = match entry {
        Entry::Put(sub, encoded) => {
            let (key, main) = Record::peek(encoded).ok_or(io::ErrorKind::InvalidData)?;
            let position = Position { main, sub: *sub };
            (main, index.is_retained(&key, position, false))
        }
        Entry::Delete(main, sub, key) => {
            let position = Position {
                main: *main,
                sub: *sub,
            };
            (*main, index.is_retained(key, position, true))
        }
        Entry::Grant(id, _) => (0, index.leases.get(*id).is_some()),
        // Needed as long as an older segment says that there is such a lease.
        Entry::Revoke(id) => {
            let granted = dead_grants.get(id);
            (0, granted.is_some_and(|granted| *granted < segment.first))
        }
        Entry::Compact(revision) => (0, *revision >= index.compacted),
        Entry::Baseline(revision) => (*revision, false),
        Entry::Alarm(..) => (0, true),
    };
    if wanted {
        rewrite.entry(entry)?;
    }
    Ok(revision)
}
