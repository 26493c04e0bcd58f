//! Server-side apply and the field tracking of other writes.

use crate::error::bad;
use crate::{Apply, PatchError, Track};
use corten_core::Value;

/// The new object with metadata.managedFields brought up to date.
///
/// # Errors
/// As of now every apply is refused.
pub fn apply(_a: &Apply) -> Result<Value, PatchError> {
    bad("server-side apply is not served")
}

/// managedFields after a write that was not an apply.
pub fn track(t: &Track) -> Value {
    t.live
        .map(|live| live["metadata"]["managedFields"].clone())
        .unwrap_or_default()
}
