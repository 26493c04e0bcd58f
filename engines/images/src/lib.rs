//! Images: archives, registries and layers on disk.
//!
//! [`ImageStore`] is the whole interface for a node: `resolve` a name, `pull` it from a registry, `import` archives,
//! hand out the lower directories of an overlay, `remove` and `collect`. [`Builder`] makes archives, [`push_archive`]
//! uploads them. Mounting an image is the runtime's part; when to pull and which credentials apply is the caller's.

mod archive;
mod builder;
mod digest;
mod error;
mod image;
mod layer;
mod oci;
mod reference;
mod registry;
mod store;

pub use archive::{ImportOptions, ImportSource};
pub use builder::{
    Builder, BuiltImage, Compression, LayerFiles, write_oci_archive, write_oci_archive_to,
};
pub use digest::{Digest, Hasher};
pub use error::{Error, PullError, Result};
pub use image::{Image, ImageConfig, ImageId, Layer};
pub use layer::Limits;
pub use oci::{Descriptor, Platform};
pub use reference::{Reference, ReferenceError};
pub use registry::hosts::{Capabilities, HostsDirectory, HostsError, Mirror, RegistryHosts};
pub use registry::progress::{Progress, PullEvent};
pub use registry::push::push_archive;
pub use registry::secrets::{Credentials, Keyring, SecretError};
pub use registry::{PullOptions, RegistryOptions};
pub use store::collect::{CollectReport, CollectionPolicy, DiskUsage};
pub use store::{ImageStore, InUse, Lease, Removed, StoreOptions};
