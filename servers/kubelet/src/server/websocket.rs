//! Sessions over WebSocket: `v5.channel.k8s.io` and older, each message led by its channel's number; and a plain byte
//! stream over WebSocket, in which port-forward speaks SPDY.

use crate::server::streams::{Asked, Channel, Peer, Piece, run};
use crate::server::{Request, Response, full, portforward, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

const PROTOCOLS: [&str; 6] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
/// The number that says that the channel in the next byte is at its end (v5).
const CLOSE: u8 = 255;
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Whether a request asks for a WebSocket.
pub(crate) fn wanted(request: &Request) -> bool {
    let upgrade = request.headers().get(http::header::UPGRADE);
    upgrade
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.eq_ignore_ascii_case("websocket"))
}

fn offered(request: &Request) -> Vec<String> {
    let values = request
        .headers()
        .get_all(http::header::SEC_WEBSOCKET_PROTOCOL)
        .iter();
    let texts = values
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','));
    texts.map(|text| text.trim().to_owned()).collect()
}

/// The answer that agrees to `protocol`.
fn agree(request: &Request, protocol: &str) -> Option<Response> {
    let key = request.headers().get(http::header::SEC_WEBSOCKET_KEY)?;
    let mut answer = http::Response::builder()
        .status(101)
        .header(http::header::UPGRADE, "websocket")
        .header(http::header::CONNECTION, "Upgrade")
        .header(
            http::header::SEC_WEBSOCKET_ACCEPT,
            derive_accept_key(key.as_bytes()),
        );
    if !protocol.is_empty() {
        answer = answer.header(http::header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    answer.body(full(Bytes::new())).ok()
}

async fn socket(upgrade: hyper::upgrade::OnUpgrade) -> Option<Socket> {
    match upgrade.await {
        Ok(io) => {
            Some(WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, None).await)
        }
        Err(error) => {
            tracing::debug!(%error, "a WebSocket did not come about");
            None
        }
    }
}

/// Starts an exec or attach session.
pub(crate) fn session(mut request: Request, asked: Asked) -> Response {
    let offered = offered(&request);
    let agreed = PROTOCOLS.into_iter().find(|p| match p.is_empty() {
        true => offered.is_empty(),
        false => offered.iter().any(|o| o == p),
    });
    let Some(protocol) = agreed else {
        return text(
            400,
            format!("unable to upgrade: none of the protocols {offered:?} is supported"),
        );
    };
    let Some(answer) = agree(&request, protocol) else {
        return text(400, "the request has no Sec-WebSocket-Key");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Some(socket) = socket(upgrade).await {
            carry(socket, asked, protocol).await;
        }
    });
    answer
}

async fn carry(socket: Socket, asked: Asked, protocol: &'static str) {
    let (mut sink, mut source) = socket.split();
    let (to_process, from) = mpsc::channel::<Piece>(16);
    let (to, mut to_client) = mpsc::channel::<Piece>(16);
    let base64 = protocol.contains("base64");
    // Older protocols open every channel with an empty message.
    let greeting = !protocol.starts_with("v5");
    // The oldest ones know no status: only what went wrong is told, in words.
    let plain = !protocol.starts_with('v');
    let reader = tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            if matches!(message, Message::Close(_)) {
                break;
            }
            if let Some(piece) = incoming(&message, base64)
                && to_process.send(piece).await.is_err()
            {
                break;
            }
        }
    });
    let writer = tokio::spawn(async move {
        if greeting {
            for channel in [
                Channel::Stdin,
                Channel::Stdout,
                Channel::Stderr,
                Channel::Error,
            ] {
                sink.send(outgoing(channel, &[], base64)).await.ok()?;
            }
        }
        while let Some(piece) = to_client.recv().await {
            match piece {
                Piece::Data(Channel::Error, bytes) if plain => {
                    if let Some(text) = complaint(&bytes) {
                        let message = outgoing(Channel::Error, text.as_bytes(), base64);
                        sink.send(message).await.ok()?;
                    }
                }
                Piece::Data(channel, bytes) => {
                    sink.send(outgoing(channel, &bytes, base64)).await.ok()?
                }
                // Only clients may say that a channel is at its end.
                Piece::End(_) => {}
            }
        }
        sink.send(goodbye()).await.ok()
    });
    run(asked, Peer { from, to }).await;
    let _ = writer.await;
    reader.abort();
}

/// What a status complains of; nothing when all went well.
fn complaint(status: &[u8]) -> Option<String> {
    let status: serde_json::Value = serde_json::from_slice(status).ok()?;
    let failed = status["status"] != "Success";
    failed.then(|| status["message"].as_str().unwrap_or_default().to_owned())
}

/// The end of a session in which nothing went wrong.
fn goodbye() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    }))
}

fn incoming(message: &Message, base64: bool) -> Option<Piece> {
    let bytes: Bytes = match message {
        Message::Binary(bytes) => bytes.clone(),
        Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
        _ => return None,
    };
    let (first, rest) = bytes.split_first()?;
    if *first == CLOSE {
        return Some(Piece::End(Channel::of_number(*rest.first()?)?));
    }
    let (number, data) = match base64 {
        true => (
            first.checked_sub(b'0')?,
            Bytes::from(STANDARD.decode(rest).ok()?),
        ),
        false => (*first, bytes.slice(1..)),
    };
    Some(Piece::Data(Channel::of_number(number)?, data))
}

fn outgoing(channel: Channel, data: &[u8], base64: bool) -> Message {
    if base64 {
        return Message::text(format!("{}{}", channel as u8, STANDARD.encode(data)));
    }
    let mut message = Vec::with_capacity(data.len() + 1);
    message.push(channel as u8);
    message.extend_from_slice(data);
    Message::Binary(message.into())
}

/// Starts a port-forward session whose SPDY frames travel in WebSocket messages.
pub(crate) fn tunnel(mut request: Request, forward: portforward::Forward) -> Response {
    if !offered(&request).iter().any(|protocol| protocol == TUNNEL) {
        return text(
            400,
            format!("unable to upgrade: only {TUNNEL} is supported"),
        );
    }
    let Some(answer) = agree(&request, TUNNEL) else {
        return text(400, "the request has no Sec-WebSocket-Key");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Some(socket) = socket(upgrade).await {
            let (near, far) = tokio::io::duplex(64 * 1024);
            let pump = tokio::spawn(pump(socket, far));
            portforward::serve(near, Arc::new(forward)).await;
            let _ = pump.await;
        }
    });
    answer
}

/// Moves bytes between a WebSocket and a stream until one of them ends.
async fn pump(socket: Socket, stream: DuplexStream) {
    let (mut sink, mut source) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let incoming = async {
        while let Some(Ok(message)) = source.next().await {
            match message {
                Message::Binary(bytes) if writer.write_all(&bytes).await.is_ok() => {}
                Message::Ping(_) | Message::Pong(_) => {}
                _ => break,
            }
        }
    };
    let outgoing = async {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(size) = reader.read(&mut buffer).await {
            let message = Message::Binary(Bytes::copy_from_slice(&buffer[..size]));
            if size == 0 || sink.send(message).await.is_err() {
                break;
            }
        }
        let _ = sink.send(goodbye()).await;
    };
    tokio::select! {
        () = incoming => {}
        () = outgoing => {}
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn only_failures_are_told_in_words() {
        assert_eq!(complaint(br#"{"metadata":{},"status":"Success"}"#), None);
        let failed = br#"{"status":"Failure","message":"exit status 3"}"#;
        assert_eq!(complaint(failed).as_deref(), Some("exit status 3"));
    }
}
