//! What a volume should be, as plain data.

use std::path::PathBuf;

use crate::payload::Payload;

/// One volume of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredVolume {
    /// The name in the pod's `volumes`.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// The pod's `fsGroup`.
    pub fs_group: Option<u32>,
    /// Directories to be made in it, because other volumes are mounted there ([`crate::nested_mount_points`]).
    pub nested: Vec<String>,
}

/// Where a volume comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `emptyDir`.
    EmptyDir(Medium),
    /// `hostPath`.
    HostPath {
        /// The path on this machine.
        path: String,
        /// What has to be there.
        kind: HostPathType,
    },
    /// Files written by kubelet: `configMap`, `secret`, `downwardAPI`, `projected`.
    Payload {
        /// Which of them.
        plugin: PayloadPlugin,
        /// The files.
        files: Payload,
        /// Bounds the tmpfs of all but `configMap`; `None`: half of the memory, as the kernel does.
        bytes_max: Option<u64>,
    },
}

/// What an `emptyDir` is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Medium {
    /// The disk of the node.
    Disk,
    /// A tmpfs of at most so many bytes ([`memory_bytes_max`]); `None`: half of the memory.
    Memory {
        /// Its size.
        bytes_max: Option<u64>,
    },
    /// A hugetlbfs with pages of this size.
    HugePages {
        /// Bytes of a page.
        page_bytes: u64,
    },
}

/// The kinds of volumes whose files kubelet writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayloadPlugin {
    /// On disk.
    ConfigMap,
    /// On tmpfs.
    Secret,
    /// On tmpfs.
    DownwardApi,
    /// On tmpfs.
    Projected,
}

impl PayloadPlugin {
    /// The directory name of the plugin, `kubernetes.io/x` with an escaped slash.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            PayloadPlugin::ConfigMap => "kubernetes.io~configmap",
            PayloadPlugin::Secret => "kubernetes.io~secret",
            PayloadPlugin::DownwardApi => "kubernetes.io~downward-api",
            PayloadPlugin::Projected => "kubernetes.io~projected",
        }
    }
}

/// `hostPath.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostPathType {
    /// Anything or nothing.
    #[default]
    Unset,
    /// A directory, made with mode 0755 when nothing is there.
    DirectoryOrCreate,
    /// A directory.
    Directory,
    /// A file, made with mode 0644 when nothing is there.
    FileOrCreate,
    /// A file.
    File,
    /// A Unix socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl HostPathType {
    /// From the API's text; `None` for a text that is no type.
    pub fn parse(text: &str) -> Option<HostPathType> {
        Some(match text {
            "" => HostPathType::Unset,
            "DirectoryOrCreate" => HostPathType::DirectoryOrCreate,
            "Directory" => HostPathType::Directory,
            "FileOrCreate" => HostPathType::FileOrCreate,
            "File" => HostPathType::File,
            "Socket" => HostPathType::Socket,
            "CharDevice" => HostPathType::CharDevice,
            "BlockDevice" => HostPathType::BlockDevice,
            _ => return None,
        })
    }
}

/// A volume that is as desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// What containers mount.
    pub path: PathBuf,
    /// Whether anything had to be done.
    pub changed: bool,
}

/// The size of a volume in memory: the node's allocatable memory, or the pod's limit or the volume's own when lower.
pub fn memory_bytes_max(allocatable: u64, pod_limit: Option<u64>, size_limit: Option<u64>) -> u64 {
    let lower = |bound: u64, limit: Option<u64>| {
        limit
            .filter(|limit| *limit > 0 && *limit <= bound)
            .unwrap_or(bound)
    };
    lower(lower(allocatable, pod_limit), size_limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_counts() {
        assert_eq!(memory_bytes_max(100, None, None), 100);
        assert_eq!(memory_bytes_max(100, Some(50), None), 50);
        assert_eq!(memory_bytes_max(100, Some(50), Some(20)), 20);
        assert_eq!(memory_bytes_max(100, Some(500), Some(200)), 100);
        assert_eq!(memory_bytes_max(100, Some(0), Some(0)), 100);
    }

    #[test]
    fn host_path_types() {
        assert_eq!(
            HostPathType::parse("CharDevice"),
            Some(HostPathType::CharDevice)
        );
        assert_eq!(HostPathType::parse(""), Some(HostPathType::Unset));
        assert_eq!(HostPathType::parse("directory"), None);
    }
}
