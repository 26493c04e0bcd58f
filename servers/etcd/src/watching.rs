//! Watch streams: requests in, changes out. What is sent is encoded once per watch from bytes that are shared.

use crate::calls::Face;
use crate::streams::{In, Out};
use bytes::{BufMut, Bytes, BytesMut};
use corten_etcd::mvcc::{Said, Shown, WatchStream};
use corten_etcd::proto::etcdserverpb as pb;
use corten_etcd::proto::etcdserverpb::watch_request::RequestUnion;
use corten_etcd::{Refusal, grpc};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use std::sync::Arc;
use std::time::Duration;

/// The id in answers that concern no watch, or all of them.
const NO_WATCH: i64 = -1;
/// What a response takes beside its events, at most.
const HEAD_MAX: usize = 128;
/// How much is collected before it is sent.
const SEND_BYTES: usize = 1 << 20;

/// One stream of one client.
struct Session<'a> {
    face: &'a Face,
    watches: WatchStream,
    out: &'a mut Out,
    buffer: BytesMut,
    /// Watches that got changes since the last tick need no notice of progress.
    quiet: std::collections::BTreeSet<i64>,
    /// What was encoded last: many watches are told the same.
    encoded: Option<(Arc<[Shown]>, Bytes)>,
}

impl Face {
    pub(crate) async fn watch(&self, mut input: In, out: &mut Out) -> Result<(), Refusal> {
        let mut closed = self.store.watch_closed();
        let period = self.progress_period();
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        let mut session = Session {
            face: self,
            watches: self.store.watches(),
            out,
            buffer: BytesMut::new(),
            quiet: Default::default(),
            encoded: None,
        };
        let mut listening = true;
        loop {
            tokio::select! {
                request = input.next(), if listening => match request? {
                    Some(bytes) => session.request(grpc::decode(bytes)?).await?,
                    None if input.outlives_requests() => listening = false,
                    None => return Ok(()),
                },
                () = session.watches.changed() => session.say().await?,
                () = session.out.gone(), if !listening => return Ok(()),
                _ = tick.tick() => session.tick().await?,
                _ = closed.changed() => return Err(Refusal::STOPPED),
            }
        }
    }

    fn progress_period(&self) -> Duration {
        self.about.progress_notify
    }
}

impl Session<'_> {
    async fn request(&mut self, request: pb::WatchRequest) -> Result<(), Refusal> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(&create),
            Some(RequestUnion::CancelRequest(cancel)) if self.watches.cancel(cancel.watch_id) => {
                self.control(pb::WatchResponse {
                    header: self.face.header_now(),
                    watch_id: cancel.watch_id,
                    canceled: true,
                    ..Default::default()
                });
            }
            Some(RequestUnion::ProgressRequest(_)) => return self.progress().await,
            // A watch that is not there is not cancelled, and not told of.
            Some(RequestUnion::CancelRequest(_)) | None => {}
        }
        self.flush().await
    }

    fn create(&mut self, create: &pb::WatchCreateRequest) {
        let refused = |reason: String| pb::WatchResponse {
            header: self.face.header_now(),
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason,
            ..Default::default()
        };
        let response = if create.start_revision < 0 {
            refused(Refusal::COMPACTED.to_string())
        } else {
            match self.watches.create(create) {
                Ok(watch_id) => {
                    self.quiet.insert(watch_id);
                    pb::WatchResponse {
                        header: self.face.header_now(),
                        watch_id,
                        created: true,
                        ..Default::default()
                    }
                }
                Err(refusal) => refused(refusal.to_string()),
            }
        };
        self.control(response);
    }

    fn control(&mut self, response: pb::WatchResponse) {
        grpc::write(&mut self.buffer, &response);
    }

    /// Says what there is to say until every watch is up to date.
    async fn say(&mut self) -> Result<(), Refusal> {
        loop {
            let (_, said) = self.watches.step();
            let silent = said.is_empty();
            for one in said {
                self.one(one);
                if self.buffer.len() >= SEND_BYTES {
                    self.flush().await?;
                }
            }
            self.encoded = None;
            self.flush().await?;
            if silent {
                return Ok(());
            }
        }
    }

    /// Changes as they stand in a response.
    fn events(&mut self, shown: &Arc<[Shown]>) -> Bytes {
        if let Some((last, events)) = &self.encoded
            && Arc::ptr_eq(last, shown)
        {
            return events.clone();
        }
        let events = encode(shown);
        self.encoded = Some((shown.clone(), events.clone()));
        events
    }

    fn one(&mut self, said: Said) {
        match said {
            Said::Changes(id, revision, shown) => {
                self.quiet.remove(&id);
                let mut header = corten_etcd::mvcc::header(revision);
                self.face.fill(&mut header);
                let bytes_max = match self.watches.fragments(id) {
                    true => self.face.about.request_bytes_max,
                    false => usize::MAX,
                };
                let events = self.events(&shown);
                if events.len() + HEAD_MAX <= bytes_max {
                    let head = pb::WatchResponse {
                        header,
                        watch_id: id,
                        ..Default::default()
                    };
                    response(&mut self.buffer, &head, &events);
                } else {
                    changes(&mut self.buffer, header, id, &shown, bytes_max);
                }
            }
            Said::Compacted(id, oldest) => {
                self.watches.cancel(id);
                let mut header = corten_etcd::mvcc::header(0);
                self.face.fill(&mut header);
                self.control(pb::WatchResponse {
                    header,
                    watch_id: id,
                    canceled: true,
                    compact_revision: oldest,
                    ..Default::default()
                });
            }
        }
    }

    /// Answers a request for progress when every watch has seen everything.
    async fn progress(&mut self) -> Result<(), Refusal> {
        self.say().await?;
        if let Some(revision) = self.watches.progress() {
            self.progressed(NO_WATCH, revision);
        }
        self.flush().await
    }

    async fn tick(&mut self) -> Result<(), Refusal> {
        self.say().await?;
        if let Some(revision) = self.watches.progress() {
            let wanting = self.watches.notified();
            let due: Vec<i64> = wanting
                .iter()
                .copied()
                .filter(|id| self.quiet.contains(id))
                .collect();
            self.quiet = wanting.into_iter().collect();
            for id in due {
                self.progressed(id, revision);
            }
        }
        self.flush().await
    }

    fn progressed(&mut self, watch_id: i64, revision: i64) {
        let mut header = corten_etcd::mvcc::header(revision);
        self.face.fill(&mut header);
        self.control(pb::WatchResponse {
            header,
            watch_id,
            ..Default::default()
        });
    }

    async fn flush(&mut self) -> Result<(), Refusal> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes: Bytes = self.buffer.split().freeze();
        self.out.send(bytes).await
    }
}

fn event_len(shown: &Shown) -> usize {
    let field = |bytes: &Bytes| 1 + encoded_len_varint(bytes.len() as u64) + bytes.len();
    let kind = if shown.record.is_deletion() { 2 } else { 0 };
    kind + field(shown.record.encoded()) + shown.previous.as_ref().map_or(0, |p| field(p.encoded()))
}

/// Writes the changes of a watch as one response, or as several that follow each other when that is asked for.
fn changes(
    out: &mut BytesMut,
    header: Option<pb::ResponseHeader>,
    watch_id: i64,
    mut shown: &[Shown],
    bytes_max: usize,
) {
    while !shown.is_empty() {
        let (mut count, mut bytes) = (0, 32);
        for one in shown {
            let length = event_len(one) + 6;
            if count > 0 && bytes + length >= bytes_max {
                break;
            }
            bytes += length;
            count += 1;
        }
        let (now, rest) = shown.split_at(count);
        let head = pb::WatchResponse {
            header,
            watch_id,
            fragment: !rest.is_empty(),
            ..Default::default()
        };
        response(out, &head, &encode(now));
        shown = rest;
    }
}

/// A response whose last field, the events, is there in its encoded form.
fn response(out: &mut BytesMut, head: &pb::WatchResponse, events: &[u8]) {
    let total = head.encoded_len() + events.len();
    out.reserve(grpc::PREFIX + total);
    out.put_u8(0);
    out.put_u32(total as u32);
    // There is room for all of it.
    let _ = head.encode(out);
    out.put_slice(events);
}

fn encode(shown: &[Shown]) -> Bytes {
    let lengths = shown.iter().map(|one| {
        let length = event_len(one);
        1 + encoded_len_varint(length as u64) + length
    });
    let mut out = BytesMut::with_capacity(lengths.sum());
    for one in shown {
        out.put_u8(0x5a);
        encode_varint(event_len(one) as u64, &mut out);
        if one.record.is_deletion() {
            out.put_slice(&[0x08, 0x01]);
        }
        out.put_u8(0x12);
        encode_varint(one.record.encoded().len() as u64, &mut out);
        out.put_slice(one.record.encoded());
        if let Some(previous) = &one.previous {
            out.put_u8(0x1a);
            encode_varint(previous.encoded().len() as u64, &mut out);
            out.put_slice(previous.encoded());
        }
    }
    out.freeze()
}
