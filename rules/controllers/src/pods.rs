//! Questions that several controllers ask about pods. Times are whole seconds, as the API keeps them.

use corten_api::core::v1::{Pod, PodCondition};
use corten_core::Time;
use std::cmp::Ordering;

/// The condition of `pod` with this type, if it has one.
pub fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.conditions.iter().find(|c| c.type_ == kind)
}

/// Neither finished nor being deleted.
pub fn is_active(pod: &Pod) -> bool {
    pod.status.phase != "Succeeded"
        && pod.status.phase != "Failed"
        && pod.metadata.deletion_timestamp.is_none()
}

/// Succeeded or Failed: no container will run again.
pub fn is_finished(pod: &Pod) -> bool {
    pod.status.phase == "Succeeded" || pod.status.phase == "Failed"
}

/// The Ready condition is True.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// Ready for at least `min_ready_seconds` at `now`.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Time) -> bool {
    available_since(pod, min_ready_seconds).is_some_and(|since| since <= now)
}

/// The moment from which a ready pod counts as available; nothing while it is not ready.
pub fn available_since(pod: &Pod, min_ready_seconds: i32) -> Option<Time> {
    let ready = condition(pod, "Ready").filter(|c| c.status == "True")?;
    if min_ready_seconds == 0 {
        return Some(ready.last_transition_time);
    }
    (!ready.last_transition_time.is_zero()).then(|| {
        ready
            .last_transition_time
            .plus_seconds(i64::from(min_ready_seconds))
    })
}

/// The sum of all containers' restarts, init containers that keep running included.
fn restarts(pod: &Pod) -> i32 {
    pod.status
        .container_statuses
        .iter()
        .map(|c| c.restart_count)
        .max()
        .unwrap_or(0)
}

fn phase_rank(pod: &Pod) -> u8 {
    match pod.status.phase.as_str() {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    }
}

/// The annotation with which a user tells which pods to lose first.
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

fn deletion_cost(pod: &Pod) -> i32 {
    pod.metadata
        .annotations
        .get(DELETION_COST)
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// Orders pods so that the ones to delete first come first: unassigned, then pending, then not ready, cheaper by
/// annotation, on a node with more of the set's pods (`crowd` gives that number), ready for less time, restarted more
/// often, younger. Ages are compared on a logarithmic scale (KEP-2185), with the UID as the tie-breaker.
pub fn deletion_order(a: &Pod, b: &Pod, crowd: impl Fn(&Pod) -> usize, now: Time) -> Ordering {
    let assigned = |p: &Pod| !p.spec.node_name.is_empty();
    let ready_since = |p: &Pod| {
        condition(p, "Ready")
            .map(|c| c.last_transition_time)
            .unwrap_or_default()
    };
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| crowd(b).cmp(&crowd(a)))
        .then_with(|| match is_ready(a) && is_ready(b) {
            true => younger_first((ready_since(a), a), (ready_since(b), b), now),
            false => Ordering::Equal,
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let created = |p: &Pod| p.metadata.creation_timestamp;
            younger_first((created(a), a), (created(b), b), now)
        })
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// Compares two moments of pods by the logarithm of their age in nanoseconds; the more recent one is less, and an absent
/// one least. Different moments of about the same age are ordered by the pods' UIDs, so that no more is asked.
fn younger_first(a: (Time, &Pod), b: (Time, &Pod), now: Time) -> Ordering {
    let ((a, first), (b, second)) = (a, b);
    if a == b || a.is_zero() || b.is_zero() {
        return b.is_zero().cmp(&a.is_zero());
    }
    let rank = |t: Time| {
        let age = i128::from(now.unix() - t.unix()) * 1_000_000_000;
        u128::try_from(age).ok().and_then(u128::checked_ilog2)
    };
    rank(a)
        .cmp(&rank(b))
        .then_with(|| first.metadata.uid.cmp(&second.metadata.uid))
}
