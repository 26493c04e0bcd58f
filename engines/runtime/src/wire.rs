//! The agent's conversation with a shim. Every request has a connection of its own; its replies come on it.
//! A shim may be older than the agent that adopts it: only add variants and optional fields.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::api::TerminalSize;
use crate::config::IdGroups;
use crate::records::ExitRecord;

/// What an agent asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Answered by `State`.
    State,
    /// Answered by `State`, then by `Started` and `Exited` for as long as the connection lasts.
    Subscribe,
    /// Prepares the container whose record is on disk. Answered by `Created` or `Failed`.
    Create { container: String },
    /// Answered by `Done` once the program was executed, or `Failed`.
    Start { container: String },
    /// Sends a signal to the first process. Answered by `Done`, also when it is gone already.
    Signal { container: String, signal: i32 },
    /// Forgets a container that has exited. Answered by `Done`.
    Delete { container: String },
    /// Opens the log anew. Answered by `Done`.
    Reopen { container: String },
    /// Runs a process with the descriptors that come along for the wanted streams, in the order stdin, stdout,
    /// stderr (none with a terminal). Answered by `ExecStarted` (with the terminal) and then `ExecExited`, or by
    /// `Failed`.
    Exec {
        container: String,
        command: Vec<String>,
        tty: bool,
        size: Option<TerminalSize>,
        streams: [bool; 3],
    },
    /// On the connection of an exec: kills its process. Not answered.
    KillExec,
    /// Copies streams to and from the descriptors that come along, in the order stdin, stdout, stderr.
    /// Answered by `Done` (with the terminal, for its size); lasts as long as the connection.
    Attach {
        container: String,
        streams: [bool; 3],
    },
    /// Answered by `Done` with an unconnected IPv4 and, if possible, IPv6 TCP socket of the pod's network.
    Sockets,
    /// Kills everything and ends. Answered by `Done`.
    Stop,
}

/// What a shim answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Failed(Failure),
    State(ShimState),
    Created { ids: IdGroups, pid: i32 },
    ExecStarted,
    ExecExited { code: i32 },
    Started { container: String, at: SystemTime },
    Exited { container: String, exit: ExitRecord },
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    pub why: String,
}

/// Class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The request cannot be honoured, whatever the node does.
    Invalid,
    /// The shim does not know the container.
    Missing,
    /// The container does not run.
    NotRunning,
    Other,
}

impl Failure {
    pub fn new(kind: FailureKind, why: impl Into<String>) -> Self {
        Self {
            kind,
            why: why.into(),
        }
    }
}

/// A shim's view of its pod.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShimState {
    pub pid: i32,
    pub containers: Vec<ContainerFacts>,
}

/// A shim's view of one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContainerFacts {
    pub id: String,
    pub pid: i32,
    pub started_at: Option<SystemTime>,
    pub user: Option<IdGroups>,
    pub exit: Option<ExitRecord>,
}

/// What a child tells its shim on the way to its program. Executing the program closes the connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// The file system is ready and the user known; now it waits for `Go`.
    Prepared {
        ids: IdGroups,
        home: String,
    },
    /// The terminal's controlling side comes along.
    Terminal,
    Failed(Failure),
}

/// What a shim tells a child: execute the program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Go;
