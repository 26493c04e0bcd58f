//! Clients that see and feed a container's own streams. A slow client slows the container's output down, as a slow
//! reader of a pipe does; a client that goes away is forgotten.

use std::os::fd::OwnedFd;

use super::log::Stream;
use super::poller::{Interest, Token};
use super::server::{Server, Source};
use super::writer::{Flow, Writer};
use crate::config::StdinMode;
use crate::sys;
use crate::wire::{Failure, FailureKind};

/// One client.
#[derive(Default)]
pub struct Session {
    stdin: Option<(Token, OwnedFd)>,
    stdout: Option<Writer>,
    stderr: Option<Writer>,
    /// The container has exited: streams end once everything went out.
    ending: bool,
}

impl Session {
    fn writer(&mut self, stream: Stream) -> &mut Option<Writer> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn is_full(&self) -> bool {
        [&self.stdout, &self.stderr]
            .into_iter()
            .flatten()
            .any(Writer::is_full)
    }
}

impl Server {
    /// Adds a client; returns the terminal for its size.
    pub(super) fn attach(
        &mut self,
        connection: Token,
        id: &str,
        [stdin, stdout, stderr]: [Option<OwnedFd>; 3],
    ) -> Result<Option<OwnedFd>, Failure> {
        let other = |why: std::io::Error| Failure::new(FailureKind::Other, why.to_string());
        let container = self
            .containers
            .get_mut(id)
            .ok_or_else(|| Failure::new(FailureKind::Missing, "the shim does not know it"))?;
        if !container.is_alive() {
            return Err(Failure::new(
                FailureKind::NotRunning,
                "the container is not running",
            ));
        }
        let terminal = container
            .terminal
            .as_ref()
            .map(sys::duplicate)
            .transpose()
            .map_err(other)?;
        let accepts_input = container.stdin.is_some();
        let mut session = Session::default();
        if let Some(fd) = stdin.filter(|_| accepts_input) {
            rustix::io::ioctl_fionbio(&fd, true).map_err(|e| other(e.into()))?;
            let source = Source::AttachInput(id.to_owned(), connection);
            session.stdin = Some((self.watch(&fd, Interest::Read, source).map_err(other)?, fd));
        }
        for (stream, fd) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            let Some(fd) = fd else { continue };
            let writer = Writer::new(&mut self.poller, fd).map_err(other)?;
            let source = Source::AttachOutput(id.to_owned(), connection, stream);
            self.sources.insert(writer.token, source);
            *session.writer(stream) = Some(writer);
        }
        if let Some(container) = self.containers.get_mut(id) {
            container.sessions.insert(connection, session);
        }
        Ok(terminal)
    }

    /// Gives output to every client; stops reading while one of them is full.
    pub(super) fn copy_to_sessions(&mut self, id: &str, stream: Stream, bytes: &[u8]) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let mut full = false;
        let mut closed = Vec::new();
        for (connection, session) in &mut container.sessions {
            let Some(writer) = session.writer(stream) else {
                continue;
            };
            match writer.write(&self.poller, bytes) {
                Flow::Free => {}
                Flow::Full => full = true,
                Flow::Closed => closed.push(*connection),
            }
        }
        for connection in closed {
            self.close_session_output(id, connection, stream);
        }
        if full {
            self.pause_outputs(id, true);
        }
    }

    fn close_session_output(&mut self, id: &str, connection: Token, stream: Stream) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some(session) = container.sessions.get_mut(&connection) else {
            return;
        };
        if let Some(writer) = session.writer(stream).take() {
            self.sources.remove(&writer.token);
            writer.close(&self.poller);
        }
        self.resume(id);
    }

    /// Reads on when no client is full any more.
    fn resume(&mut self, id: &str) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        if !container.sessions.values().any(Session::is_full) {
            self.pause_outputs(id, false);
        }
    }

    /// A client takes output again, or is gone.
    pub(super) fn attach_output_ready(&mut self, id: &str, connection: Token, stream: Stream) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some(session) = container.sessions.get_mut(&connection) else {
            return;
        };
        let ending = session.ending;
        let Some(writer) = session.writer(stream) else {
            return;
        };
        match writer.flush(&self.poller) {
            Flow::Full => {}
            Flow::Free if !ending => self.resume(id),
            Flow::Free | Flow::Closed => {
                self.close_session_output(id, connection, stream);
                if ending {
                    self.end_if_empty(id, connection);
                }
            }
        }
    }

    /// A client has input for the container.
    pub(super) fn attach_input_ready(&mut self, id: &str, connection: Token) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some(session) = container.sessions.get_mut(&connection) else {
            return;
        };
        let Some((token, fd)) = &session.stdin else {
            return;
        };
        let token = *token;
        let mut buffer = [0u8; 4096];
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) => self.end_input(id, connection),
            Ok(length) => match &mut container.stdin {
                None => self.end_input(id, connection),
                Some(stdin) => match stdin.write(&self.poller, &buffer[..length]) {
                    Flow::Free => {}
                    Flow::Full => self.poller.change(fd, token, Interest::Nothing),
                    Flow::Closed => {
                        self.close_stdin(id);
                        self.end_input(id, connection);
                    }
                },
            },
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => self.end_input(id, connection),
        }
    }

    /// A client's input ended; with `Once` the container's does too.
    fn end_input(&mut self, id: &str, connection: Token) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let once = container.stdin_mode == StdinMode::Once && !container.tty;
        let Some(session) = container.sessions.get_mut(&connection) else {
            return;
        };
        if let Some((token, fd)) = session.stdin.take() {
            self.unwatch(&fd, token);
            if once {
                self.close_stdin(id);
            }
        }
    }

    fn close_stdin(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        // What still waits must go out before the end can be seen.
        if container.stdin.as_ref().is_some_and(Writer::is_full) {
            container.stdin_ending = true;
        } else if let Some(stdin) = container.stdin.take() {
            self.sources.remove(&stdin.token);
            stdin.close(&self.poller);
        }
    }

    /// The container reads its input again, or has closed it.
    pub(super) fn stdin_ready(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some(stdin) = &mut container.stdin else {
            return;
        };
        match stdin.flush(&self.poller) {
            Flow::Full => {}
            Flow::Free if !container.stdin_ending => {
                for session in container.sessions.values() {
                    if let Some((token, fd)) = &session.stdin {
                        self.poller.change(fd, *token, Interest::Read);
                    }
                }
            }
            Flow::Free | Flow::Closed => {
                if let Some(stdin) = container.stdin.take() {
                    self.sources.remove(&stdin.token);
                    stdin.close(&self.poller);
                }
            }
        }
    }

    /// The container has exited: every stream ends when everything went out.
    pub(super) fn finish_sessions(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let connections: Vec<Token> = container.sessions.keys().copied().collect();
        for connection in connections {
            self.end_input(id, connection);
            for stream in [Stream::Stdout, Stream::Stderr] {
                let Some(container) = self.containers.get_mut(id) else {
                    return;
                };
                let Some(session) = container.sessions.get_mut(&connection) else {
                    continue;
                };
                session.ending = true;
                if !session.writer(stream).as_ref().is_some_and(Writer::is_full) {
                    self.close_session_output(id, connection, stream);
                }
            }
            self.end_if_empty(id, connection);
        }
    }

    fn end_if_empty(&mut self, id: &str, connection: Token) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let Some(session) = container.sessions.get(&connection) else {
            return;
        };
        if session.stdout.is_none() && session.stderr.is_none() {
            self.hang_up(connection);
        }
    }

    /// The connection of a session is gone.
    pub(super) fn end_attach(&mut self, connection: Token) {
        let owner = self
            .containers
            .iter()
            .find(|(_, c)| c.sessions.contains_key(&connection));
        let Some(id) = owner.map(|(id, _)| id.clone()) else {
            return;
        };
        self.end_input(&id, connection);
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.close_session_output(&id, connection, stream);
        }
        if let Some(container) = self.containers.get_mut(&id) {
            container.sessions.remove(&connection);
        }
    }
}
