//! Watch events: lines of JSON, or length-delimited protobuf frames. A plain event is framed once per version, format
//! and type, and the frame shared by every watcher.

use bytes::Bytes;
use corten_api::Object;
use corten_client::Status;
use corten_codec::protobuf;
use corten_store::{Encoding, Entry, Event, Revision};

use super::list::varint;
use super::{Form, entry_bytes, json_bytes, raw_bytes, shape, status, text};
use crate::catalog::Served;
use crate::negotiate::{Media, Shape};
use crate::typed;

/// The type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    fn name(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
        }
    }
}

/// The frame of one event. `revision` is what a deleted object shows as its resourceVersion.
pub(crate) fn event(
    served: &Served,
    form: &Form,
    kind: EventType,
    entry: &Entry,
    event: Option<&Event>,
    revision: Revision,
) -> Result<Bytes, Status> {
    if form.shape != Shape::Plain {
        let object = shown(kind, entry, revision)?;
        let body = shape::bytes(served, form, &object)?;
        return Ok(frame(form, kind.name(), &body));
    }
    let make = || {
        let body = match kind {
            EventType::Deleted => {
                let object = shown(kind, entry, revision)?;
                let converted = served.served_version(&object)?;
                let object = converted.as_ref().unwrap_or(&object);
                if form.media == Media::Protobuf {
                    raw_bytes(object)?
                } else {
                    json_bytes(object)?
                }
            }
            _ => entry_bytes(served, form.media, entry)?,
        };
        let body = match form.media {
            Media::Protobuf => {
                protobuf::seal_envelope(&served.api_version(), &served.kind, &body).into()
            }
            _ => body,
        };
        Ok(frame(form, kind.name(), &body))
    };
    let Some(event) = event.filter(|_| form.media != Media::Yaml && served.conversion().is_none())
    else {
        return make();
    };
    let format = if form.media == Media::Protobuf { 1 } else { 0 };
    let number = served.version_number() << 4 | format << 2 | kind as u32;
    event.frame_or(Encoding(number), |_| make())
}

/// The object as the event shows it: a deleted one at the revision of its deletion.
fn shown(
    kind: EventType,
    entry: &Entry,
    revision: Revision,
) -> Result<std::sync::Arc<Object>, Status> {
    let object = typed::object(entry)?;
    if kind != EventType::Deleted {
        return Ok(object);
    }
    let mut last = (*object).clone();
    last.meta_mut().resource_version = revision.to_string().into();
    Ok(std::sync::Arc::new(last))
}

/// A bookmark: an empty object that carries a revision.
pub(crate) fn bookmark(
    served: &Served,
    form: &Form,
    revision: Revision,
    initial: bool,
) -> Result<Bytes, Status> {
    let gvk = served.group_version_kind_ref();
    let mut object = Object::new_for(gvk)
        .unwrap_or_else(|| Object::dynamic(served.api_version().as_str(), served.kind.as_str()));
    object.meta_mut().resource_version = revision.to_string().into();
    if initial {
        object
            .meta_mut()
            .annotations
            .insert("k8s.io/initial-events-end", "true");
    }
    let body = match (form.shape, form.media) {
        (Shape::Table, _) => {
            // A row like any other, of an object with nothing in it.
            let mut form = form.clone();
            form.columns = super::Columns::Known;
            shape::bytes(served, &form, &object)?
        }
        (Shape::Plain, Media::Protobuf) => {
            protobuf::seal_envelope(&served.api_version(), &served.kind, &raw_bytes(&object)?)
                .into()
        }
        (Shape::Plain, _) => json_bytes(&object)?,
        _ => shape::bytes(served, form, &object)?,
    };
    Ok(frame(form, "BOOKMARK", &body))
}

/// The last frame of a watch that cannot go on.
pub(crate) fn error_event(form: &Form, refusal: &Status) -> Bytes {
    let media = if form.media == Media::Protobuf {
        Media::Protobuf
    } else {
        Media::Json
    };
    let mut body = status(refusal, media);
    if body.last() == Some(&b'\n') {
        body.pop();
    }
    frame(form, "ERROR", &body)
}

fn frame(form: &Form, kind: &str, body: &[u8]) -> Bytes {
    match form.media {
        Media::Protobuf => {
            let inner = 1 + varint(body.len()).len() + body.len();
            let length = 2 + kind.len() + 1 + varint(inner).len() + inner;
            let mut out = Vec::with_capacity(length + 8);
            out.extend_from_slice(&(length as u32).to_be_bytes());
            out.push(0x0a);
            out.push(kind.len() as u8);
            out.extend_from_slice(kind.as_bytes());
            out.push(0x12);
            out.extend_from_slice(&varint(inner));
            out.push(0x0a);
            out.extend_from_slice(&varint(body.len()));
            out.extend_from_slice(body);
            out.into()
        }
        media => {
            let mut out = Vec::with_capacity(body.len() + 40);
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(kind.as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            out.extend_from_slice(body);
            out.extend_from_slice(b"}\n");
            if media == Media::Yaml {
                let bytes = text(form, out.clone().into())
                    .into_bytes()
                    .unwrap_or_default();
                let mut document = b"---\n".to_vec();
                document.extend_from_slice(&bytes);
                return document.into();
            }
            out.into()
        }
    }
}
