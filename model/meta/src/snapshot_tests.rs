//! Snapshots by namespace and moment, and how names print.

use crate::{GroupResource, GroupVersionKind, ObjectKey, Revision, Snapshot};
use corten_api::Kind;
use corten_api::core::v1::{Node, Pod};

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
