//! Which resizes the node grants: those that fit beside what all other pods have, the others as soon as there is room.
//!
//! Invariant: only the task that follows the pods grants, so no two grants take the same room.

use crate::node::admit;
use crate::pod::Handle;
use crate::pod::context::Context;
use crate::{clock, manifests};
use corten_api::core::v1::Pod;
use corten_core::Str;
use corten_podplan::resources::{Side, pod_total, qos_class};
use corten_podplan::{Allocation, Input, Moment, Verdict};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Pods that ask for other resources than they were granted, by UID: as the API has them, and since when they wait.
pub(crate) type Waiting = BTreeMap<Str, (Arc<Pod>, Moment)>;

/// The API has a pod that is known here with this spec.
pub(crate) fn consider(context: &Context, handle: &Handle, pod: &Arc<Pod>) {
    if manifests::is_static(pod) {
        return;
    }
    let uid = &pod.metadata.uid;
    let mut waiting = context.waiting.lock();
    let over = matches!(pod.status.phase.as_str(), "Failed" | "Succeeded");
    if over || handle.work.allocation().covers(&pod.spec) {
        if waiting.remove(uid).is_some() {
            handle.send(Input::Judged(Verdict::Settled));
        }
        return;
    }
    let since = waiting
        .get(uid)
        .map_or_else(clock::now, |(_, since)| *since);
    waiting.insert(uid.clone(), (pod.clone(), since));
}

/// A pod is gone from the API, or done with.
pub(crate) fn forget(context: &Context, uid: &str) {
    context.waiting.lock().remove(uid);
}

/// Those that need no more than they have come first, then by priority, class and time.
fn order(handle: Option<&Handle>, pod: &Pod, since: Moment) -> impl Ord + use<> {
    let grows = handle.is_some_and(|handle| {
        let had = handle.work.pod();
        ["cpu", "memory"].iter().any(|name| {
            let of = |pod: &Pod| pod_total(&pod.spec, Side::Requests, name);
            of(pod).unwrap_or_default() > of(&had).unwrap_or_default()
        })
    });
    let guaranteed = qos_class(&pod.spec) == "Guaranteed";
    (
        grows,
        Reverse(pod.spec.priority.unwrap_or(0)),
        !guaranteed,
        since,
    )
}

/// Grants what fits by now.
pub(crate) fn retry(context: &Context) {
    let mut waiting = context.waiting.lock();
    if waiting.is_empty() {
        return;
    }
    let handles = context.pods.lock().clone();
    let mut queue: Vec<_> = waiting
        .iter()
        .map(|(uid, (pod, since))| (uid.clone(), pod.clone(), *since))
        .collect();
    queue.sort_by_cached_key(|(uid, pod, since)| order(handles.get(uid), pod, *since));
    for (uid, pod, _) in queue {
        let Some(handle) = handles.get(&uid) else {
            waiting.remove(&uid);
            continue;
        };
        let verdict = match admit::shortage(context, &pod) {
            Some((reason, message)) => Verdict::Deferred(pod, reason, message),
            None => {
                handle.work.grant(Allocation::of(&pod.spec));
                waiting.remove(&uid);
                Verdict::Granted(pod)
            }
        };
        handle.send(Input::Judged(verdict));
    }
}
