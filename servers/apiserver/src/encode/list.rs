//! Lists: a head, the items' shared bytes, a tail; nothing is encoded that is cached. Large ones are made while they are
//! sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use corten_api::Object;
use corten_api::meta::v1::ListMeta;
use corten_client::Status;
use corten_codec::{json, protobuf};
use corten_core::{MsgRef, Value};
use corten_store::Revision;

use super::listing::{Listing, can_stamp};
use super::{Form, entry_bytes, json_bytes, raw_bytes, shape, text};
use crate::body::Answer;
use crate::catalog::Served;
use crate::negotiate::{Media, Shape};
use crate::read::Listed;
use crate::typed;

/// Stored bytes from which on the items of a list are made while it is sent, and none of them is kept.
const LARGE: usize = 32 << 20;
/// The same for Tables and metadata, whose items are kept nowhere, and where memory is bounded.
const LARGE_SHAPED: usize = 1 << 20;

/// A page of stored objects.
pub(crate) async fn list(
    served: &Arc<Served>,
    form: &Form,
    mut listed: Listed,
) -> Result<Answer, Status> {
    let meta = ListMeta {
        resource_version: listed.revision.to_string().into(),
        continue_: listed.continue_token.as_str().into(),
        remaining_item_count: listed.remaining,
        ..ListMeta::default()
    };
    if is_large(served, form, &listed) {
        let entries = std::mem::take(&mut listed.entries);
        let listing = Listing::new(served, form, entries, &meta).await?;
        return Ok(Answer::Listing(Box::new(listing)));
    }
    if form.shape != Shape::Plain {
        let objects = listed
            .entries
            .iter()
            .map(|e| typed::object(e))
            .collect::<Result<Vec<_>, _>>()?;
        return shape::many(served, form, &objects, &meta);
    }
    let items = listed
        .entries
        .iter()
        .map(|e| entry_bytes(served, form.media, e))
        .collect::<Result<Vec<Bytes>, Status>>()?;
    Ok(assemble(served, form, &meta, items))
}

/// Whether the items are to be made while they are sent.
fn is_large(served: &Served, form: &Form, listed: &Listed) -> bool {
    let is_made_in_pieces = match form.shape {
        // Has no protobuf, which is refused elsewhere.
        Shape::Table => form.media == Media::Json,
        Shape::Plain | Shape::PartialList => form.media != Media::Yaml,
        Shape::Partial => false,
    };
    // What a webhook converts is converted as a whole.
    if !is_made_in_pieces || form.pretty || served.conversion().is_some() {
        return false;
    }
    // Nothing is encoded, so nothing is worth keeping.
    if can_stamp(served, form) {
        return true;
    }
    let stored: usize = listed.entries.iter().map(|e| e.stored_len()).sum();
    let large = match form.shape {
        Shape::Plain if !listed.is_bounded => LARGE,
        _ => LARGE_SHAPED,
    };
    stored >= large
}

/// Objects that are not stored (any more): deleted collections, and what is made on request and has no revision.
pub(crate) fn objects(
    served: &Served,
    form: &Form,
    objects: &[Arc<Object>],
    revision: Option<Revision>,
) -> Result<Answer, Status> {
    let meta = ListMeta {
        resource_version: revision.map(|r| r.to_string()).unwrap_or_default().into(),
        ..ListMeta::default()
    };
    if form.shape != Shape::Plain {
        return shape::many(served, form, objects, &meta);
    }
    let items = objects
        .iter()
        .map(|o| {
            let converted = served.served_version(o)?;
            let object = converted.as_ref().unwrap_or(o);
            if form.media == Media::Protobuf {
                raw_bytes(object)
            } else {
                json_bytes(object)
            }
        })
        .collect::<Result<Vec<Bytes>, Status>>()?;
    Ok(assemble(served, form, &meta, items))
}

fn assemble(served: &Served, form: &Form, meta: &ListMeta, items: Vec<Bytes>) -> Answer {
    if form.media == Media::Protobuf {
        return protobuf_list(served, meta, items);
    }
    let answer = json_list(served, meta, items);
    if form.media == Media::Json && !form.pretty {
        return answer;
    }
    let bytes = answer.into_bytes().unwrap_or_default();
    text(form, bytes)
}

/// The metadata of a list. That of custom resources is a map, in which `continue` always stands.
pub(super) fn list_meta(served: &Served, meta: &ListMeta) -> Vec<u8> {
    let written = json::encode_message(MsgRef::new(meta));
    if !served.is_custom() {
        return written;
    }
    let mut map = json::decode_value(&written).unwrap_or_else(|_| Value::map());
    map.set(&["continue"], meta.continue_.as_str());
    map.set(&["resourceVersion"], meta.resource_version.as_str());
    json::encode_value(&map)
}

fn json_list(served: &Served, meta: &ListMeta, items: Vec<Bytes>) -> Answer {
    let mut head = Vec::with_capacity(256);
    let meta = list_meta(served, meta);
    if served.is_custom() {
        head.extend_from_slice(
            format!("{{\"apiVersion\":\"{}\",\"items\":[", served.api_version()).as_bytes(),
        );
    } else {
        let kind = format!(
            "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":",
            served.kind,
            served.api_version()
        );
        head.extend_from_slice(kind.as_bytes());
        head.extend_from_slice(&meta);
        head.extend_from_slice(b",\"items\":[");
    }
    let mut pieces = VecDeque::with_capacity(items.len() * 2 + 2);
    pieces.push_back(Bytes::from(head));
    // Items of built-in kinds carry no kind and apiVersion in lists.
    let skip = match served.is_custom() {
        true => 0,
        false => format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",",
            served.kind,
            served.api_version()
        )
        .len(),
    };
    let between: [Bytes; 2] = match served.is_custom() {
        true => [Bytes::new(), Bytes::from_static(b",")],
        false => [Bytes::from_static(b"{"), Bytes::from_static(b",{")],
    };
    for (index, mut item) in items.into_iter().enumerate() {
        let opening = &between[usize::from(index > 0)];
        if !opening.is_empty() {
            pieces.push_back(opening.clone());
        }
        item.advance(skip.min(item.len()));
        pieces.push_back(item);
    }
    let tail = match served.is_custom() {
        true => {
            let mut tail = format!("],\"kind\":\"{}List\",\"metadata\":", served.kind).into_bytes();
            tail.extend_from_slice(&meta);
            tail.extend_from_slice(b"}\n");
            Bytes::from(tail)
        }
        false => Bytes::from_static(b"]}\n"),
    };
    pieces.push_back(tail);
    Answer::pieces(pieces)
}

fn protobuf_list(served: &Served, meta: &ListMeta, items: Vec<Bytes>) -> Answer {
    let meta = protobuf::encode_message(MsgRef::new(meta));
    let mut heads = Vec::with_capacity(items.len());
    let mut length = 1 + varint(meta.len()).len() + meta.len();
    for item in &items {
        let mut head = vec![0x12];
        head.extend_from_slice(&varint(item.len()));
        length += head.len() + item.len();
        heads.push(Bytes::from(head));
    }
    let mut first = Vec::with_capacity(128);
    protobuf::write_envelope_head(
        &served.api_version(),
        &format!("{}List", served.kind),
        length,
        &mut first,
    );
    first.push(0x0a);
    first.extend_from_slice(&varint(meta.len()));
    first.extend_from_slice(&meta);
    let mut pieces = VecDeque::with_capacity(items.len() * 2 + 2);
    pieces.push_back(Bytes::from(first));
    for (head, item) in heads.into_iter().zip(items) {
        pieces.push_back(head);
        pieces.push_back(item);
    }
    let mut tail = Vec::new();
    protobuf::write_envelope_tail(&mut tail);
    pieces.push_back(tail.into());
    Answer::pieces(pieces)
}

/// How many bytes a number takes as protobuf writes lengths.
pub(super) fn varint_len(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Appends a number as protobuf writes lengths.
pub(super) fn push_varint(number: usize, out: &mut Vec<u8>) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A number as protobuf writes lengths.
pub(super) fn varint(number: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(5);
    push_varint(number, &mut out);
    out
}
