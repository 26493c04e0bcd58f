//! Writers that never block the shim: a container's open standard input, and pipes to attached clients.
//! What does not fit now waits in memory; whoever feeds a writer stops while something waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::poller::{Interest, Poller, Token};

/// The state of a writer after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Everything went out.
    Free,
    /// Something waits; write no more until it is gone.
    Full,
    /// The reader is gone.
    Closed,
}

/// A non-blocking writer registered with the poller.
pub struct Writer {
    fd: OwnedFd,
    pub token: Token,
    waiting: Vec<u8>,
}

impl Writer {
    /// Takes a descriptor and makes it non-blocking.
    pub fn new(poller: &mut Poller, fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let token = poller.add(&fd, Interest::Nothing)?;
        Ok(Self {
            fd,
            token,
            waiting: Vec::new(),
        })
    }

    /// Whether something waits.
    pub fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Writes now what fits and keeps the rest.
    pub fn write(&mut self, poller: &Poller, bytes: &[u8]) -> Flow {
        if self.is_full() {
            self.waiting.extend_from_slice(bytes);
            return Flow::Full;
        }
        let written = match write_some(self.fd.as_fd(), bytes) {
            Ok(written) => written,
            Err(_) => return Flow::Closed,
        };
        if written == bytes.len() {
            return Flow::Free;
        }
        self.waiting.extend_from_slice(&bytes[written..]);
        poller.change(&self.fd, self.token, Interest::Write);
        Flow::Full
    }

    /// Goes on with what waits; called when the poller says so.
    pub fn flush(&mut self, poller: &Poller) -> Flow {
        if !self.is_full() {
            return Flow::Closed; // only errors are watched for then
        }
        match write_some(self.fd.as_fd(), &self.waiting) {
            Err(_) => Flow::Closed,
            Ok(written) => {
                self.waiting.drain(..written);
                if self.is_full() {
                    return Flow::Full;
                }
                self.waiting = Vec::new();
                poller.change(&self.fd, self.token, Interest::Nothing);
                Flow::Free
            }
        }
    }

    /// Ends the stream.
    pub fn close(self, poller: &Poller) {
        poller.remove(&self.fd);
    }
}

fn write_some(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(fd, &bytes[written..]) {
            Ok(count) => written += count,
            Err(rustix::io::Errno::AGAIN) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}
