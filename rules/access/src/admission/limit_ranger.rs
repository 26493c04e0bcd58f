//! LimitRanger: containers get the defaults of their namespace's limit ranges, and nobody leaves the ranges.
//!
//! Invariant: limit ranges apply in the order of their names, resources in the order of theirs.

use super::pod_resources::{Amounts, Half, written};
use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::{Container, LimitRange, LimitRangeItem, PersistentVolumeClaim, Pod};
use corten_core::{Map, Quantity};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// The largest value that is compared in thousandths.
const MAX_MILLI: i64 = i64::MAX / 1000;

fn applies(review: &Review) -> bool {
    let going = review
        .old
        .is_some_and(|old| old.meta().deletion_timestamp.is_some_and(|t| !t.is_zero()));
    if going {
        return false;
    }
    let created = review.operation == Operation::Create;
    let updated = review.operation == Operation::Update;
    (review.is("", "pods") && created)
        || (review.is_part("", "pods", "resize") && updated)
        || (review.is("", "persistentvolumeclaims") && (created || updated))
}

fn items<'a>(review: &Review<'a>) -> impl Iterator<Item = &'a LimitRange> {
    review.snapshot.list_in::<LimitRange>(review.namespace)
}

pub(super) fn mutate(review: &Review, object: &mut Object) {
    if !applies(review) {
        return;
    }
    if let Some(pod) = object.downcast_mut::<Pod>() {
        for range in items(review) {
            fill_in(pod, range);
        }
    }
}

fn fill_in(pod: &mut Pod, range: &LimitRange) {
    let (mut requests, mut limits) = (Amounts::default(), Amounts::default());
    for item in range.spec.limits.iter().filter(|i| i.type_ == "Container") {
        requests.extend(
            item.default_request
                .iter()
                .map(|(k, v)| (k.clone(), v.clone())),
        );
        limits.extend(item.default.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    let mut notes = Vec::new();
    for container in pod.spec.containers.iter_mut() {
        fill_in_container(container, &requests, &limits, "container", &mut notes);
    }
    for container in pod.spec.init_containers.iter_mut() {
        fill_in_container(container, &requests, &limits, "init container", &mut notes);
    }
    if !notes.is_empty() {
        let text = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod.metadata.annotations.insert(ANNOTATION, text);
    }
}

fn fill_in_container(
    container: &mut Container,
    requests: &Amounts,
    limits: &Amounts,
    what: &str,
    notes: &mut Vec<String>,
) {
    let resources = &mut container.resources;
    let set_limits = fill_in_amounts(&mut resources.limits, limits);
    let set_requests = fill_in_amounts(&mut resources.requests, requests);
    for (set, kind) in [(set_requests, "request"), (set_limits, "limit")] {
        if !set.is_empty() {
            notes.push(format!(
                "{} {kind} for {what} {}",
                set.join(", "),
                container.name
            ));
        }
    }
}

/// Adds what is missing and tells its names.
fn fill_in_amounts(amounts: &mut Amounts, defaults: &Amounts) -> Vec<String> {
    let mut set = Vec::new();
    for (name, amount) in defaults.iter() {
        if !amounts.contains_key(name) {
            amounts.insert(name.clone(), amount.clone());
            set.push(name.to_string());
        }
    }
    set
}

pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let Some(object) = object.filter(|_| applies(review)) else {
        return Ok(());
    };
    for range in items(review) {
        let mut found = Vec::new();
        for item in range.spec.limits.iter() {
            if let Some(pod) = object.downcast_ref::<Pod>() {
                check_pod(item, pod, &mut found);
            } else if let Some(claim) = object.downcast_ref::<PersistentVolumeClaim>() {
                check_claim(item, claim, &mut found);
            }
        }
        if let Some(message) = aggregate(found) {
            return Err(Denial::forbidden(message));
        }
    }
    Ok(())
}

/// Several messages as one, each once, as upstream's aggregates print them.
fn aggregate(messages: Vec<String>) -> Option<String> {
    let mut unique: Vec<String> = Vec::new();
    for message in messages {
        if !unique.contains(&message) {
            unique.push(message);
        }
    }
    match unique.len() {
        0 => None,
        1 => unique.pop(),
        _ => Some(format!("[{}]", unique.join(", "))),
    }
}

fn check_claim(item: &LimitRangeItem, claim: &PersistentVolumeClaim, found: &mut Vec<String>) {
    if item.type_ != "PersistentVolumeClaim" {
        return;
    }
    let asked = Asked {
        kind: &item.type_,
        requests: &claim.spec.resources.requests,
        limits: &Map::default(),
    };
    found.extend(item.min.iter().filter_map(|(name, v)| asked.below(name, v)));
    found.extend(
        item.max
            .iter()
            .filter_map(|(name, v)| asked.request_above(name, v)),
    );
}

fn check_pod(item: &LimitRangeItem, pod: &Pod, found: &mut Vec<String>) {
    match item.type_.as_str() {
        "Container" => {
            let containers = pod.spec.containers.iter();
            for container in containers.chain(pod.spec.init_containers.iter()) {
                let asked = Asked {
                    kind: &item.type_,
                    requests: &container.resources.requests,
                    limits: &container.resources.limits,
                };
                asked.check(item, found);
            }
        }
        "Pod" => {
            let asked = Asked {
                kind: &item.type_,
                requests: &written(pod, Half::Requests),
                limits: &written(pod, Half::Limits),
            };
            asked.check(item, found);
        }
        _ => {}
    }
}

/// What somebody asks for, and what kind of limit it is held against.
struct Asked<'a> {
    kind: &'a str,
    requests: &'a Amounts,
    limits: &'a Amounts,
}

/// Values in thousandths where all of them fit, else as whole numbers.
fn comparable<const N: usize>(values: [Option<&Quantity>; N]) -> [i64; N] {
    let whole = values.map(|v| v.map_or(0, Quantity::value));
    match whole.iter().all(|v| *v <= MAX_MILLI) {
        true => values.map(|v| v.map_or(0, Quantity::milli_value)),
        false => whole,
    }
}

impl Asked<'_> {
    fn check(&self, item: &LimitRangeItem, found: &mut Vec<String>) {
        found.extend(item.min.iter().filter_map(|(name, v)| self.below(name, v)));
        found.extend(item.max.iter().filter_map(|(name, v)| self.above(name, v)));
        let ratios = item.max_limit_request_ratio.iter();
        found.extend(ratios.filter_map(|(name, v)| self.beyond_ratio(name, v)));
    }

    fn below(&self, name: &str, least: &Quantity) -> Option<String> {
        let start = format!("minimum {name} usage per {} is {least}", self.kind);
        let (request, limit) = (self.requests.get(name), self.limits.get(name));
        let [requested, limited, bound] = comparable([request, limit, Some(least)]);
        match (request, limit) {
            (None, _) => Some(format!("{start}.  No request is specified")),
            (Some(request), _) if requested < bound => {
                Some(format!("{start}, but request is {request}"))
            }
            (_, Some(limit)) if limited < bound => Some(format!("{start}, but limit is {limit}")),
            _ => None,
        }
    }

    fn request_above(&self, name: &str, most: &Quantity) -> Option<String> {
        let start = format!("maximum {name} usage per {} is {most}", self.kind);
        let request = self.requests.get(name);
        let [requested, bound] = comparable([request, Some(most)]);
        match request {
            None => Some(format!("{start}.  No request is specified")),
            Some(request) if requested > bound => {
                Some(format!("{start}, but request is {request}"))
            }
            _ => None,
        }
    }

    fn above(&self, name: &str, most: &Quantity) -> Option<String> {
        let start = format!("maximum {name} usage per {} is {most}", self.kind);
        let (request, limit) = (self.requests.get(name), self.limits.get(name));
        let [requested, limited, bound] = comparable([request, limit, Some(most)]);
        match (request, limit) {
            (_, None) => Some(format!("{start}.  No limit is specified")),
            (_, Some(limit)) if limited > bound => Some(format!("{start}, but limit is {limit}")),
            (Some(request), _) if requested > bound => {
                Some(format!("{start}, but request is {request}"))
            }
            _ => None,
        }
    }

    fn beyond_ratio(&self, name: &str, most: &Quantity) -> Option<String> {
        let start = format!(
            "{name} max limit to request ratio per {} is {most}",
            self.kind
        );
        let (request, limit) = (self.requests.get(name), self.limits.get(name));
        let [requested, limited, _] = comparable([request, limit, Some(most)]);
        if requested == 0 {
            return Some(format!(
                "{start}, but no request is specified or request is 0"
            ));
        }
        if limited == 0 {
            return Some(format!("{start}, but no limit is specified or limit is 0"));
        }
        let ratio = limited as f64 / requested as f64;
        let exceeded = match most.value() <= MAX_MILLI {
            true => ratio * 1000.0 > most.milli_value() as f64,
            false => ratio > most.value() as f64,
        };
        exceeded.then(|| format!("{start}, but provided ratio is {ratio:.6}"))
    }
}
