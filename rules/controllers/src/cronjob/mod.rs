//! CronJob: a job for every moment of a schedule.
//!
//! Invariant: the job of a moment has a name made from it, so that it is created once; what was started last is read
//! from the jobs themselves. Leaves out: what the jobs do, and zones other than fixed offsets from UTC.

pub mod schedule;

use crate::job;
use crate::plan::{Context, Note, Plan, Propagation, Target, Told, Write};
use crate::registry::{Controller, Wake, Watched, resource};
use crate::template::controller_reference;
use corten_api::batch::v1::{CronJob, Job};
use corten_api::core::v1::ObjectReference;
use corten_api::meta::v1::ObjectMeta;
use corten_api::{Kind, Object};
use corten_core::{List, Time};
use corten_meta::{ObjectKey, Snapshot};
use schedule::{Schedule, zone_offset};

/// See the module's description.
pub const CONTROLLER: Controller = Controller {
    name: "cronjob",
    service_account: "cronjob-controller",
    primary: resource::<CronJob>,
    wakes: &[Wake {
        on: Watched::One(resource::<Job>),
        keys: its_cron_job,
    }],
    reconcile: |snapshot, key, context| {
        observe(snapshot, key).map(|observed| plan(&observed, context))
    },
};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Missed moments after which people are warned.
const MISSED_MAX: i64 = 100;

fn its_cron_job(_: &Snapshot, object: &Object) -> Vec<ObjectKey> {
    let meta = object.meta();
    let owner = meta.controller_of().filter(|o| o.kind == CronJob::KIND);
    owner
        .map(|o| ObjectKey::new(meta.namespace.clone(), o.name.clone()))
        .into_iter()
        .collect()
}

/// A cron job and its jobs.
#[derive(Debug)]
pub struct Observed<'a> {
    cron: &'a CronJob,
    jobs: Vec<&'a Job>,
}

/// What concerns the cron job `key`.
pub fn observe<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> Option<Observed<'a>> {
    let cron = snapshot.get::<CronJob>(&key.namespace, &key.name)?;
    let jobs = snapshot.list_in::<Job>(&key.namespace);
    let jobs = jobs
        .filter(|j| j.metadata.controlled_by(&cron.metadata.uid))
        .collect();
    Some(Observed { cron, jobs })
}

/// The moment for which a job was made, by its name.
fn moment_of(cron: &CronJob, job: &Job) -> Option<Time> {
    let rest = job
        .metadata
        .name
        .strip_prefix(cron.metadata.name.as_str())?
        .strip_prefix('-')?;
    let minutes: i64 = rest.parse().ok()?;
    Some(Time::from_unix(minutes * 60))
}

/// The writes that keep the status true, start what is due and drop old jobs.
pub fn plan(observed: &Observed, context: &Context) -> Plan {
    let mut plan = Plan::default();
    let mut new = observed.cron.clone();
    take_stock(&mut plan, observed, &mut new);
    if !observed.cron.metadata.deleting() {
        clean_up(&mut plan, observed);
        start(&mut plan, observed, &new, context);
    }
    plan.write_if(Write::patch_status(observed.cron, &new, "its jobs changed"));
    plan
}

/// Brings the status in line with the jobs that exist.
fn take_stock(plan: &mut Plan, observed: &Observed, new: &mut CronJob) {
    let cron = observed.cron;
    for job in &observed.jobs {
        let status = &mut new.status;
        if let Some(moment) = moment_of(cron, job) {
            status.last_schedule_time = status.last_schedule_time.max(Some(moment));
        }
        let listed = status.active.iter().any(|r| r.uid == job.metadata.uid);
        match job::finished(job) {
            Some(condition) => {
                if listed {
                    let (name, kind) = (&job.metadata.name, &condition.type_);
                    let text = format!("Saw completed job: {name}, condition: {kind}");
                    plan.note(Note::normal(cron, "SawCompletedJob", text));
                    status.active.retain(|r| r.uid != job.metadata.uid);
                }
                if condition.type_ == "Complete" {
                    let completed = job.status.completion_time;
                    status.last_successful_time = status.last_successful_time.max(completed);
                }
            }
            None if !listed && moment_of(cron, job).is_some() => {
                status.active.push(ObjectReference {
                    kind: Job::KIND.into(),
                    api_version: Job::API_VERSION.into(),
                    namespace: job.metadata.namespace.clone(),
                    name: job.metadata.name.clone(),
                    uid: job.metadata.uid.clone(),
                    resource_version: job.metadata.resource_version.clone(),
                    ..Default::default()
                });
            }
            None => {}
        }
    }
    for missing in cron.status.active.iter() {
        if !observed.jobs.iter().any(|j| j.metadata.uid == missing.uid) {
            let text = format!("Active job went missing: {}", missing.name);
            plan.note(Note::normal(cron, "MissingJob", text));
            new.status.active.retain(|r| r.uid != missing.uid);
        }
    }
    if new.status.active.is_empty() {
        new.status.active = List::NIL;
    }
}

fn clean_up(plan: &mut Plan, observed: &Observed) {
    let spec = &observed.cron.spec;
    let limits = [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ];
    for (kind, limit) in limits {
        let Some(limit) = limit.and_then(|l| usize::try_from(l).ok()) else {
            continue;
        };
        let ended = |j: &&&Job| job::finished(j).is_some_and(|c| c.type_ == kind);
        let mut old: Vec<&Job> = observed.jobs.iter().filter(ended).copied().collect();
        old.sort_by_key(|j| (j.status.start_time, j.metadata.name.clone()));
        let surplus = old.len().saturating_sub(limit);
        for job in old
            .into_iter()
            .take(surplus)
            .filter(|j| !j.metadata.deleting())
        {
            delete(plan, observed.cron, job, "only some finished jobs are kept");
        }
    }
}

fn delete(plan: &mut Plan, cron: &CronJob, job: &Job, because: &str) {
    let told = Told::about(
        cron,
        ("SuccessfulDelete", "Deleted job {name}"),
        ("FailedDelete", "Deleted job: {error}"),
    );
    let write = Write::Delete {
        target: Target::of(job),
        propagation: Some(Propagation::Background),
        grace_period: None,
        because: because.to_owned(),
    };
    plan.write_told(write, told);
}

fn start(plan: &mut Plan, observed: &Observed, new: &CronJob, context: &Context) {
    let cron = observed.cron;
    if cron.spec.suspend == Some(true) {
        return;
    }
    let zone = cron.spec.time_zone.as_deref().unwrap_or_default();
    let Some(offset) = zone_offset(zone) else {
        let text = format!("invalid timeZone: {zone:?}: unknown time zone {zone}");
        return warn_once(plan, cron, "UnknownTimeZone", text, context);
    };
    let schedule = match Schedule::parse(&cron.spec.schedule, offset) {
        Ok(schedule) => schedule,
        Err(error) => {
            let text = format!(
                "unparseable schedule: {:?} : {error}",
                cron.spec.schedule.as_str()
            );
            return warn_once(plan, cron, "UnparseableSchedule", text, context);
        }
    };
    if let Some(next) = schedule.next(context.now) {
        plan.wake_at(next);
    }
    let (due, missed) = due(new, &schedule, context.now);
    let Some(due) = due.filter(|due| new.status.last_schedule_time != Some(*due)) else {
        return;
    };
    let name = format!("{}-{}", cron.metadata.name, due.unix() / 60);
    if observed.jobs.iter().any(|j| j.metadata.name == name) {
        return;
    }
    if missed > MISSED_MAX {
        let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.note(Note::warning(cron, "TooManyMissedTimes", text));
    }
    if cron.spec.concurrency_policy == "Forbid" && !new.status.active.is_empty() {
        let text =
            "Not starting job because prior execution is running and concurrency policy is Forbid";
        plan.note(Note::normal(cron, "JobAlreadyActive", text));
        return;
    }
    if cron.spec.concurrency_policy == "Replace" {
        for active in new.status.active.iter() {
            let job = observed.jobs.iter().find(|j| j.metadata.uid == active.uid);
            if let Some(job) = job.filter(|j| !j.metadata.deleting()) {
                delete(plan, cron, job, "a new run replaces it");
            }
        }
    }
    let told = Told::about(
        cron,
        ("SuccessfulCreate", "Created job {name}"),
        ("FailedCreate", "Error creating job: {error}"),
    );
    plan.write_told(
        Write::create(job_for(cron, &name, due, offset), "the schedule is due"),
        told,
    );
}

/// Warns of what stays wrong until the spec changes: when the change is fresh, or the controllers are.
fn warn_once(
    plan: &mut Plan,
    cron: &CronJob,
    reason: &'static str,
    text: String,
    context: &Context,
) {
    let written = cron
        .metadata
        .managed_fields
        .iter()
        .filter_map(|f| f.time)
        .max();
    let since = written
        .unwrap_or(cron.metadata.creation_timestamp)
        .max(context.started);
    if context.now.seconds_since(since) < 10 {
        plan.note(Note::warning(cron, reason, text));
    }
}

/// The latest moment that is due and was not served, and roughly how many were missed.
fn due(cron: &CronJob, schedule: &Schedule, now: Time) -> (Option<Time>, i64) {
    let mut from = cron
        .status
        .last_schedule_time
        .unwrap_or(cron.metadata.creation_timestamp);
    if let Some(seconds) = cron.spec.starting_deadline_seconds {
        from = from.max(now.plus_seconds(-seconds));
    }
    let Some(first) = schedule.next(from).filter(|t| *t <= now) else {
        return (None, 0);
    };
    let Some(second) = schedule.next(first).filter(|t| *t <= now) else {
        return (Some(first), 0);
    };
    let interval = second.seconds_since(first).max(1);
    let missed = now.seconds_since(first) / interval + 1;
    // Near the present the steps are few, whatever the schedule.
    let mut latest = second;
    let mut at = first.plus_seconds((missed - 2).max(0) * interval);
    while let Some(next) = schedule.next(at).filter(|t| *t <= now) {
        (latest, at) = (next, next);
    }
    (Some(latest), missed)
}

fn job_for(cron: &CronJob, name: &str, due: Time, offset: i64) -> Job {
    let template = &cron.spec.job_template;
    let local = due.plus_seconds(offset).to_string();
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    let stamp = match offset {
        0 => local,
        _ => format!(
            "{}{sign}{hours:02}:{minutes:02}",
            local.trim_end_matches('Z')
        ),
    };
    let mut annotations = template.metadata.annotations.clone();
    annotations.insert(SCHEDULED_AT, stamp);
    Job {
        metadata: ObjectMeta {
            name: name.into(),
            namespace: cron.metadata.namespace.clone(),
            labels: template.metadata.labels.clone(),
            annotations,
            owner_references: List::from_iter([controller_reference(cron)]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::CONTROLLER;
    use crate::testing::World;
    use corten_api::batch::v1::{CronJob, Job, JobCondition};
    use expect_test::expect;

    fn world(spec: &str) -> World {
        World::new(&format!(
            "
apiVersion: batch/v1
kind: CronJob
metadata: {{name: c, namespace: default, creationTimestamp: '2026-01-01T00:00:00Z'}}
spec:
  schedule: '*/5 * * * *'
  successfulJobsHistoryLimit: 1
  {spec}
  jobTemplate: {{metadata: {{labels: {{a: b}}}}, spec: {{template: {{spec: {{containers: [{{name: c}}]}}}}}}}}
"
        ))
    }

    fn finish(world: &mut World) {
        let jobs: Vec<String> = world
            .snapshot
            .list::<Job>()
            .map(|j| j.metadata.name.to_string())
            .collect();
        let now = world.context.now;
        for name in jobs {
            world.edit::<Job>("default", &name, |j| {
                j.status.start_time.get_or_insert(now);
                j.status.completion_time.get_or_insert(now);
                if j.status.conditions.is_empty() {
                    j.status.conditions.push(JobCondition {
                        type_: "Complete".into(),
                        status: "True".into(),
                        ..JobCondition::default()
                    });
                }
            });
        }
    }

    #[test]
    fn a_job_for_every_moment_and_a_short_history() {
        let mut world = world("concurrencyPolicy: Allow");
        expect!["wake at +300s"].assert_eq(&world.step(&CONTROLLER, "default/c"));
        world.later(300);
        expect![[r#"
            create jobs default/c-29453765
            wake at +600s"#]]
        .assert_eq(&world.step(&CONTROLLER, "default/c"));
        let status = world.step(&CONTROLLER, "default/c");
        assert!(
            status.contains("lastScheduleTime\":\"2026-01-01T00:05:00Z"),
            "{status}"
        );
        finish(&mut world);
        let done = world.run(&CONTROLLER, "default/c");
        assert!(
            done.contains("Saw completed job: c-29453765, condition: Complete"),
            "{done}"
        );
        world.later(300);
        world.run(&CONTROLLER, "default/c");
        finish(&mut world);
        let done = world.run(&CONTROLLER, "default/c");
        assert!(
            done.contains("delete jobs default/c-29453765 Background"),
            "{done}"
        );
        assert_eq!(world.snapshot.list::<Job>().count(), 1);
    }

    #[test]
    fn policies_and_missed_moments() {
        let mut forbid = world("concurrencyPolicy: Forbid");
        forbid.later(3000);
        forbid.run(&CONTROLLER, "default/c");
        expect!["c-29453810 2026-01-01T00:50:00Z"].assert_eq(&forbid.list::<Job>(|j| {
            j.metadata
                .annotation("batch.kubernetes.io/cronjob-scheduled-timestamp")
                .to_owned()
        }));
        forbid.later(300);
        let refused = forbid.step(&CONTROLLER, "default/c");
        assert!(refused.contains("JobAlreadyActive"), "{refused}");
        let mut replace = world("concurrencyPolicy: Replace");
        replace.later(300);
        replace.run(&CONTROLLER, "default/c");
        replace.later(300);
        replace.run(&CONTROLLER, "default/c");
        assert_eq!(replace.snapshot.list::<Job>().count(), 1);
        assert_eq!(
            replace.list::<CronJob>(|c| c.status.active[0].name.to_string()),
            "c c-29453770"
        );
    }
}
