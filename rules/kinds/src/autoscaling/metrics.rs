//! Metrics and their targets as the table shows them: `cpu: 12%/80%, 3/5 (avg) + 1 more...`.

use corten_api::autoscaling::v2::{MetricSpec, MetricStatus, MetricTarget, MetricValueStatus};
use corten_core::Quantity;

/// Current values and targets, the first two of them.
pub(super) fn text(specs: &[MetricSpec], statuses: &[MetricStatus]) -> String {
    if specs.is_empty() {
        return "<none>".to_owned();
    }
    let one = |(i, spec): (usize, &MetricSpec)| one(spec, statuses.get(i));
    let shown: Vec<String> = specs.iter().enumerate().take(2).map(one).collect();
    let text = shown.join(", ");
    match specs.len() {
        count if count > 2 => format!("{text} + {} more...", count - 2),
        _ => text,
    }
}

const UNKNOWN: &str = "<unknown>";

fn quantity(q: Option<&Quantity>) -> String {
    q.map_or("<nil>".to_owned(), |q| q.to_string())
}

fn one(spec: &MetricSpec, status: Option<&MetricStatus>) -> String {
    match spec.type_.as_str() {
        "External" => {
            let current = status.and_then(|s| s.external.as_ref()).map(|s| &s.current);
            spec.external
                .as_ref()
                .map(|e| of_object(&e.target, current))
        }
        "Object" => {
            let current = status.and_then(|s| s.object.as_ref()).map(|s| &s.current);
            spec.object.as_ref().map(|o| of_object(&o.target, current))
        }
        "Pods" => spec.pods.as_ref().map(|pods| {
            let current = status.and_then(|s| s.pods.as_ref()).map(|s| &s.current);
            let current =
                current.map_or(UNKNOWN.to_owned(), |c| quantity(c.average_value.as_ref()));
            format!("{current}/{}", quantity(pods.target.average_value.as_ref()))
        }),
        "Resource" => spec.resource.as_ref().map(|r| {
            let current = status.and_then(|s| s.resource.as_ref()).map(|s| &s.current);
            format!("{}: {}", r.name, of_resource(&r.target, current))
        }),
        "ContainerResource" => spec.container_resource.as_ref().map(|r| {
            let current = status
                .and_then(|s| s.container_resource.as_ref())
                .map(|s| &s.current);
            format!("{}: {}", r.name, of_resource(&r.target, current))
        }),
        _ => None,
    }
    .unwrap_or_else(|| "<unknown type>".to_owned())
}

fn of_object(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if let Some(average) = &target.average_value {
        let current = current.and_then(|c| c.average_value.as_ref());
        let current = current.map_or(UNKNOWN.to_owned(), |q| q.to_string());
        return format!("{current}/{average} (avg)");
    }
    let current = current.map_or(UNKNOWN.to_owned(), |c| quantity(c.value.as_ref()));
    format!("{current}/{}", quantity(target.value.as_ref()))
}

fn of_resource(target: &MetricTarget, current: Option<&MetricValueStatus>) -> String {
    if let Some(average) = &target.average_value {
        let current = current.map_or(UNKNOWN.to_owned(), |c| quantity(c.average_value.as_ref()));
        return format!("{current}/{average}");
    }
    let percent = |p: Option<i32>, none: &str| p.map_or(none.to_owned(), |p| format!("{p}%"));
    let current = percent(current.and_then(|c| c.average_utilization), UNKNOWN);
    format!(
        "{current}/{}",
        percent(target.average_utilization, "<auto>")
    )
}
