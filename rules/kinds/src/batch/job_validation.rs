//! What is wrong with the specification of a Job, or of the jobs of a CronJob.

use crate::apps::checks::{invalid_or_null, labels_do_not_match, labels_value, not_negative_all};
use crate::checks::{Errors, not_negative, qualified_name};
use crate::core::pod::validate_pod_template;
use crate::error::{FieldError, IMMUTABLE};
use crate::metadata::{validate_selector, value_of};
use crate::{names, selectors};
use corten_api::batch::v1::{
    Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
    SuccessPolicyRule,
};
use corten_api::core::v1::{PodSpec, PodTemplateSpec};
use corten_api::meta::v1::LabelSelector;
use corten_core::{Message, Path, Str, Value, semantic_eq};
use corten_meta::Selector;

use super::indexes;
use super::job::{NAME, NAME_LEGACY, UID, UID_LEGACY};

const MANY: i32 = 100_000;
const MANY_AT_ONCE: i32 = 10_000;

/// A new Job.
pub(super) fn create(job: &Job) -> Errors {
    whole(job, None)
}

fn whole(job: &Job, old_selector: Option<&LabelSelector>) -> Errors {
    let mut errors = Vec::new();
    generated_selector(&mut errors, job);
    spec(&mut errors, &Path::Root.f("spec"), &job.spec, old_selector);
    let completions = job
        .spec
        .completions
        .filter(|c| *c > 0 && is_indexed(&job.spec));
    if let Some(completions) = completions {
        let host = format!("{}-{}", job.metadata.name, completions - 1);
        if !names::dns_label(&host).is_empty() {
            let text = format!("will not able to create pod with invalid DNS label: {host}");
            let path = Path::Root.f("metadata");
            errors.push(FieldError::invalid(
                path.f("name"),
                &job.metadata.name,
                text,
            ));
        }
    }
    errors
}

fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode
        .as_ref()
        .is_some_and(|m| m == "Indexed")
}

fn generated_selector(errors: &mut Errors, job: &Job) {
    let Some(selector) = job
        .spec
        .selector
        .as_ref()
        .filter(|_| job.spec.manual_selector != Some(true))
    else {
        return;
    };
    let (name, uid) = (&job.metadata.name, &job.metadata.uid);
    if uid.is_empty() {
        errors.push(FieldError::required(Path::Root.f("metadata").f("uid"), ""));
    }
    let path = Path::Root.f("spec");
    let labels = &job.spec.template.metadata.labels;
    let labels_path = path.f("template");
    let labels_path = labels_path.f("metadata");
    let labels_path = labels_path.f("labels");
    let expected = [
        (UID_LEGACY, uid),
        (NAME_LEGACY, name),
        (UID, uid),
        (NAME, name),
    ];
    for (key, value) in expected {
        let text = format!("must be '{value}'");
        match labels.get(key) {
            None => errors.push(FieldError::required(labels_path.k(key), text)),
            Some(actual) if actual != value => {
                errors.push(invalid_or_null(
                    &labels_path.k(key),
                    labels_value(labels),
                    &text,
                ));
            }
            Some(_) => {}
        }
    }
    let expected = expected.into_iter().map(|(k, v)| (k, v.clone())).collect();
    if Selector::from_label_selector(Some(selector)).is_ok_and(|s| !s.matches(&expected)) {
        let text = "`selector` not auto-generated";
        errors.push(FieldError::invalid(
            path.f("selector"),
            value_of(&**selector),
            text,
        ));
    }
}

/// The specification of a Job.
pub(super) fn spec(
    errors: &mut Errors,
    path: &Path,
    spec: &JobSpec,
    old_selector: Option<&LabelSelector>,
) {
    template_spec(errors, path, spec);
    match &spec.selector {
        None => errors.push(FieldError::required(path.f("selector"), "")),
        Some(selector) => {
            let strict = selectors::strictness(old_selector);
            errors.extend(validate_selector(selector, strict, &path.f("selector")));
        }
    }
    let labels = &spec.template.metadata.labels;
    let parsed = Selector::from_label_selector(spec.selector.as_deref());
    if parsed.is_ok_and(|s| !s.matches(labels)) {
        errors.push(labels_do_not_match(&path.f("template"), labels));
    }
}

/// What a Job and the template of a CronJob have in common.
pub(super) fn template_spec(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    let numbers = [
        ("parallelism", spec.parallelism.map(i64::from)),
        ("completions", spec.completions.map(i64::from)),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit.map(i64::from)),
        (
            "ttlSecondsAfterFinished",
            spec.ttl_seconds_after_finished.map(i64::from),
        ),
        (
            "backoffLimitPerIndex",
            spec.backoff_limit_per_index.map(i64::from),
        ),
        ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
    ];
    not_negative_all(errors, path, &numbers);
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        let text = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(path.f("backoffLimitPerIndex"), text));
    }
    if let Some(manager) = &spec.managed_by {
        let path = path.f("managedBy");
        errors.extend(crate::networking::domain_prefixed_path(&path, manager));
        if manager.len() > 63 {
            errors.push(FieldError::too_long(&path, 63));
        }
    }
    completion_mode(errors, path, spec);
    if let Some(policy) = &spec.pod_failure_policy {
        failure_policy(errors, &path.f("podFailurePolicy"), spec, policy);
    }
    success_policy(errors, &path.f("successPolicy"), spec);
    replacement_policy(errors, &path.f("podReplacementPolicy"), spec);
    let template = path.f("template");
    errors.extend(validate_pod_template(&spec.template, &template));
    restart_policy(errors, &template.f("spec").f("restartPolicy"), spec);
}

fn completion_mode(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    let mode = spec.completion_mode.as_ref().map_or("NonIndexed", |m| m);
    if !matches!(mode, "NonIndexed" | "Indexed") {
        let path = path.f("completionMode");
        errors.push(FieldError::not_supported(
            path,
            mode,
            &["NonIndexed", "Indexed"],
        ));
    }
    if mode == "NonIndexed" {
        let text = "requires indexed completion mode";
        for (name, value) in [
            ("backoffLimitPerIndex", spec.backoff_limit_per_index),
            ("maxFailedIndexes", spec.max_failed_indexes),
        ] {
            errors.extend(value.map(|v| FieldError::invalid(path.f(name), v, text)));
        }
    }
    if mode != "Indexed" {
        return;
    }
    if spec.completions.is_none() {
        let text = "when completion mode is Indexed";
        errors.push(FieldError::required(path.f("completions"), text));
    }
    if let Some(parallelism) = spec.parallelism.filter(|p| *p > MANY) {
        let text = format!("must be less than or equal to {MANY} when completion mode is Indexed");
        errors.push(FieldError::invalid(
            path.f("parallelism"),
            parallelism,
            text,
        ));
    }
    let (failed, failed_path) = (spec.max_failed_indexes, path.f("maxFailedIndexes"));
    if let Some(failed) = failed.filter(|f| spec.completions.is_some_and(|c| *f > c)) {
        let text = "must be less than or equal to completions";
        errors.push(FieldError::invalid(failed_path, failed, text));
    }
    if let Some(failed) = failed.filter(|f| *f > MANY) {
        let text = format!("must be less than or equal to {MANY}");
        errors.push(FieldError::invalid(failed_path, failed, text));
    }
    if spec.completions.is_none_or(|c| c <= MANY) || spec.backoff_limit_per_index.is_none() {
        return;
    }
    if failed.is_none() {
        let text = format!("must be specified when completions is above {MANY}");
        errors.push(FieldError::required(failed_path, text));
    }
    for (name, value) in [
        ("parallelism", spec.parallelism),
        ("maxFailedIndexes", failed),
    ] {
        if let Some(value) = value.filter(|v| *v > MANY_AT_ONCE) {
            let text = format!(
                "must be less than or equal to {MANY_AT_ONCE} when completions are above {MANY} and used with backoff \
                 limit per index"
            );
            errors.push(FieldError::invalid(path.f(name), value, text));
        }
    }
}

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

fn quoted(texts: &[&str]) -> String {
    let all: Vec<String> = texts.iter().map(|t| format!("{t:?}")).collect();
    format!("valid values: [{}]", all.join(" "))
}

fn one_of(errors: &mut Errors, path: &Path, value: &str, known: &[&str]) {
    if value.is_empty() {
        errors.push(FieldError::required(path, quoted(known)));
    } else if !known.contains(&value) {
        errors.push(FieldError::not_supported(path, value, known));
    }
}

fn failure_policy(errors: &mut Errors, path: &Path, spec: &JobSpec, policy: &PodFailurePolicy) {
    let path = path.f("rules");
    if policy.rules.len() > 20 {
        errors.push(FieldError::too_many(path, policy.rules.len(), 20));
    }
    let pod = &spec.template.spec;
    let containers = pod.containers.iter().chain(pod.init_containers.iter());
    let names: Vec<&Str> = containers.map(|c| &c.name).collect();
    for (i, rule) in policy.rules.iter().enumerate() {
        failure_rule(errors, &path.i(i), spec, rule, &names);
    }
}

fn failure_rule(
    errors: &mut Errors,
    path: &Path,
    spec: &JobSpec,
    rule: &PodFailurePolicyRule,
    names: &[&Str],
) {
    let action = path.f("action");
    if rule.action == "FailIndex" {
        if spec.backoff_limit_per_index.is_none() {
            let text = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(action, &rule.action, text));
        }
    } else {
        one_of(errors, &action, &rule.action, &ACTIONS);
    }
    if let Some(codes) = &rule.on_exit_codes {
        exit_codes(errors, &path.f("onExitCodes"), codes, names);
    }
    let conditions = path.f("onPodConditions");
    if rule.on_pod_conditions.len() > 20 {
        errors.push(FieldError::too_many(
            conditions,
            rule.on_pod_conditions.len(),
            20,
        ));
    }
    for (i, pattern) in rule.on_pod_conditions.iter().enumerate() {
        let path = conditions.i(i);
        qualified_name(errors, &path.f("type"), &pattern.type_);
        one_of(
            errors,
            &path.f("status"),
            &pattern.status,
            &["False", "True", "Unknown"],
        );
    }
    match (
        rule.on_exit_codes.is_some(),
        !rule.on_pod_conditions.is_empty(),
    ) {
        (true, true) => {
            let text = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(FieldError::invalid(path, Value::Null, text));
        }
        (false, false) => {
            let text = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(FieldError::invalid(path, Value::Null, text));
        }
        _ => {}
    }
}

fn exit_codes(
    errors: &mut Errors,
    path: &Path,
    codes: &PodFailurePolicyOnExitCodesRequirement,
    names: &[&Str],
) {
    one_of(
        errors,
        &path.f("operator"),
        &codes.operator,
        &["In", "NotIn"],
    );
    if let Some(name) = codes.container_name.as_ref().filter(|n| !names.contains(n)) {
        let text = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(path.f("containerName"), name, text));
    }
    let path = path.f("values");
    let all = || Value::List(codes.values.iter().map(|v| Value::from(*v)).collect());
    if codes.values.is_empty() {
        let bad = (!codes.values.is_nil()).then(all);
        errors.push(invalid_or_null(
            &path,
            bad,
            "at least one value is required",
        ));
    } else if codes.values.len() > 255 {
        errors.push(FieldError::too_many(path, codes.values.len(), 255));
    }
    let mut ordered = true;
    for (i, code) in codes.values.iter().enumerate() {
        if codes.operator == "In" && *code == 0 {
            let text = "must not be 0 for the In operator";
            errors.push(FieldError::invalid(path.i(i), *code, text));
        }
        if codes.values[..i].contains(code) {
            errors.push(FieldError::duplicate(path.i(i), *code));
        }
        ordered &= i == 0 || codes.values[i - 1] <= *code;
    }
    if !ordered {
        errors.push(FieldError::invalid(path, all(), "must be ordered"));
    }
}

fn success_policy(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    let Some(policy) = &spec.success_policy else {
        return;
    };
    if !is_indexed(spec) {
        let text = "requires indexed completion mode";
        errors.push(FieldError::invalid(path, value_of(&**policy), text));
        return;
    }
    let path = path.f("rules");
    if policy.rules.is_empty() {
        let text = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(path, text));
    }
    if policy.rules.len() > 20 {
        errors.push(FieldError::too_many(path, policy.rules.len(), 20));
    }
    for (i, rule) in policy.rules.iter().enumerate() {
        success_rule(errors, &path.i(i), rule, spec.completions.unwrap_or(0));
    }
}

fn success_rule(errors: &mut Errors, path: &Path, rule: &SuccessPolicyRule, completions: i32) {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let text = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(path, text));
    }
    let mut total = 0;
    if let Some(text) = &rule.succeeded_indexes {
        let path = path.f("succeededIndexes");
        if text.len() > 64 * 1024 {
            errors.push(FieldError::too_long(path, 64 * 1024));
        }
        match indexes::count(text, completions) {
            Ok(count) => total = count,
            Err(e) => {
                let detail = format!("error parsing succeededIndexes: {e}");
                errors.push(FieldError::invalid(path, text, detail));
            }
        }
    }
    let Some(count) = rule.succeeded_count else {
        return;
    };
    let path = path.f("succeededCount");
    not_negative(errors, &path, count.into());
    if count > completions {
        let text = format!(
            "must be less than or equal to {completions} (the number of specified completions)"
        );
        errors.push(FieldError::invalid(path, count, text));
    }
    if rule.succeeded_indexes.is_some() && count > total {
        let text = format!(
            "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        );
        errors.push(FieldError::invalid(path, count, text));
    }
}

fn replacement_policy(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    let Some(policy) = &spec.pod_replacement_policy else {
        return;
    };
    let known: &[&str] = match spec.pod_failure_policy {
        Some(_) => &["Failed"],
        None => &["Failed", "TerminatingOrFailed"],
    };
    crate::checks::known(errors, path, policy, known);
}

fn restart_policy(errors: &mut Errors, path: &Path, spec: &JobSpec) {
    match spec.template.spec.restart_policy.as_str() {
        "" | "Always" => {
            let text = "valid values: \"OnFailure\", \"Never\"";
            errors.push(FieldError::required(path, text));
        }
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            let text = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(path, "OnFailure", text));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(
            path,
            other,
            &["OnFailure", "Never"],
        )),
    }
}

/// A changed Job.
pub(super) fn update(new: &Job, old: &Job) -> Errors {
    // Upstream checks the whole again, and what is wrong with the specification counts twice.
    let mut errors = whole(new, old.spec.selector.as_deref());
    let path = Path::Root.f("spec");
    spec(&mut errors, &path, &new.spec, old.spec.selector.as_deref());
    completions(&mut errors, &path.f("completions"), &new.spec, &old.spec);
    let (n, o) = (&new.spec, &old.spec);
    kept(
        &mut errors,
        &path.f("selector"),
        n.selector.as_deref(),
        o.selector.as_deref(),
    );
    template(&mut errors, &path, &new.spec.template, old);
    kept_text(
        &mut errors,
        &path.f("completionMode"),
        &n.completion_mode,
        &o.completion_mode,
    );
    let (a, b) = (
        n.pod_failure_policy.as_deref(),
        o.pod_failure_policy.as_deref(),
    );
    kept(&mut errors, &path.f("podFailurePolicy"), a, b);
    if n.backoff_limit_per_index != o.backoff_limit_per_index {
        let bad = n.backoff_limit_per_index.map(Value::from);
        errors.push(invalid_or_null(
            &path.f("backoffLimitPerIndex"),
            bad,
            IMMUTABLE,
        ));
    }
    kept_text(
        &mut errors,
        &path.f("managedBy"),
        &n.managed_by,
        &o.managed_by,
    );
    let (a, b) = (n.success_policy.as_deref(), o.success_policy.as_deref());
    kept(&mut errors, &path.f("successPolicy"), a, b);
    errors
}

fn kept<M: Message>(errors: &mut Errors, path: &Path, new: Option<&M>, old: Option<&M>) {
    let same = match (new, old) {
        (Some(new), Some(old)) => semantic_eq(new, old),
        (None, None) => true,
        _ => false,
    };
    if !same {
        errors.push(invalid_or_null(path, new.map(value_of), IMMUTABLE));
    }
}

fn kept_text(errors: &mut Errors, path: &Path, new: &Option<Str>, old: &Option<Str>) {
    if new != old {
        errors.push(invalid_or_null(
            path,
            new.as_ref().map(Value::from),
            IMMUTABLE,
        ));
    }
}

fn completions(errors: &mut Errors, path: &Path, new: &JobSpec, old: &JobSpec) {
    if new.completions == old.completions {
        return;
    }
    if !is_indexed(new) {
        let bad = new.completions.map(Value::from);
        errors.push(invalid_or_null(path, bad, IMMUTABLE));
    } else if let Some(completions) = new
        .completions
        .filter(|_| new.completions != new.parallelism)
    {
        let text = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid(path, completions, text));
    }
}

/// Only a suspended Job without pods can change its template: where its pods run, and what they ask for.
fn template(errors: &mut Errors, path: &Path, new: &PodTemplateSpec, old: &Job) {
    let suspended = old.spec.suspend == Some(true);
    let condition =
        |c: &corten_api::batch::v1::JobCondition| c.type_ == "Suspended" && c.status == "True";
    let idle = old.status.start_time.is_none() || old.status.conditions.iter().any(condition);
    let open = suspended && idle && old.status.active == 0;
    let mut allowed = old.spec.template.clone();
    if open {
        allow_scheduling(&mut allowed, new);
        allow_resources(&mut allowed.spec, &new.spec);
        if !semantic_eq(&new.spec, &allowed.spec) {
            let path = path.f("template.spec");
            errors.push(FieldError::immutable(path, value_of(&new.spec)));
        }
    } else if !semantic_eq(new, &allowed) {
        errors.push(FieldError::immutable(path.f("template"), value_of(new)));
    }
}

fn allow_scheduling(allowed: &mut PodTemplateSpec, new: &PodTemplateSpec) {
    let (mine, theirs) = (&mut allowed.spec.affinity, &new.spec.affinity);
    match theirs {
        None => {
            let others = mine.as_mut().is_some_and(|a| {
                a.node_affinity = None;
                a.pod_affinity.is_some() || a.pod_anti_affinity.is_some()
            });
            if !others {
                *mine = None;
            }
        }
        Some(theirs) => mine.get_or_insert_default().node_affinity = theirs.node_affinity.clone(),
    }
    allowed.spec.node_selector = new.spec.node_selector.clone();
    allowed.spec.tolerations = new.spec.tolerations.clone();
    allowed.spec.scheduling_gates = new.spec.scheduling_gates.clone();
    allowed.metadata.annotations = new.metadata.annotations.clone();
    allowed.metadata.labels = new.metadata.labels.clone();
}

fn allow_resources(allowed: &mut PodSpec, new: &PodSpec) {
    let lists = [
        (&mut allowed.containers, &new.containers),
        (&mut allowed.init_containers, &new.init_containers),
    ];
    for (allowed, new) in lists {
        if allowed.len() == new.len() {
            for (allowed, new) in allowed.iter_mut().zip(new.iter()) {
                if allowed.name == new.name {
                    allowed.resources = new.resources.clone();
                }
            }
        }
    }
}
