//! What a job makes of failed and of succeeded pods: podFailurePolicy, successPolicy, and the wait before a retry.

use super::indexes::{Indexes, index_of};
use corten_api::batch::v1::{
    Job, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicyRule,
};
use corten_api::core::v1::{ContainerStatus, Pod};
use corten_core::Time;

/// The wait after the first failure and the longest one, in seconds.
const BACKOFF: (i64, i64) = (10, 600);

/// What a failed pod means for its job.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It counts towards the limit.
    Count,
    /// It does not count.
    Ignore,
    /// Its index fails at once.
    FailIndex,
    /// The job fails, with this message.
    FailJob(String),
}

/// Counts as failed: its phase says so or, unless only failed pods are replaced, it is being deleted.
pub fn is_failed(job: &Job, pod: &Pod) -> bool {
    if pod.status.phase == "Failed" {
        return true;
    }
    !only_failed_are_replaced(job) && pod.metadata.deleting() && pod.status.phase != "Succeeded"
}

/// Whether a pod that is being deleted must be Failed before another takes its place.
pub fn only_failed_are_replaced(job: &Job) -> bool {
    job.spec.pod_replacement_policy.as_deref() == Some("Failed")
        || job.spec.pod_failure_policy.is_some()
}

/// What the job's podFailurePolicy says of a failed pod.
pub fn verdict(job: &Job, pod: &Pod) -> Verdict {
    let rules = job.spec.pod_failure_policy.as_deref();
    for (number, rule) in rules.into_iter().flat_map(|p| p.rules.iter()).enumerate() {
        let Some(what) = matched(rule, pod) else {
            continue;
        };
        return match rule.action.as_str() {
            "Ignore" => Verdict::Ignore,
            "FailIndex" => Verdict::FailIndex,
            "FailJob" => {
                Verdict::FailJob(format!("{what} matching FailJob rule at index {number}"))
            }
            _ => Verdict::Count,
        };
    }
    Verdict::Count
}

/// What it is about the pod that a rule matches, as the job's message tells it.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let name = pod.metadata.full_name();
    if let Some(wanted) = rule.on_exit_codes.as_deref() {
        let containers = pod.status.container_statuses.iter();
        let all = containers.chain(pod.status.init_container_statuses.iter());
        let (container, code) = all
            .filter_map(|c| Some((&c.name, exit_code(c, wanted)?)))
            .next()?;
        return Some(format!(
            "Container {container} for pod {name} failed with exit code {code}"
        ));
    }
    let patterns = &rule.on_pod_conditions;
    let condition = pod.status.conditions.iter().find(|c| {
        patterns
            .iter()
            .any(|p| p.type_ == c.type_ && p.status == c.status)
    })?;
    Some(format!("Pod {name} has condition {}", condition.type_))
}

fn exit_code(
    container: &ContainerStatus,
    wanted: &PodFailurePolicyOnExitCodesRequirement,
) -> Option<i32> {
    let code = container.state.terminated.as_ref()?.exit_code;
    let named = wanted
        .container_name
        .as_ref()
        .is_none_or(|name| *name == container.name);
    let listed = wanted.values.contains(&code);
    let fits = match wanted.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    (named && code != 0 && fits).then_some(code)
}

/// The message of the first successPolicy rule that the succeeded indexes meet.
pub fn success(job: &Job, completions: i32, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let policy = job.spec.success_policy.as_deref()?;
    let met = |rule: &SuccessPolicyRule| {
        let count = rule.succeeded_count.and_then(|c| usize::try_from(c).ok());
        match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = Indexes::parse(text, completions);
                let reached = wanted.0.intersection(&succeeded.0).count();
                !wanted.is_empty()
                    && (reached == wanted.len() || count.is_some_and(|count| reached >= count))
            }
            None => count.is_some_and(|count| succeeded.len() >= count),
        }
    };
    let index = policy.rules.iter().position(met)?;
    Some(format!("Matched rules at index {index}"))
}

/// When a pod finished: its last container's end, else when it became unready, was deleted, or was created.
pub fn finished_at(pod: &Pod) -> Time {
    let ends = pod.status.container_statuses.iter().map(|c| {
        c.state
            .terminated
            .as_ref()
            .map(|t| t.finished_at)
            .filter(|t| !t.is_zero())
    });
    if let Some(Some(end)) = ends
        .collect::<Option<Vec<Time>>>()
        .map(|all| all.into_iter().max())
    {
        return end;
    }
    let unready = crate::pods::condition(pod, "Ready").filter(|c| c.status == "False");
    if let Some(condition) = unready.filter(|c| !c.last_transition_time.is_zero()) {
        return condition.last_transition_time;
    }
    match pod.metadata.deletion_timestamp {
        Some(at) => at.plus_seconds(-pod.metadata.deletion_grace_period_seconds.unwrap_or(0)),
        None => pod.metadata.creation_timestamp,
    }
}

/// The moment before which no pod is created, given the failures since the last success.
pub fn retry_at(job: &Job, pods: &[&Pod]) -> Option<Time> {
    let ends = |test: &dyn Fn(&Pod) -> bool| {
        pods.iter()
            .filter(|p| test(p))
            .map(|p| finished_at(p))
            .collect::<Vec<Time>>()
    };
    let success = ends(&|p| p.status.phase == "Succeeded").into_iter().max();
    let failures = ends(&|p| is_failed(job, p));
    let since: Vec<Time> = failures
        .into_iter()
        .filter(|t| success.is_none_or(|s| *t > s))
        .collect();
    after_failures(since.len(), *since.iter().max()?)
}

/// The moment before which the index of a failed pod is not tried again.
pub fn index_retry_at(pod: &Pod) -> Option<Time> {
    let (counted, ignored) = failure_counts(pod);
    let failures = usize::try_from(counted + ignored + 1).unwrap_or(usize::MAX);
    after_failures(failures, finished_at(pod))
}

fn after_failures(failures: usize, last: Time) -> Option<Time> {
    let exponent = u32::try_from(failures.checked_sub(1)?)
        .unwrap_or(u32::MAX)
        .min(10);
    Some(last.plus_seconds((BACKOFF.0 << exponent).min(BACKOFF.1)))
}

/// How often an index failed before this pod, as annotations tell: counted and ignored failures.
pub fn failure_counts(pod: &Pod) -> (i32, i32) {
    let read = |key: &str| {
        pod.metadata
            .annotation(key)
            .parse::<i32>()
            .unwrap_or(0)
            .max(0)
    };
    (read(FAILURES), read(IGNORED_FAILURES))
}

/// The annotation with the counted failures of a pod's index.
pub const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// The annotation with the ignored ones.
pub const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// The indexes that failed for good, given those known from the status.
pub fn failed_indexes(job: &Job, limit: i32, completions: i32, pods: &[&Pod]) -> Indexes {
    let known = job.status.failed_indexes.as_deref().unwrap_or_default();
    let mut failed = Indexes::parse(known, completions);
    for pod in pods.iter().filter(|p| is_failed(job, p)) {
        let for_good = match verdict(job, pod) {
            Verdict::FailIndex => true,
            Verdict::Ignore => false,
            _ => failure_counts(pod).0 >= limit,
        };
        if let Some(index) = index_of(pod).filter(|i| for_good && *i < completions) {
            failed.0.insert(index);
        }
    }
    failed
}
