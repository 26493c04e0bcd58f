//! epoll with tokens that are never used twice, so that a late event of a closed descriptor finds nobody.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

/// Names one registered descriptor.
pub type Token = u64;

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    /// Errors and hang-ups only.
    Nothing,
}

impl Interest {
    fn flags(self) -> EventFlags {
        match self {
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::Nothing => EventFlags::empty(),
        }
    }
}

pub struct Poller {
    epoll: OwnedFd,
    last: Token,
}

impl Poller {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            last: 0,
        })
    }

    /// Watches a descriptor until it is removed or closed.
    pub fn add(&mut self, fd: impl AsFd, interest: Interest) -> io::Result<Token> {
        self.last += 1;
        epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(self.last),
            interest.flags(),
        )?;
        Ok(self.last)
    }

    /// Changes what to wait for.
    pub fn change(&self, fd: impl AsFd, token: Token, interest: Interest) {
        let _ = epoll::modify(&self.epoll, fd, EventData::new_u64(token), interest.flags());
    }

    /// Forgets a descriptor.
    pub fn remove(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    /// Waits for events and returns their tokens.
    pub fn wait(&self) -> io::Result<Vec<Token>> {
        let mut buffer = [MaybeUninit::uninit(); 32];
        match epoll::wait(&self.epoll, &mut buffer[..], None) {
            Ok((events, _)) => Ok(events.iter().map(|event| event.data.u64()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}
