//! Ending a pod: preStop hooks, signals and kills within the grace period, sidecars last; then its sandbox, volumes
//! and object.

use crate::note::Note;
use crate::observed::{Busy, Hook, SandboxState, Seen, Step};
use crate::plan::{Action, Plan};
use crate::policy::is_sidecar;
use crate::{Moment, Observed, all_containers};
use corten_api::core::v1::Container;

/// Every container gets so long between its signal and its kill, in milliseconds.
const GRACE_MIN: i64 = 2000;

/// Whether a container may be signalled now, or has to wait for others to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Now,
    Later,
}

/// The seconds that a pod's containers get to end.
fn grace(o: &Observed) -> i64 {
    let pod = &o.pod;
    let spec = pod.spec.termination_grace_period_seconds.unwrap_or(30);
    let asked = match pod.metadata.deletion_timestamp.is_some() || o.removed {
        true => pod.metadata.deletion_grace_period_seconds.unwrap_or(spec),
        false => spec,
    };
    asked.max(1)
}

/// Ends the pod.
pub(crate) fn end(o: &Observed, now: Moment, plan: &mut Plan) {
    let deadline = o.ending_since.unwrap_or(now).plus_seconds(grace(o));
    let spec = &o.pod.spec;
    let alive = |name: &str| o.seen(name).is_some_and(Seen::alive);
    let sidecar = |name: &str| {
        spec.init_containers
            .iter()
            .any(|c| c.name == name && is_sidecar(c))
    };
    let others = all_containers(spec).any(|c| !sidecar(&c.name) && alive(&c.name));
    for container in all_containers(spec) {
        let Some(seen) = o.seen(&container.name) else {
            continue;
        };
        let turn = if sidecar(&container.name) {
            let mut after = spec
                .init_containers
                .iter()
                .skip_while(|c| c.name != container.name)
                .skip(1);
            let blocked = others || after.any(|c| is_sidecar(c) && alive(&c.name));
            if blocked { Turn::Later } else { Turn::Now }
        } else {
            Turn::Now
        };
        let text = format!("Stopping container {}", container.name);
        stop(&container, seen, deadline, text, turn, now, plan);
    }
    if !o.any_alive() {
        wind_up(o, now, plan);
    }
}

/// Brings a container a step nearer to its end.
pub(crate) fn stop(
    container: &Container,
    seen: &Seen,
    deadline: Moment,
    text: String,
    turn: Turn,
    now: Moment,
    plan: &mut Plan,
) {
    let (deadline, sent, told) = match seen.busy {
        Some(Busy::Stopping {
            deadline: earlier,
            sent,
        }) => (deadline.min(earlier), sent, true),
        Some(Busy::Starting) if now < deadline => {
            plan.wake(deadline);
            return;
        }
        _ => (deadline, None, false),
    };
    let (Some(_), Some(current)) = (seen.running(), &seen.current) else {
        return;
    };
    let name = container.name.clone();
    let note = Note::normal(&name, "Killing", text);
    let has_hook = container
        .lifecycle
        .as_ref()
        .is_some_and(|l| l.pre_stop.is_some());
    let id = current.id.clone();
    match seen.hook {
        Hook::Waiting if has_hook && !told && now < deadline => {
            plan.actions.push(Action::PreStop {
                container: name,
                id,
                deadline,
                note,
            });
            plan.wake(deadline);
            return;
        }
        Hook::Running if now < deadline => {
            plan.wake(deadline);
            return;
        }
        _ => {}
    }
    if turn == Turn::Later && now < deadline {
        plan.wake(deadline);
        return;
    }
    if sent.is_none_or(|sent| deadline < sent) {
        let grace = deadline.millis_since(now).max(GRACE_MIN);
        let note = (!told).then_some(note);
        plan.actions.push(Action::Stop {
            container: name,
            id,
            deadline,
            grace,
            note,
        });
    }
}

/// No container is left: gives back what the pod had.
fn wind_up(o: &Observed, now: Moment, plan: &mut Plan) {
    let going = o.removed || o.pod.metadata.deletion_timestamp.is_some();
    if o.volumes == Step::Busy || o.sandbox.state == SandboxState::Busy || o.released == Step::Busy
    {
        return;
    }
    if !going {
        if o.released.due(now) {
            plan.actions.push(Action::Release);
        }
        plan.wake_for(&o.released);
        return;
    }
    if o.cleaned.due(now) {
        plan.actions.push(Action::Clean);
    }
    plan.wake_for(&o.cleaned);
    if o.cleaned != Step::Ready {
        return;
    }
    if o.removed {
        plan.finished = true;
        return;
    }
    if o.deleted.due(now) {
        plan.actions.push(Action::Delete);
    }
    plan.wake_for(&o.deleted);
}
