//! A node for one test: directories, a busybox image, a runtime, and the check that nothing is left at the end.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use corten_runtime::{
    ContainerConfig, ContainerExit, ContainerId, CoreOptions, CoreRuntime, Event, EventStream,
    RootImage, Runtime, SandboxConfig, SandboxId, SecurityConfig,
};
use tempfile::TempDir;

/// Longest wait for anything; reached only when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

const APPLETS: &str = "sh cat echo ls mkdir mknod mount umount unshare id sleep true false env pwd hostname ps stty tty \
    dd nc head tail yes kill touch stat grep rm dmesg chroot mkfifo sed wc test printf readlink cut sort tr date usleep od";

static NEXT: AtomicU32 = AtomicU32::new(0);

pub struct Node {
    pub runtime: CoreRuntime,
    pub directory: TempDir,
    pub cgroup: String,
}

/// The busybox binary, installed if this machine lacks it.
fn busybox() -> PathBuf {
    for path in ["/bin/busybox", "/usr/bin/busybox"] {
        if Path::new(path).exists() {
            return path.into();
        }
    }
    let status = Command::new("apt-get")
        .args(["install", "-y", "busybox-static"])
        .status();
    assert!(
        status.is_ok_and(|s| s.success()),
        "busybox-static cannot be installed"
    );
    "/bin/busybox".into()
}

/// Writes a small image: busybox, its links, and the usual files.
pub fn write_image(layer: &Path) {
    for directory in ["bin", "etc", "tmp", "root", "data", "var/lib"] {
        fs::create_dir_all(layer.join(directory)).unwrap();
    }
    fs::copy(busybox(), layer.join("bin/busybox")).unwrap();
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", layer.join("bin").join(applet)).unwrap();
    }
    fs::write(
        layer.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33:web:/srv:/bin/sh\n",
    )
    .unwrap();
    fs::write(
        layer.join("etc/group"),
        "root:x:0:\nweb:x:33:\nextra:x:50:web\n",
    )
    .unwrap();
    fs::write(layer.join("etc/image-file"), "from the image\n").unwrap();
}

/// A test's options below its directory.
pub fn options(directory: &Path, cgroup: &str) -> CoreOptions {
    CoreOptions {
        root: directory.join("root"),
        run: directory.join("run"),
        cgroup_parent: cgroup.to_owned(),
        shim: (
            env!("CARGO_BIN_EXE_corten-runtime-testbed").into(),
            vec!["shim".to_owned()],
        ),
    }
}

impl Node {
    pub async fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("corten-runtime-")
            .tempdir()
            .unwrap();
        write_image(&directory.path().join("image"));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let cgroup = format!("/corten-test-{}-{number}", std::process::id());
        let runtime = CoreRuntime::open(options(directory.path(), &cgroup))
            .await
            .unwrap();
        Self {
            runtime,
            directory,
            cgroup,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn sandbox_config(&self) -> SandboxConfig {
        SandboxConfig {
            name: "pod".into(),
            namespace: "default".into(),
            uid: "u1".into(),
            hostname: "pod-host".into(),
            cgroup: "burstable/podu1".into(),
            ..SandboxConfig::default()
        }
    }

    pub async fn sandbox(&self) -> SandboxId {
        self.runtime
            .run_pod_sandbox(self.sandbox_config())
            .await
            .unwrap()
    }

    pub fn image(&self) -> RootImage {
        RootImage {
            layers: vec![self.path("image")],
            ..RootImage::default()
        }
    }

    /// A container that runs a shell script; its log is `<name>.log`.
    pub fn script(&self, name: &str, script: &str) -> ContainerConfig {
        ContainerConfig {
            name: name.into(),
            image: self.image(),
            command: vec!["/bin/sh".into(), "-c".into(), script.into()],
            log_path: Some(self.path(&format!("{name}.log"))),
            security: SecurityConfig {
                masked_paths: list(corten_runtime::DEFAULT_MASKED_PATHS),
                readonly_paths: list(corten_runtime::DEFAULT_READONLY_PATHS),
                ..SecurityConfig::default()
            },
            ..ContainerConfig::default()
        }
    }

    /// Creates and starts.
    pub async fn start(&self, sandbox: &SandboxId, config: ContainerConfig) -> ContainerId {
        let container = self
            .runtime
            .create_container(sandbox, config)
            .await
            .unwrap();
        self.runtime.start_container(&container).await.unwrap();
        container
    }

    /// Creates, starts, and waits for the end; returns it with the log's text.
    pub async fn run(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> (ContainerExit, String) {
        let mut events = self.runtime.subscribe();
        let log = config.log_path.clone();
        let container = self.start(sandbox, config).await;
        let exit = ended(&mut events, &container).await;
        (exit, log.map(|path| log_text(&path)).unwrap_or_default())
    }

    /// Runs a script in a fresh sandbox-wide container and returns its output; it must succeed.
    pub async fn output(&self, sandbox: &SandboxId, config: ContainerConfig) -> String {
        let (exit, text) = self.run(sandbox, config).await;
        assert_eq!(exit.code, 0, "{text}");
        text
    }

    /// Runs a command in a running container; it must succeed.
    pub async fn exec(&self, container: &ContainerId, script: &str) -> String {
        let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        let output = self
            .runtime
            .exec_sync(container, command, PATIENCE)
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.exit_code, 0, "{script}: {text} {error}");
        text
    }

    /// Makes a file inside that lets the container end, which may take the command along.
    pub async fn let_go(&self, container: &ContainerId) {
        let command = list(&["touch", "/data/go"]);
        self.runtime
            .exec_sync(container, command, PATIENCE)
            .await
            .unwrap();
    }

    /// Removes every sandbox and checks that nothing is left.
    pub async fn finish(self) {
        for sandbox in self.runtime.list_pod_sandboxes().await.unwrap() {
            self.runtime.remove_pod_sandbox(&sandbox.id).await.unwrap();
        }
        assert!(self.runtime.list_containers().await.unwrap().is_empty());
        let place = self.directory.path().to_str().unwrap().to_owned();
        let left: Vec<String> = mounts(&place);
        assert_eq!(
            left.len(),
            2,
            "the private tmpfs and the executable only: {left:#?}"
        );
        self.runtime.clone().release().await.unwrap();
        assert_eq!(mounts(&place), Vec::<String>::new());
        assert_eq!(processes(&place), Vec::<String>::new());
        assert_eq!(
            fs::read_dir(self.directory.path().join("root/sandboxes"))
                .unwrap()
                .count(),
            0
        );
        assert_eq!(
            fs::read_dir(self.directory.path().join("run/pods")).map_or(0, Iterator::count),
            0
        );
        remove_cgroups(&self.cgroup);
    }
}

impl Drop for Node {
    /// After a failed test: ends what is left, so that other tests and runs are not disturbed.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let place = self.directory.path().to_str().unwrap_or_default();
        let run = |program: &str, arguments: &[&str]| {
            let _ = Command::new(program).args(arguments).status();
        };
        for shim in processes(place) {
            run("kill", &["-9", &shim]);
        }
        for hierarchy in cgroup_mounts() {
            let own = hierarchy.join(self.cgroup.trim_start_matches('/'));
            let own = own.to_str().unwrap_or_default();
            let script = "find $0 -name cgroup.procs -exec cat {} + | xargs -r kill -9; sleep 0.1
                find $0 -depth -type d -exec rmdir {} +";
            run("sh", &["-c", script, own]);
        }
        for line in mounts(place).iter().rev() {
            run(
                "umount",
                &["-l", line.split(' ').nth(4).unwrap_or_default()],
            );
        }
    }
}

fn mounts(place: &str) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table
        .lines()
        .filter(|line| line.contains(place))
        .map(str::to_owned)
        .collect()
}

/// Processes whose command line contains a text, such as a test's directory.
pub fn processes(place: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if pid != std::process::id().to_string() && line.contains(place) {
            found.push(pid);
        }
    }
    found
}

/// Removes the test's own parent (made by the runtime, kept by design); fails if a pod's cgroup is left in it.
fn remove_cgroups(cgroup: &str) {
    for hierarchy in cgroup_mounts() {
        let parent = hierarchy.join(cgroup.trim_start_matches('/'));
        for class in ["burstable", "besteffort", "guaranteed", ""] {
            let directory = parent.join(class);
            if directory.exists() {
                fs::remove_dir(&directory)
                    .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
            }
        }
    }
}

/// Where cgroup file systems are mounted.
pub fn cgroup_mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let of = |line: &str| {
        let (place, kind) = line.split_once(" - ")?;
        kind.starts_with("cgroup")
            .then(|| PathBuf::from(place.split(' ').nth(4).unwrap()))
    };
    table.lines().filter_map(of).collect()
}

/// Waits for the end of a container.
pub async fn ended(events: &mut EventStream, wanted: &ContainerId) -> ContainerExit {
    let wait = async {
        loop {
            match events.next().await {
                Some(Event::ContainerExited {
                    container, exit, ..
                }) if container == *wanted => return exit,
                Some(Event::Lost) | None => panic!("events were lost"),
                Some(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, wait)
        .await
        .expect("the container ends")
}

/// A log's text without the CRI prefixes; partial entries are joined.
pub fn log_text(path: &Path) -> String {
    let mut text = String::new();
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        let mut fields = line.splitn(4, ' ');
        let tag = fields.nth(2).unwrap_or_default();
        text.push_str(fields.next().unwrap_or_default());
        if tag == "F" {
            text.push('\n');
        }
    }
    text
}

/// Waits until a log holds a text; the runtime gives no event for output.
pub async fn logged(path: &Path, wanted: &str) {
    until_changed(path.parent().unwrap(), || log_text(path).contains(wanted));
}

/// Waits until something in a directory changes so that the condition holds.
pub fn until_changed(directory: &Path, condition: impl Fn() -> bool) {
    use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
    let inotify = init(CreateFlags::CLOEXEC).unwrap();
    let changes = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    add_watch(&inotify, directory, changes).unwrap();
    tokio::task::block_in_place(|| {
        while !condition() {
            let flags = rustix::event::PollFlags::IN;
            let mut ready = [rustix::event::PollFd::new(&inotify, flags)];
            let patience = rustix::event::Timespec {
                tv_sec: PATIENCE.as_secs() as i64,
                tv_nsec: 0,
            };
            let events = rustix::event::poll(&mut ready, Some(&patience)).unwrap();
            assert!(events > 0, "nothing changed in {}", directory.display());
            rustix::io::read(&inotify, &mut [0u8; 4096]).unwrap();
        }
    });
}

pub fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
