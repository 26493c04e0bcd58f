//! Logs over WebSocket: what the kubelet sends, as binary messages or as base64 text, as the client prefers. Invariant:
//! what a client sends is looked at only for pings and its goodbye, and never kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use corten_client::Status;

use crate::body::Answer;
use crate::watch_socket::{self, BINARY, CLOSE, PING, PONG, RECEIVED_MAX, TEXT, frame, take_frame};

/// How the bytes of a log become messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Binary,
    Base64,
}

/// A client's request for a WebSocket, taken off the request for its log.
pub(crate) struct Asked {
    upgraded: OnUpgrade,
    response: Response<Answer>,
    coding: Coding,
}

/// What is asked for, if it is; the request is a plain one afterwards. `Err` is the answer to a client whose request is
/// not right.
pub(crate) fn asked(
    request: &mut Request<Incoming>,
) -> Result<Option<Result<Asked, Response<Answer>>>, Status> {
    if !watch_socket::is_asked(request.headers()) {
        return Ok(None);
    }
    let headers = request.headers().clone();
    let offered = watch_socket::protocols(&headers);
    let chosen = match offered.is_empty() {
        true => Some(("", Coding::Binary)),
        false => offered.into_iter().find_map(known),
    };
    let Some((protocol, coding)) = chosen else {
        let refusal = watch_socket::refused(StatusCode::FORBIDDEN);
        return Ok(Some(Err(refusal)));
    };
    let accepted = watch_socket::accept(&headers, request.version(), protocol)?;
    let response = match accepted {
        Ok(response) => response,
        Err(refusal) => return Ok(Some(Err(refusal))),
    };
    let upgraded = hyper::upgrade::on(&mut *request);
    let headers = request.headers_mut();
    headers.remove(header::UPGRADE);
    headers.remove(header::CONNECTION);
    Ok(Some(Ok(Asked {
        upgraded,
        response,
        coding,
    })))
}

/// A protocol that logs can be had in.
fn known(protocol: &str) -> Option<(&str, Coding)> {
    let coding = match protocol {
        "" | "binary.k8s.io" => Coding::Binary,
        "base64.binary.k8s.io" => Coding::Base64,
        _ => return None,
    };
    Some((protocol, coding))
}

/// Takes the connection over and sends the log on it.
pub(crate) fn answer(asked: Asked, log: Answer) -> Response<Answer> {
    let Asked {
        upgraded,
        response,
        coding,
    } = asked;
    tokio::spawn(async move {
        let Ok(io) = upgraded.await else { return };
        if let Err(error) = run(TokioIo::new(io), log, coding).await {
            tracing::debug!(%error, "log over WebSocket");
        }
    });
    response
}

async fn run<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
    io: T,
    mut log: Answer,
    coding: Coding,
) -> std::io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut received = BytesMut::with_capacity(1024);
    // An empty message first, by which clients know that the log is open.
    writer.write_all(&message(coding, &[])).await?;
    loop {
        tokio::select! {
            piece = log.frame() => {
                let Some(Ok(piece)) = piece else { break };
                let data = piece.into_data().unwrap_or_default();
                if !data.is_empty() {
                    writer.write_all(&message(coding, &data)).await?;
                }
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
        }
    }
    // 1000: the purpose is fulfilled.
    writer.write_all(&frame(CLOSE, &[0x03, 0xe8])).await?;
    writer.shutdown().await
}

fn message(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Binary => frame(BINARY, bytes),
        Coding::Base64 => frame(TEXT, STANDARD.encode(bytes).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_becomes_messages_and_ends_with_a_goodbye() {
        let (here, mut there) = tokio::io::duplex(1024);
        run(here, b"a line\n".to_vec().into(), Coding::Binary)
            .await
            .unwrap();
        let mut sent = Vec::new();
        there.read_to_end(&mut sent).await.unwrap();
        let goodbye = frame(CLOSE, &[0x03, 0xe8]);
        let expected = [frame(BINARY, b""), frame(BINARY, b"a line\n"), goodbye].concat();
        assert_eq!(sent, expected);
    }

    #[test]
    fn base64_is_text() {
        assert_eq!(message(Coding::Base64, b"ab"), frame(TEXT, b"YWI="));
    }
}
