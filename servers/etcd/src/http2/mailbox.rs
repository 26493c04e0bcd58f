//! Where the writer's answers wait for their connection, and the room that connections read into.

use corten_etcd::Refusal;
use corten_etcd::mvcc::Answer;
use parking_lot::Mutex;
use std::sync::Arc;
use std::task::{Context, Waker};

/// How much is read at once, at most.
const READ: usize = 64 << 10;

/// What became of a change.
pub(super) type Done = Result<Answer, Refusal>;

/// The answers for one connection that it has not taken.
#[derive(Default)]
pub(super) struct Mailbox {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    done: Vec<(u32, Done)>,
    waker: Option<Waker>,
}

impl Mailbox {
    /// Leaves an answer; the first one wakes the connection.
    pub(super) fn put(&self, stream: u32, done: Done) {
        let mut inside = self.inside.lock();
        inside.done.push((stream, done));
        if inside.done.len() == 1
            && let Some(waker) = &inside.waker
        {
            waker.wake_by_ref();
        }
    }

    /// Exchanges what is there for the empty `done`; the task of `cx` is woken by what comes next.
    pub(super) fn take(&self, cx: &Context<'_>, done: &mut Vec<(u32, Done)>) {
        let mut inside = self.inside.lock();
        std::mem::swap(&mut inside.done, done);
        match &mut inside.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

/// Room to read into. One piece is in use for each thread that reads just now, whatever the number of connections.
#[derive(Clone, Default)]
pub(crate) struct Rooms {
    free: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Rooms {
    pub(super) fn take(&self) -> Vec<u8> {
        let free = self.free.lock().pop();
        free.unwrap_or_else(|| vec![0; READ])
    }

    pub(super) fn give(&self, room: Vec<u8>) {
        self.free.lock().push(room);
    }
}
