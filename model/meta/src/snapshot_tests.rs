//! Snapshots by namespace and moment, and how names print.

use super::Source;
use crate::{GroupResource, GroupVersionKind, ObjectKey, Revision, Snapshot};
use corten_api::core::v1::{Node, Pod};
use corten_api::meta::v1::OwnerReference;
use corten_api::{Kind, Object};
use std::sync::Arc;

#[test]
fn lists_by_namespace_and_keeps_older_moments() {
    let mut snapshot = Snapshot::new();
    for (namespace, name) in [("b", "x"), ("a", "y"), ("a", "x"), ("ab", "z")] {
        snapshot.put(Pod::namespaced(namespace, name));
    }
    snapshot.put(Node::named("n"));
    let before = snapshot.clone();
    let names = |s: &Snapshot, namespace: &str| -> Vec<String> {
        s.list_in::<Pod>(namespace)
            .map(|p| p.metadata.name.to_string())
            .collect()
    };
    assert_eq!(names(&snapshot, "a"), ["x", "y"]);
    assert!(names(&snapshot, "c").is_empty());
    assert_eq!(snapshot.list::<Pod>().count(), 4);
    assert!(snapshot.get::<Node>("", "n").is_some());
    let pods = GroupResource::of::<Pod>();
    assert!(snapshot.remove(&pods, &ObjectKey::new("a", "x")).is_some());
    assert_eq!(names(&snapshot, "a"), ["y"]);
    assert_eq!(names(&before, "a"), ["x", "y"]);
    snapshot.set_revision(Revision(7));
    snapshot.set_revision(Revision(5));
    assert_eq!(snapshot.revision(), Revision(7));
}

#[test]
fn names_print_as_upstream() {
    assert_eq!(
        GroupVersionKind::of("v1", "Pod").to_string(),
        "/v1, Kind=Pod"
    );
    assert_eq!(
        GroupVersionKind::of("apps/v1", "Deployment").to_string(),
        "apps/v1, Kind=Deployment"
    );
    assert_eq!(
        GroupResource::new("apps", "deployments").to_string(),
        "deployments.apps"
    );
    assert_eq!(GroupResource::new("", "pods").to_string(), "pods");
    assert_eq!(ObjectKey::new("a", "b").to_string(), "a/b");
    assert_eq!(Revision::parse("12"), Some(Revision(12)));
}

fn owned(name: &str, owners: &[&str]) -> Pod {
    let mut pod = Pod::namespaced("a", name);
    pod.metadata.uid = name.into();
    for uid in owners {
        pod.metadata.owner_references.push(OwnerReference {
            uid: (*uid).into(),
            ..OwnerReference::default()
        });
    }
    pod
}

/// The names of the dependents of `uid`, which must not depend on the index.
fn dependents(snapshot: &Snapshot, uid: &str) -> Vec<String> {
    let names = |s: &Snapshot| -> Vec<String> {
        let found = s.dependents(uid);
        found
            .iter()
            .map(|(_, o)| o.meta().name.to_string())
            .collect()
    };
    let mut scanned = Snapshot::new();
    for (resource, table) in snapshot.resources() {
        scanned.replace(resource, table.clone());
    }
    assert_eq!(names(snapshot), names(&scanned));
    names(snapshot)
}

#[test]
fn dependents_are_known_by_their_owner() {
    let mut snapshot = Snapshot::with_owners();
    snapshot.put(owned("x", &["n"]));
    snapshot.put(owned("y", &["n", "x"]));
    assert_eq!(dependents(&snapshot, "n"), ["x", "y"]);
    assert_eq!(dependents(&snapshot, "x"), ["y"]);
    snapshot.put(owned("y", &["n"]));
    assert_eq!(dependents(&snapshot, "n"), ["x", "y"]);
    assert!(dependents(&snapshot, "x").is_empty());
    let pods = GroupResource::of::<Pod>();
    snapshot.remove(&pods, &ObjectKey::new("a", "x"));
    assert_eq!(dependents(&snapshot, "n"), ["y"]);
    snapshot.replace(&pods, []);
    assert!(dependents(&snapshot, "n").is_empty());
}

#[test]
fn an_owner_is_known_to_have_gone_only_when_it_was_seen_to_go() {
    let pods = GroupResource::of::<Pod>();
    let mut snapshot = Snapshot::with_owners();
    snapshot.put(owned("y", &["x", "never"]));
    snapshot.put(owned("x", &[]));
    assert!(!snapshot.has_gone("x") && !snapshot.has_gone("never"));
    snapshot.remove(&pods, &ObjectKey::new("a", "x"));
    assert!(snapshot.has_gone("x") && !snapshot.has_gone("never"));
    snapshot.remove(&pods, &ObjectKey::new("a", "y"));
    assert!(!snapshot.has_gone("x"), "nobody needs to know any more");
    let mut again = owned("z", &[]);
    again.metadata.uid = "first".into();
    snapshot.put(again.clone());
    snapshot.put(owned("y", &["first"]));
    again.metadata.uid = "second".into();
    snapshot.put(again);
    assert!(snapshot.has_gone("first"), "another object has its name");
    snapshot.put(corten_api::core::v1::ConfigMap::namespaced("a", "m"));
    let mut map = corten_api::core::v1::ConfigMap::namespaced("a", "m");
    map.metadata.owner_references = owned("", &["second"]).metadata.owner_references;
    snapshot.put(map);
    assert_eq!(snapshot.forget(&pods).len(), 2);
    assert!(snapshot.table(&pods).is_none());
    assert!(
        !snapshot.has_gone("second"),
        "it is only not followed any longer"
    );
    assert!(dependents(&snapshot, "first").is_empty());
}

/// Has pods, all of them called the same.
#[derive(Debug)]
struct Pods;

impl Source for Pods {
    fn finds(&self, resource: &GroupResource) -> bool {
        *resource == GroupResource::of::<Pod>()
    }
    fn object(&self, _: &GroupResource, key: &ObjectKey) -> Option<Arc<Object>> {
        let pod = Pod::namespaced(&key.namespace, &key.name);
        Some(Arc::new(Object::from(pod)))
    }
    fn objects_in(&self, _: &GroupResource, _: &str, _: Option<(&str, &str)>) -> Vec<Arc<Object>> {
        Vec::new()
    }
}

fn with_source() -> Snapshot {
    let mut snapshot = Snapshot::new();
    snapshot.set_source(Arc::new(Pods));
    snapshot
}

#[test]
fn what_is_not_held_is_found() {
    let snapshot = with_source();
    assert!(snapshot.find::<Pod>("a", "x").is_some());
    assert!(
        snapshot.get::<Node>("", "n").is_none(),
        "nodes are no matter of the source"
    );
}

#[test]
#[should_panic(expected = "pods are not held by this snapshot")]
fn who_gets_what_is_only_found_is_stopped() {
    let _ = with_source().get::<Pod>("a", "x");
}

#[test]
#[should_panic(expected = "pods are not held by this snapshot")]
fn who_lists_what_is_only_found_is_stopped() {
    let _ = with_source().list_in::<Pod>("a").count();
}
