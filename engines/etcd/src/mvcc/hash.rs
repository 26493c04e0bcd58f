//! The hash of the retained history, the same number that upstream computes over the same history: members and
//! mirrors are compared by it.

use super::index::{Index, Span};
use super::record::Record;
use crate::Refusal;
use crate::proto::mvccpb::KeyValue;
use prost::Message;
use std::sync::Arc;

/// A hash and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// The hash.
    pub hash: u32,
    /// The revision up to which history was compacted, -1 if never.
    pub compacted: i64,
    /// The revision up to which it was hashed.
    pub revision: i64,
}

/// Hashes the history up to a revision (0: now).
pub fn hash(index: &Index, revision: i64, visible: i64) -> Result<Hash, Refusal> {
    if revision > 0 && revision < index.compacted {
        return Err(Refusal::COMPACTED);
    }
    if revision > visible {
        return Err(Refusal::FUTURE_REVISION);
    }
    let revision = if revision == 0 { visible } else { revision };
    let mut sum = crc32c::crc32c(b"key");
    // Of what is compacted, upstream hashes what is still there at the revision, unless nothing is there at all.
    let mut any = false;
    index.each(Span::all(), revision, |_| any = true);
    let current = |record: &Arc<Record>| {
        let newest = index.get(record.key(), revision);
        newest.is_some_and(|newest| newest.position() == record.position())
    };
    for record in index.retained(revision) {
        let position = record.position();
        if position.main == index.compacted && record.is_deletion() {
            continue;
        }
        if position.main <= index.compacted && any && !current(&record) {
            continue;
        }
        let mut key = Vec::with_capacity(18);
        key.extend_from_slice(&position.main.to_be_bytes());
        key.push(b'_');
        key.extend_from_slice(&position.sub.to_be_bytes());
        if record.is_deletion() {
            key.push(b't');
            sum = crc32c::crc32c_append(sum, &key);
            let bare = KeyValue {
                key: bytes::Bytes::copy_from_slice(record.key()),
                ..KeyValue::default()
            };
            sum = crc32c::crc32c_append(sum, &bare.encode_to_vec());
        } else {
            sum = crc32c::crc32c_append(sum, &key);
            sum = crc32c::crc32c_append(sum, record.encoded());
        }
    }
    Ok(Hash {
        hash: sum,
        compacted: index.compacted,
        revision,
    })
}
