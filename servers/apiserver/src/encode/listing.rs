//! Large lists: items are made one after another while the list is being sent, and none of them is kept, so that a list
//! of any size takes the memory of a few items. Invariant: the same bytes as a list made at once.

use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use corten_api::Object;
use corten_api::meta::v1::ListMeta;
use corten_client::Status;
use corten_codec::{json, protobuf};
use corten_core::MsgRef;
use corten_store::{Encoding, Entry};
use flate2::write::GzEncoder;

use super::list::{list_meta, push_varint, varint_len};
use super::spliced::spliced;
use super::{Form, encoding, shape, stamped, stamped_size};
use crate::catalog::Served;
use crate::negotiate::{Media, Shape};
use crate::typed;

/// What is handed to the connection at a time, at least.
const CHUNK: usize = 64 * 1024;
/// Items measured between two looks at what else there is to do.
const ITEMS_AT_ONCE: usize = 64;

/// A list on its way out.
pub(crate) struct Listing {
    served: Arc<Served>,
    form: Form,
    encoding: Encoding,
    /// The version of items whose protobuf is made of their stored bytes.
    stamps: Option<String>,
    entries: std::vec::IntoIter<Arc<Entry>>,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// What built-in kinds' items do not carry in lists, at the start of each.
    skip: usize,
    separate: bool,
    stage: Stage,
    scratch: Vec<u8>,
    /// Bytes that are still to come, where that was measured; about as many otherwise.
    left: u64,
    exact: bool,
    packer: Option<GzEncoder<Vec<u8>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Items,
    Done,
}

impl Listing {
    /// A list of stored objects as JSON or protobuf.
    pub(super) async fn new(
        served: &Arc<Served>,
        form: &Form,
        entries: Vec<Arc<Entry>>,
        meta: &ListMeta,
    ) -> Result<Listing, Status> {
        let stored: usize = entries.iter().map(|entry| entry.stored_len()).sum();
        let skip = format!(
            "{{\"kind\":\"{}\",\"apiVersion\":\"{}\",",
            served.kind,
            served.api_version()
        );
        let is_plain = form.shape == Shape::Plain;
        let mut listing = Listing {
            served: served.clone(),
            form: form.clone(),
            encoding: encoding(served, form.media),
            stamps: can_stamp(served, form).then(|| served.api_version()),
            entries: entries.into_iter(),
            head: Vec::new(),
            tail: Vec::new(),
            skip: if is_plain && !served.is_custom() {
                skip.len()
            } else {
                0
            },
            separate: false,
            stage: Stage::Head,
            scratch: Vec::new(),
            left: stored as u64,
            exact: false,
            packer: None,
        };
        match form.media {
            Media::Protobuf => listing.frame_protobuf(meta).await?,
            _ => listing.frame_json(meta)?,
        }
        Ok(listing)
    }

    /// About how many bytes it is.
    pub(crate) fn size(&self) -> u64 {
        self.left
    }

    /// How many bytes are left, where that is known.
    pub(crate) fn exact(&self) -> Option<u64> {
        self.exact.then_some(self.left)
    }

    /// Whether everything was given out.
    pub(crate) fn is_done(&self) -> bool {
        self.stage == Stage::Done && self.packer.is_none()
    }

    /// Compresses what is given out from now on.
    pub(crate) fn pack(&mut self) {
        self.exact = false;
        self.packer = Some(GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    }

    /// The next bytes; none when there are no more.
    pub(crate) fn next(&mut self) -> Option<Result<Bytes, Status>> {
        let mut out = Vec::with_capacity(CHUNK + CHUNK / 4);
        while out.len() < CHUNK {
            match self.step(&mut out) {
                Ok(true) => {}
                Ok(false) => break,
                Err(status) => {
                    self.stage = Stage::Done;
                    return Some(Err(status));
                }
            }
        }
        if out.is_empty() {
            return None;
        }
        if self.exact {
            self.left = self.left.saturating_sub(out.len() as u64);
        }
        Some(Ok(out.into()))
    }

    /// One piece more; false at the end.
    fn step(&mut self, out: &mut Vec<u8>) -> Result<bool, Status> {
        if self.packer.is_none() {
            return self.plain_step(out);
        }
        let mut plain = Vec::with_capacity(CHUNK);
        let mut more = true;
        while more && plain.len() < CHUNK {
            more = self.plain_step(&mut plain)?;
        }
        let Some(packer) = &mut self.packer else {
            return Ok(false);
        };
        packer.write_all(&plain).map_err(Status::internal)?;
        if !more {
            // Its end: checksum and length.
            if let Some(packer) = self.packer.take() {
                out.extend(packer.finish().map_err(Status::internal)?);
            }
            return Ok(false);
        }
        out.append(packer.get_mut());
        Ok(true)
    }

    fn plain_step(&mut self, out: &mut Vec<u8>) -> Result<bool, Status> {
        match self.stage {
            Stage::Head => {
                out.append(&mut self.head);
                self.stage = Stage::Items;
            }
            Stage::Items => match self.entries.next() {
                Some(entry) => self.item(&entry, out)?,
                None => {
                    out.append(&mut self.tail);
                    self.stage = Stage::Done;
                }
            },
            Stage::Done => return Ok(false),
        }
        Ok(true)
    }

    /// One item with what stands before it.
    fn item(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Status> {
        if let Some(version) = &self.stamps {
            let made = stamped(&self.served, version, entry, |stamped| {
                out.push(0x12);
                push_varint(stamped.size(), out);
                stamped.write(out);
            })?;
            if made.is_some() {
                return Ok(());
            }
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        self.encode(entry, &mut scratch)?;
        if self.form.media == Media::Protobuf {
            out.push(0x12);
            push_varint(scratch.len(), out);
        } else {
            if self.separate {
                out.push(b',');
            }
            self.separate = true;
            if self.skip > 0 {
                out.push(b'{');
            }
        }
        let skip = match self.form.media {
            Media::Protobuf => 0,
            _ => self.skip.min(scratch.len()),
        };
        out.extend_from_slice(&scratch[skip..]);
        self.scratch = scratch;
        Ok(())
    }

    /// How long an item is as protobuf.
    fn measure(&self, entry: &Entry, scratch: &mut Vec<u8>) -> Result<usize, Status> {
        if self.stamps.is_some()
            && let Some(length) = stamped_size(entry)
        {
            return Ok(length);
        }
        if let Some(version) = &self.stamps
            && let Some(length) = stamped(&self.served, version, entry, |s| s.size())?
        {
            return Ok(length);
        }
        scratch.clear();
        self.encode(entry, scratch)?;
        Ok(scratch.len())
    }

    fn encode(&self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), Status> {
        if self.form.shape == Shape::Plain
            && let Some(bytes) = entry.encoded(self.encoding)
        {
            out.extend_from_slice(&bytes);
            return Ok(());
        }
        if self.form.shape == Shape::Plain
            && self.form.media != Media::Protobuf
            && let Some(bytes) = spliced(&self.served, entry)?
        {
            out.extend_from_slice(&bytes);
            return Ok(());
        }
        let object = typed::passing(entry)?;
        match self.form.shape {
            Shape::Plain => {
                let converted = self.served.served_version(&object)?;
                self.encode_plain(converted.as_ref().unwrap_or(&object), out)
            }
            Shape::Table => shape::row(&self.served, &self.form, &object, out),
            _ => {
                let partial = shape::partial(&object, self.form.version);
                match self.form.media {
                    Media::Protobuf => {
                        out.extend(protobuf::encode_message(MsgRef::new(&partial)));
                    }
                    _ => json::write_message(MsgRef::new(&partial), out),
                }
                Ok(())
            }
        }
    }

    fn encode_plain(&self, object: &Object, out: &mut Vec<u8>) -> Result<(), Status> {
        match (self.form.media, object.message()) {
            (Media::Protobuf, _) => out.extend_from_slice(&super::raw_bytes(object)?),
            (_, Some(message)) => json::write_message(message, out),
            (_, None) => json::write_value(&object.to_value().map_err(Status::internal)?, out),
        }
        Ok(())
    }

    fn frame_json(&mut self, meta: &ListMeta) -> Result<(), Status> {
        let served = &self.served;
        match self.form.shape {
            Shape::Table => {
                self.head = shape::table_head(served, &self.form, meta);
                self.tail = b"]}\n".to_vec();
            }
            Shape::PartialList => {
                let version = self.form.version.api_version();
                self.head = json_head("PartialObjectMetadataList", version, meta);
                self.tail = b"]}\n".to_vec();
            }
            _ if served.is_custom() => {
                let version = served.api_version();
                self.head = format!("{{\"apiVersion\":\"{version}\",\"items\":[").into_bytes();
                self.tail = format!("],\"kind\":\"{}List\",\"metadata\":", served.kind).into();
                self.tail.extend_from_slice(&list_meta(served, meta));
                self.tail.extend_from_slice(b"}\n");
            }
            _ => {
                let kind = format!("{}List", served.kind);
                self.head = json_head(&kind, &served.api_version(), meta);
                self.tail = b"]}\n".to_vec();
            }
        }
        Ok(())
    }

    /// Protobuf says first how long everything is: the items are made once to be measured.
    async fn frame_protobuf(&mut self, meta: &ListMeta) -> Result<(), Status> {
        let meta = protobuf::encode_message(MsgRef::new(meta));
        let mut items = 0;
        let mut scratch = Vec::new();
        for (index, entry) in self.entries.as_slice().iter().enumerate() {
            let length = self.measure(entry, &mut scratch)?;
            items += 1 + varint_len(length) + length;
            if index % ITEMS_AT_ONCE == ITEMS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
        }
        let length = 1 + varint_len(meta.len()) + meta.len() + items;
        let (version, kind) = match self.form.shape {
            Shape::Plain => (
                self.served.api_version(),
                format!("{}List", self.served.kind),
            ),
            _ => (
                self.form.version.api_version().to_owned(),
                "PartialObjectMetadataList".to_owned(),
            ),
        };
        protobuf::write_envelope_head(&version, &kind, length, &mut self.head);
        self.head.push(0x0a);
        push_varint(meta.len(), &mut self.head);
        self.head.extend_from_slice(&meta);
        protobuf::write_envelope_tail(&mut self.tail);
        self.left = (self.head.len() + items + self.tail.len()) as u64;
        self.exact = true;
        Ok(())
    }
}

/// Whether items' protobuf is made of what is stored.
pub(super) fn can_stamp(served: &Served, form: &Form) -> bool {
    form.media == Media::Protobuf && form.shape == Shape::Plain && served.is_shown_as_stored()
}

/// `{"kind":…,"apiVersion":…,"metadata":…,"items":[`
fn json_head(kind: &str, version: &str, meta: &ListMeta) -> Vec<u8> {
    let mut head =
        format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":").into_bytes();
    json::write_message(MsgRef::new(meta), &mut head);
    head.extend_from_slice(b",\"items\":[");
    head
}
