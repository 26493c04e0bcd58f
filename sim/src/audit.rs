//! Follows everything that the store publishes and says what must never happen.
//!
//! Invariant: the audit's own copy of the state is the replay of the log; revisions go up by one with every change;
//! what was acknowledged is in the log and survives the store's death.

use crate::objects;
use corten_api::Object;
use corten_api::core::v1::{Namespace, Node, Pod};
use corten_meta::{GroupVersionResource, ObjectKey};
use corten_scheduling::{Amounts, PodView};
use corten_store::{
    Committed, Entry, Event, Key, Outcome, Resource, Revision, Scope, Store, Watch,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// See the module's description.
#[derive(Default)]
pub struct Audit {
    watches: Vec<Watch>,
    objects: BTreeMap<Key, Arc<Entry>>,
    /// The changes of each resource, but for those that the store made and died before it could publish them.
    log: BTreeMap<Resource, Vec<Arc<Event>>>,
    seen: Revision,
    /// Keys whose last transaction before the store's death may have happened or not.
    maybe: BTreeSet<Key>,
    violations: Vec<String>,
    /// A binding's outcome was not told, so that a scheduler may give its room twice.
    pub blind_bindings: bool,
}

impl Audit {
    /// What must never happen and did, since the last time.
    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// Takes in what the store has published.
    pub fn follow(&mut self, store: &Store) {
        if self.seen == store.revision() {
            return;
        }
        let mut events = Vec::new();
        for watch in &mut self.watches {
            if let Err(end) = watch.try_batch(&mut events, usize::MAX) {
                self.violations
                    .push(format!("the audit's watch ended: {end}"));
            }
        }
        events.sort_by_key(|event| event.revision());
        for event in events {
            self.event(&event);
        }
        if self.seen != store.revision() {
            self.violations.push(format!(
                "the store is at {} but its events end at {}",
                store.revision(),
                self.seen
            ));
            self.seen = store.revision();
        }
    }

    fn event(&mut self, event: &Arc<Event>) {
        if event.revision() != self.seen.next() {
            let seen = self.seen;
            self.violations
                .push(format!("{event:?} follows revision {seen}"));
        }
        self.seen = self.seen.max(event.revision());
        let key = event.key().clone();
        let before = self.objects.get(&key).cloned();
        let known = before.as_ref().map(|e| e.mod_revision());
        if known != event.previous().map(|e| e.mod_revision()) {
            self.violations
                .push(format!("{event:?} replaces another state than {known:?}"));
        }
        self.inspect(&key, before.as_deref(), event.entry().map(Arc::as_ref));
        match event.entry() {
            Some(entry) => self.objects.insert(key.clone(), entry.clone()),
            None => self.objects.remove(&key),
        };
        let log = self.log.entry(key.resource().clone()).or_default();
        log.push(event.clone());
    }

    /// A commit was answered.
    pub fn acknowledged(&mut self, key: &Key, committed: &Committed) {
        if matches!(committed.outcomes.first(), Some(Outcome::Unchanged) | None) {
            return;
        }
        let log = self.log.get(key.resource());
        let found = log.is_some_and(|log| {
            let at = log.partition_point(|e| e.revision() < committed.revision);
            log.get(at)
                .is_some_and(|e| e.revision() == committed.revision && e.key() == key)
        });
        if !found {
            let revision = committed.revision;
            self.violations.push(format!(
                "{key} was acknowledged at {revision} but never published"
            ));
        }
    }

    /// The store died; what it was asked about these keys may have happened or not.
    pub fn lost(&mut self, maybe: BTreeSet<Key>) {
        self.blind_bindings |= maybe.iter().any(|k| k.resource().as_str() == "pods");
        self.maybe = maybe;
        self.watches.clear();
    }

    /// The store came back: it must hold what was published before, and may hold what was in flight.
    pub fn opened(&mut self, store: &Store) {
        if store.revision() < self.seen {
            let (now, seen) = (store.revision(), self.seen);
            self.violations.push(format!(
                "the store came back at {now} but had published {seen}"
            ));
        }
        let mut found: BTreeMap<Key, Arc<Entry>> = BTreeMap::new();
        let all = store.snapshot_all();
        for resource in all.resources() {
            let entries = all.resource(resource);
            found.extend(entries.iter().map(|e| (e.key().clone(), e.clone())));
        }
        let keys: BTreeSet<Key> = found.keys().chain(self.objects.keys()).cloned().collect();
        for key in keys {
            let (before, after) = (self.objects.get(&key).cloned(), found.get(&key));
            let same = match (&before, after) {
                (Some(a), Some(b)) => {
                    a.mod_revision() == b.mod_revision() && stored(a) == stored(b)
                }
                _ => false,
            };
            let later = after.is_none_or(|e| e.mod_revision() > self.seen);
            if same {
                continue;
            }
            if !self.maybe.contains(&key) || !later {
                self.violations.push(format!(
                    "after the store's death {key} is {after:?}, published was {before:?}"
                ));
            }
            // It may have been deleted and made again in one batch that nobody was told of.
            let before =
                before.filter(|b| after.is_none_or(|a| a.header().uid() == b.header().uid()));
            self.inspect(&key, before.as_deref(), after.map(Arc::as_ref));
        }
        self.objects = found;
        self.seen = store.revision();
        self.maybe.clear();
        self.watches.clear();
        for resource in objects::resources() {
            let watch = store.watch(&objects::stored_under(&resource), Scope::All, self.seen);
            match watch {
                Ok(watch) => self.watches.push(watch),
                Err(error) => self.violations.push(error.to_string()),
            }
        }
    }

    /// Whether `event` is the first change of its resource after `from`.
    pub fn is_next(&self, event: &Event, from: Revision) -> bool {
        let Some(log) = self.log.get(event.key().resource()) else {
            return false;
        };
        let at = log.partition_point(|e| e.revision() <= from);
        log.get(at)
            .is_some_and(|e| e.revision() == event.revision() && e.key() == event.key())
    }

    fn inspect(&mut self, key: &Key, before: Option<&Entry>, after: Option<&Entry>) {
        let Some(after) = after else { return };
        let new = objects::object_of(after);
        let old = before.map(objects::object_of);
        let controllers = |object: &Object| -> Vec<String> {
            let references = object.meta().owner_references.iter();
            references
                .filter(|r| r.controller == Some(true))
                .map(|r| r.uid.to_string())
                .collect()
        };
        let now = controllers(&new);
        if now.len() > 1 {
            self.violations
                .push(format!("{key} has two controllers: {now:?}"));
        }
        let Some(old) = old else { return };
        if old.meta().uid != new.meta().uid {
            self.violations.push(format!("{key} changed its UID"));
        }
        let was = controllers(&old);
        if !was.is_empty() && !now.is_empty() && was != now {
            self.violations
                .push(format!("{key} went from controller {was:?} to {now:?}"));
        }
        if let (Some(old), Some(new)) = (old.downcast_ref::<Pod>(), new.downcast_ref::<Pod>()) {
            self.inspect_pod(key, old, new);
        }
    }

    fn inspect_pod(&mut self, key: &Key, old: &Pod, new: &Pod) {
        let (was, now) = (&old.spec.node_name, &new.spec.node_name);
        if was == now {
            return;
        }
        if !was.is_empty() {
            self.violations
                .push(format!("{key} was bound to {was} and then to {now}"));
        }
        if self.blind_bindings {
            return;
        }
        let mut wanted = PodView::new(new).requests;
        let mut room = Amounts::default();
        for entry in self.objects.values() {
            let object = objects::object_of(entry);
            if let Some(node) = object.downcast_ref::<Node>()
                && node.metadata.name == *now
            {
                room = Amounts::of(&node.status.allocatable);
            }
            if let Some(pod) = object.downcast_ref::<Pod>()
                && pod.spec.node_name == *now
                && !is_finished(pod)
            {
                wanted.add(&PodView::new(pod).requests);
            }
        }
        if let Some((name, amount)) = wanted.iter().find(|(name, n)| *n > room.get(name)) {
            let most = room.get(name);
            self.violations.push(format!(
                "{key} overcommits {now}: {amount} of {most} {name}"
            ));
        }
    }

    /// The owner that keeps an object, if one lives and does not wait for its dependents.
    pub fn living_owner(&self, object: &Object) -> Option<String> {
        let references = object.meta().owner_references.iter();
        let uids: Vec<_> = references.map(|r| r.uid.clone()).collect();
        let owner = self.objects.values().find(|e| {
            uids.iter().any(|uid| e.header().uid() == uid)
                && !e.header().finalizers().any(|f| f == "foregroundDeletion")
        })?;
        Some(owner.key().to_string())
    }

    /// Every object, by key.
    pub fn state(&self) -> impl Iterator<Item = Arc<Object>> + '_ {
        self.objects.values().map(|e| objects::object_of(e))
    }

    /// The objects of a resource, by namespace and name, with their revisions.
    pub fn table(&self, resource: &GroupVersionResource) -> BTreeMap<ObjectKey, String> {
        let resource = objects::stored_under(resource);
        let ours = self
            .objects
            .iter()
            .filter(|(key, _)| *key.resource() == resource);
        ours.map(|(key, entry)| {
            let key = ObjectKey::new(key.namespace(), key.name());
            (key, entry.mod_revision().to_string())
        })
        .collect()
    }

    /// Whether a namespace exists.
    pub fn has_namespace(&self, name: &str) -> bool {
        let resource = objects::stored_under(&GroupVersionResource::of::<Namespace>());
        self.objects.contains_key(&Key::cluster(&resource, name))
    }

    /// What `store` holds equals the replay of its log.
    pub fn equals(&self, store: &Store) -> bool {
        let all = store.snapshot_all();
        let mut count = 0;
        for resource in all.resources() {
            for entry in all.resource(resource).iter() {
                count += 1;
                let known = self.objects.get(entry.key());
                if known.is_none_or(|k| k.mod_revision() != entry.mod_revision()) {
                    return false;
                }
            }
        }
        count == self.objects.len()
    }
}

fn is_finished(pod: &Pod) -> bool {
    pod.status.phase == "Succeeded" || pod.status.phase == "Failed"
}

fn stored(entry: &Entry) -> bytes::Bytes {
    entry.stored().expect("values are readable")
}
