//! Immutable views. Invariant: a view holds every change up to its revision and none after it.

use crate::engine::{Batch, EngineError, Identity};
use crate::entry::ByKey;
use crate::{Entry, Key, Resource, Revision, Scope, Seal};
use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use std::ops::Bound;
use std::sync::Arc;

/// The selectable field by which objects are found without a look at all of them: kubelets ask for their pods by it.
pub const NODE: &str = "spec.nodeName";

/// The entries of one resource.
#[derive(Clone, Default)]
pub(crate) struct Tree {
    pub(crate) entries: OrdSet<ByKey>,
    /// The same entries by their node, for those that are on one.
    by_node: OrdMap<Arc<str>, OrdSet<ByKey>>,
}

impl Tree {
    /// Puts an entry in place; answers the one before.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let before = self.entries.insert(ByKey(entry.clone()));
        let before = before.map(|before| before.0);
        if let Some(before) = &before
            && node(before) != node(&entry)
        {
            self.leave_node(before);
        }
        if let Some(node) = node(&entry) {
            match self.by_node.get_mut(node) {
                Some(entries) => drop(entries.insert(ByKey(entry))),
                None => {
                    let node = Arc::from(node);
                    self.by_node.insert(node, OrdSet::unit(ByKey(entry)));
                }
            }
        }
        before
    }

    /// Removes the entry with this tail.
    pub(crate) fn remove(&mut self, tail: &str) -> Option<Arc<Entry>> {
        let before = self.entries.remove(tail)?.0;
        self.leave_node(&before);
        Some(before)
    }

    fn leave_node(&mut self, entry: &Entry) {
        let Some(node) = node(entry) else { return };
        let Some(entries) = self.by_node.get_mut(node) else {
            return;
        };
        entries.remove(entry.key().tail());
        if entries.is_empty() {
            self.by_node.remove(node);
        }
    }
}

/// The node an object is on.
fn node(entry: &Entry) -> Option<&str> {
    entry.header().field(NODE).filter(|node| !node.is_empty())
}

/// The whole state at one revision; cloning shares everything.
#[derive(Clone)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) trees: OrdMap<Resource, Tree>,
    pub(crate) notes: OrdMap<Arc<str>, Bytes>,
}

impl State {
    pub(crate) fn empty(revision: Revision) -> State {
        State {
            revision,
            trees: OrdMap::new(),
            notes: OrdMap::new(),
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        let found = self.trees.get(key.resource())?.entries.get(key.tail())?;
        // Same tail, other split: "a/b" as a cluster-scoped name is not b in namespace a.
        (found.0.key().namespace() == key.namespace()).then_some(&found.0)
    }

    /// Puts an entry in place; answers the one before.
    pub(crate) fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let resource = entry.key().resource();
        if let Some(tree) = self.trees.get_mut(resource) {
            return tree.insert(entry);
        }
        let (resource, mut tree) = (resource.clone(), Tree::default());
        tree.insert(entry);
        self.trees.insert(resource, tree);
        None
    }

    /// Removes the key that has this path, whichever resource it is of.
    pub(crate) fn remove_path(&mut self, path: &[u8]) -> Option<Arc<Entry>> {
        let found = match std::str::from_utf8(path)
            .ok()
            .and_then(|path| self.by_path(path))
        {
            Some(found) => found,
            None => Key::raw(path),
        };
        self.remove(&found)
    }

    fn by_path(&self, path: &str) -> Option<Key> {
        let rest = path.strip_prefix(crate::ROOT)?;
        // The resource is some part of the path up to a slash.
        rest.match_indices('/').find_map(|(at, _)| {
            let tree = self.trees.get(&Resource::new(&rest[..at]))?;
            Some(tree.entries.get(&rest[at + 1..])?.0.key().clone())
        })
    }

    pub(crate) fn remove(&mut self, key: &Key) -> Option<Arc<Entry>> {
        self.trees.get_mut(key.resource())?.remove(key.tail())
    }

    pub(crate) fn len(&self) -> usize {
        self.trees.values().map(|tree| tree.entries.len()).sum()
    }
}

/// One resource at one revision. Taking one costs the same however large the resource is.
#[derive(Clone)]
pub struct Snapshot {
    revision: Revision,
    tree: Tree,
}

impl Snapshot {
    pub(crate) fn of(state: &State, resource: &Resource) -> Snapshot {
        Snapshot {
            revision: state.revision,
            tree: state.trees.get(resource).cloned().unwrap_or_default(),
        }
    }

    pub(crate) fn new(revision: Revision, tree: Tree) -> Snapshot {
        Snapshot { revision, tree }
    }

    /// The revision of this view: the list's `resourceVersion`, and where a watch continues without a gap.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.tree.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tree.entries.is_empty()
    }

    /// One object.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Entry>> {
        let found = if namespace.is_empty() {
            self.tree.entries.get(name)
        } else {
            self.tree
                .entries
                .get(format!("{namespace}/{name}").as_str())
        };
        found
            .map(|found| &found.0)
            .filter(|entry| entry.namespace() == namespace)
    }

    /// Every object in path order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.tree.entries.iter().map(|entry| &entry.0)
    }

    /// The objects of a scope in path order, from the first whose [`Key::tail`] is at or after `start`.
    /// (Upstream's continue tokens hold the last tail with a NUL after it.)
    pub fn range<'a>(
        &'a self,
        scope: &Scope,
        start: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let (low, high) = scope.bounds(start);
        let empty = match &high {
            Bound::Included(high) | Bound::Excluded(high) => low > *high,
            Bound::Unbounded => false,
        };
        let high = if empty {
            Bound::Excluded(low.as_str())
        } else {
            high.as_ref().map(String::as_str)
        };
        let range = self
            .tree
            .entries
            .range::<_, str>((Bound::Included(low.as_str()), high));
        let scope = scope.clone();
        range
            .map(|entry| &entry.0)
            .filter(move |entry| scope.covers_inside(entry.key()))
    }

    /// The objects of a scope that are on a node, in path order, from `start` on as for [`Snapshot::range`]: those whose
    /// header has this node in [`NODE`]. Costs what is found, not what there is.
    pub fn on_node<'a>(
        &'a self,
        node: &str,
        scope: &Scope,
        start: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + use<'a> {
        let found = self.tree.by_node.get(node);
        let scope = scope.clone();
        let start = start.unwrap_or_default().to_owned();
        found
            .into_iter()
            .flat_map(|entries| entries.iter().map(|entry| &entry.0))
            .filter(move |entry| entry.key().tail() >= &*start && scope.covers(entry.key()))
    }

    /// At most `limit` objects of a scope from `start` on, and how many come after them.
    pub fn page(&self, scope: &Scope, start: Option<&str>, limit: usize) -> Page {
        let mut rest = self.range(scope, start);
        let entries: Vec<Arc<Entry>> = rest.by_ref().take(limit).cloned().collect();
        Page {
            entries,
            remaining: rest.count(),
        }
    }

    /// The number of objects in a scope.
    pub fn count(&self, scope: &Scope) -> usize {
        match scope {
            Scope::All => self.len(),
            _ => self.range(scope, None).count(),
        }
    }
}

/// Part of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// The objects, in path order.
    pub entries: Vec<Arc<Entry>>,
    /// How many objects come after them: the list's `remainingItemCount`.
    pub remaining: usize,
}

impl Page {
    /// Where the next page starts; none if this is the last.
    pub fn next_start(&self) -> Option<String> {
        let last = self.entries.last()?;
        (self.remaining > 0).then(|| format!("{}\0", last.key().tail()))
    }
}

/// Every resource at one revision.
#[derive(Clone)]
pub struct StateSnapshot(pub(crate) Arc<State>);

impl StateSnapshot {
    /// The revision of this view.
    pub fn revision(&self) -> Revision {
        self.0.revision
    }

    /// The resources that ever held an object.
    pub fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.0.trees.keys()
    }

    /// One resource of this view.
    pub fn resource(&self, resource: &Resource) -> Snapshot {
        Snapshot::of(&self.0, resource)
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.0.get(key)
    }

    /// Everything as batches of bounded size, the last with `identity`: what a new engine is filled with.
    pub fn batches<'a>(
        &'a self,
        identity: Identity,
        seal: &'a Arc<dyn Seal>,
    ) -> impl Iterator<Item = Result<Batch, EngineError>> + 'a {
        crate::core::whole(&self.0, identity, seal)
    }

    /// A note, if there is one of that name.
    pub fn note(&self, name: &str) -> Option<&Bytes> {
        self.0.notes.get(name)
    }

    /// The notes whose names start with `prefix`, by name.
    pub fn notes<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Bytes)> {
        let from: &str = prefix;
        let range = self
            .0
            .notes
            .range::<_, str>((Bound::Included(from), Bound::Unbounded));
        range
            .map(|(name, text)| (&**name, text))
            .take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// The number of objects of all resources.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
