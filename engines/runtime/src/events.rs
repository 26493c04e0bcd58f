//! Events of sandboxes and containers, as a stream that says when it lost some.

use std::time::SystemTime;

use tokio::sync::broadcast;

use crate::status::{ContainerId, SandboxId};

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerExit {
    /// 0..255; 128 + n after signal n.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The kernel killed one of its processes for memory.
    pub oom: bool,
    pub at: SystemTime,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    ContainerCreated {
        sandbox: SandboxId,
        container: ContainerId,
    },
    ContainerStarted {
        sandbox: SandboxId,
        container: ContainerId,
    },
    ContainerExited {
        sandbox: SandboxId,
        container: ContainerId,
        exit: ContainerExit,
    },
    ContainerRemoved {
        sandbox: SandboxId,
        container: ContainerId,
    },
    SandboxReady {
        sandbox: SandboxId,
    },
    /// Stopped, or its shim died.
    SandboxStopped {
        sandbox: SandboxId,
    },
    SandboxRemoved {
        sandbox: SandboxId,
    },
    /// The reader was too slow and events were dropped: list again.
    Lost,
}

/// A subscriber's end; made by [`crate::Runtime::subscribe`].
#[derive(Debug)]
pub struct EventStream {
    receiver: broadcast::Receiver<Event>,
}

impl EventStream {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self { receiver }
    }

    /// The next event; `None` once the runtime is gone.
    pub async fn next(&mut self) -> Option<Event> {
        match self.receiver.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Lost),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
