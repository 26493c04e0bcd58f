//! Protobuf of lists and watch events around objects that are encoded already.
//! Invariant: concatenated, the parts are byte-equal to upstream's encoding of the whole; lengths are known beforehand.

use super::encode::{encode_nested, push_varint, varint_len};
use super::envelope::write_envelope_head;
use crate::list::ListHead;
use corten_core::MsgRef;

/// Length of an item in a list: its tag, its length and itself.
pub fn list_item_len(object_len: usize) -> usize {
    1 + varint_len(object_len as u64) + object_len
}

/// Appends envelope and metadata of a list whose items take `items_len` bytes (the sum of `list_item_len`).
/// Behind the items comes `write_envelope_tail`.
pub fn write_list_head(head: &ListHead<'_>, items_len: usize, out: &mut Vec<u8>) {
    let metadata = encode_nested(1, MsgRef::new(&head.metadata));
    write_envelope_head(head.api_version, head.kind, metadata.len() + items_len, out);
    out.extend_from_slice(&metadata);
}

/// Appends what precedes an item of `object_len` bytes.
pub fn write_list_item_head(object_len: usize, out: &mut Vec<u8>) {
    out.push(0x12);
    push_varint(object_len as u64, out);
}

/// Appends a watch event up to its enveloped object of `object_len` bytes, which ends the event:
/// four bytes of length, then the event without an envelope of its own.
pub fn write_watch_event_head(event: &str, object_len: usize, out: &mut Vec<u8>) {
    let raw_len = 1 + varint_len(object_len as u64) + object_len;
    let body_len = 2 + event.len() + 1 + varint_len(raw_len as u64) + raw_len;
    out.extend_from_slice(&u32::try_from(body_len).unwrap_or(u32::MAX).to_be_bytes());
    out.push(0x0a);
    out.push(event.len() as u8);
    out.extend_from_slice(event.as_bytes());
    out.push(0x12);
    push_varint(raw_len as u64, out);
    out.push(0x0a);
    push_varint(object_len as u64, out);
}
