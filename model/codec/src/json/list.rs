//! JSON of lists and watch events around objects that are encoded already.
//! Invariant: head, items joined by commas, and tail are byte-equal to upstream's encoding of the whole list.

use super::text::write_text;
use crate::list::{ListHead, ListLayout};
use corten_core::MsgRef;

/// Appends everything before the first item.
pub fn write_list_head(head: &ListHead<'_>, layout: ListLayout, out: &mut Vec<u8>) {
    match layout {
        ListLayout::Struct => {
            out.extend_from_slice(b"{\"kind\":");
            write_text(head.kind, out);
            out.extend_from_slice(b",\"apiVersion\":");
            write_text(head.api_version, out);
            out.extend_from_slice(b",\"metadata\":");
            super::write_message(MsgRef::new(&head.metadata), out);
            out.extend_from_slice(b",\"items\":[");
        }
        ListLayout::Sorted => {
            out.extend_from_slice(b"{\"apiVersion\":");
            write_text(head.api_version, out);
            out.extend_from_slice(b",\"items\":[");
        }
    }
}

/// Appends everything behind the last item, with the line break that ends a response.
pub fn write_list_tail(head: &ListHead<'_>, layout: ListLayout, out: &mut Vec<u8>) {
    out.push(b']');
    if layout == ListLayout::Sorted {
        out.extend_from_slice(b",\"kind\":");
        write_text(head.kind, out);
        out.extend_from_slice(b",\"metadata\":");
        let order = super::encode::Order::Sorted;
        super::encode::Encoder::new(out, order).message(MsgRef::new(&head.metadata));
    }
    out.extend_from_slice(b"}\n");
}

/// Appends everything before the object of a watch event; `event` is `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
pub fn write_watch_event_head(event: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
}

/// Appends everything behind the object of a watch event.
pub fn write_watch_event_tail(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}
