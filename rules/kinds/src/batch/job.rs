//! Jobs: defaults, the selector and labels that the API server makes up, table.

use super::{columns, job_status, job_validation};
use crate::core::pod::default_pod_template;
use crate::core::pod::warnings::of_template;
use crate::rules::{Generation, Rules, with_status};
use crate::workload::{container_cells, name_warning};
use crate::{Column, Context, FieldError, Propagation, cells, selectors};
use corten_api::batch::v1::{Job, JobSpec};
use corten_core::{Str, Time, Value};

/// The strategy of Jobs.
pub struct Jobs;

pub(super) const NAME: &str = "batch.kubernetes.io/job-name";
pub(super) const NAME_LEGACY: &str = "job-name";
pub(super) const UID: &str = "batch.kubernetes.io/controller-uid";
pub(super) const UID_LEGACY: &str = "controller-uid";

impl Rules for Jobs {
    type Of = Job;
    const GENERATION: Generation = Generation::Counted;
    with_status!();

    fn default(&self, obj: &mut Job) {
        inherit_labels(obj);
        let spec = &mut obj.spec;
        default_job_template(spec);
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        spec.parallelism.get_or_insert(1);
        let limit = if spec.backoff_limit_per_index.is_some() {
            i32::MAX
        } else {
            6
        };
        spec.backoff_limit.get_or_insert(limit);
        spec.completion_mode
            .get_or_insert_with(|| "NonIndexed".into());
        spec.suspend.get_or_insert(false);
        let replacement = if spec.pod_failure_policy.is_some() {
            "Failed"
        } else {
            "TerminatingOrFailed"
        };
        spec.pod_replacement_policy
            .get_or_insert_with(|| replacement.into());
        spec.manual_selector.get_or_insert(false);
    }
    fn prepare_create(&self, _cx: &Context, new: &mut Job) {
        let labels = &new.metadata.labels;
        // Upstream's defaults give it the very labels of the template, which the selector then adds to.
        let inherited = labels.is_empty() || *labels == new.spec.template.metadata.labels;
        if new.spec.manual_selector != Some(true) {
            generate_selector(new);
        }
        if inherited {
            new.metadata.labels = new.spec.template.metadata.labels.clone();
        }
    }
    fn prepare_update(&self, _cx: &Context, _part: &str, new: &mut Job, _old: &Job) {
        inherit_labels(new);
    }
    fn warnings(&self, _cx: &Context, new: &Job, old: Option<&Job>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() {
            warnings.extend(name_warning(&new.metadata.name));
        }
        warnings.extend(spec_warning(&new.spec, "spec"));
        let before = old.map(|o| &o.spec.template);
        warnings.extend(of_template(&new.spec.template, before, "spec.template"));
        warnings
    }
    fn validate_create(&self, _cx: &Context, new: &Job) -> Vec<FieldError> {
        job_validation::create(new)
    }
    fn validate_update(&self, _cx: &Context, part: &str, new: &Job, old: &Job) -> Vec<FieldError> {
        match part {
            "status" => job_status::update(new, old),
            _ => job_validation::update(new, old),
        }
    }
    fn columns(&self) -> &'static [Column] {
        &columns::JOB
    }
    fn cells(&self, obj: &Job, now: &Time) -> Vec<Value> {
        let [names, images] = container_cells(&obj.spec.template.spec.containers);
        let duration = obj.status.start_time.map(|start| {
            let end = obj.status.completion_time.unwrap_or(*now);
            cells::duration(end.seconds_since(start))
        });
        vec![
            Value::from(&obj.metadata.name),
            Value::from(status(obj)),
            Value::from(completions(obj)),
            Value::from(duration.unwrap_or_default()),
            cells::age(&obj.metadata.creation_timestamp, now),
            names,
            images,
            Value::from(selectors::text(obj.spec.selector.as_deref())),
        ]
    }
    fn field_labels(&self) -> &'static [&'static str] {
        &["status.successful"]
    }
    fn field_values(&self, obj: &Job) -> Vec<Str> {
        vec![obj.status.succeeded.to_string().into()]
    }
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }
}

/// Defaults of the parts of a job that the template of a CronJob has too.
pub(super) fn default_job_template(spec: &mut JobSpec) {
    default_pod_template(&mut spec.template);
    let rules = spec
        .pod_failure_policy
        .iter_mut()
        .flat_map(|p| p.rules.iter_mut());
    for condition in rules.flat_map(|r| r.on_pod_conditions.iter_mut()) {
        if condition.status.is_empty() {
            condition.status = "True".into();
        }
    }
}

/// Jobs without labels show those of their template (upstream defaults them whenever it reads the object).
fn inherit_labels(job: &mut Job) {
    if job.metadata.labels.is_empty() && !job.spec.template.metadata.labels.is_empty() {
        job.metadata.labels = job.spec.template.metadata.labels.clone();
    }
}

fn generate_selector(job: &mut Job) {
    let (name, uid) = (job.metadata.name.clone(), job.metadata.uid.clone());
    let labels = &mut job.spec.template.metadata.labels;
    for (key, value) in [
        (NAME_LEGACY, &name),
        (NAME, &name),
        (UID_LEGACY, &uid),
        (UID, &uid),
    ] {
        labels.get_or_insert_with(key, || value.clone());
    }
    let selector = job.spec.selector.get_or_insert_default();
    selector.match_labels.get_or_insert_with(UID, || uid);
}

/// Warns of indexed jobs that are too big to track.
pub(super) fn spec_warning(spec: &JobSpec, path: &str) -> Option<String> {
    let indexed = spec
        .completion_mode
        .as_ref()
        .is_some_and(|m| m == "Indexed");
    let big = spec.completions.unwrap_or(0) > 100_000 && spec.parallelism.unwrap_or(0) > 10_000;
    (indexed && big).then(|| {
        format!(
            "{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, \
             Kubernetes might not be able to track completedIndexes when a big number of indexes fail"
        )
    })
}

fn completions(obj: &Job) -> String {
    let succeeded = obj.status.succeeded;
    match (obj.spec.completions, obj.spec.parallelism.unwrap_or(0)) {
        (Some(wanted), _) => format!("{succeeded}/{wanted}"),
        (None, parallelism) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        _ => format!("{succeeded}/1"),
    }
}

fn status(obj: &Job) -> &'static str {
    let is = |name: &str| {
        obj.status
            .conditions
            .iter()
            .any(|c| c.type_ == name && c.status == "True")
    };
    if is("Complete") {
        "Complete"
    } else if is("Failed") {
        "Failed"
    } else if obj.metadata.deleting() {
        "Terminating"
    } else if is("Suspended") {
        "Suspended"
    } else if is("FailureTarget") {
        "FailureTarget"
    } else if is("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}
