//! A batch being drafted on a copy of the state. Nothing here is visible until it is durable.

use crate::cold::Stored;
use crate::core::{Now, millis};
use crate::engine::{Logged, Write};
use crate::entry::{Entry, EntryParts};
use crate::snapshot::State;
use crate::store::Shared;
use crate::transaction::FinishObject;
use crate::{
    Bounds, CommitError, Committed, Conflict, Durability, Event, Expiry, Key, Op, Outcome,
    Precondition, Put, Revision, StateSnapshot, Template, Transaction,
};
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

/// How much of a key a refusal shows.
const KEY_SHOWN: usize = 200;
/// Up to this many steps, comparing every pair is cheaper than hashing.
const PAIRS_MAX: usize = 8;

pub(crate) struct Draft {
    shared: Arc<Shared>,
    now: Now,
    pub(crate) state: State,
    pub(crate) transactions: Vec<Logged>,
    pub(crate) events: Vec<Arc<Event>>,
    /// What the batch needs: synced as soon as one transaction does.
    pub(crate) durability: Durability,
    slots: Vec<(Arc<Entry>, Option<(FinishObject, usize)>, Vec<Template>)>,
}

impl Draft {
    pub(crate) fn on(shared: &Arc<Shared>, now: Now) -> Draft {
        let state = State::clone(&shared.state.load());
        Draft {
            shared: shared.clone(),
            now,
            state,
            transactions: Vec::new(),
            events: Vec::new(),
            durability: Durability::Relaxed,
            slots: Vec::new(),
        }
    }

    /// Adds a transaction to the batch, or leaves the draft as it was.
    pub(crate) fn apply(&mut self, transaction: Transaction) -> Result<Committed, CommitError> {
        let Transaction {
            mut ops,
            mut notes,
            plan,
            durability,
        } = transaction;
        valid(&ops, &self.shared.limits, Asked::ByCaller)?;
        if let Some(plan) = plan {
            let planned = plan(&StateSnapshot(Arc::new(self.state.clone())));
            ops.extend(planned.ops);
            notes.extend(planned.notes);
            valid(&ops, &self.shared.limits, Asked::ByPlan)?;
        }
        for (index, op) in ops.iter().enumerate() {
            self.check(index, op.key(), op.precondition())?;
        }
        let mut kept = self.seal(&ops)?.into_iter();
        self.pin(&ops)?;
        if durability == Durability::Synced {
            self.durability = Durability::Synced;
        }
        let revision = self.state.revision.next();
        let mut writes = Vec::with_capacity(ops.len());
        let mut outcomes = Vec::with_capacity(ops.len());
        for op in ops {
            outcomes.push(match op {
                Op::Put(put) => {
                    let kept = kept.next().expect("every put was sealed");
                    Outcome::Put(self.put(put, kept, revision, &mut writes))
                }
                Op::Delete(key, _) => match self.delete(&key, revision, &mut writes) {
                    Some(before) => Outcome::Deleted(before),
                    None => Outcome::Unchanged,
                },
                Op::Check(..) => Outcome::Unchanged,
            });
        }
        for note in &notes {
            match &note.text {
                Some(text) => self.state.notes.insert(note.name.clone(), text.clone()),
                None => self.state.notes.remove(&note.name),
            };
        }
        if !writes.is_empty() {
            self.state.revision = revision;
        }
        if !writes.is_empty() || !notes.is_empty() {
            self.transactions.push(Logged {
                revision: self.state.revision,
                writes,
                notes,
            });
        }
        Ok(Committed {
            revision: self.state.revision,
            outcomes,
        })
    }

    /// Hands the objects and encodings that came with the writes to their entries.
    pub(crate) fn fill_slots(&mut self) {
        for (entry, object, templates) in self.slots.drain(..) {
            if let Some((finish, size)) = object {
                entry.slots().keep_object(finish(&entry), size);
            }
            for template in templates {
                entry
                    .slots()
                    .keep_encoded(template.encoding, template.fill(entry.mod_revision()));
            }
        }
    }

    fn check(&self, op: usize, key: &Key, precondition: &Precondition) -> Result<(), CommitError> {
        let current = self.state.get(key);
        if precondition.holds(current.map(|entry| &**entry)) {
            return Ok(());
        }
        Err(CommitError::Conflict(Box::new(Conflict {
            op,
            key: key.clone(),
            precondition: precondition.clone(),
            current: current.cloned(),
            revision: self.state.revision,
        })))
    }

    /// The bytes to keep for each put, in order. Before anything is changed, since it may fail.
    fn seal(&self, ops: &[Op]) -> Result<Vec<Bytes>, CommitError> {
        let puts = ops.iter().filter_map(|op| match op {
            Op::Put(put) => Some(put),
            Op::Delete(..) | Op::Check(..) => None,
        });
        let seal = |put: &Put| {
            let sealed = self.shared.seal.seal(&put.key, &put.stored);
            sealed.map_err(|reason| CommitError::Seal {
                key: put.key.clone(),
                reason,
            })
        };
        puts.map(seal).collect()
    }

    /// What is replaced leaves the log; views and events of before need it. Before anything is changed, since it
    /// may fail.
    fn pin(&self, ops: &[Op]) -> Result<(), CommitError> {
        if self.shared.pager.is_none() {
            return Ok(());
        }
        for op in ops {
            if !matches!(op, Op::Check(..))
                && let Some(entry) = self.state.get(op.key())
            {
                entry.pin()?;
            }
        }
        Ok(())
    }

    /// Lets the values that the log has now leave memory.
    pub(crate) fn release(&self) {
        if self.shared.pager.is_none() {
            return;
        }
        for entry in self.events.iter().filter_map(|event| event.entry()) {
            let current = self.state.get(entry.key());
            if current.is_some_and(|current| Arc::ptr_eq(current, entry)) {
                entry.release();
            }
        }
    }

    fn put(
        &mut self,
        put: Put,
        kept: Bytes,
        revision: Revision,
        writes: &mut Vec<Write>,
    ) -> Arc<Entry> {
        let previous = self.state.get(&put.key).cloned();
        let (key, create_revision, version, header) = match &previous {
            Some(before) => {
                let same = *before.header() == put.header;
                let header = if same {
                    before.header().clone()
                } else {
                    put.header
                };
                (
                    before.key().clone(),
                    before.create_revision(),
                    before.version() + 1,
                    header,
                )
            }
            None => {
                let shared = self
                    .state
                    .trees
                    .get_key_value(put.key.resource())
                    .map(|(resource, _)| resource.clone());
                let key = match shared {
                    Some(resource) => put.key.with_resource(resource),
                    None => put.key,
                };
                (key, revision, 1, put.header)
            }
        };
        let expires_at = match put.expiry {
            Expiry::Never => 0,
            Expiry::Keep => previous
                .as_ref()
                .map_or(0, |before| before.expires_at_millis()),
            Expiry::After(ttl) => (self.now.wall.saturating_add(millis(ttl))).max(1),
        };
        let stored = Stored::drafted(self.shared.pager.as_ref(), put.stored);
        let parts = EntryParts {
            key,
            create_revision,
            mod_revision: revision,
            version,
            expires_at,
            lease: put.lease,
            is_stale: false,
            header,
            stored,
        };
        let entry = Arc::new(Entry::new(parts, &self.shared.budget));
        if put.object.is_some() || !put.encodings.is_empty() {
            self.slots.push((entry.clone(), put.object, put.encodings));
        }
        writes.push(Write::Put(
            entry.clone(),
            mod_revision_of(previous.as_ref()),
            kept,
        ));
        self.state.insert(entry.clone());
        self.happened(revision, Some(entry.clone()), previous);
        entry
    }

    fn delete(
        &mut self,
        key: &Key,
        revision: Revision,
        writes: &mut Vec<Write>,
    ) -> Option<Arc<Entry>> {
        self.state.get(key)?;
        let before = self.state.remove(key)?;
        writes.push(Write::Delete(before.key().clone(), before.mod_revision()));
        self.happened(revision, None, Some(before.clone()));
        Some(before)
    }

    pub(crate) fn happened(
        &mut self,
        revision: Revision,
        entry: Option<Arc<Entry>>,
        previous: Option<Arc<Entry>>,
    ) {
        self.events.push(Arc::new(Event::new(
            revision,
            entry,
            previous,
            self.now.mono,
            &self.shared.budget,
        )));
    }
}

fn mod_revision_of(entry: Option<&Arc<Entry>>) -> Revision {
    entry.map_or(Revision::NONE, |entry| entry.mod_revision())
}

#[derive(PartialEq)]
enum Asked {
    ByCaller,
    ByPlan,
}

/// Refuses what is larger than the store takes.
fn bounded(ops: &[Op], bounds: &Bounds, asked: Asked) -> Result<(), CommitError> {
    let too_large = |key: &Key, what, size, max| {
        let key = key.path().chars().take(KEY_SHOWN).collect();
        Err(CommitError::TooLarge {
            key,
            what,
            size,
            max,
        })
    };
    if asked == Asked::ByCaller && ops.len() > bounds.ops {
        let what = "the number of its operations";
        return too_large(ops[0].key(), what, ops.len(), bounds.ops);
    }
    for op in ops {
        let key = op.key();
        let len = key.len();
        if len > bounds.key_bytes {
            return too_large(key, "the length of its key in bytes", len, bounds.key_bytes);
        }
        if let Op::Put(put) = op
            && put.stored.len() > bounds.value_bytes
        {
            let what = "the size of its value in bytes";
            return too_large(key, what, put.stored.len(), bounds.value_bytes);
        }
    }
    Ok(())
}

fn valid(ops: &[Op], bounds: &Bounds, asked: Asked) -> Result<(), CommitError> {
    bounded(ops, bounds, asked)?;
    let invalid = |key: &Key, reason| {
        Err(CommitError::Invalid {
            key: key.clone(),
            reason,
        })
    };
    for op in ops {
        if let Some(reason) = op.key().problem() {
            return invalid(op.key(), reason);
        }
    }
    let mut seen = HashSet::new();
    for (index, op) in ops.iter().enumerate() {
        let again = if ops.len() <= PAIRS_MAX {
            ops[..index].iter().any(|other| other.key() == op.key())
        } else {
            !seen.insert(op.key())
        };
        if again {
            return invalid(op.key(), "a key occurs twice in it");
        }
    }
    Ok(())
}
