//! The mounts of a container: its volumes and the files that the kubelet writes for it.

use crate::container::expand::expand;
use corten_api::core::v1::{Container, VolumeMount};
use corten_runtime::{Access, Mount, MountSource, Propagation};
use corten_volumes::{SubPath, Volumes};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The volumes of a pod that are ready, by name.
pub(crate) type Ready = BTreeMap<String, Source>;

/// Where a ready volume is.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A file or directory of the node.
    Path(PathBuf),
    /// An image's layers, lowest first.
    Layers(Vec<PathBuf>),
}

fn access(mount: &VolumeMount) -> Access {
    match (mount.read_only, mount.recursive_read_only.as_deref()) {
        (false, _) => Access::ReadWrite,
        (true, Some("Enabled" | "IfPossible")) => Access::RecursiveReadOnly,
        (true, _) => Access::ReadOnly,
    }
}

fn propagation(mount: &VolumeMount) -> Propagation {
    match mount.mount_propagation.as_deref() {
        Some("HostToContainer") => Propagation::HostToContainer,
        Some("Bidirectional") => Propagation::Bidirectional,
        _ => Propagation::Private,
    }
}

/// The mounts of the container's volumes; blocks. The error is the message of a CreateContainerConfigError.
pub(crate) fn volumes(
    engine: &Volumes,
    uid: &str,
    container: &Container,
    env: &[(String, String)],
    ready: &Ready,
) -> Result<Vec<Mount>, String> {
    let mut mounts = Vec::new();
    for (index, mount) in container.volume_mounts.iter().enumerate() {
        let source = ready
            .get(mount.name.as_str())
            .ok_or_else(|| format!("volume {:?} is not mounted", mount.name.as_str()))?;
        let path = match mount.sub_path_expr.is_empty() {
            true => mount.sub_path.to_string(),
            false => sub_path_expr(&mount.sub_path_expr, env)?,
        };
        let source = match source {
            Source::Layers(layers) => MountSource::Layers {
                layers: layers.clone(),
                sub_path: (!path.is_empty()).then(|| PathBuf::from(&path)),
            },
            Source::Path(volume) if path.is_empty() => MountSource::HostPath(volume.clone()),
            Source::Path(volume) => {
                let subpath = SubPath {
                    volume: mount.name.to_string(),
                    volume_path: volume.clone(),
                    container: container.name.to_string(),
                    index,
                    path,
                };
                let prepared = engine
                    .prepare_subpath(uid, &subpath)
                    .map_err(|e| e.to_string())?;
                MountSource::HostPath(prepared)
            }
        };
        let target = match mount.mount_path.starts_with('/') {
            true => PathBuf::from(mount.mount_path.as_str()),
            false => Path::new("/").join(mount.mount_path.as_str()),
        };
        mounts.push(Mount {
            source,
            target,
            access: access(mount),
            propagation: propagation(mount),
        });
    }
    Ok(mounts)
}

fn sub_path_expr(expr: &str, env: &[(String, String)]) -> Result<String, String> {
    let value = |name: &str| {
        env.iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.clone())
    };
    let expanded = expand(expr, value);
    match expanded.contains("$(") {
        true => Err(format!(
            "failed to expand subPathExpr {expr:?}: missing value"
        )),
        false => Ok(expanded),
    }
}

/// A file of the node at a path of the container, unless a volume is mounted there.
pub(crate) fn file(container: &Container, from: PathBuf, target: &str, mounts: &mut Vec<Mount>) {
    if container
        .volume_mounts
        .iter()
        .any(|m| m.mount_path == target)
    {
        return;
    }
    mounts.push(Mount {
        source: MountSource::HostPath(from),
        target: target.into(),
        access: Access::ReadWrite,
        propagation: Propagation::Private,
    });
}
