//! What is wrong with the specification of a HorizontalPodAutoscaler.

use crate::checks::{Errors, dns_label, known, positive};
use crate::error::FieldError;
use crate::names;
use corten_api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerSpec,
    MetricIdentifier, MetricSpec, MetricTarget,
};
use corten_core::{Path, Value};

const WINDOW_MAX: i32 = 3600;
const PERIOD_MAX: i32 = 1800;

/// Whether an apiVersion is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ApiVersion {
    /// It must have a group.
    Grouped,
    /// It may be that of the core group.
    Any,
    /// It was stored already.
    Kept,
}

/// A specification, new or changed.
pub(super) fn spec(
    new: &HorizontalPodAutoscalerSpec,
    old: Option<&HorizontalPodAutoscalerSpec>,
) -> Errors {
    let mut errors = Vec::new();
    let path = Path::Root.f("spec");
    let low = if old.is_some_and(|o| o.min_replicas == Some(0)) {
        0
    } else {
        1
    };
    let (min, max) = (new.min_replicas, new.max_replicas);
    if let Some(min) = min.filter(|m| *m < low) {
        let text = format!("must be greater than or equal to {low}");
        errors.push(FieldError::invalid(path.f("minReplicas"), min, text));
    }
    let max_path = path.f("maxReplicas");
    if max == 0 {
        errors.push(FieldError::required(
            max_path,
            "must be set and greater than 0",
        ));
    } else if max < 0 {
        let text = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(max_path, max, text));
    }
    if min.is_some_and(|min| max < min) {
        let text = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(max_path, max, text));
    }
    let target = &new.scale_target_ref;
    let same = |o: &HorizontalPodAutoscalerSpec| {
        let o = &o.scale_target_ref;
        (&o.api_version, &o.kind) == (&target.api_version, &target.kind)
    };
    let version = match old {
        Some(old) if same(old) => ApiVersion::Kept,
        _ if target.kind == "ReplicationController" => ApiVersion::Any,
        _ => ApiVersion::Grouped,
    };
    reference(&mut errors, &path.f("scaleTargetRef"), target, version);
    metrics(&mut errors, &path.f("metrics"), new, old);
    if let Some(behavior) = &new.behavior {
        let path = path.f("behavior");
        for (name, rules_) in [
            ("scaleUp", &behavior.scale_up),
            ("scaleDown", &behavior.scale_down),
        ] {
            if let Some(rules_) = rules_ {
                rules(&mut errors, &path.f(name), rules_);
            }
        }
    }
    errors
}

fn version_error(text: &str, check: ApiVersion) -> Option<String> {
    match check {
        ApiVersion::Kept => None,
        _ if text.matches('/').count() > 1 => {
            Some(format!("unexpected GroupVersion string: {text}"))
        }
        ApiVersion::Grouped
            if text
                .split_once('/')
                .is_none_or(|(group, _)| group.is_empty()) =>
        {
            Some("apiVersion must specify API group".to_owned())
        }
        _ => None,
    }
}

fn reference(
    errors: &mut Errors,
    path: &Path,
    reference: &CrossVersionObjectReference,
    version: ApiVersion,
) {
    for (name, value) in [("kind", &reference.kind), ("name", &reference.name)] {
        if value.is_empty() {
            errors.push(FieldError::required(path.f(name), ""));
        } else {
            let wrong = names::path_segment(value, false).into_iter();
            errors.extend(wrong.map(|m| FieldError::invalid(path.f(name), value, m)));
        }
    }
    if let Some(text) = version_error(&reference.api_version, version) {
        errors.push(FieldError::invalid(
            path.f("apiVersion"),
            &reference.api_version,
            text,
        ));
    }
}

fn metrics(
    errors: &mut Errors,
    path: &Path,
    new: &HorizontalPodAutoscalerSpec,
    old: Option<&HorizontalPodAutoscalerSpec>,
) {
    let bad = |m: &MetricSpec| {
        let object = m.object.as_ref().filter(|_| m.type_ == "Object");
        object.is_some_and(|o| {
            version_error(&o.described_object.api_version, ApiVersion::Any).is_some()
        })
    };
    let kept = old.is_some_and(|o| o.metrics.iter().any(bad));
    let version = if kept {
        ApiVersion::Kept
    } else {
        ApiVersion::Any
    };
    for (i, metric_) in new.metrics.iter().enumerate() {
        metric(errors, &path.i(i), metric_, version);
    }
    let outside = new
        .metrics
        .iter()
        .any(|m| matches!(m.type_.as_str(), "Object" | "External"));
    if new.min_replicas == Some(0) && !outside {
        let text = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(path, text));
    }
}

const SOURCES: [&str; 5] = [
    "ContainerResource",
    "External",
    "Object",
    "Pods",
    "Resource",
];

fn metric(errors: &mut Errors, path: &Path, metric: &MetricSpec, version: ApiVersion) {
    let kind = path.f("type");
    if metric.type_.is_empty() {
        errors.push(FieldError::required(
            &kind,
            "must specify a metric source type",
        ));
    }
    known(errors, &kind, &metric.type_, &SOURCES);
    let present = [
        ("object", "Object", metric.object.is_some()),
        ("external", "External", metric.external.is_some()),
        ("pods", "Pods", metric.pods.is_some()),
        ("resource", "Resource", metric.resource.is_some()),
        (
            "containerResource",
            "ContainerResource",
            metric.container_resource.is_some(),
        ),
    ];
    if let Some((first, ..)) = present.iter().find(|(_, _, is)| *is) {
        source(errors, &path.f(first), first, metric, version);
    }
    let expected = present.iter().find(|(_, name, _)| metric.type_ == *name);
    match expected {
        Some((name, _, false)) => {
            let text = "must populate information for the given metric source";
            errors.push(FieldError::required(path.f(name), text));
        }
        Some(_) => {}
        None => known(errors, &kind, &metric.type_, &SOURCES),
    }
    if present.iter().filter(|(_, _, is)| *is).count() == 1 {
        return;
    }
    for (name, ..) in present
        .iter()
        .filter(|(name, _, is)| *is && expected.is_none_or(|e| e.0 != *name))
    {
        let text = "must populate the given metric source only";
        errors.push(FieldError::forbidden(path.f(name), text));
    }
}

fn source(errors: &mut Errors, path: &Path, name: &str, metric: &MetricSpec, version: ApiVersion) {
    let at = path.f("target");
    let either = |errors: &mut Errors, field: &str, target: &MetricTarget, text: &str| {
        let has_other = match field {
            "averageUtilization" => target.average_utilization.is_some(),
            _ => target.value.is_some(),
        };
        if !has_other && target.average_value.is_none() {
            let field = if field == "value" {
                "averageValue"
            } else {
                field
            };
            errors.push(FieldError::required(at.f(field), text));
        }
    };
    if let (Some(o), "object") = (&metric.object, name) {
        reference(
            errors,
            &path.f("describedObject"),
            &o.described_object,
            version,
        );
        identifier(errors, &path.f("metric"), &o.metric);
        target(errors, &at, &o.target);
        either(
            errors,
            "value",
            &o.target,
            "must set either a target value or averageValue",
        );
    } else if let (Some(e), "external") = (&metric.external, name) {
        identifier(errors, &path.f("metric"), &e.metric);
        target(errors, &at, &e.target);
        let text = "must set either a target value for metric or a per-pod target";
        either(errors, "value", &e.target, text);
        if e.target.value.is_some() && e.target.average_value.is_some() {
            let text = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(at.f("value"), text));
        }
    } else if let (Some(p), "pods") = (&metric.pods, name) {
        identifier(errors, &path.f("metric"), &p.metric);
        target(errors, &at, &p.target);
        if p.target.average_value.is_none() {
            let text = "must specify a positive target averageValue";
            errors.push(FieldError::required(at.f("averageValue"), text));
        }
    } else if let (Some(r), "resource") = (&metric.resource, name) {
        resource(errors, path, &r.name, &r.target);
    } else if let (Some(c), "containerResource") = (&metric.container_resource, name) {
        if c.container.is_empty() {
            errors.push(FieldError::required(
                path.f("container"),
                "must specify a container",
            ));
        } else {
            dns_label(errors, &path.f("container"), &c.container);
        }
        resource(errors, path, &c.name, &c.target);
    }
}

fn resource(errors: &mut Errors, path: &Path, name: &str, aim: &MetricTarget) {
    if name.is_empty() {
        errors.push(FieldError::required(
            path.f("name"),
            "must specify a resource name",
        ));
    }
    let path = path.f("target");
    target(errors, &path, aim);
    match (
        aim.average_utilization.is_some(),
        aim.average_value.is_some(),
    ) {
        (false, false) => {
            let text = "must set either a target raw value or a target utilization";
            errors.push(FieldError::required(path.f("averageUtilization"), text));
        }
        (true, true) => {
            let text = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(path.f("averageValue"), text));
        }
        _ => {}
    }
}

fn target(errors: &mut Errors, path: &Path, target: &MetricTarget) {
    if target.type_.is_empty() {
        errors.push(FieldError::required(
            path.f("type"),
            "must specify a metric target type",
        ));
    }
    if !matches!(
        target.type_.as_str(),
        "Utilization" | "Value" | "AverageValue"
    ) {
        let text = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid(path.f("type"), &target.type_, text));
    }
    for (name, value) in [
        ("value", &target.value),
        ("averageValue", &target.average_value),
    ] {
        if let Some(value) = value.as_ref().filter(|v| v.sign() != 1) {
            errors.push(FieldError::invalid(
                path.f(name),
                value.as_str(),
                "must be positive",
            ));
        }
    }
    if let Some(share) = target.average_utilization.filter(|u| *u < 1) {
        let text = "must be greater than 0";
        errors.push(FieldError::invalid(
            path.f("averageUtilization"),
            share,
            text,
        ));
    }
}

fn identifier(errors: &mut Errors, path: &Path, metric: &MetricIdentifier) {
    let path = path.f("name");
    if metric.name.is_empty() {
        errors.push(FieldError::required(path, "must specify a metric name"));
    } else {
        let wrong = names::path_segment(&metric.name, false).into_iter();
        errors.extend(wrong.map(|m| FieldError::invalid(path, &metric.name, m)));
    }
}

fn rules(errors: &mut Errors, path: &Path, rules: &HPAScalingRules) {
    if let Some(window) = rules.stabilization_window_seconds {
        let path = path.f("stabilizationWindowSeconds");
        if window < 0 {
            let text = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(path, window, text));
        }
        if window > WINDOW_MAX {
            let text = format!("must be less than or equal to {WINDOW_MAX}");
            errors.push(FieldError::invalid(path, window, text));
        }
    }
    if let Some(select) = &rules.select_policy {
        known(
            errors,
            &path.f("selectPolicy"),
            select,
            &["Disabled", "Max", "Min"],
        );
    }
    let policies = path.f("policies");
    if rules.policies.is_empty() {
        errors.push(FieldError::required(
            policies,
            "must specify at least one Policy",
        ));
    }
    for (i, policy_) in rules.policies.iter().enumerate() {
        policy(errors, &policies.i(i), policy_);
    }
    if let Some(tolerance) = rules.tolerance.as_ref().filter(|t| t.sign() < 0) {
        let bad = Value::from(tolerance.to_string());
        let text = crate::error::NEGATIVE;
        errors.push(FieldError::invalid(path.f("tolerance"), bad, text));
    }
}

fn policy(errors: &mut Errors, path: &Path, policy: &HPAScalingPolicy) {
    known(errors, &path.f("type"), &policy.type_, &["Percent", "Pods"]);
    positive(errors, &path.f("value"), policy.value.into());
    positive(
        errors,
        &path.f("periodSeconds"),
        policy.period_seconds.into(),
    );
    if policy.period_seconds > PERIOD_MAX {
        let text = format!("must be less than or equal to {PERIOD_MAX}");
        errors.push(FieldError::invalid(
            path.f("periodSeconds"),
            policy.period_seconds,
            text,
        ));
    }
}
