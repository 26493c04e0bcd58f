//! Archives: both formats, every compression, names, several images, damage, and the builder's determinism.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fixtures;

use std::io::Write;

use corten_images::{
    Builder, BuiltImage, Compression, Digest, ImageConfig, ImageStore, ImportOptions, ImportSource,
    LayerFiles, Platform, write_oci_archive_to,
};
use fixtures::*;
use serde_json::json;

fn config() -> ImageConfig {
    ImageConfig {
        env: vec!["PATH=/bin".into(), "A=b=c".into()],
        entrypoint: vec!["/bin/run".into()],
        cmd: vec!["-v".into()],
        working_dir: "/srv".into(),
        user: "1000:10".into(),
        volumes: vec!["/data".into()],
        exposed_ports: vec!["80/tcp".into()],
        stop_signal: "SIGQUIT".into(),
        labels: [("team".to_owned(), "x".to_owned())].into(),
    }
}

fn image(name: &str, content: &str) -> BuiltImage {
    let base = LayerFiles::new().file("base", 0o644, "base");
    let top = LayerFiles::new().file("top", 0o644, content);
    Builder::new(name)
        .unwrap()
        .config(config())
        .layer(base)
        .layer(top)
        .build()
        .unwrap()
}

fn archive(images: &[BuiltImage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_oci_archive_to(&mut bytes, images).unwrap();
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn import_named(
    store: &ImageStore,
    bytes: Vec<u8>,
    name: &str,
) -> corten_images::Result<Vec<String>> {
    let source = ImportSource::Reader(Box::new(std::io::Cursor::new(bytes)));
    let options = ImportOptions {
        name: Some(name.to_owned()),
        pinned: false,
    };
    let images = store.import_blocking(source, &options)?;
    Ok(images.iter().flat_map(|image| image.tags.clone()).collect())
}

#[test]
fn an_oci_archive_gives_everything_it_says() {
    let (_dir, store) = store();
    let built = image("nginx:1", "x");
    let images = import(&store, archive(std::slice::from_ref(&built))).unwrap();
    let [image] = images.as_slice() else {
        panic!("{images:?}")
    };
    assert_eq!(image.id, built.id);
    assert_eq!(image.manifest, built.manifest.digest);
    assert_eq!(image.tags, ["docker.io/library/nginx:1"]);
    assert_eq!(
        image.digests,
        [format!("docker.io/library/nginx@{}", built.manifest.digest)]
    );
    assert_eq!(image.config, config());
    assert_eq!(image.platform, Platform::host());
    assert_eq!((image.uid(), image.username()), (Some(1000), None));
    assert_eq!(image.layers.len(), 2);
    assert_eq!(image.size, 5);
    assert_eq!(image.image_ref(), image.digests[0]);

    let digest_name = &image.digests[0];
    for name in [
        "nginx:1",
        "docker.io/library/nginx:1",
        digest_name,
        &image.id.to_string(),
        &image.id.0.hex(),
    ] {
        assert_eq!(store.resolve(name).unwrap().as_ref(), Some(image), "{name}");
    }
    assert_eq!(store.resolve("nginx").unwrap(), None);
    assert!(store.resolve("NGINX").is_err());
    let lowers = store.lower_directories(image);
    assert!(lowers[0].join("top").exists() && lowers[1].join("base").exists());
    assert!(
        String::from_utf8(store.raw_config(image).unwrap())
            .unwrap()
            .contains("diff_ids")
    );
}

#[test]
fn compressed_streams_and_files_import_alike() {
    let (dir, store) = store();
    let plain = archive(&[image("a:1", "x")]);
    let zstd =
        ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
    let path = dir.path().join("a.tar.gz");
    std::fs::write(&path, gzip(&plain)).unwrap();
    let first = import(&store, plain).unwrap();
    let second = import(&store, zstd).unwrap();
    let third = store
        .import_blocking(ImportSource::File(path), &ImportOptions::default())
        .unwrap();
    assert_eq!(first, second);
    assert_eq!(first, third);
    assert_eq!(store.list().unwrap().len(), 1);
    assert_eq!(names(&store.root().join("layers")).len(), 2);
}

#[test]
fn several_images_share_their_layers() {
    let (_dir, store) = store();
    let images = import(
        &store,
        archive(&[image("a:1", "x"), image("b:2", "y"), image("c:3", "x")]),
    )
    .unwrap();
    let tags: Vec<&String> = images.iter().flat_map(|image| &image.tags).collect();
    // a and c are the same image.
    assert_eq!(images[0].id, images[2].id);
    assert!(tags.iter().any(|tag| *tag == "docker.io/library/b:2"));
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(names(&store.root().join("layers")).len(), 3);
    assert_eq!(store.disk_usage().unwrap().images, 4 + 1 + 1);
}

#[test]
fn a_docker_archive_imports() {
    let (_dir, store) = store();
    let layers = [tarball(&[file("a", "a")]), tarball(&[file("b", "bb")])];
    let image = import(&store, docker_save("busybox", &layers))
        .unwrap()
        .remove(0);
    assert_eq!(image.tags, ["docker.io/library/busybox:latest"]);
    assert_eq!(image.digests, Vec::<String>::new());
    assert_eq!(image.image_ref(), image.id.to_string());
    assert_eq!(image.layers[0].diff_id, Digest::of(&layers[0]));
    assert_eq!(image.size, 3);
    // Layers may be compressed, and linked to each other, in the archives of some tools.
    let diff_id = Digest::of(&layers[0]).to_string();
    let config = json!({"architecture": image.platform.architecture, "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id, diff_id]}})
    .to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["1/layer.tar", "2/layer.tar"]}]).to_string();
    let bytes = tarball(&[
        entry(
            tar::EntryType::Regular,
            "1/layer.tar",
            "",
            &gzip(&layers[0]),
        ),
        symlink("2/layer.tar", "../1/layer.tar"),
        file("c.json", &config),
        file("manifest.json", &manifest),
    ]);
    assert_eq!(import(&store, bytes).unwrap()[0].layers.len(), 2);
}

#[test]
fn names_come_from_the_caller_or_the_archive() {
    let (_dir, store) = store();
    let one = archive(&[image("a:1", "x")]);
    assert_eq!(
        import_named(&store, one.clone(), "lab.example/z:9").unwrap(),
        ["lab.example/z:9"]
    );
    assert_eq!(
        import_named(&store, one, "A")
            .unwrap_err()
            .to_string()
            .matches("lowercase")
            .count(),
        1
    );
    let two = archive(&[image("a:1", "x"), image("b:2", "y")]);
    let tags = import_named(&store, two, "lab.example/many").unwrap();
    assert!(
        tags.contains(&"lab.example/many:1".to_owned())
            && tags.contains(&"lab.example/many:2".to_owned())
    );
    // A tag moves to the image imported last.
    import(&store, archive(&[image("a:1", "other")])).unwrap();
    let moved = store.resolve("a:1").unwrap().unwrap();
    assert_eq!(moved.id, image("a:1", "other").id);
    assert_eq!(
        store
            .list()
            .unwrap()
            .iter()
            .filter(|image| image.tags.iter().any(|t| t.ends_with("/a:1")))
            .count(),
        1
    );
}

/// An OCI archive with these top entries of the index, and blobs.
fn layout(index: serde_json::Value, built: &[&BuiltImage], extra: &[Vec<u8>]) -> Vec<u8> {
    let mut entries = vec![
        file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#),
        file("index.json", &index.to_string()),
    ];
    for (digest, bytes) in built.iter().flat_map(|image| image.blobs()) {
        entries.push(entry(
            tar::EntryType::Regular,
            &format!("blobs/sha256/{}", digest.hex()),
            "",
            bytes,
        ));
    }
    for bytes in extra {
        let name = format!("blobs/sha256/{}", Digest::of(bytes).hex());
        entries.push(entry(tar::EntryType::Regular, &name, "", bytes));
    }
    tarball(&entries)
}

fn descriptor(image: &BuiltImage, name: Option<&str>) -> serde_json::Value {
    let mut value = serde_json::to_value(&image.manifest).unwrap();
    if let Some(name) = name {
        value["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    }
    value
}

#[test]
fn indexes_are_followed_to_this_machine() {
    let (_dir, store) = store();
    let here = image("m:1", "here");
    let other = Platform {
        architecture: "s390x".into(),
        os: "linux".into(),
        variant: None,
    };
    let there = Builder::new("m:1")
        .unwrap()
        .platform(other)
        .layer(LayerFiles::new().file("f", 0o644, "there"))
        .build()
        .unwrap();
    // Nested: index.json -> index -> manifests.
    let inner = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [descriptor(&there, None), descriptor(&here, None)]})
    .to_string()
    .into_bytes();
    let outer = json!({"schemaVersion": 2, "manifests": [{
        "mediaType": "application/vnd.oci.image.index.v1+json", "size": inner.len(),
        "digest": Digest::of(&inner).to_string(),
        "annotations": {"org.opencontainers.image.ref.name": "latest", "io.containerd.image.name": "docker.io/x/m:1"}}]});
    let found = import(
        &store,
        layout(outer, &[&here, &there], std::slice::from_ref(&inner)),
    )
    .unwrap()
    .remove(0);
    assert_eq!(found.id, here.id);
    assert_eq!(found.tags, ["docker.io/x/m:1"]);
    assert_eq!(
        found.digests,
        [format!("docker.io/x/m@{}", Digest::of(&inner))]
    );
    // Flat: two entries of one name.
    let flat = json!({"schemaVersion": 2, "manifests": [descriptor(&there, Some("q/m:2")), descriptor(&here, Some("q/m:2"))]});
    assert_eq!(
        import(&store, layout(flat, &[&here, &there], &[])).unwrap()[0].id,
        here.id
    );
    // Nothing for this machine.
    let none = json!({"schemaVersion": 2, "manifests": [descriptor(&there, Some("q/m:3"))]});
    let error = import(&store, layout(none, &[&there], &[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("it has no image for {}", Platform::host())),
        "{error}"
    );
}

#[test]
fn unnamed_images_need_a_name() {
    let (_dir, store) = store();
    let built = image("m:1", "x");
    let only_tag = layout(
        json!({"schemaVersion": 2, "manifests": [descriptor(&built, Some("latest"))]}),
        &[&built],
        &[],
    );
    let error = import(&store, only_tag.clone()).unwrap_err().to_string();
    assert!(error.contains("only the tag \"latest\""), "{error}");
    assert_eq!(
        import_named(&store, only_tag, "q/m:1").unwrap(),
        ["docker.io/q/m:1"]
    );
    let unnamed = layout(
        json!({"schemaVersion": 2, "manifests": [descriptor(&built, None)]}),
        &[&built],
        &[],
    );
    let error = import(&store, unnamed).unwrap_err().to_string();
    assert!(error.contains("pass a name for it"), "{error}");
}

#[test]
fn damage_keeps_everything_out() {
    let good = image("a:1", "x");
    let manifests = json!({"schemaVersion": 2, "manifests": [descriptor(&good, Some("q/a:1"))]});
    let whole = layout(manifests.clone(), &[&good], &[]);
    let missing = layout(manifests, &[], &[]);
    // One changed byte in the content of the last layer, beyond its header.
    let mut changed = whole.clone();
    let at = changed.windows(4).position(|w| w == b"base").unwrap();
    let content = changed[at + 4..]
        .windows(4)
        .position(|w| w == b"base")
        .unwrap()
        + at
        + 4;
    changed[content] ^= 1;
    let cut = whole[..whole.len() / 2].to_vec();
    for (what, bytes, expected) in [
        ("missing", missing, "is missing"),
        ("changed", changed, "digest"),
        ("cut", cut, "truncated"),
        ("text", b"hello".repeat(300), "checksum"),
        ("other", tarball(&[file("x", "y")]), "neither index.json"),
        ("empty", Vec::new(), "neither index.json"),
    ] {
        let (_dir, store) = store();
        // A second, sound image in the same archive does not get in either.
        let error = import(&store, bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(store.list().unwrap().is_empty(), "{what}");
        assert_eq!(
            names(&store.root().join("layers")),
            Vec::<String>::new(),
            "{what}"
        );
    }
    let (_dir, store) = store();
    let error = store
        .import_blocking(
            ImportSource::File("/nonexistent/a.tar".into()),
            &ImportOptions::default(),
        )
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("failed to import images from /nonexistent/a.tar: No such file"),
        "{error}"
    );
}

#[test]
fn the_builder_gives_the_same_bytes() {
    let dir = scratch();
    let source = dir.path().join("src");
    std::fs::create_dir_all(source.join("z/y")).unwrap();
    std::fs::write(source.join("z/y/f"), "content").unwrap();
    std::fs::hard_link(source.join("z/y/f"), source.join("a")).unwrap();
    std::os::unix::fs::symlink("z", source.join("l")).unwrap();
    let build = |path: &str, compression| {
        let path = dir.path().join(path);
        let builder = Builder::new("b:1")
            .unwrap()
            .compression(compression)
            .config(config());
        builder
            .layer_from_directory(&source)
            .unwrap()
            .write_oci_archive(&path)
            .unwrap();
        std::fs::read(path).unwrap()
    };
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let first = build("one.tar", compression);
        std::fs::File::options()
            .append(true)
            .open(source.join("z/y/f"))
            .unwrap()
            .set_modified(std::time::UNIX_EPOCH)
            .unwrap();
        assert!(first == build("two.tar", compression), "{compression:?}");
        let (_dir, store) = store();
        let image = import(&store, first).unwrap().remove(0);
        assert_eq!(names(&only_layer(&store, &image)), ["a", "l", "z"]);
        assert_eq!(image.config, config());
    }
}
