//! The store: removal, leases, crashes, several processes, garbage collection.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fixtures;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use corten_images::{
    Builder, CollectionPolicy, Error, ImageId, ImageStore, ImportOptions, ImportSource, InUse,
    LayerFiles, write_oci_archive_to,
};
use fixtures::*;

fn add(store: &ImageStore, name: &str, content: &str) -> ImageId {
    add_with(store, name, content, false)
}

fn add_with(store: &ImageStore, name: &str, content: &str, pinned: bool) -> ImageId {
    let base = LayerFiles::new().file("base", 0o644, "base");
    let top = LayerFiles::new().file("top", 0o644, content);
    let built = Builder::new(name)
        .unwrap()
        .layer(base)
        .layer(top)
        .build()
        .unwrap();
    let mut bytes = Vec::new();
    write_oci_archive_to(&mut bytes, &[built]).unwrap();
    let source = ImportSource::Reader(Box::new(std::io::Cursor::new(bytes)));
    store
        .import_blocking(source, &ImportOptions { name: None, pinned })
        .unwrap()[0]
        .id
}

fn layers(store: &ImageStore) -> usize {
    names(&store.root().join("layers")).len()
}

#[test]
fn removal_by_tag_digest_and_id() {
    let (_dir, store) = store();
    let id = add(&store, "a:1", "x");
    add(&store, "b:1", "y");
    store.tag("a:1", "a:2").unwrap();
    let free = nothing_in_use();

    let removed = store.remove_blocking("a:1", &free).unwrap();
    assert_eq!(removed.untagged, ["docker.io/library/a:1"]);
    assert_eq!((removed.deleted, removed.freed), (None, 0));
    assert_eq!(layers(&store), 3);

    let removed = store.remove_blocking("a:2", &free).unwrap();
    assert_eq!(removed.deleted, Some(id));
    assert_eq!(
        removed.untagged.len(),
        2,
        "the digest name goes with the last tag"
    );
    assert!(removed.freed >= 1);
    assert_eq!(layers(&store), 2, "the base is shared with b");
    assert_eq!(names(&store.root().join("blobs/sha256")).len(), 2);

    let id = store.resolve("b:1").unwrap().unwrap().id.to_string();
    let removed = store.remove_blocking(&id, &free).unwrap();
    assert_eq!(removed.untagged.len(), 2);
    assert_eq!(
        (
            layers(&store),
            names(&store.root().join("blobs/sha256")).len()
        ),
        (0, 0)
    );
    let error = store.remove_blocking("b:1", &free).unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "failed to find image \"b:1\": not found");
}

#[test]
fn an_image_in_use_only_loses_its_names() {
    let (_dir, store) = store();
    let id = add(&store, "a:1", "x");
    let used: InUse = Arc::new(|_| true);
    let removed = store.remove_blocking("a:1", &used).unwrap();
    assert_eq!(removed.deleted, None);
    assert_eq!(store.resolve("a:1").unwrap(), None);
    let image = store.get(&id).unwrap().unwrap();
    assert!(image.names().next().is_none());
    assert_eq!(layers(&store), 2);
    let report = store_collect(&store, &nothing_in_use());
    assert_eq!(report, [id]);
    assert_eq!(layers(&store), 0);
}

fn store_collect(store: &ImageStore, in_use: &InUse) -> Vec<ImageId> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime
        .block_on(store.remove_unused(SystemTime::now(), in_use.clone()))
        .unwrap()
        .removed
}

#[test]
fn a_lease_keeps_layers_until_it_ends() {
    let (_dir, store) = store();
    add(&store, "a:1", "x");
    let image = store.resolve("a:1").unwrap().unwrap();
    let lease = store.lease(&image).unwrap();
    store.remove_blocking("a:1", &nothing_in_use()).unwrap();
    assert!(
        store
            .lower_directories(&image)
            .iter()
            .all(|layer| layer.is_dir())
    );
    // Another process does not collect them either.
    let other = ImageStore::open(store.root()).unwrap();
    assert_eq!(layers(&other), 2);
    drop(lease);
    drop(other);
    ImageStore::open(store.root()).unwrap();
    assert_eq!(layers(&store), 0);
    assert!(matches!(store.lease(&image), Err(Error::NotFound(_))));
}

#[test]
fn what_a_crash_leaves_is_cleaned_at_the_next_open() {
    let (dir, first) = store();
    add(&first, "a:1", "x");
    let root = first.root().to_owned();
    drop(first);
    // A session whose process is gone, a layer without a record, a half-written record, a stray blob.
    std::fs::create_dir_all(root.join("tmp/999999-0/op-0/leases")).unwrap();
    std::fs::write(root.join("tmp/999999-0/lock"), "").unwrap();
    std::fs::create_dir_all(root.join("layers").join("0".repeat(64)).join("fs/deep")).unwrap();
    std::fs::write(root.join("images.new"), "{\"vers").unwrap();
    std::fs::write(root.join("blobs/sha256").join("1".repeat(64)), "x").unwrap();
    let store = ImageStore::open(&root).unwrap();
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(layers(&store), 2);
    assert_eq!(names(&root.join("blobs/sha256")).len(), 2);
    assert_eq!(
        names(&root.join("tmp")).len(),
        2,
        "the lock and this session"
    );
    drop((store, dir));
}

#[test]
fn damaged_records_are_an_error_that_says_what_to_do() {
    let (_dir, store) = store();
    let root = store.root().to_owned();
    drop(store);
    std::fs::write(root.join("images.json"), "{").unwrap();
    let error = ImageStore::open(&root).unwrap_err().to_string();
    assert!(
        error.contains("images.json") && error.contains("move the file away"),
        "{error}"
    );
}

#[test]
fn two_processes_see_each_others_changes() {
    let (_dir, store) = store();
    let other = ImageStore::open(store.root()).unwrap();
    let id = add(&store, "a:1", "x");
    assert_eq!(other.resolve("a:1").unwrap().unwrap().id, id);
    add(&other, "b:1", "y");
    assert_eq!(store.list().unwrap().len(), 2);
    let threads: Vec<_> = (0..4)
        .map(|n| {
            let store = if n % 2 == 0 {
                store.clone()
            } else {
                other.clone()
            };
            std::thread::spawn(move || {
                for i in 0..5 {
                    add(&store, &format!("t{n}:{i}"), &format!("{n}-{i}"));
                    store.remove_blocking("b:1", &nothing_in_use()).ok();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(store.list().unwrap().len(), 21);
    assert_eq!(store.list().unwrap(), other.list().unwrap());
    for image in store.list().unwrap() {
        assert!(
            store
                .lower_directories(&image)
                .iter()
                .all(|layer| layer.is_dir())
        );
    }
    assert_eq!(layers(&store), 22);
}

#[tokio::test]
async fn collection_by_thresholds() {
    let (_dir, store) = store();
    let old = add(&store, "old:1", "old");
    let pinned = add_with(&store, "pinned:1", "pinned", true);
    let used = add(&store, "used:1", "used");
    let start = SystemTime::now();
    let in_use: InUse = Arc::new(move |id| *id == used);
    store.observe_use(start, &in_use).unwrap();
    let young = add(&store, "young:1", "young");
    let later = start + Duration::from_secs(300);
    // Always above the high threshold; the low one cannot be reached by these few bytes.
    let policy = CollectionPolicy {
        high_percent: 0,
        low_percent: 0,
        ..CollectionPolicy::default()
    };
    let error = store
        .collect(policy, later, in_use.clone())
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::NotEnoughFreed { freed: 1.., .. }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("Insufficient free disk space on the node's image filesystem"),
        "{error}"
    );
    let left: Vec<ImageId> = store.list().unwrap().iter().map(|image| image.id).collect();
    assert!(!left.contains(&old), "unused long enough");
    assert!(left.contains(&pinned) && left.contains(&used) && left.contains(&young));
    // Below the high threshold nothing happens.
    let policy = CollectionPolicy {
        high_percent: 100,
        low_percent: 0,
        ..CollectionPolicy::default()
    };
    let report = store
        .collect(policy, later + Duration::from_secs(300), in_use)
        .await
        .unwrap();
    assert!(report.removed.is_empty());
}

#[tokio::test]
async fn collection_by_age() {
    let (_dir, store) = store();
    add(&store, "a:1", "a");
    let in_use = nothing_in_use();
    let start = SystemTime::now();
    let policy = CollectionPolicy {
        high_percent: 100,
        low_percent: 80,
        unused_max: Some(Duration::from_secs(1000)),
        ..CollectionPolicy::default()
    };
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(
        store
            .collect(policy.clone(), at(0), in_use.clone())
            .await
            .unwrap()
            .removed
            .is_empty()
    );
    assert!(
        store
            .collect(policy.clone(), at(900), in_use.clone())
            .await
            .unwrap()
            .removed
            .is_empty()
    );
    assert_eq!(
        store
            .collect(policy, at(1001), in_use)
            .await
            .unwrap()
            .removed
            .len(),
        1
    );
}
