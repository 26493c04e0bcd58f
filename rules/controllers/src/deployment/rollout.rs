//! One step of a rolling update or of a re-creation.

use super::scale::{max_surge, max_unavailable, wanted};
use super::{Observed, Sets, history, status};
use crate::plan::{Context, Plan};
use crate::pods;
use corten_api::apps::v1::Deployment;

/// Scales the new set up or the old ones down by as much as the deployment's strategy allows now.
pub(super) fn step(
    plan: &mut Plan,
    observed: &Observed,
    draft: &mut Deployment,
    sets: &mut Sets,
    context: &Context,
) {
    let deployment = observed.deployment;
    let moved = match deployment.spec.strategy.type_.as_str() {
        "Recreate" => recreate(observed, draft, sets, context),
        _ => rolling(deployment, draft, sets, context),
    };
    if !moved && status::is_complete(deployment, &deployment.status) {
        history::clean_up(plan, deployment, sets);
    }
}

fn rolling(
    deployment: &Deployment,
    draft: &mut Deployment,
    sets: &mut Sets,
    context: &Context,
) -> bool {
    history::ensure_new(draft, sets, context);
    grow_new(deployment, sets) || shrink_old(deployment, sets)
}

/// The size that the new set may have now.
pub(super) fn new_size(deployment: &Deployment, total: i32, current: i32) -> i32 {
    if deployment.spec.strategy.type_ == "Recreate" {
        return wanted(deployment);
    }
    let room = wanted(deployment) + max_surge(deployment) - total;
    match room > 0 {
        true => current + room.min(wanted(deployment) - current),
        false => current,
    }
}

fn grow_new(deployment: &Deployment, sets: &mut Sets) -> bool {
    let total = sets.total();
    let Some(new) = sets.new.as_mut() else {
        return false;
    };
    if new.seen.is_none() {
        return false;
    }
    let size = match new.replicas() > wanted(deployment) {
        true => wanted(deployment),
        false => new_size(deployment, total, new.replicas()),
    };
    new.scale_to(size, deployment)
}

fn shrink_old(deployment: &Deployment, sets: &mut Sets) -> bool {
    let total = sets.total();
    let min_available = wanted(deployment) - max_unavailable(deployment);
    let new_unavailable = sets
        .new
        .as_ref()
        .map_or(0, |n| n.replicas() - n.set.status.available_replicas);
    let mut budget = total - min_available - new_unavailable;
    if budget <= 0 {
        return false;
    }
    let mut moved = false;
    // Pods that serve nobody go first: they would block the rollout (kubernetes issue 16737).
    for old in sets.old.iter_mut().filter(|d| d.replicas() > 0) {
        let unhealthy = (old.replicas() - old.set.status.available_replicas).min(budget);
        if unhealthy > 0 {
            moved |= old.scale_to(old.replicas() - unhealthy, deployment);
            budget -= unhealthy;
        }
    }
    let mut surplus = sets.available() - min_available;
    for old in sets.old.iter_mut().filter(|d| d.replicas() > 0) {
        if surplus <= 0 {
            break;
        }
        let fewer = old.replicas().min(surplus);
        moved |= old.scale_to(old.replicas() - fewer, deployment);
        surplus -= fewer;
    }
    moved
}

fn recreate(
    observed: &Observed,
    draft: &mut Deployment,
    sets: &mut Sets,
    context: &Context,
) -> bool {
    let deployment = observed.deployment;
    let mut moved = false;
    for old in sets.old.iter_mut() {
        moved |= old.scale_to(0, deployment);
    }
    if moved || old_pods_running(observed, sets) {
        return true;
    }
    history::ensure_new(draft, sets, context);
    sets.new
        .as_mut()
        .is_some_and(|new| new.seen.is_some() && new.scale_to(wanted(deployment), deployment))
}

fn old_pods_running(observed: &Observed, sets: &Sets) -> bool {
    if sets.old.iter().any(|d| d.set.status.replicas > 0) {
        return true;
    }
    let new = sets.new.as_ref().map(|d| &d.set.metadata.uid);
    let is_old = |uid: &corten_core::Str| new != Some(uid);
    let mut running = observed.pods.iter().filter(|p| !pods::is_finished(p));
    running.any(|p| p.metadata.controller_of().is_some_and(|o| is_old(&o.uid)))
}
