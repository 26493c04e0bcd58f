//! Watches over WebSocket: one event per message, text for JSON and binary for protobuf. Invariant: what a client sends
//! is looked at only for pings and its goodbye, and never kept. Left out: compression and fragmented messages to clients.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use corten_client::Status;

use crate::body::Answer;
use crate::encode::Form;
use crate::negotiate::{Media, Shape};
use crate::server::Server;
use crate::watching::Watching;

/// What RFC 6455 has the server prove that it understood.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
/// A client has no reason to send more than this at once.
pub(crate) const RECEIVED_MAX: usize = 64 * 1024;

/// Whether the request asks for a WebSocket.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','))
            .any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(header::UPGRADE, "websocket") && has(header::CONNECTION, "upgrade")
}

/// Takes the connection over and sends the watch on it.
pub(crate) fn answer(
    server: &Arc<Server>,
    watching: Watching,
    form: Form,
    headers: &HeaderMap,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Status> {
    let protocols = protocols(headers);
    let protocol = match protocols.as_slice() {
        [] => "",
        [one] => one,
        _ => return Ok(refused(StatusCode::BAD_REQUEST)),
    };
    let response = match accept(headers, request.version(), protocol)? {
        Ok(response) => response,
        Err(refusal) => return Ok(refusal),
    };
    let upgraded = hyper::upgrade::on(request);
    let server = server.clone();
    tokio::spawn(async move {
        let Ok(io) = upgraded.await else { return };
        if let Err(error) = run(&server, TokioIo::new(io), watching, form).await {
            tracing::debug!(%error, "watch over WebSocket");
        }
    });
    Ok(response)
}

/// The protocols that a client offers, in its order.
pub(crate) fn protocols(headers: &HeaderMap) -> Vec<&str> {
    let given = headers.get(&PROTOCOL).and_then(|v| v.to_str().ok());
    let listed = given.into_iter().flat_map(|v| v.split(','));
    listed.map(str::trim).collect()
}

/// An answer that opens nothing.
pub(crate) fn refused(code: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::empty());
    *response.status_mut() = code;
    response
}

/// 101 with proof that the key was understood, or the answer to a client that does not ask rightly.
pub(crate) fn accept(
    headers: &HeaderMap,
    version: Version,
    protocol: &str,
) -> Result<Result<Response<Answer>, Response<Answer>>, Status> {
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let thirteen = headers.get(header::SEC_WEBSOCKET_VERSION);
    let thirteen = thirteen.is_some_and(|v| v.as_bytes() == b"13");
    let (Some(key), true) = (key, thirteen) else {
        return Ok(Err(refused(StatusCode::BAD_REQUEST)));
    };
    if !headers.contains_key(header::ORIGIN) {
        return Ok(Err(refused(StatusCode::FORBIDDEN)));
    }
    if version != Version::HTTP_11 {
        return Err(Status::bad_request(
            "a WebSocket is opened over HTTP/1.1 only",
        ));
    }
    let proof = [key.as_bytes(), GUID.as_bytes()].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &proof);
    let mut response = refused(StatusCode::SWITCHING_PROTOCOLS);
    let out = response.headers_mut();
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&STANDARD.encode(digest)) {
        out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = HeaderValue::from_str(protocol)
        .ok()
        .filter(|v| !v.is_empty())
    {
        out.insert(PROTOCOL, protocol);
    }
    Ok(Ok(response))
}

async fn run<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    server: &Server,
    io: T,
    mut watching: Watching,
    mut form: Form,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut stop = server.watch_end();
    let mut received = BytesMut::with_capacity(1024);
    loop {
        tokio::select! {
            event = watching.next_frame(&mut form), if form.shape != Shape::PartialList => {
                let Some(event) = event else { break };
                writer.write_all(&message(&form, &event)).await?;
            }
            read = reader.read_buf(&mut received) => {
                if read? == 0 || received.len() > RECEIVED_MAX {
                    break;
                }
                while let Some((opcode, payload)) = take_frame(&mut received) {
                    match opcode {
                        CLOSE => return writer.write_all(&frame(CLOSE, &payload)).await,
                        PING => writer.write_all(&frame(PONG, &payload)).await?,
                        _ => {}
                    }
                }
            }
            () = crate::server::signalled(&mut stop) => break,
        }
    }
    // 1000: the purpose is fulfilled.
    writer.write_all(&frame(CLOSE, &[0x03, 0xe8])).await?;
    writer.shutdown().await
}

/// One event as a message: protobuf without the length that frames it in a plain stream.
fn message(form: &Form, event: &Bytes) -> Vec<u8> {
    match form.media {
        Media::Protobuf => frame(BINARY, event.get(4..).unwrap_or_default()),
        _ => frame(TEXT, event),
    }
}

/// An unmasked, final frame.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// Takes one whole frame of a client off the buffer: its opcode and unmasked payload.
pub(crate) fn take_frame(buffer: &mut BytesMut) -> Option<(u8, Vec<u8>)> {
    let (first, second) = (*buffer.first()?, *buffer.get(1)?);
    let (length, mut at) = match second & 0x7f {
        126 => (
            usize::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => {
            let length = u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?);
            (usize::try_from(length).ok()?, 10)
        }
        short => (usize::from(short), 2),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        mask.copy_from_slice(buffer.get(at..at + 4)?);
        at += 4;
    }
    let end = at.checked_add(length)?;
    let payload = buffer.get(at..end)?;
    let plain = payload
        .iter()
        .enumerate()
        .map(|(i, byte)| byte ^ mask[i % 4])
        .collect();
    buffer.advance(end);
    Some((first & 0x0f, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_clients_are_taken_whole() {
        let mut buffer = BytesMut::from(&[0x89, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2, 0x88][..]);
        assert_eq!(take_frame(&mut buffer), Some((PING, b"hi".to_vec())));
        assert_eq!(take_frame(&mut buffer), None);
        buffer.extend_from_slice(&[0x80, 0, 0, 0, 0]);
        assert_eq!(take_frame(&mut buffer), Some((CLOSE, Vec::new())));
        let mut huge =
            BytesMut::from(&[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..]);
        assert_eq!(take_frame(&mut huge), None);
    }

    #[test]
    fn lengths_of_every_size() {
        assert_eq!(frame(TEXT, b"x"), [0x81, 1, b'x']);
        assert_eq!(frame(TEXT, &[0; 300])[..4], [0x81, 126, 1, 44]);
        assert_eq!(frame(BINARY, &vec![0; 70_000])[..2], [0x82, 127]);
    }
}
