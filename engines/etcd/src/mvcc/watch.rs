//! A stream of watches: one cursor into the retained changes for all that are up to date, one for each that still
//! reads the past. Invariant: every watch gets every change of its keys from its start on, in order and once, or is
//! told from where it can go on. Nothing is queued for a slow reader: its cursor waits.

use super::hub::Bell;
use super::index::Index;
use super::record::Record;
use super::store::Store;
use crate::Refusal;
use crate::proto::etcdserverpb::WatchCreateRequest;
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Changes that one response of a watch holds at most.
const EVENTS_MAX: usize = 1000;
/// Changes that one step looks at, at most.
const LOOK_MAX: usize = 4096;

/// A change as a watch shows it.
#[derive(Clone, Debug)]
pub struct Shown {
    /// The change.
    pub record: Arc<Record>,
    /// What was there before, if the watch asked and it is retained.
    pub previous: Option<Arc<Record>>,
}

/// What a stream has to say.
#[derive(Debug)]
pub enum Said {
    /// Changes for a watch; the revision up to which it has now seen everything.
    Changes(i64, i64, Arc<[Shown]>),
    /// The watch cannot go on: its next revision is compacted; now the oldest one is this.
    Compacted(i64, i64),
}

struct Watch {
    key: Bytes,
    end: Bytes,
    previous: bool,
    no_put: bool,
    no_delete: bool,
    progress_notify: bool,
    fragment: bool,
    /// Changes before this revision are not wanted.
    start: i64,
    /// What it has seen all up to, while it reads the past.
    behind: Option<i64>,
}

impl Watch {
    fn wants(&self, record: &Record) -> bool {
        let skipped = if record.is_deletion() {
            self.no_delete
        } else {
            self.no_put
        };
        !skipped && record.main() >= self.start
    }
}

/// The watches of one client's stream.
pub struct WatchStream {
    store: Store,
    bell: Arc<Bell>,
    watches: BTreeMap<i64, Watch>,
    /// The watches that are up to date, by key and by range.
    by_key: HashMap<Bytes, Vec<i64>>,
    by_range: Vec<((Bytes, Bytes), Vec<i64>)>,
    next_id: i64,
    /// What the watches that are not behind have seen all up to.
    seen: i64,
}

impl WatchStream {
    pub(crate) fn new(store: Store) -> WatchStream {
        let seen = store.revision();
        WatchStream {
            store,
            bell: Arc::default(),
            watches: BTreeMap::new(),
            by_key: HashMap::new(),
            by_range: Vec::new(),
            next_id: 0,
            seen,
        }
    }

    /// Starts a watch; answers its id.
    pub fn create(&mut self, request: &WatchCreateRequest) -> Result<i64, Refusal> {
        let key = if request.key.is_empty() {
            Bytes::from_static(&[0])
        } else {
            request.key.clone()
        };
        let end = request.range_end.clone();
        // Upstream refuses what can never match.
        if !end.is_empty() && end != [0][..] && key >= end {
            return Err(Refusal::new(
                crate::Code::Unknown,
                "mvcc: watcher range is empty",
            ));
        }
        let id = match request.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id += 1;
                self.next_id - 1
            }
            id if self.watches.contains_key(&id) => {
                return Err(Refusal::new(
                    crate::Code::Unknown,
                    "mvcc: duplicate watch ID provided on the WatchStream",
                ));
            }
            id => id,
        };
        self.store.hub().add(&self.bell, &key, &end);
        let now = self.store.revision();
        let start = request.start_revision;
        let behind = (start > 0 && start <= now).then_some(start - 1);
        let watch = Watch {
            key,
            end,
            previous: request.prev_kv,
            no_put: request.filters.contains(&0),
            no_delete: request.filters.contains(&1),
            progress_notify: request.progress_notify,
            fragment: request.fragment,
            start: if start > 0 { start } else { now + 1 },
            behind,
        };
        if behind.is_none() {
            if self.by_key.is_empty() && self.by_range.is_empty() {
                self.seen = self.seen.max(now);
            }
            self.settle(id, &watch.key, &watch.end);
        }
        self.watches.insert(id, watch);
        Ok(id)
    }

    /// Ends a watch; answers whether there was one.
    pub fn cancel(&mut self, id: i64) -> bool {
        let Some(watch) = self.watches.remove(&id) else {
            return false;
        };
        self.store.hub().remove(&self.bell, &watch.key, &watch.end);
        self.unsettle(id, &watch);
        true
    }

    /// Whether a watch wants long answers in pieces.
    pub fn fragments(&self, id: i64) -> bool {
        self.watches.get(&id).is_some_and(|watch| watch.fragment)
    }

    /// The watches that want to hear of progress unasked.
    pub fn notified(&self) -> Vec<i64> {
        let wanted = self.watches.iter().filter(|(_, w)| w.progress_notify);
        wanted.map(|(id, _)| *id).collect()
    }

    /// Whether there are any watches.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// Waits until there may be something to say.
    pub async fn changed(&self) {
        if self.watches.values().any(|watch| watch.behind.is_some()) {
            return;
        }
        self.bell.rung().await;
    }

    /// What there is to say now; nothing if every watch is up to date, at the revision answered.
    pub fn step(&mut self) -> (i64, Vec<Said>) {
        let store = self.store.clone();
        // What is visible was marked before it became so.
        let visible = store.revision();
        let rung = self.bell.take(visible);
        let index = store.index();
        let mut said = Vec::new();
        let behind: Vec<i64> = self
            .watches
            .iter()
            .filter(|(_, watch)| watch.behind.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in behind {
            self.catch_up(&index, id, visible, &mut said);
        }
        match rung {
            // Nothing that these watches cover has happened.
            None => self.seen = self.seen.max(visible),
            Some(first) => {
                let from = self.seen.max(first - 1);
                self.follow(&index, from, visible, &mut said);
            }
        }
        (visible, said)
    }

    /// The revision up to which every watch has seen everything, if they all have and none waits for the future.
    pub fn progress(&self) -> Option<i64> {
        let waiting = |watch: &Watch| watch.behind.is_some() || watch.start > self.seen + 1;
        (!self.watches.values().any(waiting)).then_some(self.seen)
    }

    fn catch_up(&mut self, index: &Index, id: i64, visible: i64, said: &mut Vec<Said>) {
        let Some(watch) = self.watches.get_mut(&id) else {
            return;
        };
        let Some(behind) = watch.behind else { return };
        if behind + 1 < index.compacted {
            said.push(Said::Compacted(id, index.compacted));
            return;
        }
        let mut shown = Vec::new();
        let mut reached = behind;
        let mut looked = 0;
        for record in index.changes_between(behind, visible) {
            if (looked >= LOOK_MAX || shown.len() >= EVENTS_MAX) && record.main() > reached {
                break;
            }
            looked += 1;
            reached = record.main();
            if watch.wants(record) && super::check::covers(&watch.key, &watch.end, record.key()) {
                shown.push(show(index, record, watch.previous));
            }
        }
        let done = looked < LOOK_MAX && shown.len() < EVENTS_MAX;
        let reached = if done { visible } else { reached };
        watch.behind = Some(reached);
        if !shown.is_empty() {
            said.push(Said::Changes(id, reached, shown.into()));
        }
        if done {
            // It joins the others: they have to be as far.
            let (key, end) = (watch.key.clone(), watch.end.clone());
            if self.by_key.is_empty() && self.by_range.is_empty() {
                self.seen = visible;
            }
            if let Some(watch) = self.watches.get_mut(&id) {
                watch.start = visible + 1;
                watch.behind = None;
            }
            self.settle(id, &key, &end);
        }
    }

    fn follow(&mut self, index: &Index, from: i64, visible: i64, said: &mut Vec<Said>) {
        if from + 1 < index.compacted {
            let settled: Vec<i64> = self
                .watches
                .iter()
                .filter(|(_, watch)| watch.behind.is_none() && watch.start < index.compacted)
                .map(|(id, _)| *id)
                .collect();
            said.extend(
                settled
                    .into_iter()
                    .map(|id| Said::Compacted(id, index.compacted)),
            );
            self.seen = visible;
            return;
        }
        let mut concerned = Vec::new();
        let mut reached = from;
        let mut complete = true;
        for record in index.changes_between(from, visible) {
            if concerned.len() >= EVENTS_MAX && record.main() > reached {
                complete = false;
                break;
            }
            reached = record.main();
            if self.concerns(record) {
                concerned.push(record);
            }
        }
        self.seen = if complete { visible } else { reached };
        if !complete {
            self.bell.mark(reached + 1);
            self.bell.wake();
        }
        self.follow_keys(index, &concerned, said);
        self.follow_ranges(index, &concerned, said);
    }

    fn concerns(&self, record: &Record) -> bool {
        let covered = |((start, end), _): &((Bytes, Bytes), Vec<i64>)| {
            super::check::covers(start, end, record.key())
        };
        self.by_key.contains_key(record.key()) || self.by_range.iter().any(covered)
    }

    fn follow_keys(&self, index: &Index, records: &[&Arc<Record>], said: &mut Vec<Said>) {
        let mut found: BTreeMap<i64, Vec<Shown>> = BTreeMap::new();
        for record in records {
            for id in self.by_key.get(record.key()).into_iter().flatten() {
                if let Some(watch) = self.watches.get(id).filter(|watch| watch.wants(record)) {
                    let shown = show(index, record, watch.previous);
                    found.entry(*id).or_default().push(shown);
                }
            }
        }
        let seen = self.seen;
        let changes = found.into_iter();
        said.extend(changes.map(|(id, shown)| Said::Changes(id, seen, shown.into())));
    }

    /// What many watches of one range see alike is made once.
    fn follow_ranges(&self, index: &Index, records: &[&Arc<Record>], said: &mut Vec<Said>) {
        for ((start, end), ids) in &self.by_range {
            let covered = |record: &&&Arc<Record>| super::check::covers(start, end, record.key());
            let records: Vec<&Arc<Record>> = records.iter().filter(covered).copied().collect();
            let Some(first) = records.first().map(|record| record.main()) else {
                continue;
            };
            let mut alike: Vec<([bool; 3], Arc<[Shown]>)> = Vec::new();
            for id in ids {
                let Some(watch) = self.watches.get(id) else {
                    continue;
                };
                let kind = [watch.previous, watch.no_put, watch.no_delete];
                let made = || -> Arc<[Shown]> {
                    let wanted = records.iter().filter(|record| watch.wants(record));
                    wanted
                        .map(|record| show(index, record, watch.previous))
                        .collect()
                };
                let shown = if watch.start > first {
                    made()
                } else if let Some((_, shown)) = alike.iter().find(|(other, _)| *other == kind) {
                    shown.clone()
                } else {
                    let shown = made();
                    alike.push((kind, shown.clone()));
                    shown
                };
                if !shown.is_empty() {
                    said.push(Said::Changes(*id, self.seen, shown));
                }
            }
        }
    }

    fn settle(&mut self, id: i64, key: &Bytes, end: &Bytes) {
        if end.is_empty() {
            self.by_key.entry(key.clone()).or_default().push(id);
            return;
        }
        let same = |range: &&mut ((Bytes, Bytes), Vec<i64>)| range.0.0 == *key && range.0.1 == *end;
        match self.by_range.iter_mut().find(same) {
            Some((_, ids)) => ids.push(id),
            None => self.by_range.push(((key.clone(), end.clone()), vec![id])),
        }
    }

    fn unsettle(&mut self, id: i64, watch: &Watch) {
        if let Some(ids) = self.by_key.get_mut(&watch.key) {
            ids.retain(|one| *one != id);
            if ids.is_empty() {
                self.by_key.remove(&watch.key);
            }
        }
        for (range, ids) in &mut self.by_range {
            if range.0 == watch.key && range.1 == watch.end {
                ids.retain(|one| *one != id);
            }
        }
        self.by_range.retain(|(_, ids)| !ids.is_empty());
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        for watch in self.watches.values() {
            self.store.hub().remove(&self.bell, &watch.key, &watch.end);
        }
    }
}

fn show(index: &Index, record: &Arc<Record>, previous: bool) -> Shown {
    let is_creation = !record.is_deletion() && record.create() == record.main();
    let before = record.main() - 1;
    let previous = (previous && !is_creation && before >= index.compacted)
        .then(|| index.get(record.key(), before).cloned())
        .flatten();
    Shown {
        record: record.clone(),
        previous,
    }
}
