//! Revisions: which replica set is the new one, how it is named and numbered, and which old ones are kept.

use super::{Draft, Sets, rollout, scale, status};
use crate::plan::{Context, Plan, Write};
use crate::template::{controller_reference, template_hash};
use corten_api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use corten_api::core::v1::PodTemplateSpec;
use corten_api::meta::v1::ObjectMeta;
use corten_core::{List, Str};

/// The label that tells the pods of one template from those of another.
pub const HASH_LABEL: &str = "pod-template-hash";
/// The number of a revision, on replica sets and on the deployment.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Earlier numbers of a replica set that was rolled back to.
const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Upstream keeps the list of earlier numbers within so many characters.
const REVISION_HISTORY_MAX: usize = 2000;
/// Annotations that a replica set does not take over from its deployment.
const OWN_ANNOTATIONS: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    scale::DESIRED,
    scale::MAX,
    "deprecated.deployment.rollback.to",
];
const NAME_MAX: usize = 253;

/// Equal but for the hash label.
pub fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let labels = |t: &PodTemplateSpec| {
        let kept = t.metadata.labels.iter().filter(|(k, _)| *k != HASH_LABEL);
        kept.map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Vec<_>>()
    };
    labels(a) == labels(b)
        && a.metadata
            .annotations
            .iter()
            .eq(b.metadata.annotations.iter())
        && a.spec == b.spec
}

fn revision(set: &ReplicaSet) -> i64 {
    set.metadata
        .annotations
        .get(REVISION)
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

fn next_revision(sets: &Sets) -> i64 {
    sets.old.iter().map(|d| revision(&d.set)).max().unwrap_or(0) + 1
}

/// Brings an existing new set's annotations up to date and notes its revision on the deployment.
pub(super) fn annotate_new(deployment: &mut Deployment, sets: &mut Sets, context: &Context) {
    let next = next_revision(sets);
    let Some(new) = sets.new.as_mut() else { return };
    annotate(deployment, &mut new.set, next);
    new.set.spec.min_ready_seconds = deployment.spec.min_ready_seconds;
    if let Some(number) = new.set.metadata.annotations.get(REVISION).cloned() {
        deployment.metadata.annotations.insert(REVISION, number);
    }
    status::found_new(deployment, &new.set.metadata.name, context);
}

/// Adds the set for the current template when there is none.
pub(super) fn ensure_new(deployment: &mut Deployment, sets: &mut Sets, context: &Context) {
    if sets.new.is_some() {
        return;
    }
    if context
        .failure
        .as_ref()
        .is_some_and(|f| f.verb == "create" && f.reason == "AlreadyExists")
    {
        // Another template has the same hash: count the collision, which changes the name of the next try.
        deployment.status.collision_count =
            Some(deployment.status.collision_count.unwrap_or(0) + 1);
        return;
    }
    let next = next_revision(sets);
    let mut set = new_set(deployment);
    annotate(deployment, &mut set, next);
    set.spec.replicas = Some(rollout::new_size(deployment, sets.total(), 0));
    scale::annotate(&mut set, deployment);
    deployment
        .metadata
        .annotations
        .insert(REVISION, next.to_string());
    status::created_new(deployment, &set.metadata.name, context);
    sets.new = Some(Draft { seen: None, set });
}

fn new_set(deployment: &Deployment) -> ReplicaSet {
    let hash = template_hash(&deployment.spec.template, deployment.status.collision_count);
    let mut template = deployment.spec.template.clone();
    template.metadata.labels.insert(HASH_LABEL, hash.as_str());
    let mut selector = deployment.spec.selector.clone().unwrap_or_default();
    selector.match_labels.insert(HASH_LABEL, hash.as_str());
    let base: String = deployment
        .metadata
        .name
        .chars()
        .take(NAME_MAX - 1 - hash.len())
        .collect();
    ReplicaSet {
        metadata: ObjectMeta {
            name: format!("{base}-{hash}").into(),
            namespace: deployment.metadata.namespace.clone(),
            labels: template.metadata.labels.clone(),
            owner_references: List::from_iter([controller_reference(deployment)]),
            ..Default::default()
        },
        spec: ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: deployment.spec.min_ready_seconds,
            selector: Some(selector),
            template,
        },
        ..Default::default()
    }
}

fn annotate(deployment: &Deployment, set: &mut ReplicaSet, next: i64) {
    for (key, value) in deployment.metadata.annotations.iter() {
        if !OWN_ANNOTATIONS.contains(&key.as_str()) {
            set.metadata.annotations.insert(key.clone(), value.clone());
        }
    }
    let before: Option<Str> = set.metadata.annotations.get(REVISION).cloned();
    if revision(set) >= next {
        return;
    }
    set.metadata.annotations.insert(REVISION, next.to_string());
    if let Some(before) = before {
        remember(set, &before);
    }
}

fn remember(set: &mut ReplicaSet, before: &str) {
    let list = set
        .metadata
        .annotations
        .get(REVISION_HISTORY)
        .cloned()
        .unwrap_or_default();
    let mut numbers: Vec<&str> = list.split(',').filter(|n| !n.is_empty()).collect();
    numbers.push(before);
    while numbers.iter().map(|n| n.len() + 1).sum::<usize>() > REVISION_HISTORY_MAX + 1 {
        numbers.remove(0);
    }
    set.metadata
        .annotations
        .insert(REVISION_HISTORY, numbers.join(","));
}

/// Deletes the oldest empty sets beyond `spec.revisionHistoryLimit`.
pub(super) fn clean_up(plan: &mut Plan, deployment: &Deployment, sets: &Sets) {
    let Some(limit) = deployment
        .spec
        .revision_history_limit
        .filter(|l| *l != i32::MAX)
    else {
        return;
    };
    let mut alive: Vec<&ReplicaSet> = sets
        .old
        .iter()
        .filter_map(|d| d.seen)
        .filter(|s| s.metadata.deletion_timestamp.is_none())
        .collect();
    let surplus = alive
        .len()
        .saturating_sub(usize::try_from(limit).unwrap_or(0));
    alive.sort_by(|a, b| {
        revision(a)
            .cmp(&revision(b))
            .then_with(|| scale::by_age(a, b))
    });
    for set in alive.into_iter().take(surplus) {
        let busy = set.status.replicas != 0
            || set.spec.replicas != Some(0)
            || set.metadata.generation > set.status.observed_generation;
        if !busy {
            plan.write(Write::delete(
                set,
                format!("only {limit} old revisions are kept"),
            ));
        }
    }
}
