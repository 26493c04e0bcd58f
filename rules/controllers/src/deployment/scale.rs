//! How many replicas each set gets when the deployment is resized, and the numbers a rolling update keeps to.

use super::{Draft, Sets};
use corten_api::apps::v1::{Deployment, ReplicaSet};
use corten_core::{IntOrString, Rounding};
use std::cmp::Ordering;

/// What the deployment wanted when the set was last scaled.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// What it allowed at most, surge included.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// Older first; the name breaks ties.
pub fn by_age(a: &ReplicaSet, b: &ReplicaSet) -> Ordering {
    let created = a
        .metadata
        .creation_timestamp
        .cmp(&b.metadata.creation_timestamp);
    created.then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

/// `spec.replicas`, 1 when absent.
pub fn wanted(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1)
}

fn is_rolling(deployment: &Deployment) -> bool {
    deployment.spec.strategy.type_ == "RollingUpdate"
}

/// maxSurge and maxUnavailable in pods. When both round to 0, one pod may be unavailable, so that the rollout moves.
fn fences(deployment: &Deployment) -> (i32, i32) {
    let Some(rolling) = deployment.spec.strategy.rolling_update.as_deref() else {
        return (0, 1);
    };
    let scaled = |value: &Option<IntOrString>, rounding: Rounding| {
        let value = value.clone().unwrap_or(IntOrString::Int(0));
        let parsed = value.scaled_value(i64::from(wanted(deployment)), rounding);
        parsed
            .ok()
            .and_then(|pods| i32::try_from(pods).ok())
            .unwrap_or(0)
    };
    match (
        scaled(&rolling.max_surge, Rounding::Up),
        scaled(&rolling.max_unavailable, Rounding::Down),
    ) {
        (0, 0) => (0, 1),
        fences => fences,
    }
}

/// How many pods may exist above the wanted number.
pub fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) {
        fences(deployment).0
    } else {
        0
    }
}

/// How many of the wanted pods may be unavailable.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    if !is_rolling(deployment) || wanted(deployment) == 0 {
        return 0;
    }
    fences(deployment).1.min(wanted(deployment))
}

fn annotation(set: &ReplicaSet, key: &str) -> Option<i32> {
    set.metadata
        .annotations
        .get(key)?
        .parse()
        .ok()
        .filter(|n: &i32| *n >= 0)
}

/// Writes what the deployment wants into the set's annotations.
pub fn annotate(set: &mut ReplicaSet, deployment: &Deployment) {
    let desired = wanted(deployment);
    set.metadata
        .annotations
        .insert(DESIRED, desired.to_string());
    set.metadata
        .annotations
        .insert(MAX, (desired + max_surge(deployment)).to_string());
}

impl Draft<'_> {
    /// Resizes the set; nothing happens when it has that size already.
    pub(super) fn scale_to(&mut self, replicas: i32, deployment: &Deployment) -> bool {
        if self.replicas() == replicas {
            return false;
        }
        self.set.spec.replicas = Some(replicas);
        annotate(&mut self.set, deployment);
        true
    }
}

/// The deployment's size changed since its active sets were last scaled.
pub(super) fn is_scaling(deployment: &Deployment, sets: &Sets) -> bool {
    let active = sets.all().filter(|d| d.seen.is_some() && d.replicas() > 0);
    active
        .filter_map(|d| annotation(&d.set, DESIRED))
        .any(|desired| desired != wanted(deployment))
}

fn is_saturated(deployment: &Deployment, draft: &Draft) -> bool {
    let size = wanted(deployment);
    draft.replicas() == size
        && annotation(&draft.set, DESIRED) == Some(size)
        && draft.set.status.available_replicas == size
}

/// Gives every active set its share of the deployment's size.
pub(super) fn proportionally(deployment: &Deployment, sets: &mut Sets) {
    let size = wanted(deployment);
    let active = sets.all().filter(|d| d.replicas() > 0).count();
    if active <= 1 {
        let only = match active {
            0 if sets.new.is_some() => sets.new.as_mut(),
            0 => sets.old.last_mut(),
            _ => sets
                .new
                .iter_mut()
                .chain(sets.old.iter_mut())
                .find(|d| d.replicas() > 0),
        };
        if let Some(draft) = only {
            draft.scale_to(size, deployment);
        }
        return;
    }
    if sets
        .new
        .as_ref()
        .is_some_and(|new| is_saturated(deployment, new))
    {
        for old in sets.old.iter_mut().filter(|d| d.replicas() > 0) {
            old.scale_to(0, deployment);
        }
        return;
    }
    if is_rolling(deployment) {
        distribute(deployment, sets);
    }
}

fn distribute(deployment: &Deployment, sets: &mut Sets) {
    let total = sets.total();
    let allowed = match wanted(deployment) {
        0 => 0,
        size => size + max_surge(deployment),
    };
    let to_add = allowed - total;
    let mut active: Vec<&mut Draft> = sets
        .old
        .iter_mut()
        .chain(sets.new.iter_mut())
        .filter(|d| d.replicas() > 0)
        .collect();
    // Larger sets first; among equals the newer one gains first and the older one loses first.
    active.sort_by(|a, b| {
        let age = by_age(&a.set, &b.set);
        b.replicas()
            .cmp(&a.replicas())
            .then(if to_add > 0 { age.reverse() } else { age })
    });
    let mut sizes = Vec::with_capacity(active.len());
    let mut added = 0;
    for draft in &active {
        let share = proportion(deployment, draft, to_add, added);
        added += share;
        sizes.push(draft.replicas() + share);
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + to_add - added).max(0);
    }
    for (draft, size) in active.into_iter().zip(sizes) {
        draft.set.spec.replicas = Some(size);
        annotate(&mut draft.set, deployment);
    }
}

fn proportion(deployment: &Deployment, draft: &Draft, to_add: i32, added: i32) -> i32 {
    if to_add == 0 || to_add == added {
        return 0;
    }
    let share = fraction(deployment, draft);
    match to_add > 0 {
        true => share.min(to_add - added),
        false => share.max(to_add - added),
    }
}

fn fraction(deployment: &Deployment, draft: &Draft) -> i32 {
    if wanted(deployment) == 0 {
        return -draft.replicas();
    }
    let before = match annotation(&draft.set, MAX).filter(|max| *max != 0) {
        Some(max) => max,
        None => deployment.status.replicas,
    };
    if before == 0 {
        return 0;
    }
    let max = f64::from(wanted(deployment) + max_surge(deployment));
    let size = f64::from(draft.replicas()) * max / f64::from(before);
    size.round() as i32 - draft.replicas()
}
