//! The event loop: who is registered, what an event means, and the agent's requests.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Signal;

use super::containers::Container;
use super::exec::Exec;
use super::log::Stream;
use super::poller::{Interest, Poller, Token};
use crate::cgroup::{Cgroups, Group};
use crate::config::{NamespaceMode, PidMode};
use crate::records::{Places, SandboxRecord};
use crate::rootfs::{Step, at};
use crate::wire::{Failure, FailureKind, Reply, Request, ShimState};
use crate::{seqpacket, sys};

/// What a token stands for.
#[derive(Clone, Debug)]
pub enum Source {
    Listener,
    Signals,
    Connection,
    /// A container's first process on its way to its program.
    Launch(String),
    Output(String, Stream),
    /// The container's standard input takes bytes again, or is gone.
    Stdin(String),
    /// An exec on its way to its program, by process id.
    Exec(i32),
    /// A client's input, by the connection of its attach session.
    AttachInput(String, Token),
    /// A client takes output again, or is gone.
    AttachOutput(String, Token, Stream),
}

/// The shim.
pub struct Server {
    pub(super) poller: Poller,
    pub(super) sources: BTreeMap<Token, Source>,
    pub(super) record: SandboxRecord,
    pub(super) places: Places,
    pub(super) cgroups: Cgroups,
    pub(super) hostname: String,
    pub(super) containers: BTreeMap<String, Container>,
    pub(super) execs: BTreeMap<i32, Exec>,
    pub(super) init: Option<sys::Child>,
    /// Room for one read; contents mean nothing between uses.
    pub(super) scratch: Vec<u8>,
    own_pids: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    connections: BTreeMap<Token, OwnedFd>,
    subscribers: Vec<Token>,
    stopping: Option<Token>,
    stopped: bool,
}

/// Puts the descriptors of a message to the streams they are for.
fn wanted(streams: [bool; 3], fds: Vec<OwnedFd>) -> [Option<OwnedFd>; 3] {
    let mut fds = fds.into_iter();
    streams.map(|wanted| if wanted { fds.next() } else { None })
}

/// Bytes read at once.
const CHUNK: usize = 32 * 1024;

impl Server {
    /// A server that knows its pod and no container yet.
    pub fn new(
        record: SandboxRecord,
        places: Places,
        cgroups: Cgroups,
        listener: OwnedFd,
        init: Option<sys::Child>,
    ) -> Step<Self> {
        let mut poller = Poller::new().map_err(at("make epoll"))?;
        // Blocked besides SIGCHLD: what a service manager or terminal sends to a whole group is not for us.
        let signals = sys::signal_fd(&[
            libc::SIGCHLD,
            libc::SIGTERM,
            libc::SIGINT,
            libc::SIGHUP,
            libc::SIGPIPE,
        ])
        .map_err(at("make signalfd"))?;
        let own_pids =
            std::fs::File::open("/proc/self/ns/pid").map_err(at("open own namespace"))?;
        let mut sources = BTreeMap::new();
        let watch = |e| format!("watch descriptor: {e}");
        sources.insert(
            poller.add(&listener, Interest::Read).map_err(watch)?,
            Source::Listener,
        );
        sources.insert(
            poller.add(&signals, Interest::Read).map_err(watch)?,
            Source::Signals,
        );
        let hostname = match record.config.network {
            NamespaceMode::Pod if !record.config.hostname.is_empty() => {
                record.config.hostname.clone()
            }
            _ => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        };
        Ok(Self {
            poller,
            sources,
            record,
            places,
            cgroups,
            hostname,
            containers: BTreeMap::new(),
            execs: BTreeMap::new(),
            init,
            scratch: vec![0; CHUNK],
            own_pids: own_pids.into(),
            listener,
            signals,
            connections: BTreeMap::new(),
            subscribers: Vec::new(),
            stopping: None,
            stopped: false,
        })
    }

    /// Serves until it is told to stop or the pod's init dies; then exits.
    pub fn run(mut self) -> ! {
        self.children_changed(); // some may have died before the signal was blocked
        while !self.stopped {
            match self.poller.wait() {
                Ok(tokens) => tokens.into_iter().for_each(|token| self.event(token)),
                Err(error) => {
                    eprintln!("wait for events: {error}");
                    break;
                }
            }
        }
        let _ = std::fs::remove_file(self.places.socket());
        std::process::exit(0)
    }

    fn event(&mut self, token: Token) {
        let Some(source) = self.sources.get(&token).cloned() else {
            return;
        };
        match source {
            Source::Listener => self.accept(),
            Source::Signals => {
                sys::drain(self.signals.as_fd());
                self.children_changed();
            }
            Source::Connection => self.connection_ready(token),
            Source::Launch(container) => self.launch_ready(&container),
            Source::Output(container, stream) => self.output_ready(&container, stream),
            Source::Stdin(container) => self.stdin_ready(&container),
            Source::Exec(pid) => self.exec_ready(pid),
            Source::AttachInput(container, session) => self.attach_input_ready(&container, session),
            Source::AttachOutput(container, session, stream) => {
                self.attach_output_ready(&container, session, stream);
            }
        }
    }

    /// Registers a descriptor.
    pub(super) fn watch(
        &mut self,
        fd: impl AsFd,
        interest: Interest,
        source: Source,
    ) -> io::Result<Token> {
        let token = self.poller.add(fd, interest)?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Forgets a descriptor.
    pub(super) fn unwatch(&mut self, fd: impl AsFd, token: Token) {
        self.poller.remove(fd);
        self.sources.remove(&token);
    }

    fn accept(&mut self) {
        while let Ok(Some(socket)) = seqpacket::accept(self.listener.as_fd()) {
            if let Ok(token) = self.watch(&socket, Interest::Read, Source::Connection) {
                self.connections.insert(token, socket);
            }
        }
    }

    fn connection_ready(&mut self, token: Token) {
        let Some(socket) = self.connections.get(&token) else {
            return;
        };
        match seqpacket::receive::<Request>(socket.as_fd()) {
            Ok(Some((request, fds))) => self.request(token, request, fds),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(None) | Err(_) => self.hang_up(token),
        }
    }

    /// Ends a connection and what hangs on it. Execs go on without their client.
    pub(super) fn hang_up(&mut self, token: Token) {
        if let Some(socket) = self.connections.remove(&token) {
            self.unwatch(&socket, token);
        }
        self.subscribers.retain(|subscriber| *subscriber != token);
        self.end_attach(token);
    }

    fn request(&mut self, token: Token, request: Request, fds: Vec<OwnedFd>) {
        match request {
            Request::State => self.reply(token, &Reply::State(self.state())),
            Request::Subscribe => {
                self.reply(token, &Reply::State(self.state()));
                self.subscribers.push(token);
            }
            Request::Create { container } => self.create(token, container),
            Request::Start { container } => self.start(token, &container),
            Request::Signal { container, signal } => {
                let answer = self.signal(&container, signal);
                self.answer(token, answer);
            }
            Request::Delete { container } => {
                self.forget(&container);
                self.reply(token, &Reply::Done);
            }
            Request::Reopen { container } => {
                let answer = self.reopen_log(&container);
                self.answer(token, answer);
            }
            Request::Exec {
                container,
                command,
                tty,
                size,
                streams,
            } => {
                let fds = wanted(streams, fds);
                let answer = self.exec(token, &container, command, tty.then_some(size), fds);
                if let Err(failure) = answer {
                    self.reply(token, &Reply::Failed(failure));
                }
            }
            Request::KillExec => self.kill_exec(token),
            Request::Attach { container, streams } => {
                match self.attach(token, &container, wanted(streams, fds)) {
                    Ok(terminal) => {
                        let fds: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
                        self.reply_with(token, &Reply::Done, &fds);
                    }
                    Err(failure) => self.reply(token, &Reply::Failed(failure)),
                }
            }
            Request::Sockets => self.make_sockets(token),
            Request::Stop => self.stop(token),
        }
    }

    fn state(&self) -> ShimState {
        ShimState {
            pid: std::process::id() as i32,
            containers: self.containers.iter().map(|(id, c)| c.facts(id)).collect(),
        }
    }

    /// Answers a request.
    pub(super) fn reply(&mut self, token: Token, reply: &Reply) {
        self.reply_with(token, reply, &[]);
    }

    /// Answers a request with descriptors.
    pub(super) fn reply_with(&mut self, token: Token, reply: &Reply, fds: &[BorrowedFd<'_>]) {
        let Some(socket) = self.connections.get(&token) else {
            return;
        };
        if seqpacket::send(socket.as_fd(), reply, fds).is_err() {
            self.hang_up(token); // gone, or so slow that it must list again
        }
    }

    /// Answers a request that has no result.
    pub(super) fn answer(&mut self, token: Token, outcome: Result<(), Failure>) {
        match outcome {
            Ok(()) => self.reply(token, &Reply::Done),
            Err(failure) => self.reply(token, &Reply::Failed(failure)),
        }
    }

    /// Tells every subscriber.
    pub(super) fn publish(&mut self, event: &Reply) {
        for subscriber in self.subscribers.clone() {
            self.reply(subscriber, event);
        }
    }

    /// The shim lives in the pod's network namespace, so its sockets do too.
    fn make_sockets(&mut self, token: Token) {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let open = |family| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            socket_with(family, SocketType::STREAM, flags, None)
        };
        match open(AddressFamily::INET) {
            Ok(four) => {
                let six = open(AddressFamily::INET6).ok();
                let mut fds = vec![four.as_fd()];
                fds.extend(six.as_ref().map(AsFd::as_fd));
                self.reply_with(token, &Reply::Done, &fds);
            }
            Err(error) => {
                let failure = Failure::new(FailureKind::Other, format!("make socket: {error}"));
                self.reply(token, &Reply::Failed(failure));
            }
        }
    }

    /// Forks a child into the given namespaces, its PIDs from `pids` if given.
    ///
    /// # Safety
    /// As for [`sys::fork`]; the shim has one thread.
    pub(super) unsafe fn fork(
        &self,
        kinds: i32,
        pids: Option<BorrowedFd<'_>>,
        group: &Group,
    ) -> Step<Option<sys::Child>> {
        let birthplace = group.birthplace().map_err(at("open cgroup"))?;
        if let Some(pids) = pids {
            // Concerns children only.
            sys::setns(pids, libc::CLONE_NEWPID).map_err(at("enter process namespace"))?;
        }
        // SAFETY: by this function's contract.
        let child = unsafe { sys::fork(kinds, birthplace.as_ref().map(OwnedFd::as_fd)) };
        if pids.is_some() && !matches!(child, Ok(None)) {
            sys::setns(self.own_pids.as_fd(), libc::CLONE_NEWPID)
                .map_err(at("return to the own process namespace"))?;
        }
        child.map_err(at("fork"))
    }

    /// Reaps every dead child and tells what it was.
    fn children_changed(&mut self) {
        while let Some(reaped) = sys::reap() {
            if self
                .init
                .as_ref()
                .is_some_and(|init| init.pid == reaped.pid)
            {
                self.init = None;
                if self.stopping.is_none() {
                    eprintln!("the pod's init died; stopping");
                    self.kill_all();
                    self.stopping = Some(0);
                }
            } else if self.execs.contains_key(&reaped.pid) {
                self.exec_ended(&reaped);
            } else {
                self.container_ended(&reaped);
            }
        }
        self.check_stopped();
    }

    fn stop(&mut self, token: Token) {
        self.stopping = Some(token);
        self.kill_all();
        self.check_stopped();
    }

    fn kill_all(&mut self) {
        for container in self.containers.values().filter(|c| c.is_alive()) {
            let _ = rustix::process::pidfd_send_signal(&container.child.pidfd, Signal::KILL);
        }
        if let Some(init) = &self.init {
            let _ = rustix::process::pidfd_send_signal(&init.pidfd, Signal::KILL);
        }
    }

    /// Ends the loop once a wanted stop is complete.
    fn check_stopped(&mut self) {
        let alive = self.init.is_some() || self.containers.values().any(Container::is_alive);
        if let (Some(token), false) = (self.stopping, alive) {
            self.reply(token, &Reply::Done);
            self.stopped = true;
        }
    }

    /// Whether containers outlive their first process (no process namespace of their own).
    pub(super) fn shares_pids(&self) -> bool {
        self.record.config.pid != PidMode::Container
    }
}
