//! Job: pods until enough of them have succeeded or too many have failed.
//!
//! Invariant: a pod is counted exactly once. It carries a finalizer until its UID stands in
//! `status.uncountedTerminatedPods`, and the UID leaves that list for a counter only when the finalizer is gone.
//! Leaves out: pods that no job counts any more (orphans), expiry (ttl-after-finished), schedules (cronjob).

pub mod indexes;
mod manage;
pub mod orphans;
pub mod policy;
mod status;

use crate::claim::{self, Claim, Selecting};
use crate::plan::{Context, Plan, Target, Write};
use crate::pods;
use crate::registry::{Controller, Wake, Watched, resource};
use corten_api::batch::v1::{Job, JobCondition};
use corten_api::core::v1::Pod;
use corten_core::{Time, Value};
use corten_meta::{ObjectKey, Selector, Snapshot};
use indexes::{Indexes, index_of};

/// See the module's description. Its keys are jobs, and pods that have lost theirs.
pub const CONTROLLER: Controller = Controller {
    name: "job",
    service_account: "job-controller",
    primary: resource::<Job>,
    wakes: &[
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: claim::owner_or_selecting::<Job>,
        },
        Wake {
            on: Watched::One(resource::<Pod>),
            keys: orphans::itself,
        },
        Wake {
            on: Watched::One(resource::<Job>),
            keys: orphans::left_by,
        },
    ],
    reconcile: |snapshot, key, context| match orphans::pod_of(key) {
        Some(pod) => orphans::observe(snapshot, &pod).map(|observed| orphans::plan(&observed)),
        None => observe(snapshot, key).map(|observed| plan(&observed, context)),
    },
};

/// Keeps a pod until it is counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const MANAGER: &str = "kubernetes.io/job-controller";

/// A job that still runs, and its pods.
#[derive(Debug)]
pub struct Observed<'a> {
    job: &'a Job,
    selector: Selector,
    pods: Vec<&'a Pod>,
}

/// What concerns the job `key`; nothing when it is over, gone or another controller's.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let job = snapshot
        .get::<Job>(&key.namespace, &key.name)
        .filter(|job| !is_external(job) && finished(job).is_none())?;
    let selector = job.selector()?;
    Some(Observed {
        pods: claim::candidates(snapshot, job, &selector),
        job,
        selector,
    })
}

/// Whether somebody else sees to the job.
fn is_external(job: &Job) -> bool {
    job.spec.managed_by.as_ref().is_some_and(|m| m != MANAGER)
}

/// The condition with which a job is over.
pub fn finished(job: &Job) -> Option<&JobCondition> {
    condition(job, "Complete").or_else(|| condition(job, "Failed"))
}

/// The condition of this type, if it is True.
fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    job.status
        .conditions
        .iter()
        .find(|c| c.type_ == kind && c.status == "True")
}

fn new_condition(kind: &str, reason: &str, message: &str, now: Time) -> JobCondition {
    JobCondition {
        type_: kind.into(),
        status: "True".into(),
        last_probe_time: now,
        last_transition_time: now,
        reason: reason.into(),
        message: message.into(),
    }
}

/// A running job while its plan is being made.
struct Sync<'a> {
    job: &'a Job,
    pods: Vec<&'a Pod>,
    active: Vec<&'a Pod>,
    terminating: usize,
    succeeded: i32,
    failed: i32,
    /// Of an indexed job.
    succeeded_indexes: Indexes,
    /// Of an indexed job with a limit per index.
    failed_indexes: Option<Indexes>,
    /// Why the job ends: FailureTarget or SuccessCriteriaMet.
    end: Option<JobCondition>,
    now: Time,
}

impl Sync<'_> {
    fn is_indexed(&self) -> bool {
        self.job.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn suspended(&self) -> bool {
        self.job.spec.suspend == Some(true)
    }

    /// An index that the job has; pods of jobs without indexes always pass.
    fn counts(&self, pod: &Pod) -> bool {
        let completions = self.job.spec.completions.unwrap_or(0);
        !self.is_indexed() || index_of(pod).is_some_and(|index| index < completions)
    }
}

/// The writes that bring the job closer to its end.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let job = observed.job;
    let claim = Claim::new(job, &observed.selector, &observed.pods);
    claim.plan_with(&mut plan, job, &[FINALIZER]);
    let mut sync = begin(job, claim.owned, context.now);
    sync.end = ended(&sync, &mut plan);
    let mut counted = status::Counted::of(&sync);
    let pods_first = counted.released.is_empty();
    let mut pods_plan = Plan::default();
    let changed = match (&sync.end, job.metadata.deleting()) {
        (Some(_), _) => manage::stop(&mut pods_plan, &sync, &sync.active),
        (None, false) => manage::pods(&mut pods_plan, &sync),
        (None, true) => manage::Changed::default(),
    };
    if let Some(at) = pods_plan.wake_at {
        plan.wake_at(at);
    }
    // What is created or deleted is counted before it is seen, unless the last try failed.
    let changed = match pods_first && context.failure.is_none() {
        true => changed,
        false => manage::Changed::default(),
    };
    let new = status::update(&mut plan, &sync, &mut counted, &changed);
    let write = Write::patch_status(job, &new, "its pods changed");
    if pods_first {
        plan.steps.append(&mut pods_plan.steps);
        plan.write_if(write);
    } else {
        plan.write_if(write);
        for pod in &counted.released {
            plan.write(release(pod, "it is counted"));
        }
        plan.steps.append(&mut pods_plan.steps);
    }
    plan
}

fn begin<'a>(job: &'a Job, pods: Vec<&'a Pod>, now: Time) -> Sync<'a> {
    let mut sync = Sync {
        active: pods
            .iter()
            .copied()
            .filter(|p| pods::is_active(p))
            .collect(),
        terminating: pods
            .iter()
            .filter(|p| p.metadata.deleting() && !pods::is_finished(p))
            .count(),
        job,
        pods,
        succeeded: 0,
        failed: 0,
        succeeded_indexes: Indexes::default(),
        failed_indexes: None,
        end: None,
        now,
    };
    let uncounted = job.status.uncounted_terminated_pods.as_deref();
    let pending = |list: fn(&corten_api::batch::v1::UncountedTerminatedPods) -> usize| {
        uncounted.map_or(0, list) as i32
    };
    let known = |pod: &Pod| {
        uncounted.is_some_and(|u| {
            u.succeeded.contains(&pod.metadata.uid) || u.failed.contains(&pod.metadata.uid)
        })
    };
    let fresh: Vec<&Pod> = sync
        .pods
        .iter()
        .copied()
        .filter(|p| p.metadata.has_finalizer(FINALIZER) && !known(p) && sync.counts(p))
        .collect();
    let succeeded = fresh
        .iter()
        .filter(|p| p.status.phase == "Succeeded")
        .count() as i32;
    let failed = fresh.iter().filter(|p| {
        policy::is_failed(job, p) && policy::verdict(job, p) != policy::Verdict::Ignore
    });
    sync.failed = job.status.failed + failed.count() as i32 + pending(|u| u.failed.len());
    sync.succeeded = job.status.succeeded + succeeded + pending(|u| u.succeeded.len());
    if sync.is_indexed() {
        let completions = job.spec.completions.unwrap_or(0);
        let mut indexes = Indexes::parse(&job.status.completed_indexes, completions);
        let done = fresh.iter().filter(|p| p.status.phase == "Succeeded");
        indexes.0.extend(done.filter_map(|p| index_of(p)));
        sync.succeeded = indexes.len() as i32;
        sync.succeeded_indexes = indexes;
        sync.failed_indexes = job
            .spec
            .backoff_limit_per_index
            .map(|limit| policy::failed_indexes(job, limit, completions, &sync.pods));
    }
    sync
}

/// Why the job ends now, if it does, in the order in which the reasons count.
fn ended(sync: &Sync, plan: &mut Plan) -> Option<JobCondition> {
    let job = sync.job;
    if let Some(known) =
        condition(job, "SuccessCriteriaMet").or_else(|| condition(job, "FailureTarget"))
    {
        return Some(known.clone());
    }
    let fail = |reason: &str, message: &str| {
        Some(new_condition("FailureTarget", reason, message, sync.now))
    };
    for pod in sync.pods.iter().filter(|p| policy::is_failed(job, p)) {
        if let policy::Verdict::FailJob(message) = policy::verdict(job, pod) {
            return fail("PodFailurePolicy", &message);
        }
    }
    let limit = job.spec.backoff_limit.unwrap_or(6);
    if sync.failed > limit || manage::restarts_exceed(sync, limit) {
        return fail(
            "BackoffLimitExceeded",
            "Job has reached the specified backoff limit",
        );
    }
    if let (Some(seconds), Some(start), false) = (
        job.spec.active_deadline_seconds,
        job.status.start_time,
        sync.suspended(),
    ) {
        let deadline = start.plus_seconds(seconds);
        if deadline <= sync.now {
            return fail(
                "DeadlineExceeded",
                "Job was active longer than specified deadline",
            );
        }
        plan.wake_at(deadline);
    }
    let completions = job.spec.completions.unwrap_or(0);
    if let Some(failed) = &sync.failed_indexes {
        let count = failed.len() as i32;
        if job.spec.max_failed_indexes.is_some_and(|max| count > max) {
            let text = "Job has exceeded the specified maximal number of failed indexes";
            return fail("MaxFailedIndexesExceeded", text);
        }
        if count > 0 && count + sync.succeeded >= completions {
            return fail("FailedIndexes", "Job has failed indexes");
        }
    }
    // Only indexed jobs have a policy and succeeded indexes.
    if let Some(message) = policy::success(job, completions, &sync.succeeded_indexes) {
        let (kind, reason) = ("SuccessCriteriaMet", "SuccessPolicy");
        return Some(new_condition(kind, reason, &message, sync.now));
    }
    let complete = match job.spec.completions {
        None => sync.succeeded > 0,
        Some(wanted) => sync.succeeded >= wanted,
    };
    let message = "Reached expected number of succeeded pods";
    (complete && sync.active.is_empty()).then(|| {
        new_condition(
            "SuccessCriteriaMet",
            "CompletionsReached",
            message,
            sync.now,
        )
    })
}

/// Lets go of a counted pod.
fn release(pod: &Pod, because: &str) -> Write {
    let kept = pod.metadata.finalizers.iter().filter(|f| *f != FINALIZER);
    let kept: Vec<Value> = kept.map(value_of_str).collect();
    let mut patch = Value::map();
    patch.set(&["metadata", "finalizers"], Value::List(kept));
    Write::Patch {
        target: Target::unchanged(pod),
        subresource: "",
        patch,
        because: because.to_owned(),
    }
}

fn value_of_str(text: &corten_core::Str) -> Value {
    Value::Str(text.clone())
}

#[cfg(test)]
mod tests;
