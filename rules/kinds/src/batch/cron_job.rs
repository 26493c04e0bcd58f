//! CronJobs: defaults and table.

use super::job::{default_job_template, spec_warning};
use super::{columns, job_validation, schedule};
use crate::apps::checks::not_negative_all;
use crate::checks::{Errors, one_of};
use crate::core::pod::warnings::of_template;
use crate::metadata::value_of;
use crate::rules::{Generation, Rules, with_status};
use crate::workload::{container_cells, name_warning};
use crate::{Column, Context, FieldError, cells, selectors};
use corten_api::batch::v1::{CronJob, CronJobSpec, JobSpec};
use corten_core::{Path, Time, Value, semantic_eq};

/// The strategy of CronJobs.
pub struct CronJobs;

impl Rules for CronJobs {
    type Of = CronJob;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut CronJob) {
        let spec = &mut obj.spec;
        default_job_template(&mut spec.job_template.spec);
        if spec.concurrency_policy.is_empty() {
            spec.concurrency_policy = "Allow".into();
        }
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
    }
    fn warnings(&self, _cx: &Context, new: &CronJob, old: Option<&CronJob>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(name_warning(&new.metadata.name));
        }
        if old.is_none_or(|old| !semantic_eq(&new.spec, &old.spec)) {
            warnings.extend(spec_warning(
                &new.spec.job_template.spec,
                "spec.jobTemplate.spec",
            ));
        }
        let before = old.map(|o| &o.spec.job_template.spec.template);
        warnings.extend(of_template(
            &new.spec.job_template.spec.template,
            before,
            "spec.jobTemplate.spec.template",
        ));
        if old.is_some() && new.spec.schedule.contains("TZ") {
            let text = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                        https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
            warnings.push(text.to_owned());
        }
        warnings
    }
    fn validate_create(&self, _cx: &Context, new: &CronJob) -> Vec<FieldError> {
        let mut errors = validate_spec(&new.spec, None);
        if new.metadata.name.len() > 52 {
            let path = Path::Root.f("metadata");
            let text = "must be no more than 52 characters";
            errors.push(FieldError::invalid(
                path.f("name"),
                &new.metadata.name,
                text,
            ));
        }
        errors
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &CronJob,
        old: &CronJob,
    ) -> Vec<FieldError> {
        if part == "status" {
            return vec![];
        }
        validate_spec(&new.spec, Some(&old.spec))
    }
    fn columns(&self) -> &'static [Column] {
        &columns::CRON_JOB
    }
    fn cells(&self, obj: &CronJob, now: &Time) -> Vec<Value> {
        let job = &obj.spec.job_template.spec;
        let [names, images] = container_cells(&job.template.spec.containers);
        let last = obj.status.last_schedule_time.as_ref();
        let suspend = match obj.spec.suspend {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        };
        vec![
            Value::from(&obj.metadata.name),
            Value::from(&obj.spec.schedule),
            Value::from(obj.spec.time_zone.as_ref().map_or("<none>", |z| z)),
            Value::from(suspend),
            Value::from(obj.status.active.len() as i64),
            last.map_or(Value::from("<none>"), |t| cells::age(t, now)),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selectors::text(job.selector.as_deref())),
        ]
    }
}

fn validate_spec(spec: &CronJobSpec, old: Option<&CronJobSpec>) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    validate_schedule(&mut errors, &path.f("schedule"), spec, old);
    let deadline = spec.starting_deadline_seconds;
    not_negative_all(&mut errors, &path, &[("startingDeadlineSeconds", deadline)]);
    if old.is_none_or(|old| old.time_zone != spec.time_zone) {
        validate_zone(&mut errors, &path.f("timeZone"), spec.time_zone.as_deref());
    }
    let known = ["Allow", "Forbid", "Replace"];
    one_of(
        &mut errors,
        &path.f("concurrencyPolicy"),
        &spec.concurrency_policy,
        &known,
    );
    validate_template(
        &mut errors,
        &path.f("jobTemplate").f("spec"),
        &spec.job_template.spec,
    );
    let limits = [
        (
            "successfulJobsHistoryLimit",
            spec.successful_jobs_history_limit.map(i64::from),
        ),
        (
            "failedJobsHistoryLimit",
            spec.failed_jobs_history_limit.map(i64::from),
        ),
    ];
    not_negative_all(&mut errors, &path, &limits);
    errors
}

fn validate_schedule(
    errors: &mut Errors,
    path: &Path,
    spec: &CronJobSpec,
    old: Option<&CronJobSpec>,
) {
    let text = &spec.schedule;
    if text.is_empty() {
        errors.push(FieldError::required(path, ""));
        return;
    }
    if let Err(e) = schedule::check(text) {
        errors.push(FieldError::invalid(path, text, e));
    }
    if !text.contains("TZ") {
        return;
    }
    let kept = old.is_some_and(|old| old.schedule.contains("TZ"));
    if kept && spec.time_zone.is_some() {
        let detail = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
        errors.push(FieldError::invalid(path, text, detail));
    } else if !kept {
        let detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
        errors.push(FieldError::invalid(path, text, detail));
    }
}

/// The form of a zone's name; which zones exist is not known here.
fn validate_zone(errors: &mut Errors, path: &Path, zone: Option<&str>) {
    let Some(zone) = zone else {
        return;
    };
    if zone.is_empty() {
        let text = "timeZone must be nil or non-empty string";
        errors.push(FieldError::invalid(path, zone, text));
        return;
    }
    let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+');
    let wrong = |part: &str| {
        matches!(part, "" | "." | "..")
            || part.starts_with('-')
            || part.len() > 14
            || !part.bytes().all(fine)
    };
    if zone.split('/').any(wrong) {
        errors.push(FieldError::invalid(
            path,
            zone,
            format!("unknown time zone {zone}"),
        ));
        return;
    }
    if zone.eq_ignore_ascii_case("local") {
        let text =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.push(FieldError::invalid(path, zone, text));
        if zone != "Local" {
            errors.push(FieldError::invalid(
                path,
                zone,
                format!("unknown time zone {zone}"),
            ));
        }
    }
}

fn validate_template(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    job_validation::template_spec(errors, path, spec);
    if let Some(selector) = &spec.selector {
        let text = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(
            path.f("selector"),
            value_of(&**selector),
            text,
        ));
    }
    if spec.manual_selector == Some(true) {
        let path = path.f("manualSelector");
        errors.push(FieldError::not_supported(path, true, &["nil", "false"]));
    }
}
