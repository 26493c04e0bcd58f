//! Horizontal pod autoscaling: from a target's scale, its pods and their metrics to a replica count and a status.
//!
//! Invariant: pure; what outlives a reconcile is in [`History`], and the caller asks for metrics and writes. Leaves out:
//! custom and external metrics, whose APIs no server of this cluster serves: they count as not to be had.

mod bounds;
mod metrics;
mod replicas;
#[cfg(test)]
mod tests;

use corten_api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, MetricStatus,
};
use corten_core::{List, Map, Quantity, Str, Time};
use corten_meta::{Selector, Snapshot};

pub use metrics::wants_usage;

/// Seconds between two looks at an autoscaler: usage cannot be watched.
pub const PERIOD: u64 = 15;
/// The service account that autoscales, and the controller's name in events.
pub const SERVICE_ACCOUNT: &str = "horizontal-pod-autoscaler";

/// What the scale subresource of the target says.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    /// spec.replicas.
    pub wanted: i32,
    /// status.replicas.
    pub current: i32,
    /// status.selector.
    pub selector: String,
}

/// What the pods' containers use, as the metrics API tells.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The pod.
    pub pod: Str,
    /// When it was measured.
    pub at: Time,
    /// Over how many seconds.
    pub window: i64,
    /// Each container and what it uses.
    pub containers: Vec<(Str, Map<Quantity>)>,
}

/// Everything that an autoscaler is judged by.
pub struct Observed<'a> {
    /// The autoscaler.
    pub autoscaler: &'a HorizontalPodAutoscaler,
    /// The target's scale, or why it cannot be had.
    pub scale: Result<Scale, String>,
    /// Usage of the pods that the scale selects, or why it cannot be had.
    pub usage: Result<Vec<Usage>, String>,
    /// Where the pods are.
    pub snapshot: &'a Snapshot,
    /// The selectors of all autoscalers of the namespace, this one's included, by name.
    pub selectors: &'a [(Str, Selector)],
    /// The present.
    pub now: Time,
}

/// What is remembered of an autoscaler from one look to the next.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The counts that metrics led to, and when.
    recommendations: Vec<(i32, Time)>,
    /// By how much the target grew, and when.
    ups: Vec<(i32, Time)>,
    /// By how much it shrank.
    downs: Vec<(i32, Time)>,
}

/// An event: type, reason, text.
pub type Telling = (&'static str, &'static str, String);

/// What follows.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// The autoscaler with its new status.
    pub autoscaler: HorizontalPodAutoscaler,
    /// The replica count to write, and why; nothing when the target stays as it is.
    pub rescale: Option<(i32, String)>,
    /// What to tell, whatever comes of the write.
    pub events: Vec<Telling>,
    from: i32,
}

impl Decision {
    fn set(
        &mut self,
        name: &str,
        holds: bool,
        reason: &str,
        message: impl Into<String>,
        now: Time,
    ) {
        set_condition(
            &mut self.autoscaler.status.conditions,
            name,
            holds,
            reason,
            message,
            now,
        );
    }

    fn warn(&mut self, reason: &'static str, message: impl Into<String>) {
        self.events.push(("Warning", reason, message.into()));
    }
}

fn set_condition(
    list: &mut List<HorizontalPodAutoscalerCondition>,
    name: &str,
    holds: bool,
    reason: &str,
    message: impl Into<String>,
    now: Time,
) {
    if !list.iter().any(|c| c.type_ == name) {
        list.push(HorizontalPodAutoscalerCondition {
            type_: name.into(),
            ..HorizontalPodAutoscalerCondition::default()
        });
    }
    let message: String = message.into();
    let value = if holds { "True" } else { "False" };
    if let Some(condition) = list.iter_mut().find(|c| c.type_ == name) {
        if condition.status != value {
            condition.last_transition_time = now;
        }
        condition.status = value.into();
        condition.reason = reason.into();
        condition.message = message.as_str().into();
    }
}

/// Judges an autoscaler. A rescale that it asks for is to be confirmed with [`settle`].
pub fn decide(o: &Observed<'_>, history: &mut History) -> Decision {
    let mut decision = Decision {
        autoscaler: o.autoscaler.clone(),
        ..Decision::default()
    };
    let scale = match &o.scale {
        Ok(scale) => scale.clone(),
        Err(why) => {
            decision.warn("FailedGetScale", why.clone());
            let text =
                format!("the HPA controller was unable to get the target's current scale: {why}");
            decision.set("AbleToScale", false, "FailedGetScale", text, o.now);
            return decision;
        }
    };
    let text = "the HPA controller was able to get the target's current scale";
    decision.set("AbleToScale", true, "SucceededGetScale", text, o.now);
    decision.from = scale.wanted;
    if history.recommendations.is_empty() {
        history.recommendations.push((scale.wanted, o.now));
    }
    let spec = &o.autoscaler.spec;
    let least = spec.min_replicas.unwrap_or(1);
    let simple = |count: i32, why: &str| Some((count, why.to_owned()));
    let mut statuses = List::default();
    if scale.wanted == 0 {
        let text = "scaling is disabled since the replica count of the target is zero";
        decision.set("ScalingActive", false, "ScalingDisabled", text, o.now);
    } else if scale.wanted > spec.max_replicas {
        decision.rescale = simple(
            spec.max_replicas,
            "Current number of replicas above Spec.MaxReplicas",
        );
    } else if scale.wanted < least {
        decision.rescale = simple(least, "Current number of replicas below Spec.MinReplicas");
    } else {
        let Some(found) = by_metrics(o, &scale, history, &mut decision, &mut statuses) else {
            let wanted = decision.autoscaler.status.desired_replicas;
            write_counts(&mut decision, scale.wanted, wanted, statuses);
            return decision;
        };
        decision.rescale = found;
    }
    let wanted = decision
        .rescale
        .as_ref()
        .map_or(scale.wanted, |(count, _)| *count);
    write_counts(&mut decision, scale.wanted, wanted, statuses);
    decision
}

fn write_counts(decision: &mut Decision, current: i32, desired: i32, metrics: List<MetricStatus>) {
    let status = &mut decision.autoscaler.status;
    status.current_replicas = current;
    status.desired_replicas = desired;
    status.current_metrics = metrics;
    status.observed_generation = None;
}

/// The count that the metrics lead to, if it differs. Nothing at all when they lead to none.
fn by_metrics(
    o: &Observed<'_>,
    scale: &Scale,
    history: &mut History,
    decision: &mut Decision,
    statuses: &mut List<MetricStatus>,
) -> Option<Option<(i32, String)>> {
    let (count, name, error) = metrics::proposal(o, scale, decision, statuses);
    let Some(count) = count else {
        decision.warn("FailedComputeMetricsReplicas", error.unwrap_or_default());
        return None;
    };
    let mut reason = String::new();
    if count > scale.wanted {
        reason = format!("{name} above target");
    } else if count < scale.wanted {
        reason = "All metrics below target".to_owned();
    }
    let desired = bounds::bounded(o, decision, history, scale.wanted, count);
    Some((desired != scale.wanted).then_some((desired, reason)))
}

/// Enters what came of the write that a decision asked for.
pub fn settle(
    decision: &mut Decision,
    history: &mut History,
    outcome: Result<(), String>,
    now: Time,
) {
    let Some((count, reason)) = decision.rescale.clone() else {
        return;
    };
    if let Err(why) = outcome {
        decision.warn(
            "FailedRescale",
            format!("New size: {count}; reason: {reason}; error: {why}"),
        );
        let text = format!("the HPA controller was unable to update the target scale: {why}");
        decision.set("AbleToScale", false, "FailedUpdateScale", text, now);
        return;
    }
    let text = format!("the HPA controller was able to update the target scale to {count}");
    decision.set("AbleToScale", true, "SucceededRescale", text, now);
    let text = format!("New size: {count}; reason: {reason}");
    decision.events.push(("Normal", "SuccessfulRescale", text));
    decision.autoscaler.status.last_scale_time = Some(now);
    if decision.autoscaler.spec.behavior.is_some() {
        history.record(decision.from, count, now);
    }
}
