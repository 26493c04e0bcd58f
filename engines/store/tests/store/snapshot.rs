//! Views: order, ranges, pages.

use crate::rig::{Rig, texts};
use corten_store::*;

fn filled() -> (Rig, Resource) {
    let mut rig = Rig::new();
    let pods = Resource::new("pods");
    for (namespace, name) in [
        ("b", "x"),
        ("a", "2"),
        ("a-b", "1"),
        ("a", "1"),
        ("a", "3"),
        ("", "c"),
    ] {
        rig.put(&Key::new(&pods, namespace, name), "");
    }
    rig.put(&Key::new(&Resource::new("secrets"), "a", "1"), "");
    (rig, pods)
}

#[test]
fn ranges_follow_paths() {
    let (rig, pods) = filled();
    let snapshot = rig.store.snapshot(&pods);
    let names = |scope: Scope, start: Option<&str>| texts(snapshot.range(&scope, start));
    assert_eq!(
        texts(snapshot.iter()),
        ["a-b/1=", "a/1=", "a/2=", "a/3=", "b/x=", "c="]
    );
    assert_eq!(
        names(Scope::namespace(""), Some("a/2")),
        ["a/2=", "a/3=", "b/x=", "c="]
    );
    assert_eq!(names(Scope::namespace("a"), None), ["a/1=", "a/2=", "a/3="]);
    assert_eq!(
        names(Scope::namespace("a"), Some("a/1\0")),
        ["a/2=", "a/3="]
    );
    assert_eq!(
        names(Scope::namespace("a"), Some("a-")),
        ["a/1=", "a/2=", "a/3="]
    );
    assert_eq!(names(Scope::namespace("a"), Some("z")), [""; 0]);
    assert_eq!(names(Scope::object("a", "2"), None), ["a/2="]);
    assert_eq!(names(Scope::object("", "c"), None), ["c="]);
    assert_eq!(names(Scope::object("a", "none"), None), [""; 0]);
    assert_eq!(snapshot.count(&Scope::namespace("a")), 3);
    assert!(
        snapshot.get("a", "1").is_some()
            && snapshot.get("", "c").is_some()
            && snapshot.get("c", "1").is_none()
    );
    assert!(
        snapshot.get("", "a/1").is_none(),
        "a slash in a name does not reach into a namespace"
    );
    assert_eq!(rig.store.snapshot(&Resource::new("none")).len(), 0);
    assert_eq!(
        rig.store.snapshot(&Resource::new("none")).revision(),
        Revision(8)
    );
    assert_eq!(rig.store.snapshot_all().len(), 7);
    assert_eq!(rig.store.snapshot_all().resources().count(), 2);
}

#[test]
fn pages_cover_the_list() {
    let (mut rig, pods) = filled();
    let revision = rig.store.revision();
    let mut listed = Vec::new();
    let mut start = None;
    for pages in 1.. {
        let snapshot = rig.store.snapshot_at(&pods, revision).unwrap();
        let page = snapshot.page(&Scope::All, start.as_deref(), 4);
        listed.extend(texts(&page.entries));
        // Writes between pages do not show.
        rig.put(&Key::new(&pods, "a", "4"), "new");
        rig.delete(&Key::new(&pods, "b", "x"));
        rig.put(&Key::new(&pods, "b", "x"), "again");
        start = page.next_start();
        if start.is_none() {
            assert_eq!((pages, page.remaining), (2, 0));
            break;
        }
        assert_eq!(page.remaining, 2);
    }
    assert_eq!(listed, ["a-b/1=", "a/1=", "a/2=", "a/3=", "b/x=", "c="]);
}

#[test]
fn objects_are_found_by_their_node() {
    let mut rig = Rig::new();
    let pods = Resource::new("pods");
    let mut put = |namespace: &str, name: &str, node: &str| {
        let header = Header::of("").field(NODE, node).build();
        let stored = bytes::Bytes::from(node.to_owned());
        rig.commit(Put::new(Key::new(&pods, namespace, name), stored, header))
            .unwrap();
        rig.store.revision()
    };
    put("b", "1", "n1");
    put("a", "2", "n1");
    put("a", "1", "");
    let before = put("a", "3", "n2");
    put("a", "1", "n1");
    put("a", "2", "n2");
    put("a", "3", "n2");
    rig.delete(&Key::new(&pods, "b", "1"));
    let on = |snapshot: &Snapshot, node: &str, namespace: &str, start: Option<&str>| {
        texts(snapshot.on_node(node, &Scope::namespace(namespace), start))
    };
    let now = rig.store.snapshot(&pods);
    assert_eq!(on(&now, "n1", "", None), ["a/1=n1"]);
    assert_eq!(on(&now, "n2", "", None), ["a/2=n2", "a/3=n2"]);
    assert_eq!(on(&now, "n2", "", Some("a/2\0")), ["a/3=n2"]);
    assert_eq!(on(&now, "n2", "b", None), [""; 0]);
    assert_eq!(on(&now, "", "", None), [""; 0]);
    let then = rig.store.snapshot_at(&pods, before).unwrap();
    assert_eq!(on(&then, "n1", "", None), ["a/2=n1", "b/1=n1"]);
    assert_eq!(on(&then, "n2", "", None), ["a/3=n2"]);
}
