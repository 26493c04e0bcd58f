//! One connection to a shim, for tokio.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::seqpacket;
use crate::wire::{Reply, Request};

/// Longest wait for a shim's answer: it works on one thing at a time, and a full disk or a dying device delays it.
pub const ANSWER_MAX: Duration = Duration::from_secs(60);

/// Registers a descriptor with tokio.
pub fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd gives out the same open descriptor for as long as it lives.
    unsafe { Ok(AsyncFd::register(fd)?) }
}

pub struct Link {
    socket: AsyncFd<OwnedFd>,
}

impl Link {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            socket: watched(seqpacket::connect(path)?)?,
        })
    }

    /// Sends a request with descriptors.
    pub async fn send(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let send = |socket: &OwnedFd| seqpacket::send(socket.as_fd(), request, fds);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// The next reply; `None` when the shim hung up.
    pub async fn receive(&self) -> io::Result<Option<(Reply, Vec<OwnedFd>)>> {
        let receive = |socket: &OwnedFd| seqpacket::receive::<Reply>(socket.as_fd());
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// Sends a request and waits for its first reply.
    pub async fn ask(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let exchange = async {
            self.send(request, fds).await?;
            self.receive().await
        };
        match tokio::time::timeout(ANSWER_MAX, exchange).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "the shim hung up",
            )),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the shim does not answer",
            )),
        }
    }
}
