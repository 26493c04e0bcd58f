//! The state of a cluster at one moment, as pure code sees it.
//!
//! Invariant: immutable once shared; a clone costs a few reference counts, so that a reader keeps its moment for as
//! long as it likes while the next one is made beside it. What a source holds is at that moment, too.

use crate::owners::OwnerIndex;
use crate::{Feature, Features, GroupResource, ObjectKey, Revision};
use corten_api::{Kind, Object};
use imbl::OrdMap;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

/// The objects of one resource, by namespace and name.
pub type Table = OrdMap<ObjectKey, Arc<Object>>;

/// Where a snapshot finds objects that it does not hold itself, as they were at its moment: those of resources with
/// so many objects that each is decoded when it is asked for.
pub trait Source: Send + Sync + fmt::Debug {
    /// Whether the source has the objects of a resource, so that a snapshot with it holds none of them.
    fn finds(&self, resource: &GroupResource) -> bool;

    /// One object.
    fn object(&self, resource: &GroupResource, key: &ObjectKey) -> Option<Arc<Object>>;

    /// The objects of a resource in `namespace`, by name; of those only the ones whose selectable field has this
    /// value, where the source knows its fields, or more.
    fn objects_in(
        &self,
        resource: &GroupResource,
        namespace: &str,
        field: Option<(&str, &str)>,
    ) -> Vec<Arc<Object>>;
}

/// An object of kind `T` that was found.
#[derive(Clone, Debug)]
pub struct Found<T> {
    object: Arc<Object>,
    kind: PhantomData<fn() -> T>,
}

impl<T: Kind> Found<T> {
    fn of(object: Arc<Object>) -> Option<Found<T>> {
        object.downcast_ref::<T>()?;
        Some(Found {
            object,
            kind: PhantomData,
        })
    }
}

impl<T: Kind> Deref for Found<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.object
            .downcast_ref::<T>()
            .expect("only objects of the kind are found")
    }
}

/// Objects by resource, each in the one version in which it is stored.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    tables: OrdMap<GroupResource, Table>,
    owners: Option<OwnerIndex>,
    revision: Revision,
    features: Features,
    source: Option<Arc<dyn Source>>,
}

impl Snapshot {
    /// A snapshot of nothing.
    pub fn new() -> Snapshot {
        Snapshot::default()
    }

    /// A snapshot of nothing that keeps an index of owners: for those who ask for dependents.
    pub fn with_owners() -> Snapshot {
        Snapshot {
            owners: Some(OwnerIndex::default()),
            ..Snapshot::default()
        }
    }

    /// The latest revision among the changes that the snapshot has seen.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Notes that everything up to `revision` has been seen.
    pub fn set_revision(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// The features that the cluster has beside upstream's defaults.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Whether the cluster has a feature that is off by default.
    pub fn has_feature(&self, feature: Feature) -> bool {
        self.features.has(feature)
    }

    /// Says which features the cluster has beside upstream's defaults.
    pub fn set_features(&mut self, features: Features) {
        self.features = features;
    }

    /// Where to find what the snapshot does not hold.
    pub fn set_source(&mut self, source: Arc<dyn Source>) {
        self.source = Some(source);
    }

    /// The object `name` of kind `T`, held or found.
    pub fn find<T: Kind>(&self, namespace: &str, name: &str) -> Option<Found<T>> {
        let key = ObjectKey::new(namespace, name);
        self.find_object(&GroupResource::of::<T>(), &key)
            .and_then(Found::of)
    }

    /// The objects of kind `T` in `namespace`, held or found, by name.
    pub fn find_in<T: Kind>(&self, namespace: &str) -> impl Iterator<Item = Found<T>> {
        self.find_objects_in(&GroupResource::of::<T>(), namespace, None)
            .into_iter()
            .filter_map(Found::of)
    }

    /// The same, at least those whose selectable field has this value.
    pub fn find_where<T: Kind>(
        &self,
        namespace: &str,
        field: (&str, &str),
    ) -> impl Iterator<Item = Found<T>> {
        self.find_objects_in(&GroupResource::of::<T>(), namespace, Some(field))
            .into_iter()
            .filter_map(Found::of)
    }

    /// Any object, held or found.
    pub fn find_object(&self, resource: &GroupResource, key: &ObjectKey) -> Option<Arc<Object>> {
        match (self.tables.get(resource), &self.source) {
            (None, Some(source)) => source.object(resource, key),
            (table, _) => table?.get(key).cloned(),
        }
    }

    /// The objects of a resource in `namespace`, held or found, by name; with a field at least those whose selectable
    /// field has that value.
    pub fn find_objects_in(
        &self,
        resource: &GroupResource,
        namespace: &str,
        field: Option<(&str, &str)>,
    ) -> Vec<Arc<Object>> {
        match (self.tables.get(resource), &self.source) {
            (None, Some(source)) => source.objects_in(resource, namespace, field),
            _ => self.objects_in(resource, namespace).cloned().collect(),
        }
    }

    /// What the snapshot holds of a resource. Whoever looks here for what is only found would take it for absent, and so
    /// that ends a test.
    fn held(&self, resource: &GroupResource) -> Option<&Table> {
        let table = self.tables.get(resource);
        let is_found = || self.source.as_ref().is_some_and(|s| s.finds(resource));
        debug_assert!(
            table.is_some() || !is_found(),
            "{resource} are not held by this snapshot: find them, as decision 011 says"
        );
        table
    }

    /// The object `name` of kind `T`; `namespace` is empty for cluster-scoped kinds.
    pub fn get<T: Kind>(&self, namespace: &str, name: &str) -> Option<&T> {
        self.held(&GroupResource::of::<T>())?
            .get(&ObjectKey::new(namespace, name))?
            .downcast_ref::<T>()
    }

    /// All objects of kind `T`, by namespace and name.
    pub fn list<T: Kind>(&self) -> impl Iterator<Item = &T> {
        self.table(&GroupResource::of::<T>())
            .into_iter()
            .flat_map(|t| t.values())
            .filter_map(|o| o.downcast_ref::<T>())
    }

    /// The objects of kind `T` in `namespace`, by name.
    pub fn list_in<T: Kind>(&self, namespace: &str) -> impl Iterator<Item = &T> {
        self.objects_in(&GroupResource::of::<T>(), namespace)
            .filter_map(|o| o.downcast_ref::<T>())
    }

    /// The objects of a resource, typed or not.
    pub fn table(&self, resource: &GroupResource) -> Option<&Table> {
        self.held(resource)
    }

    /// The objects of a resource in `namespace`, by name.
    pub fn objects_in<'a>(
        &'a self,
        resource: &GroupResource,
        namespace: &str,
    ) -> impl Iterator<Item = &'a Arc<Object>> + use<'a> {
        let namespace = corten_core::Str::from(namespace);
        let start = ObjectKey {
            namespace: namespace.clone(),
            name: corten_core::Str::EMPTY,
        };
        let table = self.held(resource);
        table
            .into_iter()
            .flat_map(move |t| t.range(start.clone()..))
            .take_while(move |(key, _)| key.namespace == namespace)
            .map(|(_, object)| object)
    }

    /// Any object, typed or not.
    pub fn object(&self, resource: &GroupResource, key: &ObjectKey) -> Option<&Arc<Object>> {
        self.held(resource)?.get(key)
    }

    /// The resources that the snapshot holds, by group and name.
    pub fn resources(&self) -> impl Iterator<Item = (&GroupResource, &Table)> {
        self.tables.iter()
    }

    /// The objects whose owner references name `uid`, by resource, namespace and name. Looks through everything
    /// unless the snapshot keeps an index; see [`Snapshot::with_owners`].
    pub fn dependents(&self, uid: &str) -> Vec<(&GroupResource, &Arc<Object>)> {
        if let Some(owners) = &self.owners {
            let found = owners.dependents(uid);
            return found
                .filter_map(|(resource, key)| Some((resource, self.object(resource, key)?)))
                .collect();
        }
        let all = self.tables.iter();
        all.flat_map(|(resource, table)| table.values().map(move |object| (resource, object)))
            .filter(|(_, o)| o.meta().owner_references.iter().any(|r| r.uid == uid))
            .collect()
    }

    /// Whether the object with `uid` is known to have gone: it was here, and dependents of it were, when it went. False
    /// says nothing.
    pub fn has_gone(&self, uid: &str) -> bool {
        self.owners.as_ref().is_some_and(|o| o.has_gone(uid))
    }

    /// Puts an object in, and gives back the one that it replaces.
    pub fn insert(
        &mut self,
        resource: &GroupResource,
        key: ObjectKey,
        object: Arc<Object>,
    ) -> Option<Arc<Object>> {
        if let Some(owners) = &mut self.owners {
            let old = self.tables.get(resource).and_then(|t| t.get(&key));
            owners.change(resource, &key, old.map(Arc::as_ref), Some(&object));
        }
        self.tables
            .entry(resource.clone())
            .or_default()
            .insert(key, object)
    }

    /// Puts an object of kind `T` in: for fixtures and simulations.
    pub fn put<T: Kind>(&mut self, object: T) -> Option<Arc<Object>> {
        let key = ObjectKey::new(object.meta().namespace.clone(), object.meta().name.clone());
        self.insert(
            &GroupResource::of::<T>(),
            key,
            Arc::new(Object::from(object)),
        )
    }

    /// Takes an object out.
    pub fn remove(&mut self, resource: &GroupResource, key: &ObjectKey) -> Option<Arc<Object>> {
        let old = self.tables.get_mut(resource)?.remove(key);
        if let Some(owners) = &mut self.owners {
            owners.change(resource, key, old.as_deref(), None);
        }
        old
    }

    /// Replaces all objects of a resource.
    pub fn replace(
        &mut self,
        resource: &GroupResource,
        objects: impl IntoIterator<Item = (ObjectKey, Arc<Object>)>,
    ) {
        let table: Table = objects.into_iter().collect();
        if let Some(owners) = &mut self.owners {
            let before = self.tables.get(resource).cloned().unwrap_or_default();
            for (key, new) in &table {
                let old = before.get(key);
                owners.change(resource, key, old.map(Arc::as_ref), Some(new));
            }
            for (key, old) in before.iter().filter(|(key, _)| !table.contains_key(*key)) {
                owners.change(resource, key, Some(old), None);
            }
        }
        self.tables.insert(resource.clone(), table);
    }

    /// Forgets a resource with all its objects, which says nothing about whether they exist.
    pub fn forget(&mut self, resource: &GroupResource) -> Table {
        let table = self.tables.remove(resource).unwrap_or_default();
        if let Some(owners) = &mut self.owners {
            for (key, object) in &table {
                owners.forget(resource, key, object);
            }
        }
        table
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
