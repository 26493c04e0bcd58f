//! What is wrong with a change of the status of a Job. Invariant: what was wrong before and is not touched is let through.

use super::indexes;
use crate::apps::checks::not_negative_all;
use crate::checks::Errors;
use crate::error::{FieldError, IMMUTABLE};
use crate::metadata::{time_value, value_of};
use corten_api::batch::v1::{Job, JobStatus};
use corten_core::{Path, Str, Value, semantic_eq};

fn is(job: &Job, condition: &str) -> bool {
    job.status
        .conditions
        .iter()
        .any(|c| c.type_ == condition && c.status == "True")
}

fn finished(job: &Job) -> bool {
    is(job, "Complete") || is(job, "Failed")
}

/// A changed status.
pub(super) fn update(new: &Job, old: &Job) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("status");
    numbers(&mut errors, &path, &new.status);
    let conditions = path.f("conditions");
    exclusive_conditions(&mut errors, &conditions, new, old);
    times(&mut errors, &path, new, old);
    missing_conditions(&mut errors, &conditions, new, old);
    when_finished(&mut errors, &path, new, old);
    index_lists(&mut errors, &path, new, old);
    still_running(&mut errors, &path, new, old);
    success_conditions(&mut errors, &conditions, new);
    lost_conditions(&mut errors, &conditions, new, old);
    counters(&mut errors, &path, new, old);
    fixed_times(&mut errors, &path, new, old);
    lost_success(&mut errors, &conditions, new, old);
    errors
}

fn counters(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let (s, before) = (&new.status, &old.status);
    if s.failed < before.failed {
        let text = "cannot decrease the failed counter";
        errors.push(FieldError::invalid(path.f("failed"), s.failed, text));
    }
    let indexed = new
        .spec
        .completion_mode
        .as_ref()
        .is_some_and(|m| m == "Indexed");
    let elastic = indexed && new.spec.completions == new.spec.parallelism;
    if s.succeeded < before.succeeded && !elastic {
        let text = "cannot decrease the succeeded counter";
        errors.push(FieldError::invalid(path.f("succeeded"), s.succeeded, text));
    }
}

fn numbers(errors: &mut Errors, path: &Path, status: &JobStatus) {
    let numbers = [
        ("active", Some(status.active.into())),
        ("succeeded", Some(status.succeeded.into())),
        ("failed", Some(status.failed.into())),
        ("ready", status.ready.map(i64::from)),
        ("terminating", status.terminating.map(i64::from)),
    ];
    not_negative_all(errors, path, &numbers);
    let Some(uncounted) = &status.uncounted_terminated_pods else {
        return;
    };
    let path = path.f("uncountedTerminatedPods");
    let mut seen: Vec<&Str> = Vec::new();
    for (name, list) in [
        ("succeeded", &uncounted.succeeded),
        ("failed", &uncounted.failed),
    ] {
        let path = path.f(name);
        for (i, uid) in list.iter().enumerate() {
            if uid.is_empty() {
                errors.push(FieldError::invalid(path.i(i), uid, "must not be empty"));
            } else if seen.contains(&uid) {
                errors.push(FieldError::duplicate(path.i(i), uid));
            } else {
                seen.push(uid);
            }
        }
    }
}

fn wrong(errors: &mut Errors, path: &Path, holds: bool, text: &str) {
    if holds {
        errors.push(FieldError::invalid(path, Value::Null, text));
    }
}

fn changed(new: &Job, old: &Job, condition: &str) -> bool {
    is(new, condition) != is(old, condition)
}

fn exclusive_conditions(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let changed = |c: &str| changed(new, old, c);
    let complete = is(new, "Complete");
    wrong(
        errors,
        path,
        (changed("Complete") || changed("Failed")) && complete && is(new, "Failed"),
        "cannot set Complete=True and Failed=true conditions",
    );
    wrong(
        errors,
        path,
        (changed("Complete") || changed("FailureTarget")) && complete && is(new, "FailureTarget"),
        "cannot set Complete=True and FailureTarget=true conditions",
    );
}

fn missing_conditions(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let changed = |c: &str| changed(new, old, c);
    let failed_indexes = new.status.failed_indexes != old.status.failed_indexes;
    wrong(
        errors,
        path,
        (changed("Failed") || failed_indexes) && is(new, "Failed") && !is(new, "FailureTarget"),
        "cannot set Failed=True condition without the FailureTarget=true condition",
    );
    wrong(
        errors,
        path,
        (changed("Complete") || changed("SuccessCriteriaMet"))
            && is(new, "Complete")
            && !is(new, "SuccessCriteriaMet"),
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    );
}

fn success_conditions(errors: &mut Errors, path: &Path, new: &Job) {
    let met = is(new, "SuccessCriteriaMet");
    wrong(
        errors,
        path,
        met && is(new, "Failed"),
        "cannot set SuccessCriteriaMet=True and Failed=true conditions",
    );
    wrong(
        errors,
        path,
        met && is(new, "FailureTarget"),
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    );
    wrong(
        errors,
        path,
        new.spec.success_policy.is_some() && !met && is(new, "Complete"),
        "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
    );
}

fn lost_conditions(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    for kind in ["Failed", "Complete", "FailureTarget"] {
        let text = format!("cannot disable the terminal {kind}=True condition");
        wrong(errors, path, is(old, kind) && !is(new, kind), &text);
    }
}

fn lost_success(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let (met, was_met) = (is(new, "SuccessCriteriaMet"), is(old, "SuccessCriteriaMet"));
    wrong(
        errors,
        path,
        was_met && !met,
        "cannot disable the SuccessCriteriaMet=True condition",
    );
    wrong(
        errors,
        path,
        is(old, "Complete") && !was_met && met,
        "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions",
    );
}

fn times(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let (start, end) = (new.status.start_time, new.status.completion_time);
    let (start_before, end_before) = (old.status.start_time, old.status.completion_time);
    let complete = is(new, "Complete");
    let (moved, ended) = (start != start_before, end != end_before);
    let completed = complete != is(old, "Complete");
    let path_end = path.f("completionTime");
    if (completed || ended) && end.is_some() && !complete {
        let text = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(path_end, time_value(end), text));
    }
    if (completed || ended) && end.is_none() && complete {
        errors.push(FieldError::required(
            path_end,
            "completionTime is required for Complete jobs",
        ));
    }
    if let (Some(first), Some(last), true) = (start, end, moved || ended)
        && last.seconds_since(first) < 0
    {
        let text = "must be equal to or after `startTime`";
        errors.push(FieldError::invalid(path_end, time_value(end), text));
    }
}

fn fixed_times(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let (start, end) = (new.status.start_time, new.status.completion_time);
    let (start_before, end_before) = (old.status.start_time, old.status.completion_time);
    let (moved, ended) = (start != start_before, end != end_before);
    if end.is_some() && end_before.is_some() && ended {
        let path_end = path.f("completionTime");
        errors.push(FieldError::invalid(path_end, time_value(end), IMMUTABLE));
    }
    let resumed =
        |c: &corten_api::batch::v1::JobCondition| c.type_ == "Suspended" && c.status == "False";
    let resuming = is(old, "Suspended") && new.status.conditions.iter().any(resumed);
    if moved && !resuming && start_before.is_some() && new.spec.suspend != Some(true) {
        let text = "field is immutable for unsuspended job once set";
        let bad = start.map(|s| Value::from(s.to_string()));
        errors.push(crate::apps::checks::invalid_or_null(
            &path.f("startTime"),
            bad,
            text,
        ));
    }
}

fn when_finished(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    if !finished(new) {
        return;
    }
    let (s, before) = (&new.status, &old.status);
    let just = !finished(old);
    if (just || s.active != before.active) && s.active > 0 {
        let text = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid(path.f("active"), s.active, text));
    }
    let nothing_to_do = new.spec.suspend == Some(true) && new.spec.completions == Some(0);
    if (just || s.start_time != before.start_time) && !nothing_to_do && s.start_time.is_none() {
        errors.push(FieldError::required(
            path.f("startTime"),
            "startTime is required for finished job",
        ));
    }
    if let Some(pods) = &s.uncounted_terminated_pods {
        let same = before
            .uncounted_terminated_pods
            .as_ref()
            .is_some_and(|b| semantic_eq(&**pods, &**b));
        if (just || !same) && pods.failed.len() + pods.succeeded.len() > 0 {
            let path = path.f("uncountedTerminatedPods");
            let text = "must be empty for finished job";
            errors.push(FieldError::invalid(path, value_of(&**pods), text));
        }
    }
}

fn still_running(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let (s, before) = (&new.status, &old.status);
    let just = finished(new) && !finished(old);
    let terminating = s
        .terminating
        .filter(|t| (just || s.terminating != before.terminating) && finished(new) && *t > 0);
    if let Some(terminating) = terminating {
        let text = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid(
            path.f("terminating"),
            terminating,
            text,
        ));
    }
    let counted = s.ready != before.ready || s.active != before.active;
    if let Some(ready) = s.ready.filter(|r| counted && *r > s.active) {
        let text = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(path.f("ready"), ready, text));
    }
}

fn index_lists(errors: &mut Errors, path: &Path, new: &Job, old: &Job) {
    let (s, before) = (&new.status, &old.status);
    let completed_changed = s.completed_indexes != before.completed_indexes;
    let failed_changed = s.failed_indexes != before.failed_indexes;
    let (completed, failed) = (path.f("completedIndexes"), path.f("failedIndexes"));
    let completions = new.spec.completions;
    if let (true, Some(completions)) = (completed_changed, completions)
        && let Err(e) = indexes::count(&s.completed_indexes, completions)
    {
        let text = format!("error parsing completedIndexes: {e}");
        errors.push(FieldError::invalid(completed, &s.completed_indexes, text));
    }
    let limited = new.spec.backoff_limit_per_index.is_some();
    if let (true, Some(completions), Some(list)) =
        (failed_changed && limited, completions, &s.failed_indexes)
        && let Err(e) = indexes::count(list, completions)
    {
        let text = format!("error parsing failedIndexes: {e}");
        errors.push(FieldError::invalid(failed, list, text));
    }
    let indexed = new
        .spec
        .completion_mode
        .as_ref()
        .is_some_and(|m| m == "Indexed");
    if completed_changed && !s.completed_indexes.is_empty() && !indexed {
        let text = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid(completed, &s.completed_indexes, text));
    }
    let Some(list) = &s.failed_indexes else {
        return;
    };
    if failed_changed && !limited {
        let text = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(failed, list, text));
    }
    let shared = completions
        .filter(|_| failed_changed || completed_changed)
        .and_then(|c| indexes::overlap(&s.completed_indexes, list, c));
    if let Some(index) = shared {
        let text = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.push(FieldError::invalid(failed, list, text));
    }
}
