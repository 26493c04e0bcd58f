//! HTTP/2 as clients speak it that are not well behaved: raw frames to a face, and what comes back.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use corten_etcd::mvcc::StoreOptions;
use corten_etcd_server::{Config, Serving, TlsFiles};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

struct Face {
    serving: Serving,
    _directory: TempDir,
}

impl Face {
    async fn start() -> Face {
        let directory = TempDir::new().unwrap();
        let serving = Serving::start(Config {
            store: StoreOptions::new(directory.path().join("data")),
            listen: vec!["http://127.0.0.1:0".to_owned()],
            advertise: Vec::new(),
            name: "default".to_owned(),
            tls: TlsFiles::default(),
            progress_notify: Duration::from_secs(600),
        })
        .await
        .unwrap();
        Face {
            serving,
            _directory: directory,
        }
    }

    async fn connect(&self) -> Raw {
        let address = self.serving.urls()[0].trim_start_matches("http://");
        let mut tcp = TcpStream::connect(address).await.unwrap();
        tcp.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut raw = Raw { tcp };
        raw.send(SETTINGS, 0, 0, &[]).await;
        raw
    }
}

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Raw {
    tcp: TcpStream,
}

impl Raw {
    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        self.tcp.write_all(&bytes).await.unwrap();
    }

    /// The next frame that is no setting; none at the end.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.tcp.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            self.tcp.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            let frame = Frame {
                kind: head[3],
                flags: head[4],
                stream,
                payload,
            };
            if frame.kind != SETTINGS && (frame.kind, frame.stream) != (WINDOW, 0) {
                return Some(frame);
            }
        }
    }

    /// Starts a gRPC call.
    async fn call(&mut self, stream: u32, path: &str) {
        self.send(HEADERS, END_HEADERS, stream, &head(path)).await;
    }

    /// Sends a message.
    async fn message(&mut self, stream: u32, flags: u8, message: &[u8]) {
        let mut data = vec![0];
        data.extend((message.len() as u32).to_be_bytes());
        data.extend(message);
        self.send(DATA, flags, stream, &data).await;
    }

    /// Why the connection was ended.
    async fn goes_away(&mut self) -> u8 {
        while let Some(frame) = self.next().await {
            if frame.kind == GOAWAY {
                return frame.payload[7];
            }
        }
        panic!("the connection ended without a word");
    }

    /// The status of an answer that consists of it, or of its trailers.
    async fn status(&mut self, stream: u32) -> String {
        loop {
            let frame = self.next().await.unwrap();
            if (frame.kind, frame.stream) == (HEADERS, stream) && frame.flags & END_STREAM != 0 {
                return String::from_utf8_lossy(&frame.payload).into_owned();
            }
        }
    }
}

fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        assert!(text.len() < 127);
        block.push(text.len() as u8);
        block.extend(text.bytes());
    }
}

fn head(path: &str) -> Vec<u8> {
    // POST and http from the table of the standard.
    let mut block = vec![0x83, 0x86];
    literal(&mut block, ":path", path);
    literal(&mut block, ":authority", "face");
    literal(&mut block, "content-type", "application/grpc+proto");
    literal(&mut block, "te", "trailers");
    block
}

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
/// A range of the key `a`, and a put of it.
const A: &[u8] = b"\x0a\x01a";

#[tokio::test]
async fn a_call_in_many_pieces_is_answered() {
    let face = Face::start().await;
    let mut raw = face.connect().await;
    // A block in three frames, with priority and padding; a message in three, padded too.
    let block = head(PUT);
    let mut first = vec![3, 0, 0, 0, 0, 200];
    first.extend(&block[..5]);
    first.extend([0; 3]);
    raw.send(HEADERS, 8 | 32, 1, &first).await;
    raw.send(CONTINUATION, 0, 1, &block[5..9]).await;
    raw.send(CONTINUATION, END_HEADERS, 1, &block[9..]).await;
    raw.send(DATA, 0, 1, &[0, 0]).await;
    raw.send(DATA, 8, 1, &[2, 0, 0, 6, 9, 9]).await;
    raw.send(DATA, 0, 1, b"\x0a\x01a\x12\x01b").await;
    raw.send(DATA, END_STREAM, 1, &[]).await;
    assert!(raw.status(1).await.contains("grpc-status\u{1}0"));
    raw.call(3, RANGE).await;
    raw.message(3, END_STREAM, A).await;
    let answered = raw.next().await.unwrap();
    assert_eq!((answered.kind, answered.payload[0]), (HEADERS, 0x88));
    let data = raw.next().await.unwrap();
    assert!(data.payload.ends_with(b"\x2a\x01b\x20\x01"), "{data:?}");
    assert!(raw.status(3).await.contains("grpc-status\u{1}0"));
    face.serving.stop().await;
}

#[tokio::test]
async fn answers_keep_to_the_clients_windows() {
    let face = Face::start().await;
    let mut raw = face.connect().await;
    let mut put = b"\x0a\x01a\x12\x80\x7d".to_vec();
    put.extend([b'v'; 16_000]);
    raw.call(1, PUT).await;
    raw.message(1, END_STREAM, &put).await;
    raw.status(1).await;
    // Streams may send 1,000 bytes at first.
    raw.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 3, 0xe8]).await;
    raw.call(3, RANGE).await;
    raw.message(3, END_STREAM, A).await;
    assert_eq!(raw.next().await.unwrap().kind, HEADERS);
    let mut bytes = raw.next().await.unwrap().payload.len();
    assert_eq!(bytes, 1000);
    // Nothing comes but what is asked for.
    raw.send(PING, 0, 0, &[7; 8]).await;
    let pong = raw.next().await.unwrap();
    assert_eq!(
        (pong.kind, pong.flags, &pong.payload[..]),
        (PING, 1, &[7; 8][..])
    );
    raw.send(WINDOW, 0, 3, &500u32.to_be_bytes()).await;
    bytes += raw.next().await.unwrap().payload.len();
    assert_eq!(bytes, 1500);
    // A larger window counts for streams that are open.
    raw.send(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).await;
    bytes += raw.next().await.unwrap().payload.len();
    assert!(bytes > 16_000, "{bytes}");
    assert!(raw.status(3).await.contains("grpc-status\u{1}0"));
    face.serving.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_client_says_so() {
    let face = Face::start().await;
    let mut raw = face.connect().await;
    raw.call(1, "/etcdserverpb.Watch/Watch").await;
    assert_eq!(raw.next().await.unwrap().kind, HEADERS);
    // WatchCreateRequest of the key `a`.
    raw.message(1, 0, b"\x0a\x03\x0a\x01a").await;
    assert_eq!(raw.next().await.unwrap().kind, DATA);
    raw.send(RESET, 0, 1, &8u32.to_be_bytes()).await;
    raw.call(3, "/etcdserverpb.Watch/Watch").await;
    assert_eq!(raw.next().await.unwrap().stream, 3);
    raw.send(DATA, END_STREAM, 3, &[]).await;
    assert!(raw.status(3).await.contains("grpc-status\u{1}0"));
    // What a client still says on a stream that is over harms nobody.
    raw.send(DATA, 0, 1, b"late").await;
    raw.call(5, "/etcdserverpb.KV/None").await;
    raw.message(5, END_STREAM, A).await;
    assert!(raw.status(5).await.contains("grpc-status\u{2}12"));
    face.serving.stop().await;
}

#[tokio::test]
async fn a_request_without_end_is_refused_when_it_is_too_long() {
    let face = Face::start().await;
    let mut raw = face.connect().await;
    raw.call(1, PUT).await;
    let piece = [0; 16_384];
    let mut sent = 0;
    // 1.5 MiB and what framing may add to it; the window of a stream is given back on the way.
    while sent < 3 << 20 {
        raw.send(DATA, 0, 1, &piece).await;
        sent += piece.len();
    }
    assert!(raw.status(1).await.contains("grpc-status\u{1}8"));
    let reset = raw.next().await.unwrap();
    assert_eq!((reset.kind, reset.payload[3]), (RESET, 0));
    face.serving.stop().await;
}

#[tokio::test]
async fn a_refused_message_is_refused_alone() {
    let face = Face::start().await;
    let mut raw = face.connect().await;
    raw.call(1, PUT).await;
    // Compressed, which nobody agreed on.
    raw.send(DATA, END_STREAM, 1, b"\x01\0\0\0\x01x").await;
    assert!(raw.status(1).await.contains("grpc-status\u{2}12"));
    raw.call(3, PUT).await;
    raw.send(DATA, END_STREAM, 3, b"").await;
    assert!(raw.status(3).await.contains("grpc-status\u{2}13"));
    // No path.
    raw.send(HEADERS, END_STREAM | END_HEADERS, 5, &[0x83, 0x86])
        .await;
    let reset = raw.next().await.unwrap();
    assert_eq!((reset.kind, reset.stream), (RESET, 5));
    raw.call(7, PUT).await;
    raw.message(7, END_STREAM, A).await;
    assert!(raw.status(7).await.contains("grpc-status\u{1}0"));
    face.serving.stop().await;
}

/// What a client must not send, and the reason with which the connection ends.
type Breach = (&'static str, Vec<(u8, u8, u32, Vec<u8>)>, u8);

fn breaches() -> Vec<Breach> {
    vec![
        ("data on no stream", vec![(DATA, 0, 0, vec![1])], 1),
        (
            "data on a stream that is not open",
            vec![(DATA, 0, 1, vec![1])],
            1,
        ),
        (
            "an even stream",
            vec![(HEADERS, END_HEADERS, 2, head(PUT))],
            1,
        ),
        (
            "a block that is not continued",
            vec![(HEADERS, 0, 1, vec![0x83]), (PING, 0, 0, vec![0; 8])],
            1,
        ),
        (
            "a block with an unknown index",
            vec![(HEADERS, END_HEADERS, 1, vec![0xff, 0x7f])],
            9,
        ),
        ("a ping of seven bytes", vec![(PING, 0, 0, vec![0; 7])], 6),
        (
            "a window without bytes",
            vec![(WINDOW, 0, 0, vec![0; 4])],
            1,
        ),
        (
            "too large a window",
            vec![(WINDOW, 0, 0, vec![0x7f, 0xff, 0xff, 0xff])],
            3,
        ),
        (
            "too large a window of streams",
            vec![(SETTINGS, 0, 0, vec![0, 4, 0xff, 0xff, 0xff, 0xff])],
            3,
        ),
        ("a push", vec![(5, END_HEADERS, 1, vec![0; 8])], 1),
        (
            "a block without end",
            (0..6)
                .map(|at| {
                    (
                        if at == 0 { HEADERS } else { CONTINUATION },
                        0,
                        1,
                        vec![0; 16_384],
                    )
                })
                .collect(),
            11,
        ),
    ]
}

#[tokio::test]
async fn breaches_end_the_connection_with_their_reason() {
    let face = Face::start().await;
    for (what, sent, reason) in breaches() {
        let mut raw = face.connect().await;
        for (kind, flags, stream, payload) in sent {
            raw.send(kind, flags, stream, &payload).await;
        }
        assert_eq!(raw.goes_away().await, reason, "{what}");
    }
    // A frame that is longer than what was agreed on.
    let mut raw = face.connect().await;
    raw.tcp
        .write_all(&[1, 0, 0, DATA, 0, 0, 0, 0, 1])
        .await
        .unwrap();
    assert_eq!(raw.goes_away().await, 6);
    face.serving.stop().await;
}
