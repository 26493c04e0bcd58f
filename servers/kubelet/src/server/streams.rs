//! Exec and attach: a process's streams on one side, a client's channels on the other, whatever carries them.
//!
//! Invariant: the client gets all output, then one status on the error channel, then the end.

use crate::pod::context::Context;
use crate::server::route::{Query, find};
use crate::server::{Request, Response, spdy, text, websocket};
use bytes::Bytes;
use corten_podplan::all_containers;
use corten_runtime::{
    ByteReader, ByteWriter, ContainerId, ExecRequest, Resize, StreamSet, Streams, TerminalSize,
};
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// The channels of a session; the numbers are those of the WebSocket protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

impl Channel {
    pub(crate) fn of_number(number: u8) -> Option<Channel> {
        [
            Channel::Stdin,
            Channel::Stdout,
            Channel::Stderr,
            Channel::Error,
            Channel::Resize,
        ]
        .into_iter()
        .find(|channel| *channel as u8 == number)
    }

    /// As SPDY's `streamType` calls it.
    pub(crate) fn of_name(name: &str) -> Option<Channel> {
        Some(match name {
            "stdin" => Channel::Stdin,
            "stdout" => Channel::Stdout,
            "stderr" => Channel::Stderr,
            "error" => Channel::Error,
            "resize" => Channel::Resize,
            _ => return None,
        })
    }
}

/// Bytes on a channel, or its end.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    Data(Channel, Bytes),
    End(Channel),
}

/// A client: pieces from it and pieces to it. Dropping the sender ends the session.
pub(crate) struct Peer {
    pub(crate) from: mpsc::Receiver<Piece>,
    pub(crate) to: mpsc::Sender<Piece>,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Exec,
    Attach,
}

/// A session that was asked for.
pub(crate) struct Asked {
    context: Arc<Context>,
    purpose: Purpose,
    container: ContainerId,
    command: Vec<String>,
    pub(crate) streams: StreamSet,
    pub(crate) tty: bool,
}

impl Asked {
    /// The channels that a SPDY client opens.
    pub(crate) fn channels(&self) -> usize {
        let streams = &self.streams;
        let resize = self.tty;
        1 + [streams.stdin, streams.stdout, streams.stderr, resize]
            .iter()
            .filter(|open| **open)
            .count()
    }
}

/// Answers a request to exec in a container or attach to it.
pub(crate) async fn answer(
    context: Arc<Context>,
    request: Request,
    purpose: Purpose,
    place: (&str, &str, &str),
    query: &Query,
) -> Response {
    let (namespace, pod, container) = place;
    let Some(handle) = find(&context, namespace, pod) else {
        return text(404, format!("pod \"{pod}\" not found"));
    };
    let object = handle.work.pod();
    if !all_containers(&object.spec).any(|c| c.name == container) {
        return text(
            404,
            format!("container \"{container}\" not found in pod \"{pod}\""),
        );
    }
    let running = crate::server::logs::newest(&context, &object.metadata.uid, container).await;
    let running = running.filter(|s| s.state == corten_runtime::ContainerState::Running);
    let Some(status) = running else {
        return text(500, format!("container not found (\"{container}\")"));
    };
    let tty = query.says("tty");
    let streams = StreamSet {
        stdin: query.says("input"),
        stdout: query.says("output"),
        stderr: query.says("error") && !tty,
    };
    let command: Vec<String> = query.all("command").map(str::to_owned).collect();
    if purpose == Purpose::Exec && command.is_empty() {
        return text(400, "you must specify a command for the container");
    }
    if !(streams.stdin || streams.stdout || streams.stderr) {
        return text(400, "you must specify at least 1 of stdin, stdout, stderr");
    }
    let asked = Asked {
        context,
        purpose,
        container: status.id,
        command,
        streams,
        tty,
    };
    match websocket::wanted(&request) {
        true => websocket::session(request, asked),
        false => spdy::session(request, asked),
    }
}

/// Carries a session out.
pub(crate) async fn run(asked: Asked, peer: Peer) {
    let runtime = asked.context.engines.runtime.clone();
    let Peer { from, to } = peer;
    let begun = match asked.purpose {
        Purpose::Exec => {
            let request = ExecRequest {
                command: asked.command.clone(),
                streams: asked.streams,
                tty: asked.tty,
                size: None,
            };
            let session = runtime.exec(&asked.container, request).await;
            session.map(|s| (s.streams, s.terminal, Some(s.exit)))
        }
        Purpose::Attach => {
            let session = runtime.attach(&asked.container, asked.streams).await;
            session.map(|s| (s.streams, s.terminal, None))
        }
    };
    let status = match begun {
        Ok((streams, terminal, exit)) => {
            let Streams {
                stdin,
                stdout,
                stderr,
            } = streams;
            let input = tokio::spawn(take_input(from, stdin, terminal));
            let out = copy(stdout, Channel::Stdout, to.clone());
            let err = copy(stderr, Channel::Stderr, to.clone());
            tokio::join!(out, err);
            let status = match exit {
                Some(exit) => match exit.await {
                    Ok(0) => success(),
                    Ok(code) => failed(&asked.command, code),
                    Err(error) => internal(&error.to_string()),
                },
                None => success(),
            };
            input.abort();
            status
        }
        Err(error) => internal(&format!("error executing command in container: {error}")),
    };
    let _ = to.send(Piece::Data(Channel::Error, status.into())).await;
    let _ = to.send(Piece::End(Channel::Error)).await;
}

async fn copy(reader: Option<ByteReader>, channel: Channel, to: mpsc::Sender<Piece>) {
    let Some(mut reader) = reader else { return };
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(size) = reader.read(&mut buffer).await {
        let piece = Piece::Data(channel, Bytes::copy_from_slice(&buffer[..size]));
        if size == 0 || to.send(piece).await.is_err() {
            break;
        }
    }
    let _ = to.send(Piece::End(channel)).await;
}

async fn take_input(
    mut from: mpsc::Receiver<Piece>,
    mut stdin: Option<ByteWriter>,
    terminal: Option<Box<dyn Resize>>,
) {
    #[derive(Default)]
    struct Size(u16, u16);
    while let Some(piece) = from.recv().await {
        match piece {
            Piece::Data(Channel::Stdin, bytes) => {
                if let Some(writer) = &mut stdin
                    && (writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err())
                {
                    stdin = None;
                }
            }
            Piece::End(Channel::Stdin) => stdin = None,
            Piece::Data(Channel::Resize, bytes) => {
                let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
                let number = |key: &str| {
                    value
                        .get(key)
                        .and_then(|n| n.as_u64())
                        .and_then(|n| u16::try_from(n).ok())
                };
                let size = Size(
                    number("Width").unwrap_or_default(),
                    number("Height").unwrap_or_default(),
                );
                if let Some(terminal) = &terminal
                    && size.0 > 0
                    && size.1 > 0
                    && let Err(error) = terminal.resize(TerminalSize {
                        columns: size.0,
                        rows: size.1,
                    })
                {
                    tracing::debug!(%error, "a terminal could not be resized");
                }
            }
            _ => {}
        }
    }
}

fn success() -> Vec<u8> {
    json!({"metadata": {}, "status": "Success"})
        .to_string()
        .into_bytes()
}

fn failed(command: &[String], code: i32) -> Vec<u8> {
    let _ = command;
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
    .to_string()
    .into_bytes()
}

fn internal(message: &str) -> Vec<u8> {
    json!({
        "metadata": {},
        "status": "Failure",
        "message": format!("Internal error occurred: {message}"),
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    })
    .to_string()
    .into_bytes()
}
