//! The metrics of an autoscaler, each with the count that it leads to; the highest counts.

use super::replicas::{self, Sample, Target};
use super::{Decision, Observed, Scale};
use corten_api::autoscaling::v2::{
    ContainerResourceMetricStatus, HorizontalPodAutoscaler, MetricSpec, MetricStatus, MetricTarget,
    MetricValueStatus, ResourceMetricStatus,
};
use corten_api::core::v1::Pod;
use corten_core::{List, Quantity, QuantityFormat};
use corten_meta::Selector;
use std::collections::BTreeMap;

/// By how much a ratio may differ from 1 without a change.
const TOLERANCE: f64 = 0.1;

/// Whether the autoscaler goes by what pods use.
pub fn wants_usage(autoscaler: &HorizontalPodAutoscaler) -> bool {
    let by_usage = |m: &MetricSpec| m.resource.is_some() || m.container_resource.is_some();
    autoscaler.spec.metrics.iter().any(by_usage)
}

/// Why a metric leads to no count: the reason of the condition, and why.
struct Failure {
    reason: &'static str,
    why: String,
    prefix: String,
}

struct Found {
    count: i32,
    name: String,
    status: MetricStatus,
}

/// The highest count, the name of its metric, and what went wrong. No count when nothing is to be done.
pub(super) fn proposal(
    o: &Observed<'_>,
    scale: &Scale,
    decision: &mut Decision,
    statuses: &mut List<MetricStatus>,
) -> (Option<i32>, String, Option<String>) {
    let selector = match selected(o, scale, decision) {
        Ok(selector) => selector,
        Err(why) => return (None, String::new(), Some(why)),
    };
    let specs = &o.autoscaler.spec.metrics;
    let mut best: Option<(i32, String)> = None;
    let mut failures: Vec<Failure> = Vec::new();
    for spec in specs {
        match one(o, scale, &selector, spec) {
            Ok(found) => {
                statuses.push(found.status);
                if best.as_ref().is_none_or(|(count, _)| found.count > *count) {
                    best = Some((found.count, found.name));
                }
            }
            Err(failure) => {
                decision.warn(failure.reason, failure.why.clone());
                statuses.push(MetricStatus::default());
                failures.push(failure);
            }
        }
    }
    let error = failures.first().map(|first| {
        let (bad, all) = (failures.len(), specs.len());
        let (prefix, why) = (&first.prefix, &first.why);
        format!("invalid metrics ({bad} invalid out of {all}), first error is: {prefix}{why}")
    });
    let shrinks = best.as_ref().is_none_or(|(count, _)| *count < scale.wanted);
    if let Some(first) = failures
        .first()
        .filter(|_| failures.len() >= specs.len() || shrinks)
    {
        let text = format!(
            "the HPA was unable to compute the replica count: {}",
            first.why
        );
        decision.set("ScalingActive", false, first.reason, text, o.now);
        return (None, String::new(), error);
    }
    let (count, name) = best.unwrap_or_default();
    let text = format!("the HPA was able to successfully calculate a replica count from {name}");
    decision.set("ScalingActive", true, "ValidMetricFound", text, o.now);
    (Some(count), name, error)
}

/// The selector of the target, if it selects pods of this autoscaler alone.
fn selected(o: &Observed<'_>, scale: &Scale, decision: &mut Decision) -> Result<Selector, String> {
    let mut refuse = |reason: &'static str, why: String, shown: String| {
        decision.warn(
            if reason == "InvalidSelector" && why == REQUIRED {
                "SelectorRequired"
            } else {
                reason
            },
            why.clone(),
        );
        decision.set("ScalingActive", false, reason, shown, o.now);
        why
    };
    if scale.selector.is_empty() {
        let shown = "the HPA target's scale is missing a selector".to_owned();
        return Err(refuse("InvalidSelector", REQUIRED.to_owned(), shown));
    }
    let selector = Selector::parse(&scale.selector).map_err(|error| {
        let why = format!(
            "couldn't convert selector into a corresponding internal selector object: {error}"
        );
        refuse("InvalidSelector", why.clone(), why)
    })?;
    let namespace = &o.autoscaler.metadata.namespace;
    let pods: Vec<&Pod> = pods(o, &selector);
    let selecting = o.selectors.iter().filter(|(name, other)| {
        *name == o.autoscaler.metadata.name
            || pods.iter().any(|p| other.matches(&p.metadata.labels))
    });
    let names: Vec<String> = selecting
        .map(|(name, _)| format!("{{{name} {namespace}}}"))
        .collect();
    if names.len() > 1 && !pods.is_empty() {
        let why = format!(
            "pods by selector {} are controlled by multiple HPAs: [{}]",
            scale.selector,
            names.join(" ")
        );
        return Err(refuse("AmbiguousSelector", why.clone(), why));
    }
    Ok(selector)
}

const REQUIRED: &str = "selector is required";

fn pods<'a>(o: &Observed<'a>, selector: &Selector) -> Vec<&'a Pod> {
    let all = o.snapshot.list_in::<Pod>(&o.autoscaler.metadata.namespace);
    all.filter(|pod| selector.matches(&pod.metadata.labels))
        .collect()
}

fn one(
    o: &Observed<'_>,
    scale: &Scale,
    selector: &Selector,
    spec: &MetricSpec,
) -> Result<Found, Failure> {
    if let Some(own) = spec.resource.as_deref() {
        let fail = |why: String| Failure {
            reason: "FailedGetResourceMetric",
            why,
            prefix: format!("failed to get {} resource metric value: ", own.name),
        };
        let (count, name, current) =
            usage(o, scale, selector, &own.name, "", &own.target).map_err(fail)?;
        let status = ResourceMetricStatus {
            name: own.name.clone(),
            current,
        };
        return Ok(Found {
            count,
            name,
            status: MetricStatus {
                type_: "Resource".into(),
                resource: Some(Box::new(status)),
                ..MetricStatus::default()
            },
        });
    }
    if let Some(own) = spec.container_resource.as_deref() {
        let fail = |why: String| Failure {
            reason: "FailedGetContainerResourceMetric",
            why,
            prefix: format!("failed to get {} container metric value: ", own.container),
        };
        let found = usage(o, scale, selector, &own.name, &own.container, &own.target);
        let (count, name, current) = found.map_err(fail)?;
        let status = ContainerResourceMetricStatus {
            name: own.name.clone(),
            container: own.container.clone(),
            current,
        };
        return Ok(Found {
            count,
            name,
            status: MetricStatus {
                type_: "ContainerResource".into(),
                container_resource: Some(Box::new(status)),
                ..MetricStatus::default()
            },
        });
    }
    Err(elsewhere(o, spec))
}

/// Metrics of APIs that are not served.
fn elsewhere(o: &Observed<'_>, spec: &MetricSpec) -> Failure {
    let namespace = &o.autoscaler.metadata.namespace;
    let custom = "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered";
    if let Some(own) = &spec.pods {
        return Failure {
            reason: "FailedGetPodsMetric",
            why: format!("unable to get metric {}: {custom}", own.metric.name),
            prefix: "failed to get pods metric value: ".to_owned(),
        };
    }
    if let Some(own) = &spec.object {
        let about = &own.described_object;
        return Failure {
            reason: "FailedGetObjectMetric",
            why: format!(
                "unable to get metric {}: {} on {namespace} {}/{custom}",
                own.metric.name, about.kind, about.name
            ),
            prefix: "failed to get object metric value: ".to_owned(),
        };
    }
    let name = spec
        .external
        .as_deref()
        .map(|e| e.metric.name.to_string())
        .unwrap_or_default();
    Failure {
        reason: "FailedGetExternalMetric",
        why: format!(
            "unable to get external metric {namespace}/{name}/nil: unable to fetch metrics from external metrics API: the server could not find the requested resource (get {name}.external.metrics.k8s.io)"
        ),
        prefix: format!("failed to get {name} external metric value: "),
    }
}

/// What each pod uses of a resource, in thousandths; pods of which it is not wholly known are left out.
fn samples(
    o: &Observed<'_>,
    resource: &str,
    container: &str,
) -> Result<BTreeMap<String, Sample>, String> {
    let usage = match &o.usage {
        Ok(usage) if usage.is_empty() => {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        Ok(usage) => usage,
        Err(why) => {
            return Err(format!(
                "unable to fetch metrics from resource metrics API: {why}"
            ));
        }
    };
    let mut samples = BTreeMap::new();
    for one in usage {
        let mut chosen = one
            .containers
            .iter()
            .filter(|(name, _)| container.is_empty() || name.as_str() == container);
        let sum = chosen.try_fold((0, 0), |(sum, count), (_, usage)| {
            usage
                .get(resource)
                .map(|q| (sum + q.milli_value(), count + 1))
        });
        if let Some((value, 1..)) = sum {
            let sample = Sample {
                at: one.at,
                window: one.window,
                value,
            };
            samples.insert(one.pod.to_string(), sample);
        }
    }
    Ok(samples)
}

fn usage(
    o: &Observed<'_>,
    scale: &Scale,
    selector: &Selector,
    resource: &str,
    container: &str,
    target: &MetricTarget,
) -> Result<(i32, String, MetricValueStatus), String> {
    let pods = pods(o, selector);
    let (wanted, what) = match (&target.average_value, target.average_utilization) {
        (Some(value), _) => (Target::Usage(value.milli_value()), "usage"),
        (None, Some(percent)) => (Target::Utilization(percent), "utilization"),
        (None, None) => {
            return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned());
        }
    };
    let fail = |why: String| format!("failed to get {resource} {what}: {why}");
    let samples = samples(o, resource, container).map_err(|why| {
        fail(format!(
            "unable to get metrics for resource {resource}: {why}"
        ))
    })?;
    let asked = replicas::Asked {
        pods: &pods,
        resource,
        container,
        target: wanted,
        tolerances: tolerances(o),
        current: scale.wanted,
        now: o.now,
    };
    let found = replicas::count(&asked, samples).map_err(fail)?;
    let format = match resource {
        "memory" => QuantityFormat::BinarySi,
        _ => QuantityFormat::DecimalSi,
    };
    let current = MetricValueStatus {
        average_value: Some(Quantity::new_milli(found.average, format)),
        average_utilization: found.percent,
        ..MetricValueStatus::default()
    };
    let name = match (wanted, container.is_empty()) {
        (Target::Usage(_), _) => format!("{resource} resource"),
        (_, true) => format!("{resource} resource utilization (percentage of request)"),
        (_, false) => format!("{resource} container resource utilization (percentage of request)"),
    };
    Ok((found.count, name, current))
}

/// How far below and above 1 a ratio may be.
fn tolerances(o: &Observed<'_>) -> (f64, f64) {
    let behavior = o.autoscaler.spec.behavior.as_deref();
    let of = |rules: Option<&corten_api::autoscaling::v2::HPAScalingRules>| {
        rules
            .and_then(|r| r.tolerance.as_ref())
            .map_or(TOLERANCE, Quantity::as_f64)
    };
    (
        of(behavior.and_then(|b| b.scale_down.as_deref())),
        of(behavior.and_then(|b| b.scale_up.as_deref())),
    )
}
