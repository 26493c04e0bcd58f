//! Byte streams between callers and containers: exec, attach, port forwarding. Exec'd processes hold their pipes
//! themselves; only attach passes through the shim.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpSocket;
use tokio::net::unix::pipe;

use super::Core;
use super::link::{Link, watched};
use crate::api::{
    AttachSession, ByteReader, ByteStream, ByteWriter, ExecOutput, ExecRequest, ExecSession,
    Resize, StreamSet, Streams, TerminalSize,
};
use crate::error::{Error, Result};
use crate::wire::{FailureKind, Reply, Request};

/// Most bytes of one output that [`crate::Runtime::exec_sync`] keeps.
const OUTPUT_MAX: usize = 16 << 20;

/// A terminal's controlling side.
struct Terminal {
    fd: Arc<AsyncFd<OwnedFd>>,
}

impl Terminal {
    fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self {
            fd: Arc::new(watched(fd)?),
        })
    }

    fn share(&self) -> Self {
        Self {
            fd: self.fd.clone(),
        }
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let read = guard.try_io(|fd| {
                match rustix::io::read(fd.get_ref(), buf.initialize_unfilled()) {
                    Err(rustix::io::Errno::IO) => Ok(0), // nobody has it open any more
                    other => Ok(other?),
                }
            });
            if let Ok(read) = read {
                buf.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            if let Ok(written) = guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Resize for Terminal {
    fn resize(&self, size: TerminalSize) -> Result<()> {
        crate::shim::set_size(self.fd.get_ref().as_fd(), size);
        Ok(())
    }
}

/// The terminal of an attached container, for its size only.
struct Size(OwnedFd);

impl Resize for Size {
    fn resize(&self, size: TerminalSize) -> Result<()> {
        crate::shim::set_size(self.0.as_fd(), size);
        Ok(())
    }
}

/// A stream that keeps its attach session's connection alive.
struct Held<T> {
    stream: T,
    _link: Arc<Link>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Held<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Held<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Pipes for the wanted streams: the caller's ends, and the other ends in order.
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    theirs: Vec<OwnedFd>,
}

impl Pipes {
    fn new(wanted: StreamSet) -> io::Result<Self> {
        let mut pipes = Self {
            stdin: None,
            stdout: None,
            stderr: None,
            theirs: Vec::new(),
        };
        let make = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        if wanted.stdin {
            let (reader, writer) = make()?;
            pipes.stdin = Some(pipe::Sender::from_owned_fd(writer)?);
            pipes.theirs.push(reader);
        }
        for (wanted, end) in [
            (wanted.stdout, &mut pipes.stdout),
            (wanted.stderr, &mut pipes.stderr),
        ] {
            if wanted {
                let (reader, writer) = make()?;
                *end = Some(pipe::Receiver::from_owned_fd(reader)?);
                pipes.theirs.push(writer);
            }
        }
        Ok(pipes)
    }
}

fn flags(streams: StreamSet) -> [bool; 3] {
    [streams.stdin, streams.stdout, streams.stderr]
}

impl Core {
    /// Starts a process; also returns its connection, which can kill it.
    pub(super) async fn exec(
        &self,
        id: &str,
        request: ExecRequest,
    ) -> Result<(ExecSession, Arc<Link>)> {
        let fail = |why: String| Error::Exec {
            container: id.to_owned(),
            why,
        };
        let link = Arc::new(self.link_of(id, "exec")?);
        let wanted = if request.tty {
            StreamSet::default()
        } else {
            request.streams
        };
        let mut pipes = Pipes::new(wanted).map_err(|e| fail(e.to_string()))?;
        let message = Request::Exec {
            container: id.to_owned(),
            command: request.command,
            tty: request.tty,
            size: request.size,
            streams: flags(wanted),
        };
        let theirs = std::mem::take(&mut pipes.theirs);
        let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let answer = link
            .ask(&message, &fds)
            .await
            .map_err(|e| fail(e.to_string()))?;
        drop(theirs);
        let terminal = match answer {
            (Reply::ExecStarted, fds) => fds.into_iter().next(),
            (Reply::Failed(failure), _) if failure.kind == FailureKind::Other => {
                return Err(fail(failure.why));
            }
            (reply, _) => return Err(self.refused(id, "exec", reply)),
        };
        let (streams, terminal) = match terminal {
            None => (streams_of(pipes), None),
            Some(fd) => {
                let terminal = Terminal::new(fd).map_err(|e| fail(e.to_string()))?;
                let streams = terminal_streams(&terminal, request.streams);
                (streams, Some(Box::new(terminal) as Box<dyn Resize>))
            }
        };
        let exit = Box::pin(ended(link.clone(), id.to_owned(), self.sandbox_of(id)));
        Ok((
            ExecSession {
                streams,
                terminal,
                exit,
            },
            link,
        ))
    }

    pub(super) async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutput> {
        let words = command.join(" ");
        let streams = StreamSet {
            stdin: false,
            stdout: true,
            stderr: true,
        };
        let request = ExecRequest {
            command,
            streams,
            ..ExecRequest::default()
        };
        let (session, link) = self.exec(id, request).await?;
        let run = async {
            let ((stdout, stderr), exit_code) = tokio::join!(
                async {
                    tokio::join!(
                        collect(session.streams.stdout),
                        collect(session.streams.stderr)
                    )
                },
                session.exit
            );
            Ok(ExecOutput {
                stdout,
                stderr,
                exit_code: exit_code?,
            })
        };
        if timeout.is_zero() {
            return run.await;
        }
        match tokio::time::timeout(timeout, run).await {
            Ok(output) => output,
            Err(_) => {
                let _ = link.send(&Request::KillExec, &[]).await;
                Err(Error::ExecTimeout { command: words })
            }
        }
    }

    pub(super) async fn attach(&self, id: &str, wanted: StreamSet) -> Result<AttachSession> {
        let fail = |why: String| Error::Attach {
            container: id.to_owned(),
            why,
        };
        let link = self.link_of(id, "attach")?;
        let tty = self.state().container(id)?.record.config.tty;
        let wanted = StreamSet {
            stderr: wanted.stderr && !tty,
            ..wanted
        };
        let mut pipes = Pipes::new(wanted).map_err(|e| fail(e.to_string()))?;
        let message = Request::Attach {
            container: id.to_owned(),
            streams: flags(wanted),
        };
        let theirs = std::mem::take(&mut pipes.theirs);
        let fds: Vec<_> = theirs.iter().map(AsFd::as_fd).collect();
        let terminal = match link
            .ask(&message, &fds)
            .await
            .map_err(|e| fail(e.to_string()))?
        {
            (Reply::Done, fds) => fds.into_iter().next(),
            (reply, _) => return Err(self.refused(id, "attach", reply)),
        };
        let link = Arc::new(link);
        let reader = |stream: pipe::Receiver| {
            Box::new(Held {
                stream,
                _link: link.clone(),
            }) as ByteReader
        };
        let writer = |stream: pipe::Sender| {
            Box::new(Held {
                stream,
                _link: link.clone(),
            }) as ByteWriter
        };
        let streams = Streams {
            stdin: pipes.stdin.map(writer),
            stdout: pipes.stdout.map(reader),
            stderr: pipes.stderr.map(reader),
        };
        let terminal = terminal.map(|fd| Box::new(Size(fd)) as Box<dyn Resize>);
        Ok(AttachSession { streams, terminal })
    }

    pub(super) async fn port_forward(&self, id: &str, port: u16) -> Result<Box<dyn ByteStream>> {
        let fail = |why: String| Error::PortForward {
            sandbox: id.to_owned(),
            port,
            why,
        };
        let socket = {
            let mut state = self.state();
            let sandbox = state.sandbox(id)?;
            if sandbox.shim.is_none() || sandbox.stopping {
                return Err(Error::SandboxNotReady(id.to_owned()));
            }
            sandbox.places.socket()
        };
        let link = Link::connect(&socket).map_err(|e| fail(e.to_string()))?;
        let answer = link
            .ask(&Request::Sockets, &[])
            .await
            .map_err(|e| fail(e.to_string()))?;
        let (Reply::Done, fds) = answer else {
            return Err(fail(format!("{:?}", answer.0)));
        };
        let places = [
            SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
        ];
        let mut first = None;
        for (fd, place) in fds.into_iter().zip(places) {
            let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(fd));
            match socket.connect(place).await {
                Ok(stream) => return Ok(Box::new(stream)),
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        Err(fail(first.map_or_else(
            || "no socket".to_owned(),
            |error| error.to_string(),
        )))
    }
}

fn streams_of(pipes: Pipes) -> Streams {
    Streams {
        stdin: pipes.stdin.map(|stream| Box::new(stream) as ByteWriter),
        stdout: pipes.stdout.map(|stream| Box::new(stream) as ByteReader),
        stderr: pipes.stderr.map(|stream| Box::new(stream) as ByteReader),
    }
}

fn terminal_streams(terminal: &Terminal, wanted: StreamSet) -> Streams {
    Streams {
        stdin: wanted
            .stdin
            .then(|| Box::new(terminal.share()) as ByteWriter),
        stdout: wanted
            .stdout
            .then(|| Box::new(terminal.share()) as ByteReader),
        stderr: None,
    }
}

/// Waits for the exit code of the exec on a connection.
async fn ended(link: Arc<Link>, container: String, sandbox: String) -> Result<i32> {
    let why = match link.receive().await {
        Ok(Some((Reply::ExecExited { code }, _))) => return Ok(code),
        Ok(None) => return Err(Error::NotRunning(container)),
        Ok(Some((other, _))) => format!("unexpected answer {other:?}"),
        Err(error) => error.to_string(),
    };
    Err(Error::Shim {
        sandbox,
        attempt: "finish exec",
        why,
    })
}

/// Reads to the end, keeping at most [`OUTPUT_MAX`] bytes.
async fn collect(stream: Option<ByteReader>) -> Vec<u8> {
    let Some(mut stream) = stream else {
        return Vec::new();
    };
    let mut kept = Vec::new();
    let mut chunk = [0u8; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut chunk).await {
        let room = OUTPUT_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&chunk[..length.min(room)]);
    }
    kept
}
