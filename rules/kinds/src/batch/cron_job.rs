//! CronJobs: defaults and table.

use super::columns;
use super::job::{default_job_template, spec_warning};
use crate::rules::{Generation, Rules, with_status};
use crate::workload::{container_cells, name_warning};
use crate::{Column, Context, cells, selectors};
use corten_api::batch::v1::CronJob;
use corten_core::{Time, Value, semantic_eq};

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
        if old.is_some() && new.spec.schedule.contains("TZ") {
            let text = "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see \
                        https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details";
            warnings.push(text.to_owned());
        }
        warnings
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
