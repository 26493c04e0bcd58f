//! A node for one test: real runtime, images and volumes in a directory of its own, and an API server in memory.

use crate::api::Api;
use corten_api::core::v1::{Container, Pod, PodStatus};
use corten_client::{Client, WatchEvent};
use corten_images::{Builder, ImageConfig, ImageStore, ImportOptions, ImportSource, LayerFiles};
use corten_kubelet::{Engines, Kubelet, KubeletOptions};
use corten_runtime::{CoreOptions, CoreRuntime};
use corten_volumes::Volumes;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The image of all tests.
pub const IMAGE: &str = "corten.test/busybox:1";

pub struct Bed {
    pub api: Arc<Api>,
    pub kubelet: Option<Kubelet>,
    pub directory: tempfile::TempDir,
    engines: Engines,
    pub runtime: CoreRuntime,
    group: String,
}

fn image(store: &ImageStore, directory: &Path) {
    let mut files = LayerFiles::new()
        .host_file("bin/busybox", 0o755, "/usr/bin/busybox")
        .directory("tmp", 0o1777)
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
        );
    for name in [
        "sh", "cat", "echo", "sleep", "ls", "env", "id", "touch", "true", "false", "hostname",
        "nc", "seq", "stty",
    ] {
        files = files.symlink(&format!("bin/{name}"), "busybox");
    }
    let env = vec!["PATH=/bin".to_owned()];
    let config = ImageConfig {
        env,
        cmd: vec!["sh".to_owned()],
        ..ImageConfig::default()
    };
    let archive = directory.join("image.tar");
    Builder::new(IMAGE)
        .unwrap()
        .layer(files)
        .config(config)
        .write_oci_archive(&archive)
        .unwrap();
    store
        .import_blocking(ImportSource::File(archive), &ImportOptions::default())
        .unwrap();
}

impl Bed {
    pub async fn new(name: &str) -> Bed {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let group = format!("/corten-kubelet-test-{name}-{}", std::process::id());
        let runtime = CoreRuntime::open(CoreOptions {
            root: path.join("runtime"),
            run: path.join("run"),
            cgroup_parent: group.clone(),
            shim: (std::env::current_exe().unwrap(), vec!["shim".to_owned()]),
        })
        .await
        .unwrap();
        let images = ImageStore::open(path.join("images")).unwrap();
        image(&images, path);
        let volumes = Volumes::open(path.join("kubelet")).unwrap();
        let engines = Engines {
            runtime: Arc::new(runtime.clone()),
            images,
            volumes,
            network: None,
        };
        let mut bed = Bed {
            api: Api::new(),
            kubelet: None,
            directory,
            engines,
            runtime,
            group,
        };
        bed.start().await;
        bed
    }

    pub async fn start(&mut self) {
        let path = self.directory.path();
        let options = KubeletOptions {
            node_name: "node".into(),
            hostname: "node".into(),
            node_ips: vec!["127.0.0.1".parse().unwrap()],
            root: path.join("kubelet"),
            logs: path.join("logs"),
            port: 10250,
            serving: None,
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            max_pods: 110,
            static_pods: Some(path.join("manifests")),
            labels: Default::default(),
            taints: Vec::new(),
            version: "v1.36.3".into(),
        };
        let client = Client::new(self.api.clone(), "kubelet");
        self.kubelet = Some(
            Kubelet::start(options, self.engines.clone(), client)
                .await
                .unwrap(),
        );
    }

    /// Puts a pod of one container that runs `script`.
    pub fn run(&self, name: &str, script: &str) {
        self.api.put(pod(name, &[("main", script)]));
    }

    /// Waits until the pod's status is as `wanted` says.
    pub async fn until(&self, name: &str, wanted: impl Fn(&PodStatus) -> bool) -> Pod {
        let mut events = self.api.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(pod) = self.api.get::<Pod>("default", name)
                    && wanted(&pod.status)
                {
                    return pod;
                }
                let _ = events.recv().await;
            }
        });
        match waited.await {
            Ok(pod) => pod,
            Err(_) => panic!(
                "{name} did not get there: {:#?}",
                self.api.get::<Pod>("default", name).map(|p| p.status)
            ),
        }
    }

    /// Waits until the pod is gone.
    pub async fn until_gone(&self, name: &str) {
        let mut events = self.api.subscribe();
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.api.get::<Pod>("default", name).is_some() {
                let event = events.recv().await;
                let _: Option<&WatchEvent> = event.as_ref().ok().map(|(_, e)| e);
            }
        });
        assert!(
            waited.await.is_ok(),
            "{name} is still there: {:#?}",
            self.api.get::<Pod>("default", name)
        );
    }

    /// Waits until no pod has a directory.
    pub async fn until_clean(&self) {
        let pods = self.directory.path().join("kubelet/pods");
        let waited = tokio::time::timeout(PATIENCE, async {
            while std::fs::read_dir(&pods).unwrap().next().is_some() {
                tokio::task::yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "directories of pods are left");
    }

    /// A connection to the kubelet as the API server has it.
    pub fn connect(&self) -> tokio::io::DuplexStream {
        let (near, far) = tokio::io::duplex(64 * 1024);
        tokio::spawn(self.kubelet.as_ref().unwrap().serve(far));
        near
    }

    /// GETs a path; status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let mut io = self.connect();
        let request = format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer))
            .await
            .unwrap()
            .unwrap();
        let text = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
            true => dechunk(body),
            false => body.to_owned(),
        };
        (code, body)
    }

    /// Deletes every pod and takes the node down.
    pub async fn end(mut self) {
        for pod in self.api.list::<Pod>() {
            self.api.delete_pod("default", &pod.metadata.name, 1);
        }
        for pod in self.api.list::<Pod>() {
            self.until_gone(&pod.metadata.name).await;
        }
        self.kubelet = None;
        let left: Vec<_> = std::fs::read_dir(self.directory.path().join("kubelet/pods"))
            .unwrap()
            .collect();
        assert!(left.is_empty(), "directories of pods are left: {left:?}");
        drop(self.engines);
        self.runtime.release().await.unwrap();
        remove_groups(&self.group);
    }
}

/// Removes the cgroups that the node made, from every hierarchy.
fn remove_groups(group: &str) {
    let mut roots = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    roots.extend(
        std::fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .flatten()
            .map(|entry| entry.path()),
    );
    for root in roots {
        let parent = root.join(group.trim_start_matches('/'));
        for part in ["burstable", "besteffort", ""] {
            let _ = std::fs::remove_dir(parent.join(part));
        }
    }
}

fn dechunk(body: &str) -> String {
    let mut out = String::new();
    let mut rest = body;
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        out.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    out
}

/// A container that runs `script` in a shell.
pub fn container(name: &str, script: &str) -> Container {
    let command = ["sh", "-c", script]
        .into_iter()
        .map(corten_core::Str::from)
        .collect();
    Container {
        name: name.into(),
        image: IMAGE.into(),
        command,
        image_pull_policy: "IfNotPresent".into(),
        termination_message_path: "/dev/termination-log".into(),
        termination_message_policy: "File".into(),
        ..Container::default()
    }
}

/// A pod of containers that run scripts.
pub fn pod(name: &str, containers: &[(&str, &str)]) -> Pod {
    use corten_api::Kind;
    let mut pod = Pod::namespaced("default", name);
    pod.spec.node_name = "node".into();
    pod.spec.restart_policy = "Always".into();
    pod.spec.termination_grace_period_seconds = Some(2);
    pod.spec.containers = containers
        .iter()
        .map(|(name, script)| container(name, script))
        .collect();
    pod
}

/// Whether the condition `Ready` holds.
pub fn ready(status: &PodStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}
