//! Volumes on a real file system with real mounts. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use corten_volumes::{
    Access, DesiredVolume, Ensured, Error, FsGroupChange, HostPathType, Medium, Payload,
    PayloadPlugin, Source, SubPath, Volumes, apply_fs_group, usage,
};

const UID: &str = "0d1f7f2e-7a75-4b0a-9a2c-3d6a5b8c1e11";

/// Volumes in a temporary directory; whatever is still mounted at the end goes.
struct Node {
    volumes: Volumes,
    dir: tempfile::TempDir,
}

impl Node {
    fn new() -> Node {
        let dir = tempfile::tempdir().unwrap();
        Node {
            volumes: Volumes::open(dir.path()).unwrap(),
            dir,
        }
    }

    fn ensure(&self, name: &str, source: Source) -> Ensured {
        self.ensure_with(name, source, None)
    }

    fn ensure_with(&self, name: &str, source: Source, fs_group: Option<u32>) -> Ensured {
        let desired = DesiredVolume {
            name: name.to_owned(),
            source,
            fs_group,
            nested: Vec::new(),
        };
        self.volumes.ensure(UID, &desired).unwrap()
    }

    fn scratch_directory(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }
}

impl Deref for Node {
    type Target = Volumes;
    fn deref(&self) -> &Volumes {
        &self.volumes
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for uid in self.volumes.pods_on_disk().unwrap() {
            self.volumes.tear_down(&uid).unwrap();
        }
    }
}

fn payload(files: &[(&str, &str)]) -> Payload {
    let mut payload = Payload::new();
    for (path, data) in files {
        payload.put(path, *data, 0o644).unwrap();
    }
    payload
}

fn config_map(files: &[(&str, &str)]) -> Source {
    Source::Payload {
        plugin: PayloadPlugin::ConfigMap,
        files: payload(files),
        bytes_max: None,
    }
}

fn secret(files: Payload) -> Source {
    Source::Payload {
        plugin: PayloadPlugin::Secret,
        files,
        bytes_max: Some(1 << 20),
    }
}

fn disk() -> Source {
    Source::EmptyDir(Medium::Disk)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The visible names: those that are not the writer's own.
fn visible(path: &Path) -> Vec<String> {
    names(path)
        .into_iter()
        .filter(|name| !name.starts_with(".."))
        .collect()
}

fn read(path: PathBuf) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn mounts_below(path: &Path) -> usize {
    let path = path.canonicalize().unwrap();
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines()
        .filter(|line| Path::new(line.split(' ').nth(4).unwrap()).starts_with(&path))
        .count()
}

#[test]
fn files_are_swapped_as_a_whole() {
    let node = Node::new();
    let first = node.ensure(
        "cm",
        config_map(&[("a", "1"), ("dir/b", "2"), ("dir/c", "3")]),
    );
    let path = first.path;
    assert!(first.changed);
    assert!(path.ends_with(format!("pods/{UID}/volumes/kubernetes.io~configmap/cm")));
    assert_eq!(visible(&path), ["a", "dir"]);
    assert_eq!(
        std::fs::read_link(path.join("a")).unwrap(),
        Path::new("..data/a")
    );
    assert_eq!(
        std::fs::read_link(path.join("dir")).unwrap(),
        Path::new("..data/dir")
    );
    assert_eq!(read(path.join("dir/b")), "2");
    let data = std::fs::read_link(path.join("..data")).unwrap();
    assert!(data.to_str().unwrap().starts_with("..20"), "{data:?}");
    assert_eq!(mode(&path), 0o777);
    assert_eq!(mode(&path.join("..data/")), 0o755);

    // The same again: nothing moves.
    assert!(
        !node
            .ensure(
                "cm",
                config_map(&[("a", "1"), ("dir/b", "2"), ("dir/c", "3")])
            )
            .changed
    );
    assert_eq!(std::fs::read_link(path.join("..data")).unwrap(), data);

    // A change of content, a file less, a directory less, a file more.
    assert!(
        node.ensure("cm", config_map(&[("a", "new"), ("z", "4")]))
            .changed
    );
    assert_eq!(visible(&path), ["a", "z"]);
    assert_eq!(read(path.join("a")), "new");
    assert_ne!(std::fs::read_link(path.join("..data")).unwrap(), data);
    assert_eq!(
        names(&path).len(),
        4,
        "the old data directory is gone: {:?}",
        names(&path)
    );

    // A name that was a file becomes a directory.
    assert!(
        node.ensure("cm", config_map(&[("a/deep", "5"), ("z", "4")]))
            .changed
    );
    assert_eq!(read(path.join("a/deep")), "5");
    // Nothing at all, as for an optional source that is missing.
    assert!(node.ensure("cm", config_map(&[])).changed);
    assert_eq!(visible(&path), Vec::<String>::new());
    assert!(!node.ensure("cm", config_map(&[])).changed);
}

#[test]
fn a_killed_writer_is_no_obstacle() {
    let node = Node::new();
    let path = node
        .ensure("cm", config_map(&[("a", "1"), ("b", "2")]))
        .path;
    // Killed after the link to the new directory was made, and another time before the visible links were.
    symlink("..nowhere", path.join("..data_tmp")).unwrap();
    std::fs::remove_file(path.join("b")).unwrap();
    assert!(
        node.ensure("cm", config_map(&[("a", "1"), ("b", "2")]))
            .changed
    );
    assert_eq!(read(path.join("b")), "2");
    assert!(
        node.ensure("cm", config_map(&[("a", "x"), ("b", "2")]))
            .changed
    );
    assert_eq!(read(path.join("a")), "x");
    assert!(!names(&path).contains(&"..data_tmp".to_owned()));
}

#[test]
fn secrets_are_in_memory_with_modes_and_owners() {
    let node = Node::new();
    let mut files = Payload::new();
    files.put("key", "s", 0o400).unwrap();
    files
        .put_credential("token", "t", 0o644, Some(1234), None)
        .unwrap();
    let path = node.ensure("s", secret(files.clone())).path;
    assert!(path.ends_with("volumes/kubernetes.io~secret/s"));
    assert_eq!(rustix::fs::statfs(&path).unwrap().f_type, 0x0102_1994);
    assert_eq!(mounts_below(&path), 1);
    assert_eq!(mode(&path.join("key")), 0o400);
    let token = std::fs::metadata(path.join("token")).unwrap();
    assert_eq!((token.uid(), token.mode() & 0o777), (1234, 0o600));
    assert!(!node.ensure("s", secret(files)).changed);
    assert_eq!(mounts_below(&path), 1, "mounted once");
    let size = rustix::fs::statvfs(&path).unwrap();
    assert_eq!(size.f_blocks * size.f_frsize, 1 << 20);
    assert!(node.release(UID, "s").unwrap());
    assert!(!path.exists());
    assert!(!node.release(UID, "s").unwrap());
}

#[test]
fn fs_group_reaches_files_kubelet_writes() {
    let node = Node::new();
    let path = node
        .ensure_with("s", secret(payload(&[("key", "s")])), Some(4321))
        .path;
    let top = std::fs::metadata(&path).unwrap();
    assert_eq!(top.gid(), 4321);
    assert_eq!(top.mode() & 0o2770, 0o2770);
    let key = std::fs::metadata(path.join("key")).unwrap();
    assert_eq!((key.gid(), key.mode() & 0o7777), (4321, 0o644));
    let mut files = Payload::new();
    files
        .put_credential("token", "t", 0o644, None, Some(4321))
        .unwrap();
    let source = Source::Payload {
        plugin: PayloadPlugin::Projected,
        files,
        bytes_max: None,
    };
    let path = node.ensure_with("p", source, Some(4321)).path;
    let token = std::fs::metadata(path.join("token")).unwrap();
    assert_eq!((token.gid(), token.mode() & 0o7777), (4321, 0o640));
    let source = Source::Payload {
        plugin: PayloadPlugin::DownwardApi,
        files: payload(&[("l", "x")]),
        bytes_max: None,
    };
    assert!(
        node.ensure("d", source)
            .path
            .ends_with("kubernetes.io~downward-api/d")
    );
}

#[test]
fn nested_mounts_get_their_directories() {
    let node = Node::new();
    let nested = vec!["sub/deep".to_owned()];
    let desired = DesiredVolume {
        name: "cm".to_owned(),
        source: config_map(&[("a", "1")]),
        fs_group: None,
        nested,
    };
    let path = node.volumes.ensure(UID, &desired).unwrap().path;
    assert!(path.join("sub/deep").is_dir());
    assert!(!node.volumes.ensure(UID, &desired).unwrap().changed);
}

#[test]
fn scratch_on_disk_keeps_its_content() {
    let node = Node::new();
    let first = node.ensure_with("e", disk(), Some(777));
    let path = first.path;
    assert!(first.changed);
    assert!(path.ends_with("volumes/kubernetes.io~empty-dir/e"));
    assert_eq!(mode(&path), 0o2777);
    assert_eq!(std::fs::metadata(&path).unwrap().gid(), 777);
    assert!(
        node.pod_directory(UID)
            .unwrap()
            .join("plugins/kubernetes.io~empty-dir/e/ready")
            .exists()
    );
    std::fs::write(path.join("f"), "x").unwrap();
    assert!(!node.ensure_with("e", disk(), Some(777)).changed);
    assert_eq!(read(path.join("f")), "x");
    // The directory was removed behind our back: made again.
    std::fs::remove_dir_all(&path).unwrap();
    assert!(node.ensure_with("e", disk(), Some(777)).changed);
    assert!(path.is_dir());
}

#[test]
fn scratch_in_memory_is_bounded() {
    let node = Node::new();
    let memory = Source::EmptyDir(Medium::Memory {
        bytes_max: Some(64 << 10),
    });
    let path = node.ensure("m", memory.clone()).path;
    assert_eq!(rustix::fs::statfs(&path).unwrap().f_type, 0x0102_1994);
    assert_eq!(mode(&path), 0o1777);
    std::fs::write(path.join("small"), [0; 1000]).unwrap();
    let error = std::fs::write(path.join("large"), vec![0; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    assert!(!node.ensure("m", memory.clone()).changed);
    // As after a reboot: the directory is there, the mount is not.
    rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert!(node.ensure("m", memory).changed);
    assert_eq!(mounts_below(&path), 1);
}

#[test]
fn host_paths_are_checked_by_type() {
    let node = Node::new();
    let base = node.scratch_directory("host");
    let at = |name: &str| base.join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "x").unwrap();
    let listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let check = |path: String, kind| {
        let desired = DesiredVolume {
            name: "h".to_owned(),
            source: Source::HostPath { path, kind },
            fs_group: Some(7),
            nested: Vec::new(),
        };
        node.volumes.ensure(UID, &desired)
    };
    use HostPathType::*;
    for (path, kind) in [
        (at("file"), File),
        (at("file"), FileOrCreate),
        (at("socket"), Socket),
        ("/dev/null".to_owned(), CharDevice),
        (at(""), Directory),
        (at("nothing"), Unset),
    ] {
        let ensured = check(path.clone(), kind).unwrap();
        assert_eq!(
            ensured,
            Ensured {
                path: path.into(),
                changed: false
            }
        );
    }
    assert!(check(at("new/deep"), DirectoryOrCreate).unwrap().changed);
    assert!(check(at("new/f"), FileOrCreate).unwrap().changed);
    assert!(!check(at("new/f"), FileOrCreate).unwrap().changed);
    assert_eq!(
        std::fs::metadata(at("file")).unwrap().gid(),
        0,
        "fsGroup does not touch the host"
    );
    for (path, kind, expected) in [
        (at("file"), Directory, "directory"),
        (at("file"), DirectoryOrCreate, "directory"),
        (at("gone"), Directory, "directory"),
        (at("new"), File, "file"),
        (at("new"), FileOrCreate, "file"),
        (at("gone"), File, "file"),
        (at("file"), Socket, "socket file"),
        (at("file"), CharDevice, "character device"),
        ("/dev/null".to_owned(), BlockDevice, "block device"),
    ] {
        let error = check(path.clone(), kind).unwrap_err().to_string();
        assert_eq!(
            error,
            format!("hostPath type check failed: {path} is not a {expected}")
        );
    }
    let error = check("/a/../b".to_owned(), Unset).unwrap_err().to_string();
    assert_eq!(error, "invalid HostPath `/a/../b`: must not contain '..'");
    drop(listener);
}

fn sub(volume_path: &Path, path: &str, index: usize) -> SubPath {
    let (volume, container) = ("v".to_owned(), "c".to_owned());
    SubPath {
        volume,
        volume_path: volume_path.to_owned(),
        container,
        index,
        path: path.to_owned(),
    }
}

#[test]
fn sub_paths_are_bound() {
    let node = Node::new();
    let volume = node.ensure_with("v", disk(), Some(99)).path;
    std::fs::write(volume.join("f"), "content").unwrap();
    // A file, a new directory, a link inside of the volume, the volume itself.
    let file = node.prepare_subpath(UID, &sub(&volume, "f", 0)).unwrap();
    assert!(file.ends_with(format!("pods/{UID}/volume-subpaths/v/c/0")));
    assert_eq!(read(file.clone()), "content");
    let new = node
        .prepare_subpath(UID, &sub(&volume, "new/deep", 1))
        .unwrap();
    std::fs::write(new.join("x"), "1").unwrap();
    assert_eq!(read(volume.join("new/deep/x")), "1");
    assert_eq!(
        mode(&volume.join("new/deep")),
        mode(&volume),
        "a new directory is as its volume"
    );
    symlink("new", volume.join("inside")).unwrap();
    let linked = node
        .prepare_subpath(UID, &sub(&volume, "inside/deep", 2))
        .unwrap();
    assert_eq!(read(linked.join("x")), "1");
    let absolute = volume.join("new");
    symlink(&absolute, volume.join("absolute")).unwrap();
    node.prepare_subpath(UID, &sub(&volume, "absolute", 3))
        .unwrap();
    // Again: the same mounts; and another target takes the place of the first.
    let before = mounts_below(&node.pod_directory(UID).unwrap());
    assert_eq!(
        node.prepare_subpath(UID, &sub(&volume, "f", 0)).unwrap(),
        file
    );
    assert_eq!(mounts_below(&node.pod_directory(UID).unwrap()), before);
    node.prepare_subpath(UID, &sub(&volume, "new", 0)).unwrap();
    assert!(file.join("deep").is_dir());
    assert_eq!(mounts_below(&node.pod_directory(UID).unwrap()), before);
    // A file of a config map, through its links.
    let cm = node.ensure("cm", config_map(&[("key", "value")])).path;
    let key = node
        .prepare_subpath(
            UID,
            &SubPath {
                volume: "cm".into(),
                ..sub(&cm, "key", 0)
            },
        )
        .unwrap();
    assert_eq!(read(key), "value");

    node.release_subpaths(UID, "c").unwrap();
    assert_eq!(mounts_below(&node.pod_directory(UID).unwrap()), 0);
    assert_eq!(read(volume.join("f")), "content");
    assert_eq!(read(volume.join("new/deep/x")), "1");
}

#[test]
fn sub_paths_cannot_leave_the_volume() {
    let node = Node::new();
    let volume = node.ensure("v", disk()).path;
    let outside = node.scratch_directory("outside");
    std::fs::write(outside.join("secret"), "s").unwrap();
    symlink(&outside, volume.join("out")).unwrap();
    symlink(outside.join("secret"), volume.join("file")).unwrap();
    symlink("../../../../../outside", volume.join("relative")).unwrap();
    let failed = "failed to prepare subPath for volumeMount \"v\" of container \"c\"";
    for path in ["out", "out/secret", "file", "relative/secret"] {
        let error = node
            .prepare_subpath(UID, &sub(&volume, path, 0))
            .unwrap_err();
        assert_eq!(error.to_string(), failed, "{path}");
    }
    let error = node
        .prepare_subpath(UID, &sub(&volume, "out/new", 0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to create subPath directory for volumeMount \"v\" of container \"c\""
    );
    assert_eq!(names(&outside), ["secret"]);
    let error = node
        .prepare_subpath(UID, &sub(&volume, "/abs", 0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "error SubPath `/abs` must not be an absolute path"
    );
    let error = node
        .prepare_subpath(UID, &sub(&volume, "a/../b", 0))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "unable to provision SubPath `a/../b`: must not contain '..'"
    );
    assert_eq!(mounts_below(&node.pod_directory(UID).unwrap()), 0);
}

#[test]
fn sub_paths_stand_a_race() {
    let node = Node::new();
    let volume = node.ensure("v", disk()).path;
    let outside = node.scratch_directory("outside");
    std::fs::write(outside.join("f"), "stolen").unwrap();
    std::fs::create_dir(volume.join("real")).unwrap();
    std::fs::write(volume.join("real/f"), "own").unwrap();
    symlink(&outside, volume.join("link")).unwrap();
    // Another thread swaps a directory and a link to the outside as fast as it can.
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let swapper = std::thread::spawn({
        let (stop, volume) = (stop.clone(), volume.clone());
        move || {
            let (real, link) = (volume.join("real"), volume.join("link"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &real,
                    rustix::fs::CWD,
                    &link,
                    rustix::fs::RenameFlags::EXCHANGE,
                )
                .unwrap();
            }
        }
    });
    let mut bound = 0;
    for _ in 0..300 {
        if let Ok(path) = node.prepare_subpath(UID, &sub(&volume, "real/f", 0)) {
            assert_eq!(read(path), "own");
            bound += 1;
        }
        node.release_subpaths(UID, "c").unwrap();
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(bound > 0, "some attempts meet the directory");
}

#[test]
fn tearing_down_takes_everything_and_nothing_else() {
    let node = Node::new();
    let host = node.scratch_directory("host");
    std::fs::write(host.join("precious"), "x").unwrap();
    let volume = node.ensure("v", disk()).path;
    node.ensure("s", secret(payload(&[("k", "v")])));
    node.ensure("m", Source::EmptyDir(Medium::Memory { bytes_max: None }));
    std::fs::write(volume.join("f"), "x").unwrap();
    // A name with a blank, a mount in a mount, and the host's own directory bound into the volume.
    let inner = volume.join("with blank");
    std::fs::create_dir(&inner).unwrap();
    rustix::mount::mount_bind(&host, &inner).unwrap();
    symlink(&host, volume.join("link")).unwrap();
    node.prepare_subpath(UID, &sub(&volume, "f", 0)).unwrap();
    let found: Vec<(String, String)> = node
        .volumes_on_disk(UID)
        .unwrap()
        .into_iter()
        .map(|volume| (volume.plugin, volume.name))
        .collect();
    let pair = |plugin: &str, name: &str| (format!("kubernetes.io/{plugin}"), name.to_owned());
    assert_eq!(
        found,
        [
            pair("empty-dir", "m"),
            pair("empty-dir", "v"),
            pair("secret", "s")
        ]
    );
    assert_eq!(node.pods_on_disk().unwrap(), [UID]);

    std::fs::write(node.pod_directory(UID).unwrap().join("etc-hosts"), "").unwrap();
    node.release_all(UID).unwrap();
    assert_eq!(names(&node.pod_directory(UID).unwrap()), ["etc-hosts"]);
    node.tear_down(UID).unwrap();
    assert_eq!(node.pods_on_disk().unwrap(), Vec::<String>::new());
    assert_eq!(mounts_below(node.dir.path()), 0);
    assert_eq!(names(&host), ["precious"]);
    node.tear_down(UID).unwrap();
}

#[test]
fn names_cannot_be_paths() {
    let node = Node::new();
    for uid in ["", "..", "a/b"] {
        assert!(matches!(node.tear_down(uid), Err(Error::Name(_))), "{uid}");
    }
    assert!(matches!(node.release(UID, "../x"), Err(Error::Name(_))));
}

#[test]
fn a_failed_first_write_leaves_nothing() {
    let node = Node::new();
    // Larger than its tmpfs.
    let large = "x".repeat(300_000);
    let source = Source::Payload {
        plugin: PayloadPlugin::Secret,
        files: payload(&[("k", &large)]),
        bytes_max: Some(4096),
    };
    let desired = DesiredVolume {
        name: "s".to_owned(),
        source,
        fs_group: None,
        nested: Vec::new(),
    };
    let error = node.volumes.ensure(UID, &desired).unwrap_err().to_string();
    assert!(error.starts_with("failed to write files to"), "{error}");
    assert_eq!(mounts_below(node.dir.path()), 0);
    // One in use keeps its last good files.
    let path = node
        .ensure(
            "s",
            Source::Payload {
                plugin: PayloadPlugin::Secret,
                files: payload(&[("k", "v")]),
                bytes_max: Some(8192 * 4),
            },
        )
        .path;
    node.volumes.ensure(UID, &desired).unwrap_err();
    assert_eq!(read(path.join("k")), "v");
}

#[test]
fn groups_of_large_volumes() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("v");
    std::fs::create_dir_all(top.join("d")).unwrap();
    std::fs::write(top.join("d/f"), "x").unwrap();
    let outside = dir.path().join("outside");
    std::fs::write(&outside, "x").unwrap();
    std::fs::set_permissions(&outside, std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink(&outside, top.join("link")).unwrap();
    let gid = |path: &Path| std::fs::symlink_metadata(path).unwrap().gid();
    apply_fs_group(&top, 50, FsGroupChange::OnRootMismatch, Access::ReadWrite).unwrap();
    assert_eq!(
        (
            gid(&top),
            gid(&top.join("d/f")),
            gid(&top.join("link")),
            gid(&outside)
        ),
        (50, 50, 50, 0)
    );
    assert_eq!(
        (mode(&top), mode(&top.join("d/f")), mode(&outside)),
        (0o2775, 0o664, 0o600)
    );
    // The top is right: the rest is not looked at, except when asked to.
    std::fs::write(top.join("d/new"), "x").unwrap();
    rustix::fs::chown(top.join("d/new"), None, Some(rustix::fs::Gid::from_raw(0))).unwrap();
    apply_fs_group(&top, 50, FsGroupChange::OnRootMismatch, Access::ReadWrite).unwrap();
    assert_eq!(gid(&top.join("d/new")), 0);
    apply_fs_group(&top, 50, FsGroupChange::Always, Access::ReadWrite).unwrap();
    assert_eq!(gid(&top.join("d/new")), 50);
}

#[test]
fn usage_counts_blocks_once() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().join("v");
    std::fs::create_dir(&top).unwrap();
    let empty = usage(&top).unwrap();
    assert_eq!(empty.inodes, 1);
    std::fs::write(top.join("f"), vec![1; 100_000]).unwrap();
    std::fs::File::open(top.join("f"))
        .unwrap()
        .sync_all()
        .unwrap();
    std::fs::hard_link(top.join("f"), top.join("g")).unwrap();
    symlink("/", top.join("l")).unwrap();
    let hole = std::fs::File::create(top.join("hole")).unwrap();
    hole.set_len(1 << 30).unwrap();
    let full = usage(&top).unwrap();
    assert_eq!(full.inodes, 4);
    assert!(
        (100_000..200_000).contains(&(full.bytes - empty.bytes)),
        "{full:?}"
    );
    assert!(usage(&dir.path().join("none")).is_err());
}

#[test]
fn many_pods_at_once() {
    let node = Node::new();
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let volumes = node.volumes.clone();
            std::thread::spawn(move || {
                // Two threads per pod write the same volume.
                let uid = format!("pod-{}", n / 2);
                for round in 0..20 {
                    let content = (round % 3).to_string();
                    let desired = DesiredVolume {
                        name: "cm".to_owned(),
                        source: config_map(&[("a", &content), ("b", "x")]),
                        fs_group: None,
                        nested: Vec::new(),
                    };
                    volumes.ensure(&uid, &desired).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    for uid in node.pods_on_disk().unwrap() {
        let volume = node.volumes_on_disk(&uid).unwrap().remove(0);
        assert_eq!(
            names(&volume.path).len(),
            4,
            "no data directory is left over"
        );
        assert_eq!(read(volume.path.join("b")), "x");
    }
}
