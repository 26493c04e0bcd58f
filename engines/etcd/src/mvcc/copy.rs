//! A copy of a store as one file in the log's own format: put into an empty directory under the name of the first
//! segment, it opens as the same store, with the same ids, revisions, history and leases.

use super::frame::{Builder, Entry, FORMAT, Head};
use super::index::Index;

/// The name that the file has to have.
pub const FILE: &str = "00000001-00000001.log";
/// What a copy's length is a multiple of: zeros after the last frame are no frame.
const PAGE: usize = 512;
/// About how large the frames are.
const FRAME_BYTES: usize = 1 << 20;

/// The file's bytes: everything visible.
pub(crate) fn copy(index: &Index, (cluster, member): (u64, u64), visible: i64) -> Vec<u8> {
    let head = Head {
        format: FORMAT,
        cluster,
        member,
        first: 1,
        last: 1,
    };
    let mut out = head.encode().to_vec();
    let mut builder = Builder::default();
    let mut sequence = 0;
    let mut flush = |builder: &mut Builder, out: &mut Vec<u8>| {
        if !builder.is_empty() {
            let (length, frame) = builder.seal(&head, sequence);
            out.extend_from_slice(&frame[..length as usize]);
            builder.clear();
            sequence += 1;
        }
    };
    for (id, lease) in index.leases.iter() {
        builder.entry(&Entry::Grant(id, lease.ttl));
    }
    for record in index.retained(visible) {
        builder.change(&record);
        if builder.len() > FRAME_BYTES {
            flush(&mut builder, &mut out);
        }
    }
    if index.compacted > 0 {
        builder.entry(&Entry::Compact(index.compacted));
    }
    builder.entry(&Entry::Baseline(visible));
    flush(&mut builder, &mut out);
    // etcd's client takes a copy for whole when it is some pages and a checksum long.
    out.resize(out.len().next_multiple_of(PAGE), 0);
    out
}
