//! The volumes of all pods of a node under one data directory, in upstream's layout:
//! `pods/<uid>/volumes/kubernetes.io~<plugin>/<name>`, `…/volume-subpaths/<volume>/<container>/<index>`,
//! `…/plugins/kubernetes.io~empty-dir/<name>/ready`. Invariant: one pod's volumes are worked on by one thread at a time.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::desired::{DesiredVolume, Ensured, Medium, PayloadPlugin, Source};
use crate::error::{Error, Result};
use crate::mounts;
use crate::ownership::{Access, FsGroupChange, apply_fs_group};
use crate::payload::Payload;
use crate::subpath::{self, SubPath};
use crate::{atomic, host_path, scratch, tree};

const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

/// The volumes of a node. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Volumes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pods: PathBuf,
    /// One lock per pod being worked on.
    locks: Mutex<HashMap<String, Arc<Mutex<()>>>>,
}

/// A volume directory that exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VolumeOnDisk {
    /// `kubernetes.io/empty-dir` and the like.
    pub plugin: String,
    /// The name in the pod's `volumes` (for persistent volumes their specification's name).
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Volumes {
    /// Uses `data`, which is made when missing. Upstream's is `/var/lib/kubelet`.
    pub fn open(data: impl AsRef<Path>) -> Result<Volumes> {
        let pods = data.as_ref().join("pods");
        std::fs::create_dir_all(&pods).map_err(Error::disk("create directory", &pods))?;
        // Mount points are compared with paths, so links must be gone from ours.
        let pods = pods.canonicalize().map_err(Error::disk("resolve", &pods))?;
        Ok(Volumes {
            inner: Arc::new(Inner {
                pods,
                locks: Mutex::default(),
            }),
        })
    }

    /// The directory of a pod.
    pub fn pod_directory(&self, uid: &str) -> Result<PathBuf> {
        Ok(self.inner.pods.join(file_name(uid)?))
    }

    /// Makes a volume of pod `uid` what `desired` says. A volume that is so already is left alone.
    pub fn ensure(&self, uid: &str, desired: &DesiredVolume) -> Result<Ensured> {
        let pod = self.pod_directory(uid)?;
        let name = file_name(&desired.name)?;
        let volumes = pod.join("volumes");
        self.exclusively(uid, || match &desired.source {
            Source::HostPath { path, kind } => {
                let changed = host_path::ensure(path, *kind)?;
                Ok(Ensured {
                    path: PathBuf::from(path),
                    changed,
                })
            }
            Source::EmptyDir(medium) => {
                let path = volumes.join(EMPTY_DIR).join(name);
                make_parent(&path)?;
                let marks = pod.join("plugins").join(EMPTY_DIR).join(name);
                let changed = scratch::ensure(&path, &marks, medium, desired.fs_group)?;
                Ok(Ensured { path, changed })
            }
            Source::Payload {
                plugin,
                files,
                bytes_max,
            } => {
                let path = volumes.join(plugin.directory()).join(name);
                make_parent(&path)?;
                let changed = write_payload(&path, *plugin, files, *bytes_max, desired)?;
                Ok(Ensured { path, changed })
            }
        })
    }

    /// Takes the volume `name` of pod `uid` away, with its sub-paths and data. False when there was none.
    pub fn release(&self, uid: &str, name: &str) -> Result<bool> {
        let pod = self.pod_directory(uid)?;
        let name = file_name(name)?;
        self.exclusively(uid, || {
            let mut found = discard(&pod.join("volume-subpaths").join(name))?;
            for plugin in names(&pod.join("volumes"))? {
                found |= discard(&pod.join("volumes").join(&plugin).join(name))?;
                found |= discard(&pod.join("plugins").join(&plugin).join(name))?;
            }
            Ok(found)
        })
    }

    /// Prepares a `subPath` and returns the path to mount into the container. The volume must be there.
    pub fn prepare_subpath(&self, uid: &str, subpath: &SubPath) -> Result<PathBuf> {
        let pod = self.pod_directory(uid)?;
        let parent = pod
            .join("volume-subpaths")
            .join(file_name(&subpath.volume)?)
            .join(file_name(&subpath.container)?);
        self.exclusively(uid, || {
            std::fs::create_dir_all(&parent).map_err(Error::disk("create directory", &parent))?;
            let target = parent.join(subpath.index.to_string());
            subpath::prepare(subpath, &target)?;
            Ok(target)
        })
    }

    /// Takes the sub-paths of one container away, as after its end.
    pub fn release_subpaths(&self, uid: &str, container: &str) -> Result<()> {
        let subpaths = self.pod_directory(uid)?.join("volume-subpaths");
        let container = file_name(container)?;
        self.exclusively(uid, || {
            for volume in names(&subpaths)? {
                discard(&subpaths.join(volume).join(container))?;
            }
            Ok(())
        })
    }

    /// Takes all volumes of pod `uid` away, and leaves the rest of its directory. Works for pods nothing is known of.
    pub fn release_all(&self, uid: &str) -> Result<()> {
        let pod = self.pod_directory(uid)?;
        self.exclusively(uid, || {
            for part in ["volume-subpaths", "volumes", "plugins"] {
                discard(&pod.join(part))?;
            }
            Ok(())
        })
    }

    /// Takes everything of pod `uid` away, its directory too. Data behind a mount that cannot be taken away is safe:
    /// that is an error, and may be tried again.
    pub fn tear_down(&self, uid: &str) -> Result<()> {
        let pod = self.pod_directory(uid)?;
        self.exclusively(uid, || discard(&pod).map(drop))
    }

    /// The uids of all pods that have a directory, for finding those that no longer exist.
    pub fn pods_on_disk(&self) -> Result<Vec<String>> {
        names(&self.inner.pods)
    }

    /// The volumes of pod `uid` that exist, for reconstruction after a restart.
    pub fn volumes_on_disk(&self, uid: &str) -> Result<Vec<VolumeOnDisk>> {
        let volumes = self.pod_directory(uid)?.join("volumes");
        let mut found = Vec::new();
        for plugin in names(&volumes)? {
            let directory = volumes.join(&plugin);
            for name in names(&directory)? {
                let path = directory.join(&name);
                found.push(VolumeOnDisk {
                    plugin: plugin.replace('~', "/"),
                    name,
                    path,
                });
            }
        }
        Ok(found)
    }

    fn exclusively<T>(&self, uid: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let lock = {
            let mut locks = self
                .inner
                .locks
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(uid.to_owned()).or_default().clone()
        };
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    }
}

fn write_payload(
    path: &Path,
    plugin: PayloadPlugin,
    files: &Payload,
    bytes_max: Option<u64>,
    desired: &DesiredVolume,
) -> Result<bool> {
    let medium = match plugin {
        PayloadPlugin::ConfigMap => Medium::Disk,
        _ => Medium::Memory { bytes_max },
    };
    let fresh = scratch::ground(path, &medium)?;
    let write = || -> Result<bool> {
        for inner in &desired.nested {
            let inner = path.join(inner);
            std::fs::create_dir_all(&inner)
                .map_err(Error::disk("create nested volume mountpoint", &inner))?;
        }
        let own = || match desired.fs_group {
            // The whole volume: the links and directories beside the data are new too the first time.
            Some(group) => apply_fs_group(path, group, FsGroupChange::Always, Access::ReadOnly)
                .map_err(|error| io::Error::other(error.to_string())),
            None => Ok(()),
        };
        atomic::write(path, files, SystemTime::now(), own)
            .map_err(Error::disk("write files to", path))
    };
    match write() {
        Ok(written) => Ok(fresh || written),
        Err(error) => {
            // A volume that never worked goes; one in use keeps its last good files.
            if fresh && let Err(cause) = discard(path) {
                tracing::warn!(path = %path.display(), error = %cause, "failed to remove an unfinished volume");
            }
            Err(error)
        }
    }
}

/// Directories above volumes are for kubelet alone.
fn make_parent(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(parent);
    made.map_err(Error::disk("create directory", parent))
}

/// Unmounts and removes `path`. False when there was nothing.
fn discard(path: &Path) -> Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Error::disk("look at", path)(error)),
    }
    mounts::unmount_below(path).map_err(Error::disk("unmount", path))?;
    tree::remove(path).map_err(Error::disk("remove", path))?;
    Ok(true)
}

/// The names in a directory, sorted; none when it does not exist.
fn names(directory: &Path) -> Result<Vec<String>> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(Error::disk("list", directory)),
    }
}

/// A name that is safe to join to a path.
fn file_name(name: &str) -> Result<&str> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
        return Err(Error::Name(name.to_owned()));
    }
    Ok(name)
}
