//! One netlink socket: sends runs of messages and pairs the kernel's answers with them.
//! Invariant: the kernel answers while it takes a request, so a receive never has to wait; if nothing is there,
//! the answer was lost and the request counts as failed.

mod message;

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink as protocol;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

pub use message::{
    ACK, APPEND, Attributes, CREATE, DUMP, EXCLUSIVE, Message, Messages, REPLACE, attribute,
    read_be32, read_text, read_u32,
};

use crate::{Error, Netns, Result};

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// Flag of an answer to a dump that changed under way.
const INTERRUPTED: u16 = 0x10;
const DUMPS_MAX: u32 = 8;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Route,
    Netfilter,
}

/// A netlink socket. It stays in the network namespace in which it was opened.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    next: u32,
    buffer: Vec<u8>,
}

/// The outcome of one message of a run: an error number, 0 for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub number: u32,
    pub errno: i32,
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    pub fn open(to: Protocol) -> Result<Self> {
        let kind = match to {
            // Number 0, which is what no protocol means.
            Protocol::Route => None,
            Protocol::Netfilter => Some(protocol::NETFILTER),
        };
        let fd = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            kind,
        )
        .map_err(|e| Error::Socket {
            attempt: "open",
            source: e.into(),
        })?;
        Ok(Socket {
            fd,
            next: 1,
            buffer: vec![0; 64 * 1024],
        })
    }

    /// Opens a socket in another network namespace.
    pub fn open_in(netns: &Netns, to: Protocol) -> Result<Self> {
        netns.run(|| Socket::open(to))?
    }

    /// An empty run of messages for this socket.
    pub fn messages(&self) -> Messages {
        Messages::from(self.next)
    }

    /// Sends messages that each ask for an acknowledgement; answers one outcome for each, in order.
    pub fn acknowledged(&mut self, run: Messages) -> Result<Vec<Outcome>> {
        self.send(&run)?;
        let wanted = run.count() as usize;
        let mut outcomes = Vec::with_capacity(wanted);
        while outcomes.len() < wanted {
            for message in self.receive()? {
                if let Some(outcome) = outcome(&message)
                    && outcome.number.wrapping_sub(run.first) < run.count()
                {
                    outcomes.push(outcome);
                }
            }
        }
        Ok(outcomes)
    }

    /// Sends one message and fails if the kernel refuses it.
    pub fn request(
        &mut self,
        attempt: impl FnOnce() -> String,
        kind: u16,
        flags: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Attributes<'_>),
    ) -> Result<()> {
        let mut run = self.messages();
        run.message(kind, flags | ACK, fixed, body);
        match self.acknowledged(run)?.first() {
            Some(Outcome { errno: 0, .. }) => Ok(()),
            Some(refused) => Err(Error::kernel(attempt(), refused.errno)),
            None => Err(Error::Malformed {
                attempt: "a request",
            }),
        }
    }

    /// Asks for one object; `None` if the kernel has none like it.
    pub fn get(
        &mut self,
        attempt: impl FnOnce() -> String,
        kind: u16,
        fixed: &[u8],
        body: impl FnOnce(&mut Attributes<'_>),
    ) -> Result<Option<Message>> {
        let mut run = self.messages();
        let number = run.message(kind, ACK, fixed, body);
        self.send(&run)?;
        let mut found = None;
        loop {
            for message in self.receive()? {
                if message.number != number {
                    continue;
                }
                match outcome(&message) {
                    None => found = Some(message),
                    Some(Outcome { errno: 0, .. }) => return Ok(found),
                    Some(refused) => {
                        let absent = [Errno::NOENT, Errno::NODEV, Errno::NXIO];
                        if absent.iter().any(|e| e.raw_os_error() == refused.errno) {
                            return Ok(None);
                        }
                        return Err(Error::kernel(attempt(), refused.errno));
                    }
                }
            }
        }
    }

    /// Asks for every object of a kind; starts over when they change under way.
    pub fn dump(
        &mut self,
        attempt: impl Fn() -> String,
        kind: u16,
        fixed: &[u8],
        body: impl Fn(&mut Attributes<'_>),
    ) -> Result<Vec<Message>> {
        let mut found = Vec::new();
        for _ in 0..DUMPS_MAX {
            let mut run = self.messages();
            let number = run.message(kind, DUMP, fixed, &body);
            self.send(&run)?;
            let (messages, whole) = self.collect(&attempt, number)?;
            found = messages;
            if whole {
                break;
            }
        }
        Ok(found)
    }

    fn collect(
        &mut self,
        attempt: &impl Fn() -> String,
        number: u32,
    ) -> Result<(Vec<Message>, bool)> {
        let (mut found, mut whole) = (Vec::new(), true);
        loop {
            for message in self.receive()? {
                if message.number != number {
                    continue;
                }
                whole &= message.flags & INTERRUPTED == 0;
                match outcome(&message) {
                    None => found.push(message),
                    Some(Outcome { errno: 0, .. }) => return Ok((found, whole)),
                    Some(refused) => return Err(Error::kernel(attempt(), refused.errno)),
                }
            }
        }
    }

    /// Sends a run as one datagram, with a send buffer that holds it.
    pub fn send(&mut self, run: &Messages) -> Result<()> {
        self.next = run.next;
        let failed = |e: Errno| Error::Socket {
            attempt: "send through",
            source: e.into(),
        };
        match rustix::net::send(&self.fd, &run.bytes, SendFlags::empty()) {
            Err(Errno::MSGSIZE) => {
                sockopt::set_socket_send_buffer_size_force(&self.fd, run.bytes.len() * 2)
                    .map_err(failed)?;
                rustix::net::send(&self.fd, &run.bytes, SendFlags::empty()).map_err(failed)?;
            }
            sent => {
                sent.map_err(failed)?;
            }
        }
        Ok(())
    }

    /// What is there to receive: at least one message.
    pub fn receive(&mut self) -> Result<Vec<Message>> {
        let failed = |source: io::Error| Error::Socket {
            attempt: "receive through",
            source,
        };
        let (_, length) = rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC)
            .map_err(|e| failed(e.into()))?;
        match self.buffer.get(..length) {
            Some(bytes) => Ok(message::split(bytes)),
            None => Err(failed(io::Error::other(
                "an answer was longer than the buffer",
            ))),
        }
    }
}

/// The error number that a message reports, if it ends a request.
pub fn outcome(message: &Message) -> Option<Outcome> {
    let errno = match message.kind {
        ERROR | DONE => message
            .body
            .get(..4)
            .and_then(read_u32)
            .map_or(0, |n| -(n as i32)),
        _ => return None,
    };
    Some(Outcome {
        number: message.number,
        errno,
    })
}
