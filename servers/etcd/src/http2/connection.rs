//! One HTTP/2 connection: its frames, windows and streams. What one key's read answers goes out with the next write;
//! changes are answered when they are durable; streams and long reads are tasks of their own, which end with it.

use super::call::{Collected, End, Input, Request, Stream};
use super::frame::{self, Head, PAYLOAD_MAX, Reason};
use super::hpack::{Block, Decoder};
use super::mailbox::{Done, Mailbox};
use super::stream::{Body, Promise, ROOM, Reply, Said, Say};
use crate::calls::{Answered, Face, PUT, RANGE, TXN};
use crate::gateway;
use crate::streams::{In, Out, is_stream};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use corten_etcd::mvcc::Answer;
use corten_etcd::{Code, Refusal, grpc};
use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// What a client may send on one stream and on one connection before it hears that it was read.
const STREAM_WINDOW: usize = 1 << 20;
const CONNECTION_WINDOW: usize = 8 << 20;
/// What both windows are before anybody speaks.
const DEFAULT_WINDOW: usize = 65_535;
const WINDOW_MAX: i64 = i32::MAX as i64;
/// Streams under way, at most.
const STREAMS_MAX: usize = 1 << 20;
/// The bytes of a header block, at most.
const BLOCK_MAX: usize = 64 << 10;
/// How much waits for the socket before nothing more is read or made.
const OUT_MAX: usize = 256 << 10;
/// What gRPC's framing and small fields may add to the largest request.
const OVERHEAD: usize = 512 << 10;

/// Serves a connection whose preface was read, until it ends.
pub(crate) async fn serve<T>(io: T, face: Face) -> io::Result<()>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut connection = Connection::new(io, face);
    poll_fn(|cx| connection.poll(cx)).await
}

struct Connection<T> {
    io: T,
    face: Face,
    /// The front of a frame of which more has to come.
    received: BytesMut,
    out: BytesMut,
    /// What was written may still be held back below, by TLS.
    flushing: bool,
    headers: Decoder,
    /// A header block that is to be continued: its first frame, and what came so far.
    continued: Option<(Head, BytesMut)>,
    streams: BTreeMap<u32, Box<Stream>>,
    /// The newest stream that the client opened.
    newest: u32,
    /// What a new stream may send, and the largest payload.
    window_of_streams: i64,
    payload_max: usize,
    /// What may be sent on the connection.
    window: i64,
    /// What was received and not yet given back to the client.
    received_bytes: usize,
    /// Streams with something to send that wait for the socket or the connection's window.
    row: VecDeque<u32>,
    tasks: JoinSet<()>,
    /// Changes that the writer has not answered.
    promised: usize,
    mailbox: Arc<Mailbox>,
    /// What was taken out of the mailbox last, empty between.
    done: Vec<(u32, Done)>,
    say: Say,
    said: mpsc::UnboundedReceiver<(u32, Said)>,
    /// The first header block and the trailers of an answer without refusal.
    usual: (Bytes, Bytes),
    closing: bool,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    fn new(io: T, face: Face) -> Connection<T> {
        let (say, said) = mpsc::unbounded_channel();
        let mut out = BytesMut::new();
        let mut settings = BytesMut::new();
        for (name, value) in [(3, STREAMS_MAX), (4, STREAM_WINDOW), (6, BLOCK_MAX)] {
            settings.put_u16(name);
            settings.put_u32(value as u32);
        }
        frame::write(&mut out, frame::SETTINGS, 0, 0, &settings);
        frame::window(&mut out, 0, (CONNECTION_WINDOW - DEFAULT_WINDOW) as u32);
        Connection {
            io,
            face,
            received: BytesMut::new(),
            out,
            flushing: false,
            headers: Decoder::default(),
            continued: None,
            streams: BTreeMap::new(),
            newest: 0,
            window_of_streams: DEFAULT_WINDOW as i64,
            payload_max: PAYLOAD_MAX,
            window: DEFAULT_WINDOW as i64,
            received_bytes: 0,
            row: VecDeque::new(),
            tasks: JoinSet::new(),
            promised: 0,
            mailbox: Arc::default(),
            done: Vec::new(),
            say,
            said,
            usual: (head_of_answer().finish(), trailers(Ok(()))),
            closing: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.promised > 0 {
                self.take_done(cx);
            }
            if !self.tasks.is_empty() {
                // Tasks first: what one that ended has said is there by then.
                while let Poll::Ready(Some(_)) = self.tasks.poll_join_next(cx) {}
                while let Poll::Ready(Some((id, said))) = self.said.poll_recv(cx) {
                    self.hear(id, said);
                }
            }
            let sent = loop {
                self.go_on();
                let sent = self.poll_write(cx)?;
                // What waited for room in the buffer may have it now.
                if sent.is_pending() || self.row.is_empty() || self.window <= 0 {
                    break sent;
                }
            };
            if self.closing {
                return sent.map(Ok);
            }
            if self.out.len() > OUT_MAX {
                return Poll::Pending;
            }
            match self.poll_read(cx)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err(reason))) => self.go_away(reason),
            }
        }
    }

    /// Hears what became of changes, and is woken by the next one.
    fn take_done(&mut self, cx: &mut Context<'_>) {
        let mut done = std::mem::take(&mut self.done);
        self.mailbox.take(cx, &mut done);
        self.promised -= done.len();
        for (id, result) in done.drain(..) {
            self.changed(id, result);
        }
        self.done = done;
    }

    /// Reads what is there and takes it in; none at the end. It is read into room that is warm from other connections.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<Option<Result<(), Reason>>>> {
        let mut room = self.face.rooms.take();
        let mut read = ReadBuf::new(&mut room);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut read);
        let length = read.filled().len();
        let outcome = match polled {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if length == 0 => Ok(Poll::Ready(None)),
            Poll::Ready(Ok(())) => Ok(Poll::Ready(Some(self.take_in(&room[..length])))),
        };
        self.face.rooms.give(room);
        outcome
    }

    fn take_in(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        if self.received.is_empty() {
            let taken = self.frames(bytes)?;
            self.received.put_slice(&bytes[taken..]);
            return Ok(());
        }
        let mut received = std::mem::take(&mut self.received);
        received.put_slice(bytes);
        let taken = self.frames(&received)?;
        received.advance(taken);
        if !received.is_empty() {
            self.received = received;
        }
        Ok(())
    }

    /// Writes what is due; ready when all of it is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if self.out.is_empty() && !self.flushing {
            return Ok(Poll::Ready(()));
        }
        self.flushing = true;
        while !self.out.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.out) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => self.out.advance(written?),
            }
        }
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(flushed) => {
                self.flushing = false;
                flushed.map(Poll::Ready)
            }
        }
    }

    fn go_away(&mut self, reason: Reason) {
        let mut payload = BytesMut::with_capacity(8);
        payload.put_u32(self.newest);
        payload.put_u32(reason as u32);
        frame::write(&mut self.out, frame::GOAWAY, 0, 0, &payload);
        self.streams.clear();
        self.closing = true;
    }

    /// Takes every whole frame; answers how many bytes they are.
    fn frames(&mut self, received: &[u8]) -> Result<usize, Reason> {
        let mut taken = 0;
        while let Some(head) = Head::read(&received[taken..]) {
            if head.length > PAYLOAD_MAX {
                return Err(Reason::FrameSize);
            }
            let from = taken + frame::HEAD;
            let Some(payload) = received.get(from..from + head.length) else {
                break;
            };
            self.frame(head, payload)?;
            taken = from + head.length;
            if self.out.len() > 4 * OUT_MAX {
                // Nobody who reads what is sent gets this far.
                return Err(Reason::Calm);
            }
        }
        Ok(taken)
    }

    fn frame(&mut self, head: Head, payload: &[u8]) -> Result<(), Reason> {
        if let Some((first, mut block)) = self.continued.take() {
            if head.kind != frame::CONTINUATION || head.stream != first.stream {
                return Err(Reason::Protocol);
            }
            block.put_slice(payload);
            return self.block(first, head, block);
        }
        match head.kind {
            frame::DATA => self.data(head, payload),
            frame::HEADERS => {
                if head.stream.is_multiple_of(2) {
                    return Err(Reason::Protocol);
                }
                let payload = head.strip(payload)?;
                if head.has(frame::END_HEADERS) {
                    return self.request(head, payload);
                }
                self.block(head, head, BytesMut::from(payload))
            }
            frame::SETTINGS => self.settings(head, payload),
            frame::WINDOW => self.window(head, payload),
            frame::RESET => {
                if head.stream == 0 || head.stream > self.newest {
                    return Err(Reason::Protocol);
                }
                self.streams.remove(&head.stream);
                Ok(())
            }
            frame::PING => {
                if payload.len() != 8 {
                    return Err(Reason::FrameSize);
                }
                if !head.has(frame::ACK) {
                    frame::write(&mut self.out, frame::PING, frame::ACK, 0, payload);
                }
                Ok(())
            }
            frame::PUSH | frame::CONTINUATION => Err(Reason::Protocol),
            // Calls under way go on when a client says that it opens no more streams.
            frame::GOAWAY | frame::PRIORITY => Ok(()),
            // To be ignored, says the standard.
            _ => Ok(()),
        }
    }

    /// A header block, of which more may come.
    fn block(&mut self, first: Head, now: Head, block: BytesMut) -> Result<(), Reason> {
        if block.len() > BLOCK_MAX {
            return Err(Reason::Calm);
        }
        if now.has(frame::END_HEADERS) {
            return self.request(first, &block);
        }
        self.continued = Some((first, block));
        Ok(())
    }

    /// A whole header block: a new stream, or the trailers of one.
    fn request(&mut self, head: Head, block: &[u8]) -> Result<(), Reason> {
        let mut request = Request::default();
        let decoded = self
            .headers
            .decode(block, |name, value| request.hear(name, value));
        decoded.map_err(|_| Reason::Compression)?;
        let id = head.stream;
        if id <= self.newest {
            // Trailers, or what was sent before the client knew that the stream is over.
            if head.has(frame::END_STREAM) && self.streams.contains_key(&id) {
                self.receive(id, &[], true);
            }
            return Ok(());
        }
        self.newest = id;
        if request.method.is_empty() || request.path.is_empty() {
            frame::reset(&mut self.out, id, Reason::Protocol);
            return Ok(());
        }
        if self.streams.len() >= STREAMS_MAX {
            frame::reset(&mut self.out, id, Reason::Refused);
            return Ok(());
        }
        let mut stream = Box::new(Stream::new(self.window_of_streams));
        match request.is_grpc && is_stream(&request.path) {
            true => self.start(id, &mut stream, request),
            false => stream.input = Input::Collect(request, Collected::default()),
        }
        self.streams.insert(id, stream);
        if head.has(frame::END_STREAM) {
            self.receive(id, &[], true);
        }
        Ok(())
    }

    fn reply(&self, id: u32, stream: &mut Stream) -> Reply {
        let room = Arc::new(Semaphore::new(ROOM));
        stream.room = Some(room.clone());
        Reply {
            stream: id,
            say: self.say.clone(),
            room,
            ended: false,
        }
    }

    /// Starts a call that streams.
    fn start(&mut self, id: u32, stream: &mut Stream, request: Request) {
        let (feed, pieces) = mpsc::unbounded_channel();
        stream.input = Input::Feed(feed);
        let reply = self.reply(id, stream);
        let input = In::Grpc {
            body: Body {
                stream: id,
                pieces,
                say: self.say.clone(),
            },
            received: BytesMut::new(),
            bytes_max: self.bytes_max(),
        };
        let face = self.face.clone();
        self.tasks.spawn(async move {
            reply.head(head_of_answer().finish());
            let mut out = Out::Grpc(reply);
            let result = face.stream(&request.path, input, &mut out).await;
            if let Out::Grpc(reply) = out {
                reply.end(Some(trailers(result.as_ref().map(|_| ()))));
            }
        });
    }

    fn bytes_max(&self) -> usize {
        self.face.about.request_bytes_max + OVERHEAD
    }

    fn data(&mut self, head: Head, payload: &[u8]) -> Result<(), Reason> {
        if head.stream == 0 || head.stream > self.newest {
            return Err(Reason::Protocol);
        }
        self.received_bytes += payload.len();
        if self.received_bytes >= CONNECTION_WINDOW / 2 {
            frame::window(&mut self.out, 0, self.received_bytes as u32);
            self.received_bytes = 0;
        }
        let data = head.strip(payload)?;
        if let Some(stream) = self.streams.get(&head.stream) {
            if stream.ended {
                frame::reset(&mut self.out, head.stream, Reason::StreamClosed);
                self.streams.remove(&head.stream);
                return Ok(());
            }
            // Padding counts as read at once.
            self.read(head.stream, head.length - data.len());
            self.receive(head.stream, data, head.has(frame::END_STREAM));
        }
        Ok(())
    }

    /// So many bytes of a stream were read: the client may send as many again, of which it hears now and then.
    fn read(&mut self, id: u32, bytes: usize) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.ended) {
            stream.read += bytes;
            if stream.read >= STREAM_WINDOW / 2 {
                frame::window(&mut self.out, id, stream.read as u32);
                stream.read = 0;
            }
        }
    }

    /// Gives what arrived to whom it is for.
    fn receive(&mut self, id: u32, data: &[u8], end: bool) {
        let bytes_max = self.bytes_max();
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        stream.ended |= end;
        let length = data.len();
        let mut too_long = None;
        match &mut stream.input {
            Input::Collect(request, collected) => {
                collected.push(data, request.is_grpc, bytes_max);
                let most = match request.is_grpc {
                    true => bytes_max + grpc::PREFIX,
                    false => gateway::BODY_MAX,
                };
                if collected.len() > most {
                    too_long = Some(format!(
                        "grpc: received message larger than max ({} vs. {bytes_max})",
                        collected.len()
                    ));
                }
            }
            Input::Feed(feed) => {
                // Whoever does not listen any more has ended the call.
                if length > 0 {
                    let _ = feed.send(Bytes::copy_from_slice(data));
                }
                if end {
                    let _ = feed.send(Bytes::new());
                }
                return;
            }
            Input::Closed => {}
        }
        if let Some(text) = too_long {
            stream.input = Input::Closed;
            self.answer(id, Err(Refusal::new(Code::ResourceExhausted, text)));
        } else if end {
            self.run(id);
        } else {
            self.read(id, length);
        }
    }

    /// Carries out a request that is there whole.
    fn run(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        let input = std::mem::replace(&mut stream.input, Input::Closed);
        let Input::Collect(request, collected) = input else {
            return;
        };
        let body = collected.whole();
        if !request.is_grpc {
            let mut stream = self.streams.remove(&id);
            if let Some(stream) = &mut stream {
                let reply = self.reply(id, stream);
                let face = self.face.clone();
                let (method, path) = (request.method, request.path);
                let serving =
                    async move { gateway::over_http2(&method, &path, body, reply, face).await };
                self.tasks.spawn(serving);
            }
            self.streams.extend(stream.map(|stream| (id, stream)));
            return;
        }
        let message = match message(body, self.bytes_max()) {
            Ok(message) => message,
            Err(refusal) => return self.answer(id, Err(refusal)),
        };
        let at_once = match &*request.path {
            RANGE => match self.face.get(&message) {
                Ok(Some(found)) => return self.say(id, &found),
                Ok(None) => Ok(()),
                Err(refusal) => Err(refusal),
            },
            PUT | TXN => {
                // When it is answered at once, the promise is dropped, and what that says comes too late.
                self.promised += 1;
                let promise = Promise::of(id, self.mailbox.clone());
                let begun = self
                    .face
                    .begin(&request.path, &message, move |result| promise.keep(result));
                match begun {
                    Ok(None) => return,
                    Ok(Some(read)) => return self.say(id, &read),
                    Err(refusal) => Err(refusal),
                }
            }
            _ => Ok(()),
        };
        match at_once {
            Err(refusal) => self.answer(id, Err(refusal)),
            // It may take long: others on this connection do not wait for it.
            Ok(()) => {
                let (face, say) = (self.face.clone(), self.say.clone());
                self.tasks.spawn(async move {
                    let answered = face.call(&request.path, message).await;
                    let _ = say.send((id, Said::Answered(answered)));
                });
            }
        }
    }

    /// What became of a change.
    fn changed(&mut self, id: u32, result: Done) {
        match result {
            Ok(Answer::Put(mut response)) => {
                self.face.fill(&mut response.header);
                self.say(id, &response);
            }
            Ok(Answer::Txn(mut response)) => {
                self.face.fill(&mut response.header);
                self.say(id, &response);
            }
            Ok(_) => self.answer(id, Err(Refusal::STOPPED)),
            Err(refusal) => self.answer(id, Err(refusal)),
        }
    }

    /// Answers with a message: in one piece where there is room, as it is for nearly all.
    fn say(&mut self, id: u32, message: &impl Message) {
        let Some(stream) = self.streams.get(&id) else {
            return;
        };
        let length = grpc::PREFIX + message.encoded_len();
        let most = stream.window.min(self.window).min(self.payload_max as i64);
        let at_once = stream.ended && !stream.answered && self.out.len() < OUT_MAX;
        if !at_once || length as i64 > most {
            return self.answer(id, Ok(grpc::framed(message)));
        }
        self.streams.remove(&id);
        self.window -= length as i64;
        let (head, trailers) = &self.usual;
        let frames = 3 * frame::HEAD + head.len() + trailers.len();
        self.out.reserve(frames + length);
        frame::block(&mut self.out, 0, id, head);
        frame::head(&mut self.out, length, frame::DATA, 0, id);
        grpc::write(&mut self.out, message);
        frame::block(&mut self.out, frame::END_STREAM, id, trailers);
    }

    fn answer(&mut self, id: u32, answered: Answered) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut stream.answered, true) {
            return;
        }
        match answered {
            Ok(message) => {
                frame::block(&mut self.out, 0, id, &self.usual.0);
                stream.waiting.push_back(message);
                stream.end = Some(End::Trailers(self.usual.1.clone()));
                self.send(id);
            }
            Err(refusal) => {
                let mut block = head_of_answer();
                add_status(&mut block, Err(&refusal));
                frame::block(&mut self.out, frame::END_STREAM, id, &block.finish());
                self.close(id);
            }
        }
    }

    /// What a task says about its stream.
    fn hear(&mut self, id: u32, said: Said) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        match said {
            Said::Head(block) => frame::block(&mut self.out, 0, id, &block),
            Said::Data(bytes) => {
                stream.waiting.push_back(bytes);
                self.send(id);
            }
            Said::End(trailers) => {
                stream.end = Some(trailers.map_or(End::Data, End::Trailers));
                self.send(id);
            }
            Said::Read(bytes) => self.read(id, bytes),
            Said::Answered(answered) => self.answer(id, answered),
            Said::Dropped => {
                frame::reset(&mut self.out, id, Reason::Cancel);
                self.streams.remove(&id);
            }
        }
    }

    /// Lets streams go on that waited for the socket or the connection's window.
    fn go_on(&mut self) {
        for _ in 0..self.row.len() {
            let Some(id) = self.row.pop_front() else {
                return;
            };
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.in_row = false;
                self.send(id);
            }
        }
    }

    /// Sends what waits on a stream, as far as the windows and the buffer let it.
    fn send(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        while let Some(front) = stream.waiting.front_mut() {
            let most = stream.window.min(self.window).min(self.payload_max as i64);
            if most <= 0 || self.out.len() >= OUT_MAX {
                // For its own window it is told to go on.
                if stream.window > 0 && !stream.in_row {
                    stream.in_row = true;
                    self.row.push_back(id);
                }
                return;
            }
            let piece = front.split_to(front.len().min(most as usize));
            stream.window -= piece.len() as i64;
            self.window -= piece.len() as i64;
            frame::write(&mut self.out, frame::DATA, 0, id, &piece);
            if let Some(room) = &stream.room {
                room.add_permits(piece.len());
            }
            if front.is_empty() {
                stream.waiting.pop_front();
            }
        }
        match stream.end.take() {
            None => {}
            Some(End::Trailers(block)) => {
                frame::block(&mut self.out, frame::END_STREAM, id, &block);
                self.close(id);
            }
            Some(End::Data) => {
                frame::write(&mut self.out, frame::DATA, frame::END_STREAM, id, &[]);
                self.close(id);
            }
        }
    }

    /// Everything was said; what the client still has to say is not wanted.
    fn close(&mut self, id: u32) {
        if let Some(stream) = self.streams.remove(&id)
            && !stream.ended
        {
            frame::reset(&mut self.out, id, Reason::Nothing);
        }
    }

    fn settings(&mut self, head: Head, mut payload: &[u8]) -> Result<(), Reason> {
        if head.has(frame::ACK) {
            return Ok(());
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Reason::FrameSize);
        }
        while payload.has_remaining() {
            let (name, value) = (payload.get_u16(), payload.get_u32());
            match name {
                4 => {
                    let window = i64::from(value);
                    if window > WINDOW_MAX {
                        return Err(Reason::FlowControl);
                    }
                    let more = window - self.window_of_streams;
                    self.window_of_streams = window;
                    let ids: Vec<u32> = self.streams.keys().copied().collect();
                    for id in ids {
                        self.widen(id, more)?;
                    }
                }
                5 if (PAYLOAD_MAX..1 << 24).contains(&(value as usize)) => {
                    self.payload_max = (value as usize).min(OUT_MAX);
                }
                5 => return Err(Reason::Protocol),
                _ => {}
            }
        }
        frame::write(&mut self.out, frame::SETTINGS, frame::ACK, 0, &[]);
        Ok(())
    }

    fn widen(&mut self, id: u32, more: i64) -> Result<(), Reason> {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.window += more;
            if stream.window > WINDOW_MAX {
                return Err(Reason::FlowControl);
            }
            self.send(id);
        }
        Ok(())
    }

    fn window(&mut self, head: Head, mut payload: &[u8]) -> Result<(), Reason> {
        if payload.len() != 4 {
            return Err(Reason::FrameSize);
        }
        let more = i64::from(payload.get_u32() & 0x7fff_ffff);
        if more == 0 || head.stream > self.newest {
            return Err(Reason::Protocol);
        }
        if head.stream != 0 {
            return self.widen(head.stream, more);
        }
        self.window += more;
        match self.window > WINDOW_MAX {
            true => Err(Reason::FlowControl),
            false => Ok(()),
        }
    }
}

/// The one message of a call that does not stream.
fn message(mut body: Bytes, bytes_max: usize) -> Result<Bytes, Refusal> {
    let missing = || Refusal::new(Code::Internal, "grpc: a request is missing");
    if body.len() < grpc::PREFIX {
        return Err(missing());
    }
    let length = grpc::length(&body, bytes_max)?;
    if body.len() < grpc::PREFIX + length {
        return Err(missing());
    }
    body.advance(grpc::PREFIX);
    body.truncate(length);
    Ok(body)
}

fn head_of_answer() -> Block {
    let mut block = Block::status(200);
    block.add("content-type", grpc::CONTENT_TYPE.as_bytes());
    block
}

fn add_status(block: &mut Block, result: Result<(), &Refusal>) {
    for (name, value) in &grpc::trailers(result) {
        block.add(name.as_str(), value.as_bytes());
    }
}

fn trailers(result: Result<(), &Refusal>) -> Bytes {
    let mut block = Block::default();
    add_status(&mut block, result);
    block.finish()
}
