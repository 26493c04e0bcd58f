//! The typed view of the store that rules read: configuration decoded once, objects of which there are many when a rule
//! asks for one, and the access rules compiled from it. Invariant: a view taken after a commit was answered holds that
//! commit. Nothing runs in the background: taking a view drains what has happened since the last one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use corten_access::Rules;
use corten_api::Object;
use corten_client::Status;
use corten_meta::{Features, GroupResource, ObjectKey, Snapshot, Source, Table};
use corten_store::{Entry, Event, Key, Resource, Revision, Scope, StateSnapshot, Store, Watch};

use crate::catalog::{Catalog, Served};

/// Typed objects and compiled rules at one revision.
pub(crate) struct View {
    pub snapshot: Snapshot,
    pub rules: Arc<Rules>,
    /// Counts changes of CustomResourceDefinitions.
    pub definitions: u64,
    /// Counts changes of webhook configurations and admission policies.
    pub admission: u64,
    revision: Revision,
}

struct Tail {
    served: Arc<Served>,
    watch: Watch,
}

struct Tails {
    tails: Vec<Tail>,
    events: Vec<Arc<Event>>,
    found: Arc<Names>,
}

/// Where objects are stored that views do not hold.
type Names = BTreeMap<GroupResource, Resource>;

/// Whether objects of a resource are so many, and asked for by rules so seldom, that views do not hold them.
fn is_found(served: &Served) -> bool {
    let core = [
        "configmaps",
        "endpoints",
        "events",
        "pods",
        "podtemplates",
        "replicationcontrollers",
        "secrets",
    ];
    match served.storage_resource().group.as_str() {
        "" => core.contains(&served.plural.as_str()),
        "apps" | "autoscaling" | "batch" | "coordination.k8s.io" | "events.k8s.io" => true,
        _ => served.is_custom(),
    }
}

/// The store at the moment of a view.
struct Stored {
    state: StateSnapshot,
    names: Arc<Names>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the store at {}", self.state.revision())
    }
}

impl Source for Stored {
    fn finds(&self, resource: &GroupResource) -> bool {
        self.names.contains_key(resource)
    }

    fn object(&self, resource: &GroupResource, key: &ObjectKey) -> Option<Arc<Object>> {
        let key = Key::new(self.names.get(resource)?, &key.namespace, &key.name);
        object(self.state.get(&key)?).ok()
    }

    fn objects_in(
        &self,
        resource: &GroupResource,
        namespace: &str,
        field: Option<(&str, &str)>,
    ) -> Vec<Arc<Object>> {
        let Some(resource) = self.names.get(resource) else {
            return Vec::new();
        };
        let is_wanted = |entry: &&Arc<Entry>| {
            let other = field.is_some_and(|(path, value)| {
                entry.header().field(path).is_some_and(|v| v != value)
            });
            entry.namespace() == namespace && !other
        };
        let stored = self.state.resource(resource);
        let wanted = stored
            .range(&Scope::namespace(namespace), None)
            .filter(is_wanted);
        wanted.filter_map(|entry| object(entry).ok()).collect()
    }
}

/// Keeps the newest view.
pub(crate) struct Typed {
    store: Store,
    view: ArcSwap<View>,
    tails: Mutex<Tails>,
}

const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const DEFINITIONS: &str = "customresourcedefinitions";

impl Typed {
    /// Reads everything there is.
    pub(crate) fn new(store: &Store, catalog: &Catalog, features: Features) -> Typed {
        let mut snapshot = Snapshot::default();
        snapshot.set_features(features);
        let mut tails = Vec::new();
        let mut found = Names::new();
        for served in catalog.stored() {
            if is_found(served) {
                found.insert(served.storage_resource(), served.storage.clone());
                continue;
            }
            let tail = start(store, served.clone(), &mut snapshot);
            tails.push(tail);
        }
        let found = Arc::new(found);
        snapshot.set_source(Arc::new(Stored {
            state: store.snapshot_all(),
            names: found.clone(),
        }));
        let revision = Revision(0);
        let definitions = 0;
        let rules = Arc::new(Rules::build(&snapshot));
        Typed {
            store: store.clone(),
            view: ArcSwap::from_pointee(View {
                snapshot,
                rules,
                definitions,
                admission: 0,
                revision,
            }),
            tails: Mutex::new(Tails {
                tails,
                events: Vec::new(),
                found,
            }),
        }
    }

    /// Follows a resource that is served only now (a custom one).
    pub(crate) fn follow(&self, served: Arc<Served>) {
        let mut tails = self.tails.lock();
        if tails.found.contains_key(&served.storage_resource()) {
            return;
        }
        let view = self.view.load();
        let mut snapshot = view.snapshot.clone();
        let mut found = (*tails.found).clone();
        found.insert(served.storage_resource(), served.storage.clone());
        tails.found = Arc::new(found);
        snapshot.set_source(Arc::new(Stored {
            state: self.store.snapshot_all(),
            names: tails.found.clone(),
        }));
        let next = View {
            snapshot,
            rules: view.rules.clone(),
            definitions: view.definitions,
            admission: view.admission,
            revision: view.revision,
        };
        self.view.store(Arc::new(next));
    }

    /// The newest view.
    pub(crate) fn view(&self) -> Arc<View> {
        let revision = self.store.revision();
        let view = self.view.load_full();
        if view.revision >= revision {
            return view;
        }
        let mut tails = self.tails.lock();
        let view = self.view.load_full();
        if view.revision >= revision {
            return view;
        }
        let revision = self.store.revision();
        let mut snapshot = view.snapshot.clone();
        let mut rbac = false;
        let mut definitions = view.definitions;
        let mut admission = view.admission;
        let Tails {
            tails,
            events,
            found,
        } = &mut *tails;
        for tail in tails.iter_mut() {
            let changed = drain(&self.store, tail, events, &mut snapshot);
            rbac |= changed && tail.served.group == RBAC;
            definitions += u64::from(changed && tail.served.plural == DEFINITIONS);
            admission += u64::from(changed && tail.served.group == ADMISSION);
        }
        snapshot.set_source(Arc::new(Stored {
            state: self.store.snapshot_all(),
            names: found.clone(),
        }));
        snapshot.set_revision(corten_meta::Revision(revision.0));
        let rules = if rbac {
            Arc::new(Rules::build(&snapshot))
        } else {
            view.rules.clone()
        };
        let next = Arc::new(View {
            snapshot,
            rules,
            definitions,
            admission,
            revision,
        });
        self.view.store(next.clone());
        next
    }

    /// The newest view, for a write ladder.
    pub(crate) fn fresh(&self, _server: &crate::server::Server) -> Arc<View> {
        self.view()
    }

    /// The newest typed snapshot.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.view().snapshot.clone()
    }
}

/// Puts what is stored into the snapshot and follows it from there.
fn start(store: &Store, served: Arc<Served>, snapshot: &mut Snapshot) -> Tail {
    loop {
        let stored = store.snapshot(&served.storage);
        if let Ok(watch) = store.watch(&served.storage, Scope::All, stored.revision()) {
            let mut all = Table::new();
            for entry in stored.iter() {
                if let Ok(object) = object(entry) {
                    all.insert(key(entry), object);
                }
            }
            snapshot.replace(&served.storage_resource(), all);
            snapshot.set_revision(corten_meta::Revision(stored.revision().0));
            return Tail { served, watch };
        }
    }
}

fn drain(
    store: &Store,
    tail: &mut Tail,
    events: &mut Vec<Arc<Event>>,
    snapshot: &mut Snapshot,
) -> bool {
    events.clear();
    if tail.watch.try_batch(events, usize::MAX).is_err() {
        *tail = start(store, tail.served.clone(), snapshot);
        return true;
    }
    if events.is_empty() {
        return false;
    }
    let resource = tail.served.storage_resource();
    for event in events.drain(..) {
        match event.entry() {
            Some(entry) => {
                if let Ok(object) = object(entry) {
                    snapshot.insert(&resource, key(entry), object);
                }
            }
            None => {
                snapshot.remove(&resource, &key(event.latest()));
            }
        }
    }
    true
}

fn key(entry: &Entry) -> ObjectKey {
    ObjectKey::new(entry.namespace(), entry.name())
}

/// The typed object of an entry for one look at it: it is not kept if it is not in memory.
pub(crate) fn passing(entry: &Entry) -> Result<Arc<Object>, Status> {
    match entry.object() {
        Some(_) => object(entry),
        None => decoded(entry).map(Arc::new),
    }
}

fn decoded(entry: &Entry) -> Result<Object, Status> {
    let stored = entry.stored().map_err(Status::internal)?;
    let mut object = crate::decode::stored(None, &stored)
        .map_err(|e| Status::internal(format!("decode the stored object {}: {e}", entry.key())))?;
    object.meta_mut().resource_version = entry.mod_revision().to_string().into();
    Ok(object)
}

/// The typed object of an entry, decoded at most once while it stays in memory.
pub(crate) fn object(entry: &Entry) -> Result<Arc<Object>, Status> {
    let any = entry.object_or(|entry| {
        let any: corten_store::AnyObject = Arc::new(decoded(entry)?);
        Ok::<_, Status>((any, entry.stored_len() * 3))
    })?;
    any.downcast::<Object>()
        .map_err(|_| Status::internal(format!("{} holds no object", entry.key())))
}
