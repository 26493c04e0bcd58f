//! HorizontalPodAutoscalers between autoscaling/v1 and v2. What v1 has no fields for travels in annotations, as JSON of
//! v1's shape of metrics. Invariant: v2 to v1 and back loses nothing.

use super::pod_autoscaler::{cpu_metric, default_metric};
use corten_api::autoscaling::{v1, v2};
use corten_api::{Kind, Object};
use corten_core::{Message, Str, Value, from_value, json_text, to_value};
use corten_meta::GroupVersionKind;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// An autoscaler in the other version.
///
/// # Errors
/// When it is none, or the version is not one of the two.
pub fn convert(obj: Object, to: &GroupVersionKind) -> Result<Object, String> {
    let from = obj.gvk().to_string();
    let wrong = |_: Object| format!("cannot convert {from} to {}", to.api_version());
    match to.version.as_str() {
        "v1" => Ok(to_v1(*obj.downcast().map_err(wrong)?).into()),
        "v2" => Ok(to_v2(*obj.downcast().map_err(wrong)?).into()),
        _ => Err(wrong(obj)),
    }
}

fn cpu_target(metric: &v2::MetricSpec) -> Option<i32> {
    let resource = metric
        .resource
        .as_ref()
        .filter(|r| metric.type_ == "Resource" && r.name == "cpu")?;
    resource.target.average_utilization
}

fn to_v1(new: v2::HorizontalPodAutoscaler) -> v1::HorizontalPodAutoscaler {
    let mut old = v1::HorizontalPodAutoscaler {
        metadata: new.metadata,
        ..Kind::new()
    };
    let annotations = &mut old.metadata.annotations;
    for key in [METRICS, CURRENT_METRICS, BEHAVIOR, CONDITIONS] {
        annotations.remove(key);
    }
    let mut note = |key: &str, value: Value| annotations.insert(key, in_order(&value));
    let others = new.spec.metrics.iter().filter(|m| cpu_target(m).is_none());
    let others: Vec<Value> = others.map(spec_to_v1).collect();
    if !others.is_empty() {
        note(METRICS, Value::List(others));
    }
    if !new.status.current_metrics.is_empty() {
        note(
            CURRENT_METRICS,
            Value::List(
                new.status
                    .current_metrics
                    .iter()
                    .map(status_to_v1)
                    .collect(),
            ),
        );
    }
    if let Some(behavior) = &new.spec.behavior {
        note(
            BEHAVIOR,
            recased(&value_of(&**behavior), char::to_ascii_uppercase),
        );
    }
    if !new.status.conditions.is_empty() {
        note(
            CONDITIONS,
            Value::List(new.status.conditions.iter().map(value_of).collect()),
        );
    }
    let target = new.spec.scale_target_ref;
    old.spec.scale_target_ref = v1::CrossVersionObjectReference {
        kind: target.kind,
        name: target.name,
        api_version: target.api_version,
    };
    old.spec.min_replicas = new.spec.min_replicas;
    old.spec.max_replicas = new.spec.max_replicas;
    old.spec.target_cpu_utilization_percentage = new.spec.metrics.iter().find_map(cpu_target);
    let status = new.status;
    old.status.observed_generation = status.observed_generation;
    old.status.last_scale_time = status.last_scale_time;
    old.status.current_replicas = status.current_replicas;
    old.status.desired_replicas = status.desired_replicas;
    let cpu = status
        .current_metrics
        .iter()
        .filter(|m| m.type_ == "Resource");
    let cpu = cpu
        .filter_map(|m| m.resource.as_ref())
        .filter(|r| r.name == "cpu");
    old.status.current_cpu_utilization_percentage =
        cpu.filter_map(|r| r.current.average_utilization).next();
    old
}

fn to_v2(old: v1::HorizontalPodAutoscaler) -> v2::HorizontalPodAutoscaler {
    let mut new = v2::HorizontalPodAutoscaler {
        metadata: old.metadata,
        ..Kind::new()
    };
    let mut noted = |key: &str| {
        let text = new.metadata.annotations.remove(key)?;
        json_text::parse(text.as_bytes()).ok()
    };
    let (metrics, current) = (noted(METRICS), noted(CURRENT_METRICS));
    let (behavior, conditions) = (noted(BEHAVIOR), noted(CONDITIONS));
    let target = old.spec.scale_target_ref;
    new.spec.scale_target_ref = v2::CrossVersionObjectReference {
        kind: target.kind,
        name: target.name,
        api_version: target.api_version,
    };
    new.spec.min_replicas = old.spec.min_replicas;
    new.spec.max_replicas = old.spec.max_replicas;
    new.spec.metrics = items(metrics.as_ref()).map(spec_to_v2).collect();
    if let Some(utilization) = old.spec.target_cpu_utilization_percentage {
        new.spec.metrics.push(cpu_metric(utilization));
    }
    if new.spec.metrics.is_empty() {
        new.spec.metrics.push(default_metric());
    }
    let behavior = behavior.map(|b| recased(&b, char::to_ascii_lowercase));
    let behavior =
        behavior.and_then(|b| from_value::<v2::HorizontalPodAutoscalerBehavior>(&b).ok());
    new.spec.behavior = behavior
        .filter(|b| b.scale_up.is_some() || b.scale_down.is_some())
        .map(Box::new);
    let status = old.status;
    new.status.observed_generation = status.observed_generation;
    new.status.last_scale_time = status.last_scale_time;
    new.status.current_replicas = status.current_replicas;
    new.status.desired_replicas = status.desired_replicas;
    if let Some(utilization) = status.current_cpu_utilization_percentage {
        new.status.current_metrics.push(cpu_status(utilization));
    }
    if current.is_some() {
        new.status.current_metrics = items(current.as_ref()).map(status_to_v2).collect();
    }
    new.status.conditions = items(conditions.as_ref())
        .filter_map(|c| from_value::<v2::HorizontalPodAutoscalerCondition>(c).ok())
        .collect();
    new
}

fn value_of<M: Message>(message: &M) -> Value {
    to_value(message).unwrap_or_default()
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_list).into_iter().flatten()
}

/// Members with another first letter, as Go prints structs without tags.
fn recased(value: &Value, first: fn(&char) -> char) -> Value {
    match value {
        Value::List(list) => Value::List(list.iter().map(|v| recased(v, first)).collect()),
        Value::Map(map) => {
            let renamed = map.iter().map(|(key, value)| {
                let mut rest = key.chars();
                let head: String = rest.next().iter().map(first).collect();
                (Str::from(head + rest.as_str()), recased(value, first))
            });
            Value::Map(renamed.collect())
        }
        other => other.clone(),
    }
}

/// The member of a metric that its type names.
fn member_of(kind: &str) -> &'static str {
    match kind {
        "Object" => "object",
        "Pods" => "pods",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => "external",
    }
}

type Names = &'static [(&'static str, &'static [&'static str])];

/// Where v1 keeps what v2 keeps: v1's member, and the way in v2.
fn spec_names(kind: &str) -> Names {
    match kind {
        "Object" => &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("targetValue", &["target", "value"]),
            ("averageValue", &["target", "averageValue"]),
        ],
        "Pods" => &[
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
        "Resource" | "ContainerResource" => &[
            ("name", &["name"]),
            ("container", &["container"]),
            (
                "targetAverageUtilization",
                &["target", "averageUtilization"],
            ),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
        _ => &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("targetValue", &["target", "value"]),
            ("targetAverageValue", &["target", "averageValue"]),
        ],
    }
}

fn status_names(kind: &str) -> Names {
    match kind {
        "Object" => &[
            ("target", &["describedObject"]),
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("currentValue", &["current", "value"]),
            ("averageValue", &["current", "averageValue"]),
        ],
        "Pods" => &[
            ("metricName", &["metric", "name"]),
            ("selector", &["metric", "selector"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
        "Resource" | "ContainerResource" => &[
            ("name", &["name"]),
            ("container", &["container"]),
            (
                "currentAverageUtilization",
                &["current", "averageUtilization"],
            ),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
        _ => &[
            ("metricName", &["metric", "name"]),
            ("metricSelector", &["metric", "selector"]),
            ("currentValue", &["current", "value"]),
            ("currentAverageValue", &["current", "averageValue"]),
        ],
    }
}

fn moved_to_v1(metric: &Value, names: fn(&str) -> Names) -> Value {
    let kind = metric.str_at(&["type"]);
    let mut out = Value::map();
    out.set(&["type"], kind);
    let Some(from) = metric.get(member_of(kind)) else {
        return out;
    };
    for (name, way) in names(kind) {
        if let Some(value) = from.at(way) {
            out.set(&[member_of(kind), name], value.clone());
        }
    }
    out
}

fn moved_to_v2(metric: &Value, names: fn(&str) -> Names) -> Value {
    let kind = metric.str_at(&["type"]);
    let mut out = Value::map();
    out.set(&["type"], kind);
    let Some(from) = metric.get(member_of(kind)) else {
        return out;
    };
    for (name, way) in names(kind) {
        if let Some(value) = from.get(name) {
            let way: Vec<&str> = [member_of(kind)]
                .iter()
                .chain(way.iter())
                .copied()
                .collect();
            out.set(&way, value.clone());
        }
    }
    out
}

fn spec_to_v1(metric: &v2::MetricSpec) -> Value {
    moved_to_v1(&value_of(metric), spec_names)
}

fn status_to_v1(metric: &v2::MetricStatus) -> Value {
    let mut moved = moved_to_v1(&value_of(metric), status_names);
    // What v1 cannot leave out.
    let kind = moved.str_at(&["type"]).to_owned();
    let value = match kind.as_str() {
        "Object" | "External" => "currentValue",
        _ => "currentAverageValue",
    };
    let at = [member_of(&kind), value];
    if moved.at(&at).is_none() {
        moved.set(&at, "0");
    }
    moved
}

fn cpu_status(utilization: i32) -> v2::MetricStatus {
    let mut status = v2::MetricStatus {
        type_: "Resource".into(),
        ..v2::MetricStatus::default()
    };
    let resource = status.resource.get_or_insert_default();
    resource.name = "cpu".into();
    resource.current.average_utilization = Some(utilization);
    status
}

/// Members of v1's metrics and conditions in Go's order, one list for all of them.
const ORDER: [&str; 30] = [
    "type",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "kind",
    "target",
    "name",
    "apiVersion",
    "metricName",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageValue",
    "currentAverageValue",
    "selector",
    "averageValue",
    "container",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
    "values",
];

/// JSON as Go writes it from structs.
fn in_order(value: &Value) -> String {
    match value {
        Value::List(list) => {
            let all: Vec<String> = list.iter().map(in_order).collect();
            format!("[{}]", all.join(","))
        }
        Value::Map(map) => {
            let mut members: Vec<(&Str, &Value)> = map.iter().collect();
            let place = |key: &str| ORDER.iter().position(|k| *k == key);
            members.sort_by_key(|(key, _)| place(key).unwrap_or(ORDER.len()));
            let all = members.into_iter().map(|(key, value)| {
                format!(
                    "{}:{}",
                    json_text::print(&Value::from(key)),
                    in_order(value)
                )
            });
            format!("{{{}}}", all.collect::<Vec<_>>().join(","))
        }
        other => json_text::print(other),
    }
}

fn spec_to_v2(metric: &Value) -> v2::MetricSpec {
    let kind = metric.str_at(&["type"]).to_owned();
    let mut moved = moved_to_v2(metric, spec_names);
    let member = member_of(&kind);
    let has = |name: &str| moved.at(&[member, "target", name]).is_some();
    let target = match kind.as_str() {
        "Resource" | "ContainerResource" if has("averageUtilization") => "Utilization",
        "Object" if !has("averageValue") => "Value",
        "External" if has("value") => "Value",
        _ => "AverageValue",
    };
    moved.set(&[member, "target", "type"], target);
    // v1 cannot leave the value out; zero beside an average means that there is none.
    let zero = moved
        .at(&[member, "target", "value"])
        .is_some_and(|v| *v == "0");
    if let (true, "AverageValue", Some(map)) = (
        zero,
        target,
        moved
            .get_mut(member)
            .and_then(|m| m.get_mut("target"))
            .and_then(Value::as_map_mut),
    ) {
        map.remove("value");
    }
    from_value(&moved).unwrap_or_default()
}

fn status_to_v2(metric: &Value) -> v2::MetricStatus {
    from_value(&moved_to_v2(metric, status_names)).unwrap_or_default()
}
