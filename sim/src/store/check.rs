//! What must hold of a store whatever happens, checked against a model that is the replay of its log.
//!
//! Linearizability: each answered transaction is in the log at its revision, with its preconditions true just before,
//! and after everything that was answered before it was asked. Watches are the log's replay in their scope. Snapshots
//! are the model at their revision, however old. Nothing acknowledged is lost; what was not told may have happened.

use bytes::Bytes;
use corten_store::{
    Committed, Conflict, Entry, Event, Key, Op, Precondition, Resource, Revision, Scope, Snapshot,
};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// What is known of one stored object.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    /// Its bytes, which no other write has.
    pub text: Vec<u8>,
    /// The revision of its last write.
    pub modified: u64,
    /// When it expires, milliseconds since the epoch; 0 is never.
    pub expires: u64,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = String::from_utf8_lossy(&self.text);
        let name = text.split(' ').next().unwrap_or_default();
        write!(f, "{name}@{} until {}", self.modified, self.expires)
    }
}

impl Known {
    fn of(entry: &Entry) -> Known {
        Known {
            text: entry.stored().expect("values are readable").to_vec(),
            modified: entry.mod_revision().0,
            expires: entry.expires_at().map_or(0, |at| at.as_millis() as u64),
        }
    }
}

/// Everything at one revision.
pub type Model = BTreeMap<Key, Known>;

/// One write that was asked for: the key, and its bytes (none deletes).
pub type Asked = (Key, Option<Vec<u8>>);

/// One change as the log has it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its revision.
    pub revision: u64,
    /// The key.
    pub key: Key,
    /// The object after it.
    pub after: Option<Known>,
}

/// See the module's description.
#[derive(Default)]
pub struct Checker {
    /// Every change that was published, in order.
    pub log: Vec<Logged>,
    /// The state at each revision.
    states: BTreeMap<u64, Rc<Model>>,
    /// What must never happen and did.
    pub violations: Vec<String>,
}

impl Checker {
    /// A checker of an empty store at a revision.
    pub fn at(revision: Revision) -> Checker {
        Checker {
            states: BTreeMap::from([(revision.0, Rc::default())]),
            ..Checker::default()
        }
    }

    fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// The last revision that was published.
    pub fn revision(&self) -> u64 {
        self.states.last_key_value().map_or(0, |(at, _)| *at)
    }

    /// The state now.
    pub fn now(&self) -> Rc<Model> {
        self.states
            .last_key_value()
            .map(|(_, model)| model.clone())
            .unwrap_or_default()
    }

    /// The state at a revision.
    pub fn state_at(&self, revision: u64) -> Option<Rc<Model>> {
        let (_, model) = self.states.range(..=revision).next_back()?;
        Some(model.clone())
    }

    /// Takes in what was published, in the order of revisions.
    pub fn publish(&mut self, events: &[Arc<Event>]) {
        for events in events.chunk_by(|a, b| a.revision() == b.revision()) {
            let revision = events[0].revision().0;
            if revision != self.revision() + 1 {
                let last = self.revision();
                self.violation(format!("revision {revision} follows {last}"));
            }
            let mut model = (*self.now()).clone();
            for event in events {
                self.change(&mut model, event);
            }
            self.states.insert(revision, Rc::new(model));
        }
    }

    fn change(&mut self, model: &mut Model, event: &Event) {
        let key = event.key().clone();
        let before = model.get(&key);
        if before != event.previous().map(|entry| Known::of(entry)).as_ref() {
            self.violation(format!(
                "{event:?} does not change what was there: {before:?}"
            ));
        }
        let after = event.entry().map(|entry| Known::of(entry));
        if let Some(known) = &after
            && known.modified != event.revision().0
        {
            self.violation(format!("{event:?} holds revision {}", known.modified));
        }
        match &after {
            Some(known) => drop(model.insert(key.clone(), known.clone())),
            None => drop(model.remove(&key)),
        }
        self.log.push(Logged {
            revision: event.revision().0,
            key,
            after,
        });
    }

    fn changes_at(&self, revision: u64) -> &[Logged] {
        let from = self
            .log
            .partition_point(|logged| logged.revision < revision);
        let to = self
            .log
            .partition_point(|logged| logged.revision <= revision);
        &self.log[from..to]
    }

    /// A transaction was answered that was asked when the store was at `asked_at`.
    pub fn committed(
        &mut self,
        asked: &[Asked],
        when: &[(Key, Precondition)],
        asked_at: u64,
        committed: &Committed,
    ) {
        let revision = committed.revision.0;
        let changed = committed
            .outcomes
            .iter()
            .any(|outcome| outcome.entry().is_some());
        if revision < asked_at || revision > self.revision() {
            let last = self.revision();
            self.violation(format!(
                "a transaction asked at {asked_at} was answered with {revision}, the log ends at {last}"
            ));
            return;
        }
        let before = if changed { revision - 1 } else { revision };
        if changed && before < asked_at {
            self.violation(format!(
                "a write asked at {asked_at} took revision {revision}"
            ));
        }
        let Some(state) = self.state_at(before) else {
            return;
        };
        for (key, precondition) in when {
            if !holds(precondition, state.get(key)) {
                self.violation(format!(
                    "{key} was committed at {revision} against {precondition:?}"
                ));
            }
        }
        let mut expected: Vec<(Key, Option<Vec<u8>>)> = Vec::new();
        for (key, text) in asked {
            if text.is_some() || state.contains_key(key) {
                expected.push((key.clone(), text.clone()));
            }
        }
        let logged = if changed {
            self.changes_at(revision)
        } else {
            &[]
        };
        let found: Vec<(Key, Option<Vec<u8>>)> = logged
            .iter()
            .map(|l| {
                (
                    l.key.clone(),
                    l.after.as_ref().map(|known| known.text.clone()),
                )
            })
            .collect();
        let mut sorted = (expected, found);
        sorted.0.sort();
        sorted.1.sort();
        if sorted.0 != sorted.1 {
            self.violation(format!(
                "the transaction answered with {revision} is not what the log has there: {sorted:?}"
            ));
        }
    }

    /// A transaction was refused because of what was there.
    pub fn conflicted(&mut self, asked_at: u64, conflict: &Conflict) {
        let revision = conflict.revision.0;
        let Some(state) = self.state_at(revision) else {
            return;
        };
        let there = state.get(&conflict.key);
        let told = conflict.current.as_ref().map(|entry| Known::of(entry));
        if revision < asked_at || holds(&conflict.precondition, there) || there != told.as_ref() {
            self.violation(format!(
                "a conflict that was none: {conflict:?}, there was {there:?}"
            ));
        }
    }

    /// A list must be the state at its revision.
    pub fn snapshot(&mut self, resource: &Resource, snapshot: &Snapshot) {
        let revision = snapshot.revision().0;
        let Some(state) = self.state_at(revision) else {
            return;
        };
        let found: BTreeMap<Key, Known> = snapshot
            .iter()
            .map(|entry| (entry.key().clone(), Known::of(entry)))
            .collect();
        let expected = state.iter().filter(|(key, _)| key.resource() == resource);
        if !expected.eq(found.iter()) {
            self.violation(format!(
                "the snapshot of {resource} at {revision} is another state"
            ));
        }
    }

    /// What a watch has yielded must be the log's replay from its start on.
    pub fn watched(
        &mut self,
        resource: &Resource,
        scope: &Scope,
        from: u64,
        seen: &[Arc<Event>],
        progress: u64,
    ) {
        let wanted = self.log.iter().filter(|logged| {
            logged.revision > from && logged.key.resource() == resource && scope.covers(&logged.key)
        });
        let expected: Vec<(u64, &Key, Option<&[u8]>)> = wanted
            .map(|l| {
                (
                    l.revision,
                    &l.key,
                    l.after.as_ref().map(|known| &*known.text),
                )
            })
            .collect();
        let value = |entry: &Arc<Entry>| entry.stored().expect("values are readable");
        let values: Vec<Option<Bytes>> = seen.iter().map(|e| e.entry().map(value)).collect();
        let found: Vec<(u64, &Key, Option<&[u8]>)> = seen
            .iter()
            .zip(&values)
            .map(|(e, value)| (e.revision().0, e.key(), value.as_deref()))
            .collect();
        if !expected.starts_with(&found) {
            self.violation(format!(
                "a watch of {resource} from {from} is not the log's replay"
            ));
            return;
        }
        let unseen = expected.get(found.len()).map(|(revision, ..)| *revision);
        if unseen.is_some_and(|revision| revision <= progress) {
            self.violation(format!(
                "a watch of {resource} claims to have seen all up to {progress}, but not {unseen:?}"
            ));
        }
    }

    /// The store came back: everything published is there, and besides at most what was in flight (`maybe`), each
    /// transaction whole or not at all. `loose` are keys whose last writes a power cut may take back; `wall` is now,
    /// milliseconds since the epoch.
    pub fn reopened(
        &mut self,
        revision: u64,
        found: Model,
        maybe: &[Vec<Asked>],
        loose: &dyn Fn(&Key) -> bool,
        wall: u64,
    ) {
        if revision < self.revision() {
            let last = self.revision();
            self.violation(format!(
                "the store came back at {revision} but had published {last}"
            ));
        }
        let before = self.now();
        let keys = before.keys().chain(found.keys());
        let changed: BTreeSet<Key> = keys
            .filter(|key| before.get(key) != found.get(key))
            .cloned()
            .collect();
        for key in &changed {
            let now = found.get(key);
            let text = now.map(|known| known.text.clone());
            let was_asked = maybe
                .iter()
                .flatten()
                .any(|(other, asked)| other == key && *asked == text);
            let is_new = now.is_none_or(|known| known.modified > self.revision());
            let was_once = loose(key)
                && (now.is_none()
                    || self
                        .log
                        .iter()
                        .any(|l| l.key == *key && l.after.as_ref() == now));
            let was = before.get(key);
            // The store asks for the deletion of what is expired by itself.
            let is_expired = now.is_none()
                && was.is_some_and(|known| known.expires != 0 && known.expires <= wall);
            let is_fine = (was_asked && is_new) || was_once || is_expired;
            if !is_fine {
                self.violation(format!("{key} was {was:?} and came back as {now:?}"));
            }
        }
        for transaction in maybe {
            let there =
                |(key, text): &Asked| found.get(key).map(|known| &known.text) == text.as_ref();
            let puts = || transaction.iter().filter(|(_, text)| text.is_some());
            // Other transactions in flight may have written over parts of it.
            let is_alone = |key: &Key| {
                maybe
                    .iter()
                    .flatten()
                    .filter(|(other, _)| other == key)
                    .count()
                    == 1
            };
            let some = puts().any(there);
            let lacks = puts().any(|asked| !there(asked) && is_alone(&asked.0) && !loose(&asked.0));
            if some && lacks {
                self.violation(format!("half of a transaction came back: {transaction:?}"));
            }
        }
        self.states.insert(revision, Rc::new(found));
    }
}

/// Whether a precondition holds of what is known of a key.
pub fn holds(precondition: &Precondition, known: Option<&Known>) -> bool {
    match precondition {
        Precondition::Any | Precondition::Uid(_) => true,
        Precondition::MustNotExist => known.is_none(),
        Precondition::MustExist => known.is_some(),
        Precondition::ModRevision(wanted) => known.map_or(0, |known| known.modified) == wanted.0,
    }
}

/// What the steps of a transaction ask for.
pub fn asked(ops: &[Op]) -> (Vec<Asked>, Vec<(Key, Precondition)>) {
    let writes = ops.iter().filter_map(|op| match op {
        Op::Put(put) => Some((put.key.clone(), Some(put.stored.to_vec()))),
        Op::Delete(key, _) => Some((key.clone(), None)),
        Op::Check(..) => None,
    });
    let when = ops
        .iter()
        .map(|op| (op.key().clone(), op.precondition().clone()));
    (writes.collect(), when.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::new(&Resource::new("pods"), "n", "a")
    }

    fn known(text: &str, modified: u64) -> Known {
        Known {
            text: text.as_bytes().to_vec(),
            modified,
            expires: 0,
        }
    }

    fn with(text: &str) -> Checker {
        let mut checker = Checker::at(Revision(1));
        checker
            .states
            .insert(2, Rc::new(Model::from([(key(), known(text, 2))])));
        checker.log.push(Logged {
            revision: 2,
            key: key(),
            after: Some(known(text, 2)),
        });
        checker
    }

    #[test]
    fn lost_and_invented_states_are_found() {
        let never = |_: &Key| false;
        let mut checker = with("a");
        checker.reopened(2, Model::from([(key(), known("a", 2))]), &[], &never, 0);
        assert!(checker.violations.is_empty());
        checker.reopened(2, Model::new(), &[], &never, 0);
        assert_eq!(
            checker.violations.len(),
            1,
            "an acknowledged object is lost"
        );
        let mut checker = with("a");
        checker.reopened(1, Model::from([(key(), known("a", 2))]), &[], &never, 0);
        assert_eq!(checker.violations.len(), 1, "the revision went back");
        let mut checker = with("a");
        checker.reopened(3, Model::from([(key(), known("b", 3))]), &[], &never, 0);
        assert_eq!(checker.violations.len(), 1, "nobody wrote b");
        let mut checker = with("a");
        let maybe = vec![vec![(key(), Some(b"b".to_vec()))]];
        checker.reopened(3, Model::from([(key(), known("b", 3))]), &maybe, &never, 0);
        assert!(checker.violations.is_empty(), "it was in flight");
    }

    #[test]
    fn a_stale_or_skipping_watch_is_found() {
        let mut checker = with("a");
        checker.watched(&Resource::new("pods"), &Scope::All, 1, &[], 1);
        assert!(checker.violations.is_empty());
        checker.watched(&Resource::new("pods"), &Scope::All, 1, &[], 2);
        assert_eq!(
            checker.violations.len(),
            1,
            "progress passes an event that was not seen"
        );
    }

    #[test]
    fn an_answer_that_is_not_in_the_log_is_found() {
        let mut checker = with("a");
        let committed = Committed {
            revision: Revision(2),
            outcomes: Vec::new(),
        };
        checker.committed(&[(key(), Some(b"b".to_vec()))], &[], 1, &committed);
        assert_eq!(checker.violations.len(), 1);
        let mut checker = with("a");
        let late = Committed {
            revision: Revision(2),
            outcomes: Vec::new(),
        };
        checker.committed(&[], &[], 3, &late);
        assert_eq!(
            checker.violations.len(),
            1,
            "it was asked after its revision"
        );
    }
}
