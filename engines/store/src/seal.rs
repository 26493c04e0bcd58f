//! What happens to an object's bytes between memory and the log: nothing, or encryption. Memory always holds plain
//! bytes; engines, logs and backups hold what [`Seal`] made of them.

use crate::engine::EngineError;
use crate::{Entry, Key};
use bytes::Bytes;
use std::sync::Arc;

/// Encrypts and decrypts objects at rest. Called on the writer's thread and at open: it must not wait for long.
pub trait Seal: Send + Sync {
    /// The bytes to keep for an object, the same bytes if they are kept plain.
    fn seal(&self, key: &Key, plain: &Bytes) -> Result<Bytes, String>;
    /// The object of kept bytes.
    fn open(&self, key: &Key, kept: &[u8]) -> Result<Opened, String>;
}

/// What was kept, decrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The object's bytes.
    pub plain: Bytes,
    /// Whether it is to be written again, because it was not sealed as it would be now.
    pub is_stale: bool,
}

/// Keeps objects as they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Seal for Plain {
    fn seal(&self, _: &Key, plain: &Bytes) -> Result<Bytes, String> {
        Ok(plain.clone())
    }

    fn open(&self, _: &Key, kept: &[u8]) -> Result<Opened, String> {
        Ok(Opened {
            plain: Bytes::copy_from_slice(kept),
            is_stale: false,
        })
    }
}

/// The bytes to keep for an entry.
pub(crate) fn kept(seal: &Arc<dyn Seal>, entry: &Entry) -> Result<Bytes, EngineError> {
    let plain = entry.peek().map_err(|error| EngineError::Damaged {
        attempt: "writing the state again".to_owned(),
        reason: error.to_string(),
    })?;
    let sealed = seal.seal(entry.key(), &plain);
    sealed.map_err(|reason| EngineError::Seal {
        key: entry.key().path(),
        reason,
    })
}
