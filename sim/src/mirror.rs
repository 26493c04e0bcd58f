//! An actor's view of the cluster: one watch per resource, each delivered at its own pace.
//!
//! Invariant: per resource the view goes through the store's states in order and never back; between resources nothing
//! is ordered. A watch that ends is resumed where it stopped, or started over from a list.

use crate::env::Env;
use crate::objects;
use corten_api::Object;
use corten_client::Changed;
use corten_meta::{GroupVersionResource, ObjectKey, Revision, Snapshot, Table};
use corten_store::{Event, Resource, Scope, Watch, WatchEnd};
use std::sync::Arc;

struct Feed {
    resource: GroupVersionResource,
    stored: Resource,
    watch: Option<Watch>,
    /// Seen up to here; nothing before the first list.
    from: Option<corten_store::Revision>,
}

/// See the module's description.
pub struct Mirror {
    snapshot: Snapshot,
    feeds: Vec<Feed>,
    changes: Vec<Changed>,
    /// Every feed has seen everything up to here.
    seen: corten_store::Revision,
}

impl Mirror {
    /// A mirror of these resources, empty so far.
    pub fn of(resources: impl Iterator<Item = GroupVersionResource>) -> Mirror {
        let feeds = resources.map(|resource| Feed {
            stored: objects::stored_under(&resource),
            resource,
            watch: None,
            from: None,
        });
        Mirror {
            snapshot: Snapshot::with_owners(),
            feeds: feeds.collect(),
            changes: Vec::new(),
            seen: corten_store::Revision::NONE,
        }
    }

    /// The state as it is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// The resources that are followed.
    pub fn resources(&self) -> Vec<GroupVersionResource> {
        self.feeds.iter().map(|f| f.resource.clone()).collect()
    }

    /// The changes since they were taken last.
    pub fn take_changes(&mut self) -> Vec<Changed> {
        std::mem::take(&mut self.changes)
    }

    /// Whether every resource was listed once.
    pub fn is_synced(&self) -> bool {
        self.feeds.iter().all(|feed| feed.from.is_some())
    }

    /// Whether a resource's changes up to `revision` were seen.
    pub fn has_seen(&self, resource: &GroupVersionResource, revision: Revision) -> bool {
        let feed = self.feeds.iter().find(|f| f.resource == *resource);
        feed.is_none_or(|f| f.from.is_some_and(|from| from.0 >= revision.0))
    }

    /// Whether nothing is left to be delivered.
    pub fn is_current(&mut self, env: &Env) -> bool {
        let Some(store) = env.storage.store() else {
            return false;
        };
        let now = store.revision();
        let mut feeds = self.feeds.iter_mut();
        self.changes.is_empty()
            && feeds.all(|f| f.watch.as_mut().is_some_and(|w| w.progress() >= now))
    }

    /// Delivers what the run's faults let through; true when something was.
    pub fn deliver(&mut self, env: &mut Env) -> bool {
        let store = env.storage.store();
        if store.is_some_and(|s| s.revision() == self.seen) && env.chaos.drop_watch == 0 {
            return false;
        }
        self.seen = corten_store::Revision::NONE;
        let delivered = self.deliver_some(env);
        let mut feeds = self.feeds.iter();
        if let Some(revision) = env.storage.store().map(|s| s.revision())
            && feeds.all(|f| f.watch.is_some() && f.from.is_some_and(|from| from >= revision))
        {
            self.seen = revision;
        }
        delivered
    }

    fn deliver_some(&mut self, env: &mut Env) -> bool {
        let mut delivered = false;
        for index in 0..self.feeds.len() {
            if env.rng.chance(env.chaos.delay) {
                continue;
            }
            if env.rng.chance(env.chaos.drop_watch) {
                self.feeds[index].watch = None;
                // Sometimes the server forgets where it was, too.
                if env.rng.chance(300) && self.feeds[index].from.is_some() {
                    delivered |= self.list(env, index);
                }
                continue;
            }
            delivered |= self.deliver_one(env, index);
        }
        delivered
    }

    fn deliver_one(&mut self, env: &mut Env, index: usize) -> bool {
        let Some(store) = env.storage.store().cloned() else {
            self.feeds[index].watch = None;
            return false;
        };
        let feed = &mut self.feeds[index];
        let Some(from) = feed.from else {
            return self.list(env, index);
        };
        if feed.watch.is_none() {
            match store.watch(&feed.stored, Scope::All, from) {
                Ok(watch) => feed.watch = Some(watch),
                Err(_) => return self.list(env, index),
            }
        }
        let Some(watch) = feed.watch.as_mut() else {
            return false;
        };
        let limit = match env.chaos.delay {
            0 => usize::MAX,
            _ => env.rng.between(1, 8) as usize,
        };
        let mut events = Vec::new();
        let end = watch.try_batch(&mut events, limit);
        if events.is_empty() && end.is_ok() {
            // What a bookmark tells.
            feed.from = Some(watch.progress().max(from));
        }
        let delivered = !events.is_empty();
        for event in events {
            self.apply(env, index, &event);
        }
        match end {
            Ok(()) => delivered,
            Err(WatchEnd::Closed) => {
                self.feeds[index].watch = None;
                delivered
            }
            Err(WatchEnd::TooSlow { .. }) => self.list(env, index),
        }
    }

    fn apply(&mut self, env: &mut Env, index: usize, event: &Event) {
        let feed = &mut self.feeds[index];
        let from = feed.from.unwrap_or_default();
        if !env.storage.audit.is_next(event, from) {
            env.violation(format!("a watch from {from} yielded {event:?}"));
        }
        feed.from = Some(event.revision());
        let resource = feed.resource.group_resource();
        let key = ObjectKey::new(event.key().namespace(), event.key().name());
        let new = event.entry().map(|entry| objects::object_of(entry));
        let old = match &new {
            Some(object) => self.snapshot.insert(&resource, key.clone(), object.clone()),
            None => self.snapshot.remove(&resource, &key),
        };
        self.snapshot.set_revision(Revision(event.revision().0));
        self.changes.push(Changed {
            resource: self.feeds[index].resource.clone(),
            key,
            old,
            new,
        });
    }

    fn list(&mut self, env: &mut Env, index: usize) -> bool {
        let feed = &mut self.feeds[index];
        feed.watch = None;
        let Some(store) = env.storage.store() else {
            return false;
        };
        let listed = store.snapshot(&feed.stored);
        feed.from = Some(listed.revision());
        let resource = feed.resource.group_resource();
        let table: Table = listed
            .iter()
            .map(|e| {
                let key = ObjectKey::new(e.namespace(), e.name());
                (key, objects::object_of(e))
            })
            .collect();
        let before = self.snapshot.table(&resource).cloned().unwrap_or_default();
        let mut change = |key: &ObjectKey, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>| {
            self.changes.push(Changed {
                resource: self.feeds[index].resource.clone(),
                key: key.clone(),
                old: old.cloned(),
                new: new.cloned(),
            });
        };
        for (key, new) in &table {
            let old = before.get(key);
            if old.is_none_or(|o| o.meta().resource_version != new.meta().resource_version) {
                change(key, old, Some(new));
            }
        }
        for (key, old) in &before {
            if !table.contains_key(key) {
                change(key, Some(old), None);
            }
        }
        self.snapshot.replace(&resource, table);
        self.snapshot.set_revision(Revision(listed.revision().0));
        true
    }

    /// Where the view differs from what the store published.
    pub fn difference(&self, env: &Env) -> Option<String> {
        for feed in &self.feeds {
            let wanted = env.storage.audit.table(&feed.resource);
            let seen = self.snapshot.table(&feed.resource.group_resource());
            let seen: std::collections::BTreeMap<ObjectKey, String> = seen
                .into_iter()
                .flatten()
                .map(|(k, o)| (k.clone(), o.meta().resource_version.to_string()))
                .collect();
            if wanted != seen {
                return Some(format!(
                    "{}: published {wanted:?}, seen {seen:?}",
                    feed.resource.resource
                ));
            }
        }
        None
    }
}
