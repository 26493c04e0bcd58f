//! The reflector: lists and watches several resources and keeps one snapshot of them current.
//! Invariant: the snapshot never goes back, holds every change up to the revision it claims for each resource, and a
//! watch that ends is continued where it stopped, or started over from a list after 410.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use corten_api::{Kind, Object};
use corten_meta::{GroupVersionResource, ObjectKey, Revision, Snapshot, Table};
use futures_util::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::transport::{Error, Transport, WatchEvent, WatchRequest};

/// Waits between tries while the server cannot be reached.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// Changes kept for a receiver that is behind; beyond that it is told to look at everything.
const CHANGES_MAX: usize = 1024;

/// One change of the mirrored state.
#[derive(Clone, Debug)]
pub struct Changed {
    /// Of which resource.
    pub resource: GroupVersionResource,
    /// Which object.
    pub key: ObjectKey,
    /// Before; none when it is new.
    pub old: Option<Arc<Object>>,
    /// Now; none when it is gone.
    pub new: Option<Arc<Object>>,
}

struct State {
    snapshot: Snapshot,
    seen: HashMap<GroupVersionResource, Revision>,
    synced: HashMap<GroupVersionResource, Synced>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Synced {
    NotYet,
    Yes,
}

struct Shared {
    state: watch::Sender<State>,
    /// Made for the first who asks: its room is taken at once.
    changes: OnceLock<broadcast::Sender<Changed>>,
    transport: Arc<dyn Transport>,
}

/// Says what a mirror mirrors.
#[derive(Default)]
pub struct MirrorBuilder {
    requests: Vec<WatchRequest>,
    snapshot: Snapshot,
}

impl MirrorBuilder {
    /// All objects of a kind.
    pub fn resource<T: Kind>(self) -> MirrorBuilder {
        self.selection(WatchRequest {
            resource: GroupVersionResource::of::<T>(),
            ..WatchRequest::default()
        })
    }

    /// All objects of a resource by name, custom ones included.
    pub fn dynamic(self, resource: GroupVersionResource) -> MirrorBuilder {
        self.selection(WatchRequest {
            resource,
            ..WatchRequest::default()
        })
    }

    /// The selected objects of a resource. One selection per resource.
    pub fn selection(mut self, request: WatchRequest) -> MirrorBuilder {
        self.requests.push(request);
        self
    }

    /// Keeps an index of owners in the snapshot, for readers who ask for dependents.
    pub fn with_owners(mut self) -> MirrorBuilder {
        self.snapshot = Snapshot::with_owners();
        self
    }

    /// Starts mirroring in tasks of the current runtime; they end with the last clone of the mirror.
    pub fn start(self, transport: Arc<dyn Transport>) -> Mirror {
        let mut state = State {
            snapshot: self.snapshot,
            seen: HashMap::new(),
            synced: HashMap::new(),
        };
        for request in &self.requests {
            state
                .synced
                .insert(request.resource.clone(), Synced::NotYet);
        }
        let shared = Arc::new(Shared {
            state: watch::Sender::new(state),
            changes: OnceLock::new(),
            transport,
        });
        let tasks = Tasks::default();
        for request in self.requests {
            tasks.start(&shared, request);
        }
        Mirror {
            shared,
            tasks: Arc::new(tasks),
        }
    }
}

#[derive(Default)]
struct Tasks(Mutex<HashMap<GroupVersionResource, JoinHandle<()>>>);

impl Tasks {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<GroupVersionResource, JoinHandle<()>>> {
        // Nothing that can fail is done while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, shared: &Arc<Shared>, request: WatchRequest) {
        let mut table = self.table();
        let resource = request.resource.clone();
        table
            .entry(resource)
            .or_insert_with(|| tokio::spawn(follow(shared.clone(), request)));
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.table().values().for_each(JoinHandle::abort);
    }
}

/// A snapshot of several resources that stays current. Clones are the same mirror.
#[derive(Clone)]
pub struct Mirror {
    shared: Arc<Shared>,
    tasks: Arc<Tasks>,
}

impl Mirror {
    /// Starts saying what to mirror.
    pub fn builder() -> MirrorBuilder {
        MirrorBuilder::default()
    }

    /// The state as it is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.state.borrow().snapshot.clone()
    }

    /// The resources that are mirrored, in no order.
    pub fn resources(&self) -> Vec<GroupVersionResource> {
        self.tasks.table().keys().cloned().collect()
    }

    /// Mirrors one more resource from now on, all its objects; does nothing when it is mirrored already. Nobody waits
    /// for its first list. Must be called on a tokio runtime.
    pub fn follow(&self, resource: GroupVersionResource) {
        let request = WatchRequest {
            resource,
            ..WatchRequest::default()
        };
        self.shared.state.send_modify(|state| {
            let resource = request.resource.clone();
            state.synced.entry(resource).or_insert(Synced::Yes);
        });
        self.tasks.start(&self.shared, request);
    }

    /// Mirrors a resource no longer, because it is not served any more, or not in this version. Readers are told that its
    /// objects are out of sight, which does not mean that they are gone.
    pub fn forget(&self, resource: &GroupVersionResource) {
        let Some(task) = self.tasks.table().remove(resource) else {
            return;
        };
        task.abort();
        let mut changes = Vec::new();
        self.shared.state.send_modify(|state| {
            state.seen.remove(resource);
            state.synced.remove(resource);
            let gone = state.snapshot.forget(&resource.group_resource());
            changes.extend(gone.into_iter().map(|(key, old)| Changed {
                resource: resource.clone(),
                key,
                old: Some(old),
                new: None,
            }));
        });
        send(&self.shared, changes);
    }

    /// Every change from now on, in order per resource. A receiver that lags gets `Lagged` and looks at everything.
    pub fn changes(&self) -> broadcast::Receiver<Changed> {
        let changes = &self.shared.changes;
        changes
            .get_or_init(|| broadcast::Sender::new(CHANGES_MAX))
            .subscribe()
    }

    /// Waits until every resource was listed once.
    pub async fn wait_synced(&self) {
        let mut state = self.shared.state.subscribe();
        // The sender lives in `self`, so this ends only when the condition holds.
        let _ = state
            .wait_for(|s| s.synced.values().all(|s| *s == Synced::Yes))
            .await;
    }

    /// Waits until a resource's changes up to `revision` were seen: what follows one's own write of it.
    pub async fn wait_until(&self, resource: &GroupVersionResource, revision: Revision) {
        let mut state = self.shared.state.subscribe();
        let _ = state
            .wait_for(|s| s.seen.get(resource).is_none_or(|seen| *seen >= revision))
            .await;
    }

    /// Waits for the next change of anything; answers the new snapshot.
    pub async fn changed(&self, seen: &mut watch_marker::Marker) -> Snapshot {
        seen.next(&self.shared.state).await
    }

    /// A marker for [`Mirror::changed`] that has seen the present state.
    pub fn marker(&self) -> watch_marker::Marker {
        watch_marker::Marker::at_present(&self.shared.state)
    }

    /// How many tasks keep it current.
    pub fn width(&self) -> usize {
        self.tasks.table().len()
    }
}

/// Remembers which state a reader has seen.
pub mod watch_marker {
    use super::State;
    use corten_meta::Snapshot;
    use tokio::sync::watch;

    /// What a reader has seen of a mirror.
    pub struct Marker(watch::Receiver<State>);

    impl Marker {
        pub(super) fn at_present(state: &watch::Sender<State>) -> Marker {
            let mut receiver = state.subscribe();
            receiver.mark_unchanged();
            Marker(receiver)
        }

        pub(super) async fn next(&mut self, _state: &watch::Sender<State>) -> Snapshot {
            let _ = self.0.changed().await;
            self.0.borrow_and_update().snapshot.clone()
        }
    }
}

/// Lists, then watches, for ever.
async fn follow(shared: Arc<Shared>, request: WatchRequest) {
    let transport = shared.transport.clone();
    let mut from: Option<Revision> = None;
    let mut pause = RETRY_MIN;
    loop {
        let before = from;
        let step = match from {
            None => list(&shared, &transport, &request).await.map(Some),
            Some(revision) => watch_from(&shared, &transport, &request, revision, &mut from).await,
        };
        match step {
            // A list, or a watch that showed something before it ended.
            Ok(next) if next.is_some() || from != before => {
                from = next.or(from);
                pause = RETRY_MIN;
            }
            // A watch that ends at once, again and again, is a server that is going.
            Ok(_) => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
            Err(error) if error.is_expired() => from = None,
            Err(error) => {
                tracing::warn!(%error, resource = %request.resource, "cannot follow a resource; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
            }
        }
    }
}

async fn list(
    shared: &Shared,
    transport: &Arc<dyn Transport>,
    request: &WatchRequest,
) -> Result<Revision, Error> {
    let answer = transport.list(request.clone()).await?;
    let mut table = Table::default();
    for object in answer.items {
        table.insert(key(&object), object);
    }
    let mut changes = Vec::new();
    shared.state.send_modify(|state| {
        if !state.synced.contains_key(&request.resource) {
            return; // It was forgotten meanwhile.
        }
        let before = state
            .snapshot
            .table(&request.resource.group_resource())
            .cloned()
            .unwrap_or_default();
        for (key, new) in &table {
            let old = before.get(key);
            if old.is_none_or(|o| o.meta().resource_version != new.meta().resource_version) {
                changes.push(change(request, key, old.cloned(), Some(new.clone())));
            }
        }
        for (key, old) in &before {
            if !table.contains_key(key) {
                changes.push(change(request, key, Some(old.clone()), None));
            }
        }
        state
            .snapshot
            .replace(&request.resource.group_resource(), table);
        state.snapshot.set_revision(answer.revision);
        state.seen.insert(request.resource.clone(), answer.revision);
        state.synced.insert(request.resource.clone(), Synced::Yes);
    });
    send(shared, changes);
    Ok(answer.revision)
}

fn key(object: &Object) -> ObjectKey {
    ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone())
}

fn change(
    request: &WatchRequest,
    key: &ObjectKey,
    old: Option<Arc<Object>>,
    new: Option<Arc<Object>>,
) -> Changed {
    Changed {
        resource: request.resource.clone(),
        key: key.clone(),
        old,
        new,
    }
}

fn send(shared: &Shared, changes: Vec<Changed>) {
    let Some(listeners) = shared.changes.get() else {
        return;
    };
    for change in changes {
        // Nobody listening any more is fine.
        let _ = listeners.send(change);
    }
}

/// Applies events until the watch ends; `from` always says where to go on.
async fn watch_from(
    shared: &Shared,
    transport: &Arc<dyn Transport>,
    request: &WatchRequest,
    revision: Revision,
    from: &mut Option<Revision>,
) -> Result<Option<Revision>, Error> {
    let request = WatchRequest {
        revision: Some(revision),
        ..request.clone()
    };
    let mut stream = transport.watch(request.clone()).await?;
    while let Some(event) = stream.next().await {
        let seen = apply(shared, &request, event?);
        *from = Some(seen.max(from.unwrap_or_default()));
    }
    Ok(None)
}

fn apply(shared: &Shared, request: &WatchRequest, event: WatchEvent) -> Revision {
    let mut changes = Vec::new();
    let mut seen = Revision::default();
    shared.state.send_modify(|state| {
        if !state.synced.contains_key(&request.resource) {
            return; // It was forgotten meanwhile.
        }
        match event {
            WatchEvent::Bookmark(revision) => seen = revision,
            WatchEvent::Applied(object) => {
                seen = revision_of(&object);
                let key = key(&object);
                let old = state.snapshot.insert(
                    &request.resource.group_resource(),
                    key.clone(),
                    object.clone(),
                );
                changes.push(change(request, &key, old, Some(object)));
            }
            WatchEvent::Deleted(object) => {
                seen = revision_of(&object);
                let key = key(&object);
                let old = state
                    .snapshot
                    .remove(&request.resource.group_resource(), &key);
                changes.push(change(request, &key, old.or(Some(object)), None));
            }
        }
        let entry = state.seen.entry(request.resource.clone()).or_default();
        *entry = (*entry).max(seen);
        state.snapshot.set_revision(seen);
    });
    send(shared, changes);
    seen
}

fn revision_of(object: &Object) -> Revision {
    Revision::parse(&object.meta().resource_version).unwrap_or_default()
}
