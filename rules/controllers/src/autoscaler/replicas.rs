//! How many replicas it takes to bring the pods' usage to its target.
//!
//! Invariant: pods that are not measured or not ready yet are counted so that they dampen a change, never so that they
//! cause one or turn it around.

use corten_api::core::v1::{Container, Pod};
use corten_core::Time;
use std::collections::BTreeMap;

/// Seconds after its start during which a pod's CPU usage is that of starting.
const STARTING: i64 = 300;
/// Seconds after its start within which a pod that became unready was never ready.
const NEVER_READY: i64 = 30;

/// What one pod uses, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub at: Time,
    pub window: i64,
    pub value: i64,
}

/// What shall be reached on average.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// Percent of what is requested.
    Utilization(i32),
    /// Thousandths.
    Usage(i64),
}

pub(super) struct Asked<'a> {
    pub pods: &'a [&'a Pod],
    pub resource: &'a str,
    pub container: &'a str,
    pub target: Target,
    /// Below and above 1.
    pub tolerances: (f64, f64),
    pub current: i32,
    pub now: Time,
}

pub(super) struct Found {
    pub count: i32,
    /// Percent of what is requested, on average.
    pub percent: Option<i32>,
    /// Thousandths, on average.
    pub average: i64,
}

#[derive(Default)]
struct Groups<'a> {
    ready: usize,
    unready: Vec<&'a str>,
    missing: Vec<&'a str>,
    ignored: Vec<&'a str>,
}

fn group<'a>(asked: &Asked<'a>, samples: &BTreeMap<String, Sample>) -> Groups<'a> {
    let mut groups = Groups::default();
    for pod in asked.pods {
        let name = pod.metadata.name.as_str();
        if pod.metadata.deleting() || pod.status.phase == "Failed" {
            groups.ignored.push(name);
        } else if pod.status.phase == "Pending" {
            groups.unready.push(name);
        } else if let Some(sample) = samples.get(name) {
            match asked.resource == "cpu" && is_starting(pod, sample, asked.now) {
                true => groups.unready.push(name),
                false => groups.ready += 1,
            }
        } else {
            groups.missing.push(name);
        }
    }
    groups
}

/// Whether CPU usage says nothing yet about the pod at work.
fn is_starting(pod: &Pod, sample: &Sample, now: Time) -> bool {
    let condition = pod.status.conditions.iter().find(|c| c.type_ == "Ready");
    let (Some(condition), Some(start)) = (condition, pod.status.start_time) else {
        return true;
    };
    let unready = condition.status == "False";
    let since = condition.last_transition_time;
    match start.plus_seconds(STARTING) > now {
        true => unready || sample.at < since.plus_seconds(sample.window),
        false => unready && start.plus_seconds(NEVER_READY) > since,
    }
}

/// What a pod requests of the resource, in thousandths.
fn request(asked: &Asked<'_>, pod: &Pod) -> Result<i64, String> {
    let (resource, name) = (asked.resource, &pod.metadata.name);
    let whole = pod
        .spec
        .resources
        .as_deref()
        .filter(|r| !r.requests.is_empty());
    if let (Some(whole), true) = (whole, asked.container.is_empty()) {
        let own = whole.requests.get(resource);
        return own
            .map(|q| q.milli_value())
            .ok_or_else(|| format!("missing pod-level request for {resource} in Pod {name}"));
    }
    let sidecar = |c: &&Container| c.restart_policy.as_deref() == Some("Always");
    let all = pod
        .spec
        .containers
        .iter()
        .chain(pod.spec.init_containers.iter().filter(sidecar));
    let mut sum = None;
    for container in all.filter(|c| asked.container.is_empty() || c.name == asked.container) {
        let own = container.resources.requests.get(resource).ok_or_else(|| {
            format!(
                "missing request for {resource} in container {} of Pod {name}",
                container.name
            )
        })?;
        sum = Some(sum.unwrap_or(0) + own.milli_value());
    }
    match sum {
        None if !asked.container.is_empty() => Err(format!(
            "container {} not found in Pod {name}",
            asked.container
        )),
        sum => Ok(sum.unwrap_or(0)),
    }
}

/// The ratio of usage to target, percent and average.
fn ratio(
    target: Target,
    samples: &BTreeMap<String, Sample>,
    requests: &BTreeMap<String, i64>,
) -> Result<(f64, Option<i32>, i64), String> {
    match target {
        Target::Usage(wanted) => {
            let total: i64 = samples.values().map(|s| s.value).sum();
            let average = total / i64::try_from(samples.len().max(1)).unwrap_or(i64::MAX);
            Ok((average as f64 / wanted as f64, None, average))
        }
        Target::Utilization(wanted) => {
            let known = samples
                .iter()
                .filter_map(|(pod, s)| Some((s.value, requests.get(pod)?)));
            let (mut used, mut requested, mut count) = (0, 0, 0);
            for (value, request) in known {
                used += value;
                requested += request;
                count += 1;
            }
            if requested == 0 {
                return Err("no metrics returned matched known pods".to_owned());
            }
            let percent = i32::try_from(used * 100 / requested).unwrap_or(i32::MAX);
            let ratio = f64::from(percent) / f64::from(wanted);
            Ok((ratio, Some(percent), used / count))
        }
    }
}

/// The count, from the samples of the pods.
pub(super) fn count(
    asked: &Asked<'_>,
    mut samples: BTreeMap<String, Sample>,
) -> Result<Found, String> {
    if asked.pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".to_owned());
    }
    let groups = group(asked, &samples);
    for name in groups.ignored.iter().chain(&groups.unready) {
        samples.remove(*name);
    }
    if samples.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".to_owned());
    }
    let mut requests = BTreeMap::new();
    if let Target::Utilization(_) = asked.target {
        for pod in asked.pods {
            requests.insert(pod.metadata.name.to_string(), request(asked, pod)?);
        }
    }
    let (first, percent, average) = ratio(asked.target, &samples, &requests)?;
    let found = |count: i32| Found {
        count,
        percent,
        average,
    };
    let within =
        |ratio: f64| 1.0 - asked.tolerances.0 <= ratio && ratio <= 1.0 + asked.tolerances.1;
    let up_with_unready = !groups.unready.is_empty() && first > 1.0;
    if !up_with_unready && groups.missing.is_empty() {
        let same = within(first);
        return Ok(found(if same {
            asked.current
        } else {
            ceil(first * groups.ready as f64)
        }));
    }
    assume(asked, first, &groups, &requests, &mut samples);
    let (second, _, _) = ratio(asked.target, &samples, &requests)?;
    if within(second) || (first < 1.0 && second > 1.0) || (first > 1.0 && second < 1.0) {
        return Ok(found(asked.current));
    }
    let count = ceil(second * samples.len() as f64);
    let turned = (second < 1.0 && count > asked.current) || (second > 1.0 && count < asked.current);
    Ok(found(if turned { asked.current } else { count }))
}

fn ceil(value: f64) -> i32 {
    value.ceil() as i32
}

/// Enters cautious values for pods that were not measured, or not at work.
fn assume(
    asked: &Asked<'_>,
    ratio: f64,
    groups: &Groups<'_>,
    requests: &BTreeMap<String, i64>,
    samples: &mut BTreeMap<String, Sample>,
) {
    let mut enter = |name: &str, value: i64| {
        let sample = Sample {
            at: asked.now,
            window: 0,
            value,
        };
        samples.insert(name.to_owned(), sample);
    };
    for name in &groups.missing {
        if ratio < 1.0 {
            let full = match asked.target {
                Target::Usage(wanted) => wanted,
                Target::Utilization(wanted) => {
                    let request = requests.get(*name).copied().unwrap_or(0);
                    request * i64::from(wanted.max(100)) / 100
                }
            };
            enter(name, full);
        } else if ratio > 1.0 {
            enter(name, 0);
        }
    }
    if ratio > 1.0 {
        groups.unready.iter().for_each(|name| enter(name, 0));
    }
}
