//! What a pull tells while it runs.

use std::sync::Arc;

use crate::digest::Digest;

/// Receives the events of a pull. Called from several tasks; must return at once.
pub type Progress = Arc<dyn Fn(PullEvent) + Send + Sync>;

/// One event of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// The name was resolved to this digest.
    Resolved {
        /// The digest of the manifest or index.
        digest: Digest,
        /// How many layers the image has.
        layers: usize,
    },
    /// A layer is on disk already.
    LayerPresent {
        /// The digest of the compressed layer.
        layer: Digest,
    },
    /// Bytes of a layer have arrived.
    LayerFetching {
        /// The digest of the compressed layer.
        layer: Digest,
        /// Bytes so far.
        fetched: u64,
        /// Bytes in total.
        total: u64,
    },
    /// A download broke off and is continued.
    LayerRetrying {
        /// The digest of the compressed layer.
        layer: Digest,
        /// Which continuation this is, from 1.
        attempt: u32,
        /// Why it broke off.
        reason: String,
    },
    /// A layer is fetched, verified and unpacked.
    LayerDone {
        /// The digest of the compressed layer.
        layer: Digest,
    },
}
