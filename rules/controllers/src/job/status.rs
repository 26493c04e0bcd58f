//! What a job's status says: pods counted once, and the conditions of its end.

use super::indexes::{Indexes, index_of};
use super::manage::{self, Changed};
use super::{FINALIZER, Sync, new_condition, policy};
use crate::plan::{Note, Plan};
use crate::pods;
use corten_api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use corten_api::core::v1::Pod;
use corten_core::{List, Str};

/// UIDs in the status, at most; upstream's limit, which keeps the object small.
const UNCOUNTED_MAX: usize = 500;

/// How finished pods are counted by this plan.
#[derive(Debug, Default)]
pub(super) struct Counted<'a> {
    /// Pods whose finalizer goes once the status is written.
    pub released: Vec<&'a Pod>,
    succeeded: Vec<Str>,
    failed: Vec<Str>,
    new_indexes: Vec<i32>,
    /// More pods wait to be counted.
    more: bool,
}

impl<'a> Counted<'a> {
    pub fn of(sync: &Sync<'a>) -> Counted<'a> {
        let mut counted = Counted::default();
        let uncounted = sync.job.status.uncounted_terminated_pods.as_deref();
        let has = |list: Option<&List<Str>>, uid: &Str| list.is_some_and(|l| l.contains(uid));
        let fails = sync
            .end
            .as_ref()
            .is_some_and(|c| c.type_ == "FailureTarget");
        for pod in sync
            .pods
            .iter()
            .copied()
            .filter(|p| p.metadata.has_finalizer(FINALIZER))
        {
            let uid = &pod.metadata.uid;
            let failed = policy::is_failed(sync.job, pod);
            let succeeded = pod.status.phase == "Succeeded";
            let over = sync.job.metadata.deleting() || sync.end.is_some();
            let done = succeeded || failed && !manage::awaits_replacement(sync, pod);
            if !over && !done {
                continue;
            }
            if counted.len() >= UNCOUNTED_MAX {
                counted.more = true;
                break;
            }
            counted.released.push(pod);
            if succeeded && !has(uncounted.map(|u| &u.failed), uid) {
                if !sync.is_indexed() {
                    if !has(uncounted.map(|u| &u.succeeded), uid) {
                        counted.succeeded.push(uid.clone());
                    }
                } else if let Some(index) = index_of(pod).filter(|_| sync.counts(pod)) {
                    counted.new_indexes.push(index);
                }
            } else if (failed || fails)
                && sync.counts(pod)
                && !has(uncounted.map(|u| &u.failed), uid)
                && policy::verdict(sync.job, pod) != policy::Verdict::Ignore
            {
                counted.failed.push(uid.clone());
            }
        }
        counted
    }

    fn len(&self) -> usize {
        self.succeeded.len() + self.failed.len() + self.new_indexes.len()
    }
}

/// The job with its new status; events of its end go to `plan`.
pub(super) fn update(
    plan: &mut Plan,
    sync: &Sync,
    counted: &mut Counted,
    changed: &Changed,
) -> Job {
    let mut new = sync.job.clone();
    let status = &mut new.status;
    if status.start_time.is_none() && !sync.suspended() {
        status.start_time = Some(sync.now);
    }
    let active = (sync.active.len() + changed.created).saturating_sub(changed.deleted);
    let ready = sync.active.iter().filter(|p| pods::is_ready(p)).count() - changed.deleted_ready;
    let terminating = sync.terminating + changed.deleted;
    status.active = active as i32;
    status.ready = Some(ready as i32);
    status.terminating = Some(terminating as i32);
    count(sync, counted, status);
    if sync.end.is_none() && !sync.job.metadata.deleting() {
        suspension(plan, sync, status);
    }
    if let Some(end) = &sync.end {
        if !status.conditions.iter().any(|c| c.type_ == end.type_) {
            status.conditions.push(end.clone());
        }
        let left = status
            .uncounted_terminated_pods
            .as_ref()
            .is_some_and(|u| !u.succeeded.is_empty() || !u.failed.is_empty());
        if !left && !counted.more && counted.released.is_empty() && active == 0 && terminating == 0
        {
            finish(plan, sync, status, end);
        }
    }
    new
}

fn count(sync: &Sync, counted: &mut Counted, status: &mut JobStatus) {
    let mut uncounted = *status.uncounted_terminated_pods.take().unwrap_or_default();
    let held = |uid: &Str| {
        let mut tracked = sync
            .pods
            .iter()
            .filter(|p| p.metadata.has_finalizer(FINALIZER));
        tracked.any(|p| p.metadata.uid == *uid)
    };
    let settle = |list: &mut List<Str>, more: &mut Vec<Str>| {
        let before = list.len();
        list.retain(|uid| held(uid));
        let gone = (before - list.len()) as i32;
        list.extend(more.drain(..));
        gone
    };
    let succeeded = settle(&mut uncounted.succeeded, &mut counted.succeeded);
    let failed = settle(&mut uncounted.failed, &mut counted.failed);
    status.failed += failed;
    if sync.is_indexed() {
        let completions = sync.job.spec.completions.unwrap_or(0);
        let mut indexes = Indexes::parse(&status.completed_indexes, completions);
        indexes.0.extend(counted.new_indexes.iter().copied());
        status.succeeded = indexes.len() as i32;
        status.completed_indexes = indexes.to_string().into();
        status.failed_indexes = sync.failed_indexes.as_ref().map(|f| f.to_string().into());
    } else {
        status.succeeded += succeeded;
    }
    let empty = |list: &mut List<Str>| {
        if list.is_empty() {
            *list = List::NIL;
        }
    };
    empty(&mut uncounted.succeeded);
    empty(&mut uncounted.failed);
    status.uncounted_terminated_pods = Some(Box::new(UncountedTerminatedPods { ..uncounted }));
}

fn suspension(plan: &mut Plan, sync: &Sync, status: &mut JobStatus) {
    let suspended = sync.suspended();
    let (value, reason, message, event) = match suspended {
        true => ("True", "JobSuspended", "Job suspended", "Suspended"),
        false => ("False", "JobResumed", "Job resumed", "Resumed"),
    };
    let known = status
        .conditions
        .iter_mut()
        .find(|c| c.type_ == "Suspended");
    let wanted = JobCondition {
        status: value.into(),
        ..new_condition("Suspended", reason, message, sync.now)
    };
    match known {
        Some(known) if known.status == value => return,
        Some(known) => *known = wanted,
        None if suspended => status.conditions.push(wanted),
        None => return,
    }
    status.start_time = (!suspended).then_some(sync.now);
    plan.note(Note::normal(sync.job, event, message));
}

fn finish(plan: &mut Plan, sync: &Sync, status: &mut JobStatus, end: &JobCondition) {
    let job = sync.job;
    let fails = end.type_ == "FailureTarget";
    let kind = if fails { "Failed" } else { "Complete" };
    status
        .conditions
        .push(new_condition(kind, &end.reason, &end.message, sync.now));
    if fails {
        let reason = failure_reason(&end.reason);
        plan.note(Note::warning(job, reason, end.message.to_string()));
        return;
    }
    status.completion_time = Some(sync.now);
    if job
        .spec
        .completions
        .is_some_and(|wanted| status.succeeded > wanted)
    {
        let text = "Too many succeeded pods running after completion count reached";
        plan.note(Note::warning(job, "TooManySucceededPods", text));
    }
    plan.note(Note::normal(job, "Completed", "Job completed"));
}

/// The reasons with which jobs fail, as events need them.
fn failure_reason(reason: &str) -> &'static str {
    let known = [
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "MaxFailedIndexesExceeded",
        "FailedIndexes",
        "PodFailurePolicy",
    ];
    known.into_iter().find(|r| *r == reason).unwrap_or("Failed")
}
