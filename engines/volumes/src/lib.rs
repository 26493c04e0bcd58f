//! Volumes on a node: config maps, secrets, downward API, projections, scratch space, host paths, and sub-paths.
//!
//! [`Volumes`] owns `<data>/pods/<uid>/…` in upstream's layout and makes it what a [`DesiredVolume`] says; doing it
//! again changes nothing. Everything here blocks: call it from a blocking thread. What a volume holds is decided by the
//! caller ([`Payload`] has the rules for keys, items and modes); mounting volumes into containers is the runtime's part.
//! Leaves out persistent volumes and CSI (only [`apply_fs_group`] serves them), quotas and SELinux labels.

mod atomic;
mod desired;
mod error;
mod host_path;
mod mounts;
mod nested;
mod ownership;
mod payload;
mod scratch;
mod subpath;
mod tree;
mod usage;
mod volumes;

pub use desired::{
    DesiredVolume, Ensured, HostPathType, Medium, PayloadPlugin, Source, memory_bytes_max,
};
pub use error::{Error, Result};
pub use nested::{ContainerMount, nested_mount_points};
pub use ownership::{Access, FsGroupChange, apply_fs_group};
pub use payload::{FileProjection, KeyToPath, Payload, PayloadError, Presence, aggregate};
pub use subpath::SubPath;
pub use usage::{Usage, usage};
pub use volumes::{VolumeOnDisk, Volumes};
