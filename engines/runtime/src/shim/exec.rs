//! Processes that clients run inside a container.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::process::Signal;

use super::child::{self, Entry, Stdio};
use super::poller::{Interest, Token};
use super::server::{Server, Source};
use crate::api::TerminalSize;
use crate::process::Identity;
use crate::records::{self, ContainerRecord};
use crate::wire::{Failure, FailureKind, Reply, Report};
use crate::{seqpacket, sys};

/// One process, from its fork to its end.
pub struct Exec {
    child: sys::Child,
    connection: Token,
    sync: Option<(Token, OwnedFd)>,
    terminal: Option<OwnedFd>,
    failed: bool,
}

fn other(why: impl ToString) -> Failure {
    Failure::new(FailureKind::Other, why.to_string())
}

impl Server {
    /// Forks the process; answers come when it reports. `terminal` asks for one, with its size if known.
    pub(super) fn exec(
        &mut self,
        connection: Token,
        id: &str,
        command: Vec<String>,
        terminal: Option<Option<TerminalSize>>,
        fds: [Option<OwnedFd>; 3],
    ) -> Result<(), Failure> {
        let Some(container) = self.containers.get(id) else {
            return Err(Failure::new(
                FailureKind::Missing,
                "the shim does not know it",
            ));
        };
        let (true, Some(ids)) = (container.is_running(), container.ids.clone()) else {
            return Err(Failure::new(
                FailureKind::NotRunning,
                "the container is not running",
            ));
        };
        let identity = Identity {
            ids,
            home: container.home.clone(),
        };
        if command.is_empty() {
            return Err(Failure::new(FailureKind::Invalid, "no command specified"));
        }
        let record: ContainerRecord = records::read(&self.places.container(id))
            .map_err(other)?
            .ok_or_else(|| other(format!("container {id} has no record")))?;
        let stdio = match (terminal, fds) {
            (Some(size), _) => Stdio::Terminal(size),
            (None, fds) => Stdio::Files(fds),
        };
        let (ours, theirs) = seqpacket::pair().map_err(other)?;
        let (target, group) = (container.child.pidfd.as_fd(), &container.group);
        // SAFETY: the shim has one thread.
        let Some(child) = (unsafe { self.fork(0, Some(target), group) }).map_err(other)? else {
            drop(ours);
            let config = &record.config;
            let (hostname, sync) = (self.hostname.as_str(), theirs.as_fd());
            child::run_exec(Entry {
                config,
                group,
                hostname,
                identity,
                command,
                target,
                stdio,
                sync,
            })
        };
        drop((theirs, stdio));
        rustix::io::ioctl_fionbio(&ours, true).map_err(other)?;
        let token = self
            .watch(&ours, Interest::Read, Source::Exec(child.pid))
            .map_err(other)?;
        let (pid, sync) = (child.pid, Some((token, ours)));
        self.execs.insert(
            pid,
            Exec {
                child,
                connection,
                sync,
                terminal: None,
                failed: false,
            },
        );
        Ok(())
    }

    /// The process reports something, executed its program, or died.
    pub(super) fn exec_ready(&mut self, pid: i32) {
        while let Some(exec) = self.execs.get_mut(&pid) {
            let Some((token, sync)) = &exec.sync else {
                return;
            };
            match seqpacket::receive::<Report>(sync.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Ok(Some((Report::Terminal, fds))) => exec.terminal = fds.into_iter().next(),
                Ok(Some((Report::Prepared { .. }, _))) => {}
                Ok(Some((Report::Failed(failure), _))) => {
                    exec.failed = true;
                    let connection = exec.connection;
                    self.reply(connection, &Reply::Failed(failure));
                }
                Ok(None) | Err(_) => {
                    let token = *token;
                    let (_, sync) = exec.sync.take().expect("looked at above");
                    let (connection, terminal) = (exec.connection, exec.terminal.take());
                    let started = !exec.failed;
                    self.unwatch(&sync, token);
                    if started {
                        let fds: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
                        self.reply_with(connection, &Reply::ExecStarted, &fds);
                    }
                    return;
                }
            }
        }
    }

    /// The process is gone.
    pub(super) fn exec_ended(&mut self, reaped: &sys::Reaped) {
        self.exec_ready(reaped.pid); // what it said before
        if let Some(exec) = self.execs.remove(&reaped.pid)
            && !exec.failed
        {
            self.reply(exec.connection, &Reply::ExecExited { code: reaped.code });
        }
    }

    /// Kills the process of a connection.
    pub(super) fn kill_exec(&mut self, connection: Token) {
        for exec in self
            .execs
            .values()
            .filter(|exec| exec.connection == connection)
        {
            let _ = rustix::process::pidfd_send_signal(&exec.child.pidfd, Signal::KILL);
        }
    }
}
