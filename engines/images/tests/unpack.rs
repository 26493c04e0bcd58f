//! Unpacking: every kind of entry arrives as the archive says, whiteouts take overlayfs' form, and no archive reaches
//! outside its layer. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fixtures;

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use corten_images::{Builder, Compression, ImageStore, ImportOptions, ImportSource, LayerFiles};
use fixtures::*;
use tar::EntryType;

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0u8; 256];
    let n = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(n);
    Some(value)
}

/// `cap_net_bind_service,cap_dac_override,cap_fowner=ep`: its second byte is a newline.
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0x0a, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn build(files: LayerFiles, compression: Compression, dir: &Path) -> std::path::PathBuf {
    let path = dir.join("image.tar");
    Builder::new("test/unpack:1")
        .unwrap()
        .layer(files)
        .compression(compression)
        .write_oci_archive(&path)
        .unwrap();
    path
}

fn everything(long: &str) -> LayerFiles {
    LayerFiles::new()
        .file("bin/su", 0o4755, "su")
        .owner("bin/su", 0, 42)
        .file("bin/ping", 0o755, "ping")
        .owner("bin/ping", 7, 8)
        .xattr("bin/ping", "security.capability", CAPABILITY)
        .xattr("bin/ping", "user.note", "two\nlines")
        .hard_link("a-link", "bin/su")
        .hard_link("long-link", long)
        .file(long, 0o600, "x".repeat(100_000))
        .symlink("lib", "usr/lib")
        .directory("tmp", 0o1777)
        .owner("tmp", 3, 4)
        .fifo("run/pipe", 0o622)
        .character_device("dev/null", 0o666, 1, 3)
        .whiteout("etc/gone")
        .opaque("var")
}

fn check_everything(compression: Compression) {
    let (dir, store) = store();
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    let archive = build(everything(&long), compression, dir.path());
    let images = store
        .import_blocking(ImportSource::File(archive), &ImportOptions::default())
        .unwrap();
    let fs = only_layer(&store, &images[0]);

    let meta = |path: &str| std::fs::symlink_metadata(fs.join(path)).unwrap();
    let su = meta("bin/su");
    assert_eq!(
        (
            su.permissions().mode() & 0o7777,
            su.uid(),
            su.gid(),
            su.nlink()
        ),
        (0o4755, 0, 42, 2)
    );
    assert_eq!(su.ino(), meta("a-link").ino());
    assert_eq!(su.mtime(), 0);
    let ping = meta("bin/ping");
    assert_eq!((ping.uid(), ping.gid()), (7, 8));
    assert_eq!(
        xattr(&fs.join("bin/ping"), "security.capability").unwrap(),
        CAPABILITY
    );
    assert_eq!(
        xattr(&fs.join("bin/ping"), "user.note").unwrap(),
        b"two\nlines"
    );
    assert_eq!(meta("long-link").ino(), meta(&long).ino());
    assert_eq!(meta(&long).len(), 100_000);
    assert_eq!(
        std::fs::read_link(fs.join("lib")).unwrap(),
        Path::new("usr/lib")
    );
    let tmp = meta("tmp");
    assert_eq!(
        (
            tmp.permissions().mode() & 0o7777,
            tmp.uid(),
            tmp.gid(),
            tmp.mtime()
        ),
        (0o1777, 3, 4, 0)
    );
    assert!(meta("run/pipe").file_type().is_fifo());
    assert_eq!(meta("run/pipe").permissions().mode() & 0o777, 0o622);
    assert!(meta("dev/null").file_type().is_char_device());
    assert_eq!(meta("dev/null").rdev(), rustix::fs::makedev(1, 3));
    assert!(meta("etc/gone").file_type().is_char_device());
    assert_eq!(meta("etc/gone").rdev(), 0);
    assert_eq!(
        xattr(&fs.join("var"), "trusted.overlay.opaque").unwrap(),
        b"y"
    );
    assert_eq!(names(&fs.join("var")), Vec::<String>::new());
}

#[test]
fn every_kind_of_entry_plain() {
    check_everything(Compression::None);
}

#[test]
fn every_kind_of_entry_gzip() {
    check_everything(Compression::Gzip);
}

#[test]
fn every_kind_of_entry_zstd() {
    check_everything(Compression::Zstd);
}

/// Imports one hand-made layer.
fn layer(
    entries: &[Vec<u8>],
) -> (
    tempfile::TempDir,
    ImageStore,
    Result<std::path::PathBuf, String>,
) {
    let (dir, store) = store();
    let result = import(&store, docker_save("t/x:1", &[tarball(entries)]));
    let path = result
        .map(|images| only_layer(&store, &images[0]))
        .map_err(|error| error.to_string());
    (dir, store, path)
}

#[test]
fn paths_with_dots_are_refused() {
    for path in ["../evil", "a/../../evil", "/../evil", "a/..", ".."] {
        let (dir, store, result) = layer(&[file(path, "x")]);
        let error = result.unwrap_err();
        assert!(
            error.contains("the path leaves the layer"),
            "{path}: {error}"
        );
        assert!(
            error.starts_with(
                "failed to import images from a stream: failed to extract layer sha256:"
            ),
            "{error}"
        );
        assert!(store.list().unwrap().is_empty());
        assert!(!dir.path().join("evil").exists());
    }
}

#[test]
fn links_do_not_lead_outside() {
    let outside = scratch();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "s").unwrap();
    let target = outside.path().to_str().unwrap();
    // An absolute link, a relative one with too many dots, and a chain of both: all stay inside.
    let relative = format!("{}{target}", "../".repeat(15));
    let (_dir, _store, result) = layer(&[
        symlink("abs", target),
        file("abs/written", "1"),
        symlink("rel", &relative),
        file("rel/written2", "2"),
        symlink("chain", "rel/deeper"),
        file("chain/written3", "3"),
    ]);
    let fs = result.unwrap();
    assert_eq!(names(outside.path()), ["secret"]);
    let inner = fs.join(target.trim_start_matches('/'));
    assert_eq!(names(&inner), ["deeper", "written", "written2"]);
    assert_eq!(names(&inner.join("deeper")), ["written3"]);

    // A hard link through a symbolic link cannot reach the secret either.
    let (_dir, _store, result) = layer(&[
        symlink("out", target),
        entry(EntryType::Link, "mine", "out/secret", b""),
    ]);
    assert!(result.unwrap_err().contains("is not in the layer"));
    let (_dir, _store, result) = layer(&[entry(
        EntryType::Link,
        "mine",
        &format!("../../..{target}/secret"),
        b"",
    )]);
    assert!(result.unwrap_err().contains("leaves the layer"));
    assert_eq!(std::fs::metadata(&secret).unwrap().nlink(), 1);
}

#[test]
fn writing_over_a_link_replaces_the_link() {
    let outside = scratch();
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    std::fs::set_permissions(&victim, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (_dir, _store, result) = layer(&[symlink("f", victim.to_str().unwrap()), file("f", "new")]);
    let fs = result.unwrap();
    assert_eq!(std::fs::read_to_string(fs.join("f")).unwrap(), "new");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(
        std::fs::metadata(&victim).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn later_entries_replace_earlier_ones_of_another_kind() {
    let (_dir, _store, result) = layer(&[
        directory("d"),
        file("d/one", "1"),
        file("d", "now a file"),
        file("e", "first a file"),
        directory("e"),
        file("e/two", "2"),
        directory("keep"),
        file("keep/three", "3"),
        directory("keep"),
    ]);
    let fs = result.unwrap();
    assert_eq!(std::fs::read_to_string(fs.join("d")).unwrap(), "now a file");
    assert_eq!(names(&fs.join("e")), ["two"]);
    assert_eq!(names(&fs.join("keep")), ["three"]);
}

#[test]
fn whiteouts_touch_only_what_is_below() {
    let (_dir, _store, result) = layer(&[
        // Hidden and made again in the same layer: opaque, whatever the order.
        file(".wh.first", ""),
        directory("first"),
        directory("second"),
        file("second/new", "x"),
        file(".wh.second", ""),
        // A file that the layer itself has stays.
        file("third", "x"),
        file(".wh.third", ""),
        // Bookkeeping of aufs.
        file(".wh..wh.plnk", ""),
    ]);
    let fs = result.unwrap();
    assert_eq!(names(&fs), ["first", "second", "third"]);
    for name in ["first", "second"] {
        assert_eq!(
            xattr(&fs.join(name), "trusted.overlay.opaque").unwrap(),
            b"y",
            "{name}"
        );
    }
    assert_eq!(names(&fs.join("second")), ["new"]);
    assert!(layer(&[file(".wh.", "")]).2.is_err());
    assert!(
        layer(&[file(".wh...", "")])
            .2
            .unwrap_err()
            .contains("without a name")
    );
}

#[test]
fn overlay_attributes_of_the_archive_are_dropped() {
    let (dir, store) = store();
    let files = LayerFiles::new()
        .directory("d", 0o755)
        .xattr("d", "trusted.overlay.redirect", "/../../other")
        .xattr("d", "trusted.overlay.opaque", "y")
        .xattr("d", "user.fine", "1");
    let archive = build(files, Compression::None, dir.path());
    let images = store
        .import_blocking(ImportSource::File(archive), &ImportOptions::default())
        .unwrap();
    let d = only_layer(&store, &images[0]).join("d");
    assert_eq!(xattr(&d, "trusted.overlay.redirect"), None);
    assert_eq!(xattr(&d, "trusted.overlay.opaque"), None);
    assert_eq!(xattr(&d, "user.fine").unwrap(), b"1");
}

#[test]
fn an_overlay_of_the_layers_shows_the_image() {
    let (dir, store) = store();
    let builder = Builder::new("test/overlay:1")
        .unwrap()
        .layer(
            LayerFiles::new()
                .file("etc/keep", 0o644, "low")
                .file("etc/gone", 0o644, "low")
                .file("var/old", 0o644, "low")
                .directory("srv", 0o750)
                .owner("srv", 5, 6),
        )
        .layer(
            LayerFiles::new()
                .whiteout("etc/gone")
                .file("var/new", 0o644, "high")
                .opaque("var"),
        );
    let path = dir.path().join("a.tar");
    builder.write_oci_archive(&path).unwrap();
    let image = store
        .import_blocking(ImportSource::File(path), &ImportOptions::default())
        .unwrap()
        .remove(0);
    let lowers = store.lower_directories(&image);
    let merged = dir.path().join("merged");
    std::fs::create_dir(&merged).unwrap();
    let options: Vec<&str> = lowers.iter().map(|lower| lower.to_str().unwrap()).collect();
    let options = std::ffi::CString::new(format!("lowerdir={}", options.join(":"))).unwrap();
    rustix::mount::mount(
        "overlay",
        &merged,
        "overlay",
        rustix::mount::MountFlags::RDONLY,
        options.as_c_str(),
    )
    .unwrap();
    let seen = (
        names(&merged.join("etc")),
        names(&merged.join("var")),
        names(&merged),
    );
    rustix::mount::unmount(&merged, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(
        seen,
        (
            vec!["keep".into()],
            vec!["new".into()],
            vec!["etc".into(), "srv".into(), "var".into()]
        )
    );
}

#[test]
fn implied_directories_look_as_below() {
    let (_dir, store) = store();
    let below = tarball(&[
        directory("srv"),
        directory("srv/data"),
        file("srv/data/a", "a"),
    ]);
    let above = tarball(&[file("srv/data/b", "b"), file("own/c", "c")]);
    // The lower layer's directory is made special by hand, as an archive with owners would.
    let mut special = tar::Header::new_gnu();
    special.set_entry_type(EntryType::Directory);
    special.set_path("srv/data/").unwrap();
    special.set_mode(0o2770);
    special.set_uid(11);
    special.set_gid(12);
    special.set_mtime(777);
    special.set_size(0);
    special.set_cksum();
    let below = [special.as_bytes().to_vec(), below].concat();
    let image = import(&store, docker_save("t/x:1", &[below.clone(), above]))
        .unwrap()
        .remove(0);
    let top = &store.lower_directories(&image)[0];
    // The second description of srv/data (0755) came later and counts.
    let data = std::fs::metadata(top.join("srv/data")).unwrap();
    assert_eq!(
        (data.permissions().mode() & 0o7777, data.uid(), data.mtime()),
        (0o755, 0, 1_000)
    );
    let own = std::fs::metadata(top.join("own")).unwrap();
    assert_eq!((own.permissions().mode() & 0o7777, own.uid()), (0o755, 0));

    let only_special = tarball(&[directory("srv"), special.as_bytes().to_vec()]);
    let above = tarball(&[file("srv/data/b", "b")]);
    let image = import(&store, docker_save("t/y:1", &[only_special, above]))
        .unwrap()
        .remove(0);
    let data = std::fs::metadata(store.lower_directories(&image)[0].join("srv/data")).unwrap();
    assert_eq!(
        (
            data.permissions().mode() & 0o7777,
            data.uid(),
            data.gid(),
            data.mtime()
        ),
        (0o2770, 11, 12, 777)
    );
}

#[test]
fn damaged_layers_are_refused() {
    let good = tarball(&[file("f", "content")]);
    let cut = good[..512 + 3].to_vec();
    let mut unknown = entry(EntryType::new(b'Z'), "z", "", b"");
    unknown.extend([0u8; 1024]);
    let mut flipped = good.clone();
    flipped[0] ^= 1;
    for (what, layer, expected) in [
        ("cut", cut, "unexpected end of file"),
        ("unknown", unknown, "unknown entry type"),
        ("flipped", flipped, "checksum mismatch"),
    ] {
        let (_dir, store) = store();
        let error = import(&store, docker_save("t/x:1", &[layer]))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{what}: {error}");
        assert!(store.list().unwrap().is_empty());
        assert_eq!(names(&store.root().join("layers")), Vec::<String>::new());
    }
}

#[test]
fn bounds_hold() {
    let dir = scratch();
    let mut options = corten_images::StoreOptions::default();
    options.limits.layer_bytes_max = 10_000;
    options.limits.layer_entries_max = 5;
    let store = ImageStore::open_with(dir.path().join("i"), options).unwrap();
    let large = tarball(&[entry(EntryType::Regular, "f", "", &[7; 20_000])]);
    let error = import(&store, docker_save("t/x:1", &[large]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("exceeds the limit of 10000 bytes"),
        "{error}"
    );
    let many: Vec<Vec<u8>> = (0..6).map(|n| file(&format!("f{n}"), "")).collect();
    let error = import(&store, docker_save("t/x:1", &[tarball(&many)]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("too many entries"), "{error}");
}

#[test]
fn deep_paths_do_not_need_a_path_limit() {
    let path = vec!["d".repeat(20); 400].join("/");
    let (dir, store) = store();
    let archive = build(
        LayerFiles::new().file(&format!("{path}/f"), 0o644, "x"),
        Compression::None,
        dir.path(),
    );
    // 8 kB of path are beyond PATH_MAX: an error, not a panic.
    let error = store
        .import_blocking(ImportSource::File(archive), &ImportOptions::default())
        .unwrap_err();
    assert!(
        error.to_string().contains("name too long")
            || error.to_string().contains("File name too long"),
        "{error}"
    );
}
