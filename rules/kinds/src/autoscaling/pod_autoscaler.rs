//! HorizontalPodAutoscalers: defaults of both versions, table.

use super::{columns, metrics, validation};
use crate::apps::checks::not_negative_all;
use crate::rules::{Rules, with_status};
use crate::{Column, Context, FieldError, cells};
use corten_api::Object;
use corten_api::autoscaling::v1::HorizontalPodAutoscaler as V1;
use corten_api::autoscaling::v2::{
    HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler, MetricSpec, MetricTarget,
    ResourceMetricSource,
};
use corten_core::{List, Path, Time, Value};

/// The strategy of HorizontalPodAutoscalers.
pub struct HorizontalPodAutoscalers;

/// Percentage of the requested CPU that is aimed at when nothing else is said.
const CPU_UTILIZATION: i32 = 80;

/// The metric that is aimed at when there is none.
pub(super) fn default_metric() -> MetricSpec {
    cpu_metric(CPU_UTILIZATION)
}

/// A share of the requested CPU as metric.
pub(super) fn cpu_metric(utilization: i32) -> MetricSpec {
    MetricSpec {
        type_: "Resource".into(),
        resource: Some(Box::new(ResourceMetricSource {
            name: "cpu".into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(utilization),
                ..Default::default()
            },
        })),
        ..Default::default()
    }
}

fn policy(kind: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy {
        type_: kind.into(),
        value,
        period_seconds: 15,
    }
}

fn fill(rules: &mut HPAScalingRules, window: Option<i32>, policies: Vec<HPAScalingPolicy>) {
    rules.select_policy.get_or_insert_with(|| "Max".into());
    if rules.stabilization_window_seconds.is_none() {
        rules.stabilization_window_seconds = window;
    }
    if rules.policies.is_nil() {
        rules.policies = List::from(policies);
    }
}

impl Rules for HorizontalPodAutoscalers {
    type Of = HorizontalPodAutoscaler;
    with_status!();

    fn default(&self, obj: &mut HorizontalPodAutoscaler) {
        obj.spec.min_replicas.get_or_insert(1);
        if obj.spec.metrics.is_empty() {
            obj.spec.metrics.push(default_metric());
        }
        if let Some(behavior) = &mut obj.spec.behavior {
            let up = vec![policy("Pods", 4), policy("Percent", 100)];
            fill(behavior.scale_up.get_or_insert_default(), Some(0), up);
            fill(
                behavior.scale_down.get_or_insert_default(),
                None,
                vec![policy("Percent", 100)],
            );
        }
    }
    fn default_other(&self, obj: &mut Object) {
        if let Some(obj) = obj.downcast_mut::<V1>() {
            obj.spec.min_replicas.get_or_insert(1);
        }
    }
    fn validate_create(&self, _cx: &Context, new: &HorizontalPodAutoscaler) -> Vec<FieldError> {
        validation::spec(&new.spec, None)
    }
    fn validate_update(
        &self,
        _cx: &Context,
        part: &str,
        new: &HorizontalPodAutoscaler,
        old: &HorizontalPodAutoscaler,
    ) -> Vec<FieldError> {
        if part == "status" {
            let numbers = [
                ("currentReplicas", Some(new.status.current_replicas.into())),
                ("desiredReplicas", Some(new.status.desired_replicas.into())),
            ];
            let mut errors = Vec::new();
            not_negative_all(&mut errors, &Path::Root.f("status"), &numbers);
            return errors;
        }
        validation::spec(&new.spec, Some(&old.spec))
    }
    fn columns(&self) -> &'static [Column] {
        &columns::HORIZONTAL_POD_AUTOSCALER
    }
    fn cells(&self, obj: &HorizontalPodAutoscaler, now: &Time) -> Vec<Value> {
        let target = &obj.spec.scale_target_ref;
        let min = obj.spec.min_replicas;
        vec![
            Value::from(&obj.metadata.name),
            Value::from(format!("{}/{}", target.kind, target.name)),
            Value::from(metrics::text(
                &obj.spec.metrics,
                &obj.status.current_metrics,
            )),
            Value::from(min.map_or("<unset>".to_owned(), |m| m.to_string())),
            Value::from(obj.spec.max_replicas),
            Value::from(obj.status.current_replicas),
            cells::age(&obj.metadata.creation_timestamp, now),
        ]
    }
}
