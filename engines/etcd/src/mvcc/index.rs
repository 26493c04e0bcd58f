//! What is in memory: every retained version of every key, the retained changes in order, and leases. Nothing here
//! is durable or visible by itself: readers name the revision up to which they see.

use super::lease::Leases;
use super::record::{Parts, Position, Record};
use crate::Refusal;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// The versions of one key, oldest first.
#[derive(Default)]
struct History {
    versions: SmallVec<[Arc<Record>; 1]>,
}

impl History {
    fn at(&self, revision: i64) -> Option<&Arc<Record>> {
        let found = self
            .versions
            .iter()
            .rev()
            .find(|record| record.main() <= revision)?;
        (!found.is_deletion()).then_some(found)
    }
}

/// The keys that a range of etcd's kind covers.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    start: &'a [u8],
    end: &'a [u8],
}

impl<'a> Span<'a> {
    /// From `start` to before `end`; an empty end means one key, an end of one zero byte everything that follows.
    pub fn new(start: &'a [u8], end: &'a [u8]) -> Span<'a> {
        Span { start, end }
    }

    /// Every key.
    pub fn all() -> Span<'static> {
        Span {
            start: &[],
            end: &[0],
        }
    }

    fn bounds(&self) -> Option<(Bound<&'a [u8]>, Bound<&'a [u8]>)> {
        match self.end {
            [0] => Some((Bound::Included(self.start), Bound::Unbounded)),
            end if end > self.start => Some((Bound::Included(self.start), Bound::Excluded(end))),
            _ => None,
        }
    }
}

/// What a range read found.
#[derive(Debug, Default)]
pub struct Found {
    /// The records, by key.
    pub records: Vec<Arc<Record>>,
    /// How many keys are in the range.
    pub count: usize,
}

/// The retained state.
pub struct Index {
    keys: BTreeMap<Box<[u8]>, History>,
    /// Every change from the compacted revision on, in order.
    changes: VecDeque<Arc<Record>>,
    /// The revision of the newest change, durable or not.
    pub revision: i64,
    /// Revisions before this one cannot be read; -1 if none was compacted.
    pub compacted: i64,
    /// Superseded versions up to here are still to be removed from memory.
    pruning: Option<i64>,
    pub leases: Leases,
    /// The bytes of all retained records in the log.
    pub bytes: u64,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            keys: BTreeMap::new(),
            changes: VecDeque::new(),
            revision: 1,
            compacted: -1,
            pruning: None,
            leases: Leases::default(),
            bytes: 0,
        }
    }
}

impl Index {
    /// The revision that a read at `asked` (0: now) of what is visible up to `visible` reads.
    pub fn resolve(&self, asked: i64, visible: i64) -> Result<i64, Refusal> {
        if asked > visible {
            return Err(Refusal::FUTURE_REVISION);
        }
        let revision = if asked <= 0 { visible } else { asked };
        if revision < self.compacted {
            return Err(Refusal::COMPACTED);
        }
        Ok(revision)
    }

    /// One key as it was at a revision.
    pub fn get(&self, key: &[u8], revision: i64) -> Option<&Arc<Record>> {
        self.keys.get(key)?.at(revision)
    }

    /// The keys of a span as they were at a revision: at most `limit` records (0: all), and the number of all.
    pub fn range(&self, span: Span<'_>, revision: i64, limit: usize) -> Found {
        let mut found = Found::default();
        self.each(span, revision, |record| {
            found.count += 1;
            if limit == 0 || found.records.len() < limit {
                found.records.push(record.clone());
            }
        });
        found
    }

    /// Calls `each` for the keys of a span as they were at a revision, in order.
    pub fn each(&self, span: Span<'_>, revision: i64, mut each: impl FnMut(&Arc<Record>)) {
        if span.end.is_empty() {
            if let Some(record) = self.get(span.start, revision) {
                each(record);
            }
            return;
        }
        let Some(bounds) = span.bounds() else { return };
        for history in self.keys.range::<[u8], _>(bounds).map(|(_, h)| h) {
            if let Some(record) = history.at(revision) {
                each(record);
            }
        }
    }

    /// Writes a key in the transaction at `position`; answers the new version.
    pub fn put(
        &mut self,
        key: &[u8],
        value: &[u8],
        lease: i64,
        position: Position,
        segment: u32,
    ) -> Arc<Record> {
        let before = self.get(key, position.main);
        let (create, version, old_lease) = match before {
            Some(before) => (before.create(), before.version() + 1, before.lease()),
            None => (position.main, 1, 0),
        };
        let parts = Parts {
            key,
            value,
            create,
            version,
            lease,
        };
        let record = Arc::new(Record::put(&parts, position, segment));
        self.leases.detach(old_lease, key);
        self.leases.attach(lease, key);
        self.insert(record.clone());
        record
    }

    /// Deletes a key in the transaction at `position`; none if it does not exist.
    pub fn delete(&mut self, key: &[u8], position: Position, segment: u32) -> Option<Arc<Record>> {
        let lease = self.get(key, position.main)?.lease();
        let record = Arc::new(Record::tombstone(key, position, segment));
        self.leases.detach(lease, key);
        self.insert(record.clone());
        Some(record)
    }

    /// Adds a change that is newer than all others.
    pub fn insert(&mut self, record: Arc<Record>) {
        self.revision = self.revision.max(record.main());
        self.bytes += record.logged_len();
        match self.keys.get_mut(record.key()) {
            Some(history) => history.versions.push(record.clone()),
            None => {
                let mut history = History::default();
                history.versions.push(record.clone());
                self.keys.insert(record.key().into(), history);
            }
        }
        self.changes.push_back(record);
    }

    /// Takes back every change after a revision.
    pub fn undo(&mut self, revision: i64) {
        while let Some(last) = self.changes.back() {
            if last.main() <= revision {
                break;
            }
            let Some(record) = self.changes.pop_back() else {
                break;
            };
            self.bytes -= record.logged_len();
            if let Some(history) = self.keys.get_mut(record.key()) {
                history.versions.retain(|one| !Arc::ptr_eq(one, &record));
                if history.versions.is_empty() {
                    self.keys.remove(record.key());
                }
            }
        }
        self.revision = revision;
        self.reattach();
    }

    /// Finds anew which keys are attached to which lease.
    pub fn reattach(&mut self) {
        self.leases.detach_all();
        let revision = self.revision;
        for history in self.keys.values() {
            if let Some(record) = history.at(revision) {
                self.leases.attach(record.lease(), record.key());
            }
        }
    }

    /// Refuses reads before a revision from now on; what they read is removed by [`Index::prune`].
    pub fn compact(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
        self.pruning = Some(self.compacted);
    }

    /// How far it is compacted, and up to where it is to be pruned: for [`Index::uncompact`].
    pub fn compaction(&self) -> (i64, Option<i64>) {
        (self.compacted, self.pruning)
    }

    /// Takes a compaction back of which nothing was pruned yet.
    pub fn uncompact(&mut self, (compacted, pruning): (i64, Option<i64>)) {
        (self.compacted, self.pruning) = (compacted, pruning);
    }

    /// Whether there is something left to prune.
    pub fn is_pruning(&self) -> bool {
        self.pruning.is_some()
    }

    /// Removes superseded versions for at most `limit` changes; `gone` is told of every record that is not retained.
    pub fn prune(&mut self, limit: usize, mut gone: impl FnMut(&Record)) {
        let Some(until) = self.pruning else { return };
        for _ in 0..limit {
            match self.changes.front() {
                Some(front) if front.main() < until => {}
                _ => {
                    self.prune_boundary(until, &mut gone);
                    self.pruning = None;
                    return;
                }
            }
            let Some(record) = self.changes.pop_front() else {
                return;
            };
            let bytes = prune_key(&mut self.keys, record.key(), until, &mut gone);
            self.bytes -= bytes;
        }
    }

    /// The changes at the compacted revision itself stay for watches; what they superseded does not.
    fn prune_boundary(&mut self, until: i64, gone: &mut impl FnMut(&Record)) {
        for record in &self.changes {
            if record.main() > until {
                break;
            }
            self.bytes -= prune_key(&mut self.keys, record.key(), until, gone);
        }
    }

    /// The retained changes after a revision and up to another, in order.
    pub fn changes_between(&self, after: i64, until: i64) -> impl Iterator<Item = &Arc<Record>> {
        let from = self
            .changes
            .partition_point(|change| change.main() <= after);
        self.changes
            .range(from..)
            .take_while(move |change| change.main() <= until)
    }

    /// Whether a change found in the log is retained.
    pub fn is_retained(&self, key: &[u8], position: Position, deletion: bool) -> bool {
        if deletion {
            return position.main >= self.compacted;
        }
        let history = self.keys.get(key);
        history.is_some_and(|history| {
            let same = |one: &Arc<Record>| one.position() == position;
            history.versions.iter().any(same)
        })
    }

    /// Every retained record up to a revision in order of position: what a hash or a copy covers.
    pub fn retained(&self, revision: i64) -> Vec<Arc<Record>> {
        let mut all: Vec<Arc<Record>> = self
            .keys
            .values()
            .flat_map(|history| &history.versions)
            .filter(|record| record.main() <= revision)
            .cloned()
            .collect();
        // Deletions whose key has no history left.
        let boundary = self.changes_between(i64::MIN, self.compacted);
        all.extend(boundary.filter(|record| record.is_deletion()).cloned());
        all.sort_by_key(|record| record.position());
        all.dedup_by_key(|record| record.position());
        all
    }

    /// The number of keys in memory.
    pub fn len(&self) -> usize {
        self.keys.len()
    }
}

/// Removes what a compaction at `until` makes unreadable of one key; answers the bytes that are no longer retained.
fn prune_key(
    keys: &mut BTreeMap<Box<[u8]>, History>,
    key: &[u8],
    until: i64,
    gone: &mut impl FnMut(&Record),
) -> u64 {
    let Some(history) = keys.get_mut(key) else {
        return 0;
    };
    let newest = history
        .versions
        .iter()
        .rposition(|record| record.main() <= until);
    let Some(newest) = newest else { return 0 };
    let keep_from = if history.versions[newest].is_deletion() {
        newest + 1
    } else {
        newest
    };
    let mut bytes = 0;
    for record in history.versions.drain(..keep_from) {
        bytes += record.logged_len();
        gone(&record);
    }
    if history.versions.is_empty() {
        keys.remove(key);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(main: i64) -> Position {
        Position { main, sub: 0 }
    }

    fn sample() -> Index {
        let mut index = Index::default();
        index.put(b"a", b"1", 0, at(2), 0);
        index.put(b"b", b"1", 0, at(3), 0);
        index.put(b"a", b"2", 0, at(4), 0);
        index.delete(b"b", at(5), 0).unwrap();
        index
    }

    #[test]
    fn old_revisions_are_exact() {
        let index = sample();
        let read = |revision| {
            let found = index.range(Span::all(), revision, 0);
            found
                .records
                .iter()
                .map(|r| (r.key().to_vec(), r.value().to_vec()))
                .collect::<Vec<_>>()
        };
        assert_eq!(read(2), [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(read(4).len(), 2);
        assert_eq!(read(5), [(b"a".to_vec(), b"2".to_vec())]);
        let a = index.get(b"a", 5).unwrap();
        assert_eq!((a.create(), a.version()), (2, 2));
    }

    #[test]
    fn compaction_keeps_what_can_be_read() {
        let mut index = sample();
        index.compact(4);
        let mut gone = 0;
        while index.is_pruning() {
            index.prune(1, |_| gone += 1);
        }
        assert_eq!(gone, 1);
        assert_eq!(index.resolve(3, 5), Err(Refusal::COMPACTED));
        assert_eq!(index.range(Span::all(), 4, 0).count, 2);
        let left: Vec<i64> = index.changes_between(3, 9).map(|r| r.main()).collect();
        assert_eq!(left, [4, 5]);
        index.compact(5);
        index.prune(100, |_| gone += 1);
        assert_eq!((gone, index.len()), (3, 1));
        assert_eq!(index.changes_between(4, 9).count(), 1);
    }

    #[test]
    fn undone_changes_leave_no_trace() {
        let mut index = sample();
        let bytes = index.bytes;
        index.put(b"c", b"1", 0, at(6), 0);
        index.put(b"a", b"3", 0, at(6), 0);
        index.undo(5);
        assert_eq!((index.revision, index.bytes, index.len()), (5, bytes, 2));
        assert_eq!(index.get(b"a", 9).unwrap().value(), b"2");
    }
}
