//! Containers: preparing and starting the first process, its output, its signals and its end.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use rustix::process::Signal;

use super::attach::Session;
use super::child::{self, Launch, Stdio};
use super::log::{Log, Stream};
use super::poller::{Interest, Token};
use super::server::{Server, Source};
use super::writer::Writer;
use crate::cgroup::Group;
use crate::config::{ContainerConfig, IdGroups, PidMode, StdinMode};
use crate::records::{self, ContainerRecord, ExitRecord};
use crate::rootfs::{self, RootSpec, Step, at};
use crate::wire::{ContainerFacts, Failure, FailureKind, Go, Reply, Report};
use crate::{seqpacket, sys};

/// How far the first process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Preparing,
    Created,
    Starting,
    Running,
    Exited,
}

/// One container.
pub struct Container {
    pub child: sys::Child,
    pub group: Group,
    pub ids: Option<IdGroups>,
    pub tty: bool,
    pub stdin_mode: StdinMode,
    /// Open standard input of the container.
    pub stdin: Option<Writer>,
    /// Its end was asked for while bytes still wait.
    pub stdin_ending: bool,
    /// Home directory of its user.
    pub home: String,
    /// Controlling side of the container's terminal.
    pub terminal: Option<OwnedFd>,
    /// Attached clients by their connection.
    pub sessions: BTreeMap<Token, Session>,
    phase: Phase,
    sync: Option<(Token, OwnedFd)>,
    /// Who waits for the creation or the start.
    waiting: Option<Token>,
    /// Why it cannot start; told when somebody starts or ends it.
    failure: Option<Failure>,
    /// The first process is gone though nobody has started it.
    dead: bool,
    started_at: Option<SystemTime>,
    exit: Option<ExitRecord>,
    log: Log,
    outputs: BTreeMap<Stream, (Token, OwnedFd)>,
    /// Outputs are not read while a client has not taken what it was given.
    paused: bool,
}

impl Container {
    /// What the agent wants to know.
    pub fn facts(&self, id: &str) -> ContainerFacts {
        ContainerFacts {
            id: id.to_owned(),
            pid: self.child.pid,
            started_at: self.started_at,
            user: self.ids.clone(),
            exit: self.exit.clone(),
        }
    }

    /// Whether its first process lives.
    pub fn is_alive(&self) -> bool {
        self.phase != Phase::Exited && !self.dead
    }

    /// Whether its program runs.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }
}

/// The shim's ends of a child's standard streams.
struct Ends {
    stdin: Option<OwnedFd>,
    outputs: Vec<(Stream, OwnedFd)>,
}

fn pipe() -> Step<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(at("make pipe"))
}

fn make_stdio(config: &ContainerConfig) -> Step<(Ends, Stdio)> {
    if config.tty {
        return Ok((
            Ends {
                stdin: None,
                outputs: Vec::new(),
            },
            Stdio::Terminal(None),
        ));
    }
    let (our_stdin, their_stdin) = match config.stdin {
        StdinMode::Closed => (None, None),
        StdinMode::Open | StdinMode::Once => {
            let (reader, writer) = pipe()?;
            (Some(writer), Some(reader))
        }
    };
    let (our_stdout, their_stdout) = pipe()?;
    let (our_stderr, their_stderr) = pipe()?;
    let outputs = vec![(Stream::Stdout, our_stdout), (Stream::Stderr, our_stderr)];
    let theirs = [their_stdin, Some(their_stdout), Some(their_stderr)];
    Ok((
        Ends {
            stdin: our_stdin,
            outputs,
        },
        Stdio::Files(theirs),
    ))
}

impl Server {
    /// Prepares a container; the answer comes when its first process reports.
    pub(super) fn create(&mut self, token: Token, id: String) {
        match self.launch(&id) {
            Ok(mut container) => {
                container.waiting = Some(token);
                self.containers.insert(id, container);
            }
            Err(why) => {
                let _ = self.container_group(&id).remove();
                self.reply(token, &Reply::Failed(Failure::new(FailureKind::Other, why)));
            }
        }
    }

    fn container_group(&self, id: &str) -> Group {
        self.cgroups.group(&self.record.cgroup).child(id)
    }

    fn launch(&mut self, id: &str) -> Step<Container> {
        let record: ContainerRecord = records::read(&self.places.container(id))
            .map_err(|error| error.to_string())?
            .ok_or_else(|| format!("container {id} has no record"))?;
        let config = &record.config;
        let group = self.container_group(id);
        group.ensure().map_err(|e| e.to_string())?;
        group.apply(&config.resources).map_err(|e| e.to_string())?;
        if let Some(rules) = rootfs::device_rules(config)? {
            group.restrict_devices(&rules).map_err(|e| e.to_string())?;
        }
        let log = Log::open(config.log_path.clone()).map_err(at("open log"))?;
        let (ends, stdio) = make_stdio(config)?;
        let (ours, theirs) = seqpacket::pair().map_err(at("make socket pair"))?;
        let (kinds, pids) = match self.record.config.pid {
            PidMode::Container => (libc::CLONE_NEWNS | libc::CLONE_NEWPID, None),
            PidMode::Node => (libc::CLONE_NEWNS, None),
            PidMode::Pod => {
                let init = self.init.as_ref().ok_or("the pod's init is gone")?;
                (libc::CLONE_NEWNS, Some(init.pidfd.as_fd()))
            }
        };
        // SAFETY: the shim has one thread.
        let Some(child) = (unsafe { self.fork(kinds, pids, &group) })? else {
            drop((ends, ours));
            let root = RootSpec {
                config,
                sandbox: &self.record.config,
                upper: self.places.upper(id),
                work: self.places.work(id),
                shm: self.places.shm(),
                pivot: self.places.pivot().to_path_buf(),
            };
            let (cgroups, hostname) = (&self.cgroups, self.hostname.as_str());
            let sync = theirs.as_fd();
            child::run_container(Launch {
                root,
                cgroups,
                group: &group,
                hostname,
                stdio,
                sync,
            })
        };
        drop((theirs, stdio));
        self.adopt(id, config, child, group, log, ends, ours)
    }

    /// Registers a forked container's descriptors.
    fn adopt(
        &mut self,
        id: &str,
        config: &ContainerConfig,
        child: sys::Child,
        group: Group,
        log: Log,
        ends: Ends,
        sync: OwnedFd,
    ) -> Step<Container> {
        rustix::io::ioctl_fionbio(&sync, true).map_err(at("configure socket"))?;
        let token = self
            .watch(&sync, Interest::Read, Source::Launch(id.to_owned()))
            .map_err(at("watch the first process"))?;
        let mut container = Container {
            child,
            group,
            ids: None,
            tty: config.tty,
            stdin_mode: config.stdin,
            stdin: None,
            stdin_ending: false,
            home: "/".to_owned(),
            terminal: None,
            sessions: BTreeMap::new(),
            phase: Phase::Preparing,
            sync: Some((token, sync)),
            waiting: None,
            failure: None,
            dead: false,
            started_at: None,
            exit: None,
            log,
            outputs: BTreeMap::new(),
            paused: false,
        };
        for (stream, fd) in ends.outputs {
            self.add_output(id, &mut container, stream, fd)
                .map_err(at("watch output"))?;
        }
        if let Some(stdin) = ends.stdin {
            container.stdin = Some(self.add_stdin(id, stdin).map_err(at("watch stdin"))?);
        }
        Ok(container)
    }

    fn add_output(
        &mut self,
        id: &str,
        container: &mut Container,
        stream: Stream,
        fd: OwnedFd,
    ) -> io::Result<()> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let token = self.watch(&fd, Interest::Read, Source::Output(id.to_owned(), stream))?;
        container.outputs.insert(stream, (token, fd));
        Ok(())
    }

    fn add_stdin(&mut self, id: &str, fd: OwnedFd) -> io::Result<Writer> {
        let writer = Writer::new(&mut self.poller, fd)?;
        self.sources
            .insert(writer.token, Source::Stdin(id.to_owned()));
        Ok(writer)
    }

    /// Lets the first process execute its program.
    pub(super) fn start(&mut self, token: Token, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            let failure = Failure::new(FailureKind::Missing, "the shim does not know it");
            return self.reply(token, &Reply::Failed(failure));
        };
        let wrong = |why: &str| Reply::Failed(Failure::new(FailureKind::Invalid, why));
        match (container.phase, container.failure.clone(), &container.sync) {
            (Phase::Created, Some(failure), _) => self.start_failed(id, failure, Some(token)),
            (Phase::Created, None, Some((_, sync))) => {
                let _ = seqpacket::send(sync.as_fd(), &Go, &[]); // a dead child shows soon
                container.phase = Phase::Starting;
                container.waiting = Some(token);
            }
            (Phase::Exited, ..) => self.reply(token, &wrong("the container has exited")),
            _ => self.reply(token, &wrong("the container was started before")),
        }
    }

    /// The first process reports something, or executed its program, or died.
    pub(super) fn launch_ready(&mut self, id: &str) {
        while let Some(container) = self.containers.get_mut(id) {
            let Some((token, sync)) = &container.sync else {
                return;
            };
            match seqpacket::receive::<Report>(sync.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(Some((report, fds))) => self.launch_report(id, report, fds),
                Ok(None) | Err(_) => {
                    let token = *token;
                    let (_, sync) = container.sync.take().expect("looked at above");
                    self.unwatch(&sync, token);
                    return self.launch_closed(id);
                }
            }
        }
    }

    fn launch_report(&mut self, id: &str, report: Report, fds: Vec<OwnedFd>) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        match report {
            Report::Prepared { ids, home } => {
                container.ids = Some(ids.clone());
                container.home = home;
                container.phase = Phase::Created;
                let pid = container.child.pid;
                if let Some(waiting) = container.waiting.take() {
                    self.reply(waiting, &Reply::Created { ids, pid });
                }
            }
            Report::Terminal => {
                if let Some(terminal) = fds.into_iter().next() {
                    self.take_terminal(id, terminal);
                }
            }
            Report::Failed(failure) => match container.phase {
                Phase::Preparing => {
                    let waiting = container.waiting.take();
                    self.drop_container(id);
                    if let Some(waiting) = waiting {
                        self.reply(waiting, &Reply::Failed(failure));
                    }
                }
                Phase::Starting => {
                    let waiting = container.waiting.take();
                    self.start_failed(id, failure, waiting);
                }
                _ => container.failure = Some(failure),
            },
        }
    }

    fn take_terminal(&mut self, id: &str, terminal: OwnedFd) {
        let copies = sys::duplicate(&terminal).and_then(|c| Ok((c, sys::duplicate(&terminal)?)));
        let Ok((reader, writer)) = copies else { return };
        let Some(mut container) = self.containers.remove(id) else {
            return;
        };
        let _ = self.add_output(id, &mut container, Stream::Stdout, reader);
        if container.stdin_mode != StdinMode::Closed {
            container.stdin = self.add_stdin(id, writer).ok();
        }
        container.terminal = Some(terminal);
        self.containers.insert(id.to_owned(), container);
    }

    /// The connection of the first process closed: its program runs, unless it failed or died.
    fn launch_closed(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if container.phase == Phase::Starting && container.failure.is_none() {
            let at = SystemTime::now();
            container.phase = Phase::Running;
            container.started_at = Some(at);
            let waiting = container.waiting.take();
            self.publish(&Reply::Started {
                container: id.to_owned(),
                at,
            });
            if let Some(waiting) = waiting {
                self.reply(waiting, &Reply::Done);
            }
        }
    }

    fn start_failed(&mut self, id: &str, failure: Failure, waiting: Option<Token>) {
        if let Some(container) = self.containers.get(id) {
            let exit = ExitRecord::not_started(&failure.why, container.ids.clone());
            self.record_exit(id, exit);
        }
        if let Some(waiting) = waiting {
            self.reply(waiting, &Reply::Failed(failure));
        }
    }

    /// Reads output and passes it on to the log and to attached clients.
    pub(super) fn output_ready(&mut self, id: &str, stream: Stream) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let Some((token, fd)) = container.outputs.get(&stream) else {
            return;
        };
        let token = *token;
        let mut buffer = std::mem::take(&mut self.scratch);
        let read = rustix::io::read(fd, &mut buffer[..]);
        let ended = match read {
            Ok(0) => true,
            Ok(length) => {
                container.log.write(stream, &buffer[..length]);
                self.copy_to_sessions(id, stream, &buffer[..length]);
                false
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Err(_) => true, // a terminal without users
        };
        self.scratch = buffer;
        if ended {
            self.close_output(id, stream, token);
        }
    }

    fn close_output(&mut self, id: &str, stream: Stream, token: Token) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if let Some((_, fd)) = container.outputs.remove(&stream) {
            self.unwatch(&fd, token);
        }
    }

    /// Stops or goes on reading a container's output.
    pub(super) fn pause_outputs(&mut self, id: &str, paused: bool) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        if container.paused == paused {
            return;
        }
        container.paused = paused;
        let interest = if paused {
            Interest::Nothing
        } else {
            Interest::Read
        };
        for (token, fd) in container.outputs.values() {
            self.poller.change(fd, *token, interest);
        }
    }

    /// A reaped child that may be a container's first process.
    pub(super) fn container_ended(&mut self, reaped: &sys::Reaped) {
        let found = self
            .containers
            .iter()
            .find(|(_, c)| c.child.pid == reaped.pid && c.is_alive());
        let Some(id) = found.map(|(id, _)| id.clone()) else {
            return;
        };
        self.launch_ready(&id); // what it said before it died
        let shares_pids = self.shares_pids();
        let Some(container) = self.containers.get_mut(&id) else {
            return;
        };
        if !container.is_alive() {
            return;
        }
        if container.phase == Phase::Preparing {
            let waiting = container.waiting.take();
            self.drop_container(&id);
            if let Some(waiting) = waiting {
                let why = format!(
                    "the first process died while it was prepared (code {})",
                    reaped.code
                );
                self.reply(
                    waiting,
                    &Reply::Failed(Failure::new(FailureKind::Other, why)),
                );
            }
            return;
        }
        if container.failure.is_some() {
            container.dead = true;
            return;
        }
        if shares_pids {
            let _ = container.group.kill(); // its own namespace would have taken the others along
        }
        let oom = container.group.oom_kills() > 0;
        // Its limits would stand in the way of lower ones for the pod.
        container.group.remove_if_empty();
        let reason = match (oom, reaped.code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            (false, _) => "Error",
        };
        let exit = ExitRecord {
            code: reaped.code,
            signal: reaped.signal,
            oom,
            started_at: container.started_at,
            finished_at: SystemTime::now(),
            reason: reason.to_owned(),
            message: String::new(),
            user: container.ids.clone(),
        };
        self.record_exit(&id, exit);
    }

    /// Drains the outputs, writes the exit down and tells the subscribers.
    fn record_exit(&mut self, id: &str, exit: ExitRecord) {
        self.pause_outputs(id, false);
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.drain_output(id, stream);
        }
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        container.log.finish();
        container.phase = Phase::Exited;
        container.exit = Some(exit.clone());
        let stdin = container.stdin.take();
        container.terminal = None;
        if let Some(stdin) = stdin {
            self.sources.remove(&stdin.token);
            stdin.close(&self.poller);
        }
        self.finish_sessions(id);
        if let Err(error) = records::write(&self.places.exit(id), &exit) {
            eprintln!("{error}");
        }
        self.publish(&Reply::Exited {
            container: id.to_owned(),
            exit,
        });
    }

    /// Reads what is left in a pipe; a bound keeps a writer that was left behind from holding the shim.
    fn drain_output(&mut self, id: &str, stream: Stream) {
        for _ in 0..64 {
            let Some(container) = self.containers.get(id) else {
                return;
            };
            let Some((token, fd)) = container.outputs.get(&stream) else {
                return;
            };
            if rustix::io::ioctl_fionread(fd).unwrap_or(0) == 0 {
                let token = *token;
                return self.close_output(id, stream, token);
            }
            self.output_ready(id, stream);
        }
    }

    /// Sends a signal to the first process.
    pub(super) fn signal(&mut self, id: &str, signal: i32) -> Result<(), Failure> {
        let Some(container) = self.containers.get(id) else {
            return Err(Failure::new(
                FailureKind::Missing,
                "the shim does not know it",
            ));
        };
        if let (true, Some(failure)) = (container.dead, container.failure.clone()) {
            self.start_failed(id, failure, None);
            return Ok(());
        }
        if !container.is_alive() {
            return Ok(());
        }
        // A process that waits for its start has no handlers that a polite signal could reach.
        let signal = if container.phase == Phase::Running {
            signal
        } else {
            libc::SIGKILL
        };
        sys::send_signal(container.child.pidfd.as_fd(), signal)
            .or_else(|error| {
                if error.raw_os_error() == Some(libc::ESRCH) {
                    Ok(())
                } else {
                    Err(error)
                }
            })
            .map_err(|error| Failure::new(FailureKind::Other, format!("send signal: {error}")))
    }

    /// Opens the log anew.
    pub(super) fn reopen_log(&mut self, id: &str) -> Result<(), Failure> {
        let Some(container) = self.containers.get_mut(id) else {
            return Err(Failure::new(
                FailureKind::Missing,
                "the shim does not know it",
            ));
        };
        let reopen = container.log.reopen();
        reopen.map_err(|error| Failure::new(FailureKind::Other, format!("open log: {error}")))
    }

    /// Forgets a container that has exited; kills it first if it has not.
    pub(super) fn forget(&mut self, id: &str) {
        if let Some(container) = self.containers.get(id) {
            if container.is_alive() {
                let _ = rustix::process::pidfd_send_signal(&container.child.pidfd, Signal::KILL);
            }
            self.drop_container(id);
        }
    }

    fn drop_container(&mut self, id: &str) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(token) = token_of(&self.containers, id, stream).copied() {
                self.close_output(id, stream, token);
            }
        }
        self.finish_sessions(id);
        let Some(container) = self.containers.remove(id) else {
            return;
        };
        if let Some((token, sync)) = container.sync {
            self.unwatch(&sync, token);
        }
        if let Some(stdin) = container.stdin {
            self.sources.remove(&stdin.token);
            stdin.close(&self.poller);
        }
    }
}

fn token_of<'a>(
    containers: &'a BTreeMap<String, Container>,
    id: &str,
    stream: Stream,
) -> Option<&'a Token> {
    containers
        .get(id)?
        .outputs
        .get(&stream)
        .map(|(token, _)| token)
}
