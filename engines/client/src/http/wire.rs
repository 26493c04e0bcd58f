//! Bytes of answers: objects, lists, watch frames and refusals, in protobuf or JSON.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use corten_api::{Gvk, Object};
use corten_codec::{json, protobuf};
use corten_core::{MsgMut, Value};
use corten_meta::Revision;

use crate::status::{Cause, Details, Status};
use crate::transport::{Error, ListAnswer, WatchEvent};

fn broken(what: impl std::fmt::Display) -> Error {
    Error::Connection(format!("understand the answer: {what}"))
}

/// The body of a request: protobuf for built-in kinds, JSON for the rest.
pub(super) fn encode(object: &Object) -> Result<(&'static str, Bytes), Error> {
    match object.message() {
        Some(message) => {
            let raw = protobuf::encode_message(message);
            let sealed = protobuf::seal_envelope(object.api_version(), object.kind(), &raw);
            Ok(("application/vnd.kubernetes.protobuf", sealed.into()))
        }
        None => {
            let value = object.to_value().map_err(broken)?;
            Ok(("application/json", json::encode_value(&value).into()))
        }
    }
}

/// One object.
pub(super) fn object(is_protobuf: bool, body: &[u8]) -> Result<Object, Error> {
    if is_protobuf {
        let envelope = protobuf::open_envelope(body).map_err(broken)?;
        return decode(
            &envelope.type_meta.api_version,
            &envelope.type_meta.kind,
            envelope.raw,
        );
    }
    let value = json::decode_value(body).map_err(broken)?;
    Object::from_value(&value).map_err(broken)
}

fn decode(api_version: &str, kind: &str, raw: &[u8]) -> Result<Object, Error> {
    let gvk = Gvk::parse(api_version, kind);
    let mut object =
        Object::new_for(gvk).ok_or_else(|| broken(format!("the kind {gvk} is not known")))?;
    if let Some(message) = object.message_mut() {
        protobuf::decode_message(raw, message).map_err(broken)?;
    }
    Ok(object)
}

/// The length-delimited fields of a message.
fn fields(mut bytes: &[u8]) -> Vec<(u32, &[u8])> {
    let mut out = Vec::new();
    while let Some((tag, rest)) = varint(bytes) {
        if tag & 7 != 2 {
            break;
        }
        let Some((length, rest)) = varint(rest) else {
            break;
        };
        let Some((field, rest)) = rest.split_at_checked(length as usize) else {
            break;
        };
        out.push(((tag >> 3) as u32, field));
        bytes = rest;
    }
    out
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

/// A list.
pub(super) fn list(is_protobuf: bool, body: &[u8]) -> Result<ListAnswer, Error> {
    if !is_protobuf {
        return json_list(body);
    }
    let envelope = protobuf::open_envelope(body).map_err(broken)?;
    let kind = envelope
        .type_meta
        .kind
        .strip_suffix("List")
        .unwrap_or(&envelope.type_meta.kind)
        .to_owned();
    let mut answer = ListAnswer::default();
    for (number, field) in fields(envelope.raw) {
        match number {
            1 => {
                let mut meta = corten_api::meta::v1::ListMeta::default();
                protobuf::decode_message(field, MsgMut::new(&mut meta)).map_err(broken)?;
                answer.revision = Revision::parse(&meta.resource_version).unwrap_or_default();
            }
            2 => answer.items.push(Arc::new(decode(
                &envelope.type_meta.api_version,
                &kind,
                field,
            )?)),
            _ => {}
        }
    }
    Ok(answer)
}

fn json_list(body: &[u8]) -> Result<ListAnswer, Error> {
    let value = json::decode_value(body).map_err(broken)?;
    let api_version = value.str_at(&["apiVersion"]);
    let kind = value.str_at(&["kind"]).trim_end_matches("List");
    let mut answer = ListAnswer {
        revision: Revision::parse(value.str_at(&["metadata", "resourceVersion"]))
            .unwrap_or_default(),
        items: Vec::new(),
    };
    for item in value
        .get("items")
        .and_then(Value::as_list)
        .unwrap_or_default()
    {
        let mut item = item.clone();
        if item.str_at(&["kind"]).is_empty() {
            item.set(&["apiVersion"], api_version);
            item.set(&["kind"], kind);
        }
        answer
            .items
            .push(Arc::new(Object::from_value(&item).map_err(broken)?));
    }
    Ok(answer)
}

/// A refusal.
pub(super) fn refusal(code: u16, is_protobuf: bool, body: &[u8]) -> Error {
    use corten_api::meta::v1::Status as Wire;
    let plain = || Status::new(code, "", String::from_utf8_lossy(body).trim().to_owned());
    let Ok(object) = object(is_protobuf, body) else {
        return plain().into();
    };
    let Some(wire) = object.downcast_ref::<Wire>() else {
        return plain().into();
    };
    from_wire(code, wire).into()
}

fn from_wire(code: u16, wire: &corten_api::meta::v1::Status) -> Status {
    let mut status = Status::new(code, &wire.reason, wire.message.to_string());
    status.continue_token = wire.metadata.continue_.to_string();
    status.details = wire.details.as_ref().map(|d| {
        Box::new(Details {
            name: d.name.to_string(),
            group: d.group.to_string(),
            kind: d.kind.to_string(),
            uid: d.uid.to_string(),
            causes: d
                .causes
                .iter()
                .map(|c| Cause {
                    reason: c.type_.to_string(),
                    message: c.message.to_string(),
                    field: c.field.to_string(),
                })
                .collect(),
            retry_after_seconds: d.retry_after_seconds,
        })
    });
    status
}

/// Cuts a watch's bytes into events.
pub(super) struct Frames {
    is_protobuf: bool,
    pending: Vec<u8>,
    events: VecDeque<Result<WatchEvent, Error>>,
    over: bool,
}

impl Frames {
    pub(super) fn new(is_protobuf: bool) -> Frames {
        Frames {
            is_protobuf,
            pending: Vec::new(),
            events: VecDeque::new(),
            over: false,
        }
    }

    /// After a broken connection: nothing more comes.
    pub(super) fn ended() -> Frames {
        Frames {
            over: true,
            ..Frames::new(false)
        }
    }

    pub(super) fn next(&mut self) -> Option<Result<WatchEvent, Error>> {
        self.events.pop_front()
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        while let Some((frame, after)) = self.cut(rest) {
            rest = after;
            let event = self.event(frame);
            if let Some(event) = event.transpose() {
                self.events.push_back(event);
            }
        }
        self.pending = rest.to_vec();
    }

    fn cut<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        if self.is_protobuf {
            let (head, rest) = bytes.split_at_checked(4)?;
            let length = u32::from_be_bytes(head.try_into().ok()?) as usize;
            return rest.split_at_checked(length);
        }
        let end = bytes.iter().position(|b| *b == b'\n')?;
        Some((&bytes[..end], &bytes[end + 1..]))
    }

    fn event(&self, frame: &[u8]) -> Result<Option<WatchEvent>, Error> {
        if frame.is_empty() {
            return Ok(None);
        }
        let (kind, object) = if self.is_protobuf {
            let parts = fields(frame);
            let of = |wanted: u32| {
                parts
                    .iter()
                    .find(|(n, _)| *n == wanted)
                    .map(|(_, f)| *f)
                    .unwrap_or_default()
            };
            let inner = fields(of(2));
            let raw = inner
                .iter()
                .find(|(n, _)| *n == 1)
                .map(|(_, f)| *f)
                .unwrap_or_default();
            (
                String::from_utf8_lossy(of(1)).into_owned(),
                object(true, raw)?,
            )
        } else {
            let value = json::decode_value(frame).map_err(broken)?;
            let kind = value.str_at(&["type"]).to_owned();
            (
                kind,
                Object::from_value(value.get("object").unwrap_or(&Value::Null)).map_err(broken)?,
            )
        };
        Ok(Some(match kind.as_str() {
            "ADDED" | "MODIFIED" => WatchEvent::Applied(Arc::new(object)),
            "DELETED" => WatchEvent::Deleted(Arc::new(object)),
            "BOOKMARK" => WatchEvent::Bookmark(
                Revision::parse(&object.meta().resource_version).unwrap_or_default(),
            ),
            _ => {
                let wire = object.downcast_ref::<corten_api::meta::v1::Status>();
                let code = wire.map_or(500, |w| w.code as u16);
                return Err(
                    wire.map_or_else(|| broken("an unknown event"), |w| from_wire(code, w).into())
                );
            }
        }))
    }
}
