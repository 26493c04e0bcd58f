//! Keeps a snapshot of some resources current: list once, then follow the watch, for each of them.
//!
//! Invariant: every change of a mirrored resource is seen exactly once and in order by every subscriber, also across a
//! watch that ended: after a fresh list the differences to what was known are sent as changes. A snapshot taken after
//! a change was received holds that change.

use crate::transport::{Options, WatchEvent, WatchRequest};
use crate::{Client, Status};
use arc_swap::ArcSwap;
use corten_api::{Kind, Object};
use corten_core::Str;
use corten_meta::{GroupResource, GroupVersionResource, ObjectKey, Revision, Snapshot};
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Waits between attempts to reach a server that does not answer, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// One resource to mirror, whole or in part.
#[derive(Clone, Debug)]
pub struct Interest {
    /// The resource.
    pub resource: GroupVersionResource,
    /// The namespace; empty for all.
    pub namespace: Str,
    /// Only objects with these labels.
    pub label_selector: Str,
    /// Only objects with these fields.
    pub field_selector: Str,
}

impl Interest {
    /// Every object of kind `T`.
    pub fn all<T: Kind>() -> Interest {
        Interest::in_resource(GroupVersionResource::of::<T>())
    }

    /// Every object of a resource.
    pub fn in_resource(resource: GroupVersionResource) -> Interest {
        Interest {
            resource,
            namespace: Str::EMPTY,
            label_selector: Str::EMPTY,
            field_selector: Str::EMPTY,
        }
    }

    /// Only objects with these fields, as in `spec.nodeName=a`.
    pub fn with_fields(mut self, selector: impl Into<Str>) -> Interest {
        self.field_selector = selector.into();
        self
    }
}

/// One object that came, changed or went.
#[derive(Clone, Debug)]
pub struct Change {
    /// The resource.
    pub resource: GroupResource,
    /// The object.
    pub key: ObjectKey,
    /// How it was known before.
    pub old: Option<Arc<Object>>,
    /// How it is now; nothing when it is gone.
    pub new: Option<Arc<Object>>,
}

/// Changes from a subscription on.
pub type Changes = mpsc::UnboundedReceiver<Change>;

/// A current snapshot of some resources. Cheap to clone; the last clone that goes ends the watches.
#[derive(Clone, Debug)]
pub struct Mirror {
    shared: Arc<Shared>,
    _tasks: Arc<Tasks>,
}

#[derive(Debug)]
struct Shared {
    /// What readers get.
    published: ArcSwap<Snapshot>,
    writer: Mutex<Writer>,
    progress: Vec<(GroupResource, watch::Sender<Option<Revision>>)>,
}

#[derive(Debug, Default)]
struct Writer {
    snapshot: Snapshot,
    subscribers: Vec<mpsc::UnboundedSender<Change>>,
}

#[derive(Debug)]
struct Tasks(Vec<tokio::task::AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl Mirror {
    /// Starts to mirror `interests`, one of each resource, through `client`. Must be called on a tokio runtime.
    pub fn start(client: &Client, interests: Vec<Interest>) -> Mirror {
        let progress = interests
            .iter()
            .map(|i| (i.resource.group_resource(), watch::channel(None).0))
            .collect();
        let shared = Arc::new(Shared {
            published: ArcSwap::default(),
            writer: Mutex::new(Writer::default()),
            progress,
        });
        let tasks = interests.into_iter().enumerate().map(|(index, interest)| {
            let reflector = Reflector {
                client: client.clone(),
                interest,
                index,
                shared: shared.clone(),
            };
            tokio::spawn(reflector.run()).abort_handle()
        });
        let tasks = Arc::new(Tasks(tasks.collect()));
        Mirror {
            shared,
            _tasks: tasks,
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.published.load_full()
    }

    /// Every change from now on. The objects that are known already come first, as additions.
    pub fn changes(&self) -> Changes {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut writer = self.shared.writer.lock();
        for (resource, table) in writer.snapshot.resources() {
            for (key, object) in table.iter() {
                let change = Change {
                    resource: resource.clone(),
                    key: key.clone(),
                    old: None,
                    new: Some(object.clone()),
                };
                // The receiver is right here.
                let _ = sender.send(change);
            }
        }
        writer.subscribers.push(sender);
        receiver
    }

    /// Waits until every resource has been listed once.
    pub async fn synced(&self) {
        for (_, progress) in &self.shared.progress {
            // The sender lives as long as this mirror.
            let _ = progress.subscribe().wait_for(Option::is_some).await;
        }
    }

    /// Waits until the snapshot has everything up to `revision` of one resource. A resource that is not mirrored is
    /// never waited for.
    pub async fn wait_until(&self, resource: &GroupResource, revision: Revision) {
        if let Some((_, progress)) = self.shared.progress.iter().find(|(r, _)| r == resource) {
            let _ = progress
                .subscribe()
                .wait_for(|seen| seen.is_some_and(|seen| seen >= revision))
                .await;
        }
    }
}

struct Reflector {
    client: Client,
    interest: Interest,
    index: usize,
    shared: Arc<Shared>,
}

/// Changes of one object each: nothing stands for an object that is gone.
type Batch = Vec<(ObjectKey, Option<Arc<Object>>)>;

fn key_of(object: &Object) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone())
}

impl Reflector {
    async fn run(self) {
        let mut wait = RETRY.0;
        loop {
            match self.list_and_follow().await {
                Ok(()) => wait = RETRY.0,
                Err(status) => {
                    tracing::debug!(resource = %self.interest.resource, %status, "list and watch again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY.1);
                }
            }
        }
    }

    async fn list_and_follow(&self) -> Result<(), Status> {
        let options = Options {
            label_selector: self.interest.label_selector.clone(),
            field_selector: self.interest.field_selector.clone(),
            ..Options::default()
        };
        let (mut revision, items) = self
            .client
            .list_objects(&self.interest.resource, &self.interest.namespace, options)
            .await?;
        self.replace(items, revision);
        loop {
            match self.follow(&mut revision).await {
                // A watch that merely ended goes on where it was.
                Ok(()) => {}
                Err(status) if status.is_expired() => return Ok(()),
                Err(status) => return Err(status),
            }
        }
    }

    async fn follow(&self, revision: &mut Revision) -> Result<(), Status> {
        let request = WatchRequest {
            resource: self.interest.resource.clone(),
            namespace: self.interest.namespace.clone(),
            label_selector: self.interest.label_selector.clone(),
            field_selector: self.interest.field_selector.clone(),
            from: *revision,
        };
        let mut events = self.client.watch(request).await?;
        while let Some(event) = events.next().await {
            let mut batch = Batch::new();
            let mut failure = self.take(event, &mut batch, revision).err();
            // What has arrived already is published at once.
            while failure.is_none() {
                let Some(Some(event)) = events.next().now_or_never() else {
                    break;
                };
                failure = self.take(event, &mut batch, revision).err();
            }
            self.publish(batch, *revision);
            if let Some(status) = failure {
                return Err(status);
            }
        }
        Ok(())
    }

    fn take(
        &self,
        event: Result<WatchEvent, Status>,
        batch: &mut Batch,
        revision: &mut Revision,
    ) -> Result<(), Status> {
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                *revision = revision_of(&object).unwrap_or(*revision).max(*revision);
                batch.push((key_of(&object), Some(object)));
            }
            WatchEvent::Deleted(object) => {
                *revision = revision_of(&object).unwrap_or(*revision).max(*revision);
                batch.push((key_of(&object), None));
            }
            WatchEvent::Bookmark(seen) => *revision = seen.max(*revision),
        }
        Ok(())
    }

    fn replace(&self, items: Vec<Arc<Object>>, revision: Revision) {
        let listed: BTreeSet<ObjectKey> = items.iter().map(|object| key_of(object)).collect();
        let mut batch: Batch = items
            .into_iter()
            .map(|object| (key_of(&object), Some(object)))
            .collect();
        let resource = self.interest.resource.group_resource();
        let snapshot = self.shared.published.load();
        let known = snapshot
            .table(&resource)
            .into_iter()
            .flat_map(|table| table.keys());
        batch.extend(
            known
                .filter(|key| !listed.contains(*key))
                .map(|key| (key.clone(), None)),
        );
        self.publish(batch, revision);
    }

    fn publish(&self, batch: Batch, revision: Revision) {
        let resource = self.interest.resource.group_resource();
        let mut guard = self.shared.writer.lock();
        let writer = &mut *guard;
        let mut changes = Vec::with_capacity(batch.len());
        for (key, new) in batch {
            let old = match &new {
                Some(object) => writer
                    .snapshot
                    .insert(&resource, key.clone(), object.clone()),
                None => writer.snapshot.remove(&resource, &key),
            };
            let same = match (&old, &new) {
                (Some(old), Some(new)) => {
                    old.meta().resource_version == new.meta().resource_version
                }
                (None, None) => true,
                _ => false,
            };
            if !same {
                changes.push(Change {
                    resource: resource.clone(),
                    key,
                    old,
                    new,
                });
            }
        }
        writer.snapshot.set_revision(revision);
        self.shared
            .published
            .store(Arc::new(writer.snapshot.clone()));
        for change in changes {
            writer
                .subscribers
                .retain(|subscriber| subscriber.send(change.clone()).is_ok());
        }
        drop(guard);
        self.shared.progress[self.index].1.send_if_modified(|seen| {
            let moved = seen.is_none_or(|seen| seen < revision);
            *seen = Some(seen.map_or(revision, |seen| seen.max(revision)));
            moved
        });
    }
}

fn revision_of(object: &Object) -> Option<Revision> {
    Revision::parse(&object.meta().resource_version)
}
