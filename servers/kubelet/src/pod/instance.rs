//! A container as the runtime reports it, in the plan's terms; its termination message.

use crate::labels;
use crate::pod::context::Context;
use crate::{clock, server};
use corten_core::Str;
use corten_podplan::{Exit, Instance, Life};
use corten_runtime::{ContainerState, ContainerStatus};
use std::io::Read;
use std::path::Path;

/// Bytes of a termination message at most; for logs standing in for one, and their lines.
const MESSAGE_MAX: u64 = 4096;
const FALLBACK_MAX: usize = 2048;
const FALLBACK_LINES: usize = 80;

/// The container's name and the instance; nothing when the container is none of ours.
pub(crate) fn instance(context: &Context, status: &ContainerStatus) -> Option<(Str, Instance)> {
    let name = status.labels.get(labels::CONTAINER_NAME)?;
    let id: Str = context.container_id(status.id.as_str()).into();
    let moment = |time: Option<std::time::SystemTime>| time.map(clock::of);
    let life = match status.state {
        ContainerState::Created => Life::Created,
        ContainerState::Running => {
            Life::Running(moment(status.started_at).unwrap_or_else(|| clock::of(status.created_at)))
        }
        ContainerState::Exited => Life::Exited(Exit {
            id: id.clone(),
            code: status.exit_code,
            signal: 0,
            reason: status.reason.as_str().into(),
            message: message(status),
            started: moment(status.started_at),
            finished: moment(status.finished_at).unwrap_or_else(clock::now),
        }),
    };
    let user = status.user.as_ref().map(|user| {
        let groups = user.groups.iter().map(|g| i64::from(*g)).collect();
        (i64::from(user.uid), i64::from(user.gid), groups)
    });
    let instance = Instance {
        id,
        sandbox: status.sandbox.as_str().into(),
        attempt: status.attempt,
        life,
        image: status.image.as_str().into(),
        image_id: status.image_ref.as_str().into(),
        user,
    };
    Some((name.as_str().into(), instance))
}

/// What a container left to say about its end.
fn message(status: &ContainerStatus) -> String {
    if !status.message.is_empty() {
        return status.message.clone();
    }
    let file = status
        .annotations
        .get(labels::TERMINATION_FILE)
        .map(String::as_str)
        .unwrap_or_default();
    let text = read_start(Path::new(file)).unwrap_or_default();
    let policy = status
        .annotations
        .get(labels::TERMINATION_POLICY)
        .map(String::as_str);
    let failed = status.exit_code != 0;
    match (&status.log_path, policy) {
        (Some(log), Some("FallbackToLogsOnError")) if text.is_empty() && failed => {
            server::logs::last_output(log, FALLBACK_LINES, FALLBACK_MAX)
        }
        _ => text,
    }
}

fn read_start(path: &Path) -> Option<String> {
    if path.as_os_str().is_empty() {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .ok()?
        .take(MESSAGE_MAX)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
