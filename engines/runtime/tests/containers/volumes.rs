//! Mounts: files and directories, access, propagation, image volumes, and places that are refused.

use std::fs;
use std::process::Command;

use corten_runtime::{Access, Mount, MountSource, Propagation, Runtime};

use crate::node::{Node, logged};

fn bind(source: impl Into<std::path::PathBuf>, target: &str) -> Mount {
    Mount {
        source: MountSource::HostPath(source.into()),
        target: target.into(),
        access: Access::ReadWrite,
        propagation: Propagation::Private,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_are_bound_with_their_access() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    fs::create_dir_all(node.path("volume/sub")).unwrap();
    fs::write(node.path("volume/file"), "content\n").unwrap();
    fs::write(node.path("hosts"), "127.0.0.1 localhost\n").unwrap();
    let script = "exec 2>&1; cat /mnt/v/file /etc/hosts; echo new > /mnt/v/sub/made; touch /ro/x; cat /ro/file; touch /ro/below/y && echo below
        touch /rro/below/z; echo end > /dev/termination-log; ls -d /made/on/the/way";
    let mut config = node.script("one", script);
    let mut readonly = bind(node.path("volume"), "/ro");
    readonly.access = Access::ReadOnly;
    let mut recursive = bind(node.path("tree"), "/rro");
    recursive.access = Access::RecursiveReadOnly;
    fs::write(node.path("termination-log"), "").unwrap();
    config.mounts = vec![
        bind(node.path("tree/below"), "/ro/below"),
        readonly,
        recursive,
        bind(node.path("volume"), "/mnt/v"),
        bind(node.path("hosts"), "/etc/hosts"),
        bind(node.path("termination-log"), "/dev/termination-log"),
        bind(node.path("missing"), "/made/on/the/way"),
    ];
    fs::create_dir_all(node.path("tree/below")).unwrap();
    fs::create_dir_all(node.path("volume/below")).unwrap();
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "x"])
        .arg(node.path("tree/below"))
        .status();
    assert!(status.unwrap().success());
    let text = node.output(&sandbox, config).await;
    assert!(text.starts_with("content\n127.0.0.1 localhost\n"), "{text}");
    assert!(text.contains("/ro/x: Read-only file system"), "{text}");
    assert!(text.contains("content\nbelow\n"), "{text}");
    assert!(
        text.contains("/rro/below/z: Read-only file system"),
        "{text}"
    );
    assert!(text.ends_with("/made/on/the/way\n"), "{text}");
    assert_eq!(
        fs::read_to_string(node.path("volume/sub/made")).unwrap(),
        "new\n"
    );
    assert_eq!(
        fs::read_to_string(node.path("termination-log")).unwrap(),
        "end\n"
    );
    assert!(node.path("missing").is_dir());
    assert!(
        Command::new("umount")
            .arg(node.path("tree/below"))
            .status()
            .unwrap()
            .success()
    );
    node.finish().await;
}

fn mount(args: &[&str]) {
    let status = Command::new("mount").args(args).status();
    assert!(status.unwrap().success(), "{args:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn propagation_needs_a_shared_source() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let private = node.path("private");
    fs::create_dir_all(&private).unwrap();
    let path = private.to_str().unwrap();
    mount(&["-t", "tmpfs", "x", path]);
    mount(&["--make-private", path]);
    for propagation in [Propagation::Bidirectional, Propagation::HostToContainer] {
        let mut config = node.script("refused", "true");
        config.mounts = vec![Mount {
            propagation,
            ..bind(&private, "/v")
        }];
        let error = node
            .runtime
            .create_container(&sandbox, config)
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("but it is not a shared"),
            "{error}"
        );
    }
    assert!(Command::new("umount").arg(path).status().unwrap().success());
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_travel_as_asked() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    let shared = node.path("shared");
    fs::create_dir_all(&shared).unwrap();
    let path = shared.to_str().unwrap();
    mount(&["-t", "tmpfs", "x", path]);
    mount(&["--make-shared", path]);
    for name in ["from-node", "from-container", "hidden"] {
        fs::create_dir_all(shared.join(name)).unwrap();
    }
    let mut config = node.script(
        "one",
        "mount -t tmpfs c /both/from-container; touch /both/from-container/c; mount -t tmpfs c /slave/hidden
        echo ready; while ! test -e /slave/from-node/n; do sleep 0.02; done
        ls /slave/from-container /both/from-node /private/from-node; echo seen; sleep 1000",
    );
    config.security.privileged = true;
    let with = |propagation, target| Mount {
        propagation,
        ..bind(&shared, target)
    };
    config.mounts = vec![
        with(Propagation::Bidirectional, "/both"),
        with(Propagation::HostToContainer, "/slave"),
        with(Propagation::Private, "/private"),
    ];
    let container = node.start(&sandbox, config).await;
    logged(&node.path("one.log"), "ready").await;
    assert!(
        shared.join("from-container/c").exists(),
        "a mount reaches the node"
    );
    mount(&[
        "-t",
        "tmpfs",
        "n",
        shared.join("from-node").to_str().unwrap(),
    ]);
    fs::write(shared.join("from-node/n"), "").unwrap();
    logged(&node.path("one.log"), "seen").await;
    let text = crate::node::log_text(&node.path("one.log"));
    let seen = [
        "/slave/from-container:\nc\n",
        "/both/from-node:\nn\n",
        "/private/from-node:\n\n/slave",
    ];
    assert!(seen.iter().all(|wanted| text.contains(wanted)), "{text}");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !table.contains("/shared/hidden"),
        "a slave's mounts stay inside"
    );
    node.runtime.remove_container(&container).await.unwrap();
    assert!(
        Command::new("umount")
            .args(["-R", path])
            .status()
            .unwrap()
            .success()
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_volumes_too() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    for (layer, file, text) in [("l1", "a", "one"), ("l1", "b", "one"), ("l2", "b", "two")] {
        fs::create_dir_all(node.path(layer).join("dir")).unwrap();
        fs::write(node.path(layer).join("dir").join(file), text).unwrap();
    }
    let volume = |layers: &[&str], sub_path: Option<&str>, target: &str| Mount {
        source: MountSource::Layers {
            layers: layers.iter().map(|layer| node.path(layer)).collect(),
            sub_path: sub_path.map(Into::into),
        },
        target: target.into(),
        access: Access::ReadOnly,
        propagation: Propagation::Private,
    };
    let mut config = node.script("one", "cat /both/dir/a /both/dir/b /single/dir/b /sub/b; touch /both/x 2>&1; touch /single/x 2>&1; touch /sub/x 2>&1");
    config.mounts = vec![
        volume(&["l1", "l2"], None, "/both"),
        volume(&["l1"], None, "/single"),
        volume(&["l1", "l2"], Some("dir"), "/sub"),
    ];
    let (exit, text) = node.run(&sandbox, config).await;
    assert_eq!(exit.code, 1, "the last touch fails");
    assert!(text.starts_with("onetwoonetwo"), "{text}");
    assert_eq!(text.matches("Read-only file system").count(), 3, "{text}");
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn symlinks_resolve_inside_and_proc_is_protected() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    std::os::unix::fs::symlink("/data", node.path("image/link")).unwrap();
    std::os::unix::fs::symlink("/proc", node.path("image/sneaky")).unwrap();
    fs::create_dir_all(node.path("volume")).unwrap();
    fs::write(node.path("volume/file"), "x\n").unwrap();
    let mut config = node.script("link", "cat /data/v/file");
    config.mounts = vec![bind(node.path("volume"), "/link/v")];
    assert_eq!(node.output(&sandbox, config).await, "x\n");
    assert!(!std::path::Path::new("/data/v").exists());
    for target in ["/proc", "/proc/sys", "/sneaky"] {
        let mut config = node.script("bad", "true");
        config.mounts = vec![bind(node.path("volume"), target)];
        let container = node
            .runtime
            .create_container(&sandbox, config)
            .await
            .unwrap();
        let error = node.runtime.start_container(&container).await.unwrap_err();
        assert!(
            error.to_string().contains("inside /proc"),
            "{target}: {error}"
        );
    }
    let mut config = node.script("lxcfs", "cat /proc/uptime");
    config.mounts = vec![bind(node.path("volume/file"), "/proc/uptime")];
    assert_eq!(node.output(&sandbox, config).await, "x\n");
    fs::remove_file(node.path("image/sneaky")).unwrap();
    fs::create_dir_all(node.path("lower")).unwrap();
    std::os::unix::fs::symlink("/etc", node.path("lower/sys")).unwrap();
    let mut config = node.script("evil", "true");
    config.image.layers = vec![node.path("image"), node.path("lower")];
    let container = node
        .runtime
        .create_container(&sandbox, config)
        .await
        .unwrap();
    let error = node.runtime.start_container(&container).await.unwrap_err();
    assert!(
        error.to_string().contains("/sys of the image is a symlink"),
        "{error}"
    );
    node.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_may_replace_the_runtimes_mounts_and_layers_stack() {
    let node = Node::new().await;
    let sandbox = node.sandbox().await;
    fs::create_dir_all(node.path("shm")).unwrap();
    for number in 0..120 {
        let layer = node.path(&format!("layers/{number}"));
        fs::create_dir_all(layer.join("many")).unwrap();
        fs::write(layer.join("many").join(number.to_string()), "").unwrap();
        fs::write(layer.join("top"), number.to_string()).unwrap();
    }
    let mut config = node.script("one", "touch /dev/shm/mine; ls /many | wc -l; cat /top");
    config.mounts = vec![bind(node.path("shm"), "/dev/shm")];
    config
        .image
        .layers
        .extend((0..120).map(|number| node.path(&format!("layers/{number}"))));
    assert_eq!(node.output(&sandbox, config).await, "120\n119");
    assert!(node.path("shm/mine").exists());
    node.finish().await;
}
