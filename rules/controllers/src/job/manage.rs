//! Which pods a job creates and deletes.

use super::indexes::{INDEX, index_of};
use super::{FINALIZER, Sync, policy};
use crate::plan::{Plan, Told, Write};
use crate::pods;
use crate::template;
use corten_api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use corten_core::Time;
use std::collections::BTreeSet;

/// Pods that one plan creates or deletes, at most.
const BURST: usize = 500;
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// Generated names have at most 58 characters before the random ones.
const NAME_BASE_MAX: usize = 58;

/// What a plan changes about the numbers of pods.
#[derive(Debug, Default)]
pub(super) struct Changed {
    pub created: usize,
    pub deleted: usize,
    pub deleted_ready: usize,
}

/// Deletes pods of a job that ends or is suspended.
pub(super) fn stop(plan: &mut Plan, sync: &Sync, doomed: &[&Pod]) -> Changed {
    for pod in doomed {
        let told = Told::about(
            sync.job,
            ("SuccessfulDelete", "Deleted pod: {name}"),
            ("FailedDelete", "Error deleting: {error}"),
        );
        plan.write_told(
            Write::delete(*pod, "the job does not need it any more"),
            told,
        );
    }
    Changed {
        created: 0,
        deleted: doomed.len(),
        deleted_ready: doomed.iter().filter(|p| pods::is_ready(p)).count(),
    }
}

/// As [`stop`], for pods that shall not count as failures.
fn drop_uncounted(plan: &mut Plan, sync: &Sync, doomed: &[&Pod]) -> Changed {
    for pod in doomed
        .iter()
        .filter(|p| p.metadata.has_finalizer(FINALIZER))
    {
        plan.write(super::release(pod, "the job has one pod too many"));
    }
    stop(plan, sync, doomed)
}

/// Restarts of the containers of a job whose pods restart in place count as failures.
pub(super) fn restarts_exceed(sync: &Sync, limit: i32) -> bool {
    if sync.job.spec.template.spec.restart_policy != "OnFailure" {
        return false;
    }
    let running = sync
        .pods
        .iter()
        .filter(|p| p.status.phase == "Running" || p.status.phase == "Pending");
    let restarts: i32 = running
        .flat_map(|p| {
            p.status
                .init_container_statuses
                .iter()
                .chain(p.status.container_statuses.iter())
        })
        .map(|c| c.restart_count)
        .sum();
    restarts > 0 && restarts >= limit
}

/// Creates or deletes pods of a running job.
pub(super) fn pods(plan: &mut Plan, sync: &Sync) -> Changed {
    if sync.suspended() {
        return drop_uncounted(plan, sync, &sync.active);
    }
    let active = sync.active.len();
    let parallelism = sync.job.spec.parallelism.unwrap_or(1).max(0) as usize;
    let wanted = match sync.job.spec.completions {
        None if sync.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => ((completions - sync.succeeded).max(0) as usize).min(parallelism),
    };
    let mut doomed = surplus(sync, active.saturating_sub(wanted));
    doomed.truncate(BURST);
    if !doomed.is_empty() {
        return drop_uncounted(plan, sync, &doomed);
    }
    let held = if policy::only_failed_are_replaced(sync.job) {
        sync.terminating
    } else {
        0
    };
    let missing = wanted.saturating_sub(active + held).min(BURST);
    if missing == 0 {
        return Changed::default();
    }
    let per_index = sync.job.spec.backoff_limit_per_index.is_some();
    if let Some(at) =
        policy::retry_at(sync.job, &sync.pods).filter(|at| !per_index && *at > sync.now)
    {
        plan.wake_at(at);
        return Changed::default();
    }
    let created = match sync.is_indexed() {
        true => create_indexed(plan, sync, missing),
        false => {
            (0..missing).for_each(|_| create(plan, sync, base(sync)));
            missing
        }
    };
    Changed {
        created,
        ..Changed::default()
    }
}

/// At least `count` active pods to delete: those whose index another pod has or the job has not, then by rank.
fn surplus<'a>(sync: &Sync<'a>, count: usize) -> Vec<&'a Pod> {
    let order = |a: &&Pod, b: &&Pod| pods::deletion_order(a, b, |_| 0, sync.now);
    let mut left = sync.active.clone();
    left.sort_by(order);
    let mut doomed: Vec<&Pod> = Vec::new();
    if sync.is_indexed() {
        let mut seen = BTreeSet::new();
        // The last in the order is the one worth keeping.
        let keep = |pod: &&Pod| sync.counts(pod) && index_of(pod).is_some_and(|i| seen.insert(i));
        let (kept, surplus): (Vec<&Pod>, Vec<&Pod>) = left.into_iter().rev().partition(keep);
        doomed = surplus;
        left = kept.into_iter().rev().collect();
    }
    let more = count.saturating_sub(doomed.len());
    doomed.extend(left.into_iter().take(more));
    doomed
}

fn create(plan: &mut Plan, sync: &Sync, pod: Pod) {
    let told = Told::about(
        sync.job,
        ("SuccessfulCreate", "Created pod: {name}"),
        ("FailedCreate", "Error creating: {error}"),
    );
    plan.write_told(Write::create(pod, "the job needs more active pods"), told);
}

fn base(sync: &Sync) -> Pod {
    let mut pod = template::pod_from(sync.job, &sync.job.spec.template);
    pod.metadata.add_finalizer(FINALIZER);
    pod
}

/// The latest failed pod of an index that has neither succeeded nor failed for good.
fn last_failure<'a>(sync: &Sync<'a>, index: i32) -> Option<&'a Pod> {
    let failed = sync.pods.iter().copied().filter(|p| {
        index_of(p) == Some(index)
            && p.metadata.has_finalizer(FINALIZER)
            && policy::is_failed(sync.job, p)
    });
    let rank = |pod: &&Pod| -> (i32, Time) {
        let (counted, ignored) = policy::failure_counts(pod);
        (counted + ignored, policy::finished_at(pod))
    };
    failed.max_by_key(rank)
}

/// Failed pods that stay until their index has a new pod, which takes over their count of failures.
pub(super) fn awaits_replacement(sync: &Sync, pod: &Pod) -> bool {
    let Some(index) = index_of(pod).filter(|_| sync.job.spec.backoff_limit_per_index.is_some())
    else {
        return false;
    };
    let settled = sync.succeeded_indexes.has(index)
        || sync.failed_indexes.as_ref().is_some_and(|f| f.has(index))
        || sync.active.iter().any(|p| index_of(p) == Some(index));
    !settled && last_failure(sync, index).is_some_and(|p| p.metadata.uid == pod.metadata.uid)
}

fn create_indexed(plan: &mut Plan, sync: &Sync, count: usize) -> usize {
    let completions = sync.job.spec.completions.unwrap_or(0);
    let held = policy::only_failed_are_replaced(sync.job);
    let occupied =
        |p: &&Pod| pods::is_active(p) || (held && p.metadata.deleting() && !pods::is_finished(p));
    let busy: BTreeSet<i32> = sync
        .pods
        .iter()
        .copied()
        .filter(occupied)
        .filter_map(index_of)
        .collect();
    let pending = |index: &i32| {
        !busy.contains(index)
            && !sync.succeeded_indexes.has(*index)
            && !sync.failed_indexes.as_ref().is_some_and(|f| f.has(*index))
    };
    let chosen: Vec<i32> = (0..completions).filter(pending).take(count).collect();
    let per_index = sync.job.spec.backoff_limit_per_index.is_some();
    let mut created = 0;
    for index in chosen {
        let failure = last_failure(sync, index).filter(|_| per_index);
        if let Some(at) = failure
            .and_then(policy::index_retry_at)
            .filter(|at| *at > sync.now)
        {
            plan.wake_at(at);
            continue;
        }
        create(plan, sync, indexed(sync, index, failure));
        created += 1;
    }
    created
}

fn indexed(sync: &Sync, index: i32, failure: Option<&Pod>) -> Pod {
    let mut pod = base(sync);
    let suffix = format!("-{index}-");
    let name = &sync.job.metadata.name;
    let stem: String = name.chars().take(NAME_BASE_MAX - suffix.len()).collect();
    pod.metadata.generate_name = format!("{stem}{suffix}").into();
    pod.metadata.annotations.insert(INDEX, index.to_string());
    pod.metadata.labels.insert(INDEX, index.to_string());
    pod.spec.hostname = format!("{name}-{index}").into();
    if sync.job.spec.backoff_limit_per_index.is_some() {
        let (mut counted, mut ignored) = failure.map_or((0, 0), policy::failure_counts);
        match failure.map(|p| policy::verdict(sync.job, p)) {
            Some(policy::Verdict::Ignore) => ignored += 1,
            Some(_) => counted += 1,
            None => {}
        }
        pod.metadata
            .annotations
            .insert(policy::FAILURES, counted.to_string());
        if ignored > 0 {
            pod.metadata
                .annotations
                .insert(policy::IGNORED_FAILURES, ignored.to_string());
        }
    }
    pod.spec.init_containers.iter_mut().for_each(add_index);
    pod.spec.containers.iter_mut().for_each(add_index);
    pod
}

fn add_index(container: &mut Container) {
    if container.env.iter().any(|v| v.name == INDEX_VARIABLE) {
        return;
    }
    let field_ref = ObjectFieldSelector {
        field_path: format!("metadata.labels['{INDEX}']").into(),
        ..Default::default()
    };
    container.env.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value_from: Some(Box::new(EnvVarSource {
            field_ref: Some(Box::new(field_ref)),
            ..Default::default()
        })),
        ..Default::default()
    });
}
