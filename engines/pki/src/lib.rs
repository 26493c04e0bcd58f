//! Certificate authorities, certificates and keys of a cluster: issuing them, keeping them in a directory
//! laid out as kubeadm does, and writing kubeconfig files.
//! Invariant: private keys and kubeconfigs are only ever written with mode 0600, and atomically.
//! Left out: rotation in the background (callers ask `needs_renewal`), hardware keys.

mod authority;
mod directory;
mod error;
mod files;
mod identity;
mod kubeconfig;

pub use authority::{Authority, Issued, Leaf, Usage, certificate_expiry, needs_renewal};
pub use directory::{Pki, ServiceAccountKeys};
pub use error::Error;
pub use files::{read_text, write_private, write_public};
pub use identity::Identity;
pub use kubeconfig::{KubeconfigUser, kubeconfig, write_kubeconfig};
