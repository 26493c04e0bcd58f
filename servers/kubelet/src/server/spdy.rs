//! SPDY/3.1 as Kubernetes' clients speak it: streams opened by the client, replies, data, pings. Without flow control,
//! which those clients do not use.
//!
//! Invariant: header blocks of a connection share one compression state in each direction, so one task reads and one
//! writes.

use crate::server::streams::{Asked, Channel, Peer, Piece, run};
use crate::server::{Request, Response, full, text};
use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// The dictionary of header blocks in SPDY/3.
const DICTIONARY: &[u8] = include_bytes!("spdy_dictionary.bin");
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FIN: u8 = 1;
/// Bytes of a frame at most; the format allows 16 MiB.
const FRAME_MAX: usize = 16 << 20;
const HEADERS_MAX: usize = 1 << 20;
const PROTOCOLS: [&str; 4] = [
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
];

/// A frame to be written.
#[derive(Debug)]
enum Frame {
    Reply(u32),
    Data(u32, Bytes),
    Fin(u32),
    Ping(u32),
    GoAway,
}

/// A stream that the client opened.
pub(crate) struct Stream {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) from: mpsc::Receiver<Bytes>,
    pub(crate) to: Sender,
}

/// The sending half of a stream.
#[derive(Clone)]
pub(crate) struct Sender {
    id: u32,
    frames: mpsc::Sender<Frame>,
}

impl Sender {
    /// Sends bytes; false when the connection is gone.
    pub(crate) async fn send(&self, bytes: Bytes) -> bool {
        self.frames.send(Frame::Data(self.id, bytes)).await.is_ok()
    }

    /// Says that nothing more comes.
    pub(crate) async fn end(&self) {
        let _ = self.frames.send(Frame::Fin(self.id)).await;
    }
}

/// A connection: the streams that its client opens.
pub(crate) struct Connection {
    pub(crate) streams: mpsc::Receiver<Stream>,
    frames: mpsc::Sender<Frame>,
    writer: tokio::task::JoinHandle<()>,
    reader: tokio::task::AbortHandle,
}

impl Connection {
    /// Starts to speak SPDY on `io`.
    pub(crate) fn start<I: AsyncRead + AsyncWrite + Send + 'static>(io: I) -> Connection {
        let (reader, writer) = tokio::io::split(io);
        let (frames, queue) = mpsc::channel(64);
        let (opened, streams) = mpsc::channel(16);
        let writer = tokio::spawn(async move {
            if let Err(error) = write(writer, queue).await {
                tracing::debug!(%error, "a SPDY connection ended while writing");
            }
        });
        let answers = frames.clone();
        let reader = tokio::spawn(async move {
            if let Err(error) = read(reader, answers, opened).await {
                tracing::debug!(%error, "a SPDY connection ended while reading");
            }
        });
        Connection {
            streams,
            frames,
            writer,
            reader: reader.abort_handle(),
        }
    }

    /// Ends the connection once everything is written.
    pub(crate) async fn end(self) {
        let _ = self.frames.send(Frame::GoAway).await;
        self.reader.abort();
        drop(self.frames);
        drop(self.streams);
        let _ = self.writer.await;
    }
}

async fn write(mut io: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Frame>) -> Result<()> {
    let mut compress = Compress::new(Compression::fast(), true);
    while let Some(frame) = queue.recv().await {
        let mut out = Vec::new();
        let mut last = false;
        match frame {
            Frame::Reply(id) => {
                let block = deflate(&mut compress, &0_u32.to_be_bytes())?;
                control(SYN_REPLY, 4 + block.len(), &mut out);
                out.extend_from_slice(&id.to_be_bytes());
                out.extend_from_slice(&block);
            }
            Frame::Data(id, bytes) => data(id, 0, &bytes, &mut out),
            Frame::Fin(id) => data(id, FIN, &[], &mut out),
            Frame::Ping(id) => {
                control(PING, 4, &mut out);
                out.extend_from_slice(&id.to_be_bytes());
            }
            Frame::GoAway => {
                control(GOAWAY, 8, &mut out);
                out.extend_from_slice(&[0; 8]);
                last = true;
            }
        }
        io.write_all(&out).await?;
        io.flush().await?;
        if last {
            break;
        }
    }
    io.shutdown().await
}

fn control(kind: u16, length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&[0x80, 3]);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

fn data(id: u32, flags: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&((u32::from(flags) << 24) | bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn deflate(compress: &mut Compress, input: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(input.len() + 64);
    compress
        .compress_vec(input, &mut out, FlushCompress::Sync)
        .map_err(Error::other)?;
    Ok(out)
}

async fn read(
    mut io: impl AsyncRead + Unpin,
    frames: mpsc::Sender<Frame>,
    opened: mpsc::Sender<Stream>,
) -> Result<()> {
    let mut inflater = Decompress::new(true);
    let mut open: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    loop {
        let mut head = [0; 8];
        io.read_exact(&mut head).await?;
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > FRAME_MAX {
            return Err(Error::new(ErrorKind::InvalidData, "the frame is too long"));
        }
        let mut body = vec![0; length];
        io.read_exact(&mut body).await?;
        if first & 0x8000_0000 == 0 {
            if let Some(stream) = open.get(&first)
                && !body.is_empty()
            {
                let _ = stream.send(body.into()).await;
            }
            if flags & FIN != 0 {
                open.remove(&first);
            }
            continue;
        }
        let number = || {
            body.first_chunk::<4>()
                .map_or(0, |b| u32::from_be_bytes(*b) & 0x7fff_ffff)
        };
        match (first & 0xffff) as u16 {
            SYN_STREAM => {
                let id = number();
                let block = body.get(10..).unwrap_or_default();
                let headers = headers(&inflate(&mut inflater, block)?)?;
                let (sender, from) = mpsc::channel(16);
                if flags & FIN == 0 {
                    open.insert(id, sender);
                }
                let to = Sender {
                    id,
                    frames: frames.clone(),
                };
                let gone = || Error::from(ErrorKind::BrokenPipe);
                frames.send(Frame::Reply(id)).await.map_err(|_| gone())?;
                opened
                    .send(Stream { headers, from, to })
                    .await
                    .map_err(|_| gone())?;
            }
            RST_STREAM => {
                open.remove(&number());
            }
            PING => {
                let _ = frames.send(Frame::Ping(number())).await;
            }
            GOAWAY => return Ok(()),
            // Settings and windows: nothing depends on them.
            _ => {}
        }
    }
}

fn inflate(inflater: &mut Decompress, mut input: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(4096);
    loop {
        let before = (inflater.total_in(), inflater.total_out());
        let step = inflater.decompress_vec(input, &mut out, FlushDecompress::Sync);
        let taken = (inflater.total_in() - before.0) as usize;
        input = input.get(taken..).unwrap_or_default();
        match step {
            Err(error) if error.needs_dictionary().is_some() => {
                inflater.set_dictionary(DICTIONARY).map_err(Error::other)?;
                continue;
            }
            Err(error) => return Err(Error::other(error)),
            Ok(Status::StreamEnd) => return Ok(out),
            Ok(_) => {}
        }
        let stuck = taken == 0 && inflater.total_out() == before.1;
        if out.len() < out.capacity() && (input.is_empty() || stuck) {
            return Ok(out);
        }
        if out.len() > HEADERS_MAX {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "the headers are too long",
            ));
        }
        out.reserve(4096);
    }
}

/// Name and value pairs, each with a length of 4 bytes before it.
fn headers(block: &[u8]) -> Result<HashMap<String, String>> {
    let short = || Error::new(ErrorKind::InvalidData, "a header block ends early");
    let mut rest = block;
    let number = |rest: &mut &[u8]| -> Result<usize> {
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        *rest = tail;
        Ok(u32::from_be_bytes(*head) as usize)
    };
    let count = number(&mut rest)?;
    let mut headers = HashMap::new();
    for _ in 0..count.min(1024) {
        let mut pair = [String::new(), String::new()];
        for text in &mut pair {
            let length = number(&mut rest)?;
            let bytes = rest.get(..length).ok_or_else(short)?;
            *text = String::from_utf8_lossy(bytes).into_owned();
            rest = &rest[length..];
        }
        let [name, value] = pair;
        headers.insert(name.to_lowercase(), value);
    }
    Ok(headers)
}

/// Answers an upgrade to SPDY with one of `known` protocols, and hands the connection over.
pub(crate) fn upgrade(
    request: &mut Request,
    known: &[&str],
    use_it: impl FnOnce(TokioIo<hyper::upgrade::Upgraded>) + Send + 'static,
) -> Response {
    let asks = request
        .headers()
        .get(http::header::UPGRADE)
        .and_then(|v| v.to_str().ok());
    if !asks.is_some_and(|v| v.eq_ignore_ascii_case("SPDY/3.1")) {
        return text(400, "unable to upgrade: missing upgrade headers in request");
    }
    const VERSION: &str = "X-Stream-Protocol-Version";
    let offered: Vec<String> = request
        .headers()
        .get_all(VERSION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|v| v.trim().to_owned())
        .collect();
    let agreed = known
        .iter()
        .find(|known| offered.iter().any(|o| o == *known));
    if agreed.is_none() && !offered.is_empty() {
        return text(
            403,
            format!(
                "unable to negotiate protocol: client supports {offered:?}, server accepts {known:?}"
            ),
        );
    }
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(io) => use_it(TokioIo::new(io)),
            Err(error) => tracing::debug!(%error, "an upgrade to SPDY did not come about"),
        }
    });
    let mut answer = http::Response::builder()
        .status(101)
        .header(http::header::UPGRADE, "SPDY/3.1")
        .header(http::header::CONNECTION, "Upgrade");
    if let Some(agreed) = agreed {
        answer = answer.header(VERSION, *agreed);
    }
    answer
        .body(full(Bytes::new()))
        .unwrap_or_else(|error| text(500, error.to_string()))
}

/// Starts an exec or attach session.
pub(crate) fn session(mut request: Request, asked: Asked) -> Response {
    upgrade(&mut request, &PROTOCOLS, |io| {
        tokio::spawn(carry(Connection::start(io), asked));
    })
}

async fn carry(mut connection: Connection, asked: Asked) {
    let (to_process, from) = mpsc::channel::<Piece>(16);
    let (to, mut to_client) = mpsc::channel::<Piece>(16);
    let mut senders: HashMap<u8, Sender> = HashMap::new();
    for _ in 0..asked.channels() {
        let waited = tokio::time::timeout(
            std::time::Duration::from_secs(30),
            connection.streams.recv(),
        );
        let Ok(Some(stream)) = waited.await else {
            return;
        };
        let name = stream
            .headers
            .get("streamtype")
            .map(String::as_str)
            .unwrap_or_default();
        let Some(channel) = Channel::of_name(name) else {
            return;
        };
        senders.insert(channel as u8, stream.to.clone());
        let inbox = to_process.clone();
        let mut from = stream.from;
        tokio::spawn(async move {
            while let Some(bytes) = from.recv().await {
                if inbox.send(Piece::Data(channel, bytes)).await.is_err() {
                    return;
                }
            }
            let _ = inbox.send(Piece::End(channel)).await;
        });
    }
    drop(to_process);
    let running = tokio::spawn(run(asked, Peer { from, to }));
    while let Some(piece) = to_client.recv().await {
        match piece {
            Piece::Data(channel, bytes) => {
                if let Some(sender) = senders.get(&(channel as u8))
                    && !sender.send(bytes).await
                {
                    break;
                }
            }
            Piece::End(channel) => {
                if let Some(sender) = senders.get(&(channel as u8)) {
                    sender.end().await;
                }
            }
        }
    }
    let _ = running.await;
    for sender in senders.values() {
        sender.end().await;
    }
    drop(senders);
    connection.end().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(compress: &mut Compress, pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut plain = (pairs.len() as u32).to_be_bytes().to_vec();
        for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
            plain.extend_from_slice(text.as_bytes());
        }
        deflate(compress, &plain).unwrap()
    }

    fn open(compress: &mut Compress, id: u32, pairs: &[(&str, &str)]) -> Vec<u8> {
        let block = block(compress, pairs);
        let mut out = Vec::new();
        control(SYN_STREAM, 10 + block.len(), &mut out);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(&block);
        out
    }

    async fn frame(io: &mut (impl AsyncRead + Unpin)) -> (u32, u8, Vec<u8>) {
        let mut head = [0; 8];
        io.read_exact(&mut head).await.unwrap();
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut body = vec![0; u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize];
        io.read_exact(&mut body).await.unwrap();
        (first, head[4], body)
    }

    #[tokio::test]
    async fn a_client_opens_streams_and_talks() {
        let (mut client, server) = tokio::io::duplex(64 * 1024);
        let mut connection = Connection::start(server);
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(DICTIONARY).unwrap();
        for (id, name) in [(1, "error"), (3, "stdout")] {
            let syn = open(&mut compress, id, &[("streamtype", name), ("port", "80")]);
            client.write_all(&syn).await.unwrap();
            let stream = connection.streams.recv().await.unwrap();
            assert_eq!(stream.headers["streamtype"], name);
            assert_eq!(stream.headers["port"], "80");
            let (first, _, body) = frame(&mut client).await;
            assert_eq!((first & 0xffff, &body[..4]), (2, &id.to_be_bytes()[..]));
            if id == 3 {
                let mut from = stream.from;
                let mut bytes = Vec::new();
                data(3, 0, b"in", &mut bytes);
                data(3, FIN, b"", &mut bytes);
                client.write_all(&bytes).await.unwrap();
                assert_eq!(from.recv().await.unwrap(), "in");
                assert!(from.recv().await.is_none());
                assert!(stream.to.send("out".into()).await);
                stream.to.end().await;
                assert_eq!(frame(&mut client).await, (3, 0, b"out".to_vec()));
                assert_eq!(frame(&mut client).await, (3, FIN, Vec::new()));
            }
        }
        let mut ping = Vec::new();
        control(PING, 4, &mut ping);
        ping.extend_from_slice(&9_u32.to_be_bytes());
        client.write_all(&ping).await.unwrap();
        assert_eq!(frame(&mut client).await.2, 9_u32.to_be_bytes());
        connection.end().await;
        assert_eq!(frame(&mut client).await.0 & 0xffff, u32::from(GOAWAY));
    }
}
