//! From the count that metrics lead to, to one within bounds: stabilized, not too fast, not beyond the limits.

use super::{Decision, History, Observed};
use corten_api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};
use corten_core::Time;

/// Seconds for which a higher recommendation stands against shrinking, unless the autoscaler says otherwise.
const WINDOW_DOWN: i64 = 300;
/// Seconds after which nothing remembered matters any more: the longest window and period there can be.
const REMEMBERED: i64 = 3600;

impl History {
    fn recommend(&mut self, count: i32, now: Time) {
        self.recommendations
            .retain(|(_, at)| *at > now.plus_seconds(-REMEMBERED));
        self.recommendations.push((count, now));
    }

    pub(super) fn record(&mut self, from: i32, to: i32, now: Time) {
        let list = if to > from {
            &mut self.ups
        } else {
            &mut self.downs
        };
        list.retain(|(_, at)| *at > now.plus_seconds(-REMEMBERED));
        list.push(((to - from).abs(), now));
    }
}

fn changed(list: &[(i32, Time)], seconds: i32, now: Time) -> i32 {
    let since = now.plus_seconds(-i64::from(seconds));
    list.iter()
        .filter(|(_, at)| *at > since)
        .map(|(by, _)| by)
        .sum()
}

/// The count within the bounds of the autoscaler, with the conditions that say what bound it.
pub(super) fn bounded(
    o: &Observed<'_>,
    decision: &mut Decision,
    history: &mut History,
    current: i32,
    wanted: i32,
) -> i32 {
    let spec = &o.autoscaler.spec;
    let behavior = spec.behavior.as_deref();
    let (stable, held) = match behavior {
        Some(behavior) => steadied(behavior, history, current, wanted, o.now),
        None => (steady(history, wanted, o.now), DOWN_HELD),
    };
    history.recommend(wanted, o.now);
    let (reason, message) = match stable == wanted {
        true => ("ReadyForNewScale", "recommended size matches current size"),
        false => held,
    };
    decision.set("AbleToScale", true, reason, message, o.now);
    let least = spec.min_replicas.unwrap_or(1);
    let (count, reason, message) = match behavior {
        Some(behavior) => paced(
            behavior,
            history,
            (least, spec.max_replicas),
            current,
            stable,
            o.now,
        ),
        None => limited((least, spec.max_replicas), current, stable),
    };
    decision.set("ScalingLimited", count != stable, reason, message, o.now);
    count
}

type Words = (&'static str, &'static str);
const DOWN_HELD: Words = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_HELD: Words = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const WITHIN: Words = (
    "DesiredWithinRange",
    "the desired count is within the acceptable range",
);
const TOO_FAST_UP: Words = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
);
const TOO_FAST_DOWN: Words = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const TOO_MANY: Words = (
    "TooManyReplicas",
    "the desired replica count is more than the maximum replica count",
);
const TOO_FEW: Words = (
    "TooFewReplicas",
    "the desired replica count is less than the minimum replica count",
);

/// The highest recommendation of the last minutes.
fn steady(history: &History, wanted: i32, now: Time) -> i32 {
    let since = now.plus_seconds(-WINDOW_DOWN);
    let recent = history
        .recommendations
        .iter()
        .filter(|(_, at)| *at >= since);
    recent.map(|(count, _)| *count).fold(wanted, i32::max)
}

fn window(rules: Option<&HPAScalingRules>, default: i64) -> i64 {
    rules
        .and_then(|r| r.stabilization_window_seconds)
        .map_or(default, i64::from)
}

/// As [`steady`], both ways and with the windows of the autoscaler.
fn steadied(
    behavior: &HorizontalPodAutoscalerBehavior,
    history: &History,
    current: i32,
    wanted: i32,
    now: Time,
) -> (i32, Words) {
    let up_since = now.plus_seconds(-window(behavior.scale_up.as_deref(), 0));
    let down_since = now.plus_seconds(-window(behavior.scale_down.as_deref(), WINDOW_DOWN));
    let after = |since: Time| {
        let recent = history
            .recommendations
            .iter()
            .filter(move |(_, at)| *at > since);
        recent.map(|(count, _)| *count)
    };
    let up = after(up_since).fold(wanted, i32::min);
    let down = after(down_since).fold(wanted, i32::max);
    let stable = current.max(up).min(down);
    (
        stable,
        if wanted >= current {
            UP_HELD
        } else {
            DOWN_HELD
        },
    )
}

/// Twice the present count or four at most, within the limits.
fn limited(
    (least, most): (i32, i32),
    current: i32,
    wanted: i32,
) -> (i32, &'static str, &'static str) {
    let fast = current.saturating_mul(2).max(4);
    let (top, words) = if most > fast {
        (fast, TOO_FAST_UP)
    } else {
        (most, TOO_MANY)
    };
    let (count, words) = match wanted {
        n if n < least => (least, TOO_FEW),
        n if n > top => (top, words),
        n => (n, WITHIN),
    };
    (count, words.0, words.1)
}

/// As fast as the policies of the autoscaler allow, within the limits.
fn paced(
    behavior: &HorizontalPodAutoscalerBehavior,
    history: &History,
    (least, most): (i32, i32),
    current: i32,
    wanted: i32,
    now: Time,
) -> (i32, &'static str, &'static str) {
    let within = (wanted, WITHIN);
    let (count, words) = if wanted > current {
        let fast = reach(behavior.scale_up.as_deref(), history, current, now, 1).max(current);
        let (top, words) = if most > fast {
            (fast, TOO_FAST_UP)
        } else {
            (most, TOO_MANY)
        };
        if wanted > top { (top, words) } else { within }
    } else if wanted < current {
        let fast = reach(behavior.scale_down.as_deref(), history, current, now, -1).min(current);
        let (bottom, words) = if least < fast {
            (fast, TOO_FAST_DOWN)
        } else {
            (least, TOO_FEW)
        };
        if wanted < bottom {
            (bottom, words)
        } else {
            within
        }
    } else {
        within
    };
    (count, words.0, words.1)
}

/// How far the policies let the count go now; `way` is 1 upwards and -1 downwards.
fn reach(
    rules: Option<&HPAScalingRules>,
    history: &History,
    current: i32,
    now: Time,
    way: i32,
) -> i32 {
    let Some(rules) = rules else {
        return if way > 0 { i32::MAX } else { 0 };
    };
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let proposals = rules.policies.iter().map(|policy| {
        let added = changed(&history.ups, policy.period_seconds, now);
        let removed = changed(&history.downs, policy.period_seconds, now);
        let start = current - added + removed;
        match policy.type_.as_str() {
            "Percent" if way > 0 => {
                (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32
            }
            "Percent" => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
            _ => start.saturating_add(way.saturating_mul(policy.value)),
        }
    });
    // The largest change is the highest count upwards and the lowest downwards.
    let highest = (select == "Max") == (way > 0);
    let found = if highest {
        proposals.max()
    } else {
        proposals.min()
    };
    found.unwrap_or(current)
}
