//! The deployment's status: counts, availability and progress.

use super::{Sets, scale};
use crate::plan::{Context, Plan, Write};
use corten_api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus};
use corten_core::{Str, Time};

const PROGRESSING: &str = "Progressing";

/// The condition of this type.
pub fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().find(|c| c.type_ == kind)
}

fn new_condition(
    kind: &str,
    truth: &str,
    reason: &str,
    message: String,
    now: Time,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: truth.into(),
        reason: reason.into(),
        message: message.into(),
        last_update_time: now,
        last_transition_time: now,
    }
}

/// Sets a condition unless status and reason stay the same; the transition time moves only with the status.
fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = condition(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time;
        }
    }
    remove(status, &new.type_.clone());
    status.conditions.push(new);
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if condition(status, kind).is_some() {
        status.conditions = std::mem::take(&mut status.conditions)
            .into_iter()
            .filter(|c| c.type_ != kind)
            .collect();
    }
}

fn deadline(deployment: &Deployment) -> Option<i32> {
    deployment
        .spec
        .progress_deadline_seconds
        .filter(|s| *s != i32::MAX)
}

/// Notes a pause or its end, so that the time of the pause does not count against the deadline.
pub(super) fn paused(deployment: &mut Deployment, context: &Context) {
    if deadline(deployment).is_none() {
        return;
    }
    let reason = condition(&deployment.status, PROGRESSING)
        .map(|c| c.reason.clone())
        .unwrap_or_default();
    if reason == "ProgressDeadlineExceeded" {
        return;
    }
    let told = match (deployment.spec.paused, reason == "DeploymentPaused") {
        (true, false) => ("DeploymentPaused", "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    set(
        &mut deployment.status,
        new_condition(
            PROGRESSING,
            "Unknown",
            told.0,
            told.1.to_owned(),
            context.now,
        ),
    );
}

/// Starts the clock for a new set that was found without a Progressing condition.
pub(super) fn found_new(deployment: &mut Deployment, set_name: &Str, context: &Context) {
    if deadline(deployment).is_some() && condition(&deployment.status, PROGRESSING).is_none() {
        let text = format!("Found new replica set \"{set_name}\"");
        set(
            &mut deployment.status,
            new_condition(PROGRESSING, "True", "FoundNewReplicaSet", text, context.now),
        );
    }
}

/// Starts the clock for a set that is about to be created.
pub(super) fn created_new(deployment: &mut Deployment, set_name: &Str, context: &Context) {
    if deadline(deployment).is_some() {
        let text = format!("Created new replica set \"{set_name}\"");
        set(
            &mut deployment.status,
            new_condition(
                PROGRESSING,
                "True",
                "NewReplicaSetCreated",
                text,
                context.now,
            ),
        );
    }
}

/// Every wanted replica is updated and available, and no old one is left.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let size = scale::wanted(deployment);
    status.updated_replicas == size
        && status.replicas == size
        && status.available_replicas == size
        && status.observed_generation >= deployment.metadata.generation
}

fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    new.updated_replicas > old.updated_replicas
        || new.replicas - new.updated_replicas < old.replicas - old.updated_replicas
        || new.ready_replicas > old.ready_replicas
        || new.available_replicas > old.available_replicas
}

fn count(draft: &mut Deployment, sets: &Sets, now: Time) {
    let seen: Vec<_> = sets.all().filter(|d| d.seen.is_some()).collect();
    let available = sets.available();
    let total = sets.total();
    let terminating = seen
        .iter()
        .try_fold(0, |sum, d| match d.set.status.terminating_replicas {
            Some(n) => Some(sum + n),
            None if d.set.status.observed_generation == 0 => Some(sum),
            None => None,
        });
    let enough = available >= scale::wanted(draft) - scale::max_unavailable(draft);
    let status = &mut draft.status;
    status.observed_generation = draft.metadata.generation;
    status.replicas = seen.iter().map(|d| d.set.status.replicas).sum();
    status.updated_replicas = sets.new.as_ref().map_or(0, |d| d.set.status.replicas);
    status.ready_replicas = seen.iter().map(|d| d.set.status.ready_replicas).sum();
    status.available_replicas = available;
    status.unavailable_replicas = (total - available).max(0);
    status.terminating_replicas = terminating;
    let (truth, reason, text) = match enough {
        true => (
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
        ),
        false => (
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
        ),
    };
    set(
        status,
        new_condition("Available", truth, reason, text.to_owned(), now),
    );
}

/// Counts only: for a deployment that is being deleted, resized or is paused.
pub(super) fn update(
    plan: &mut Plan,
    draft: &mut Deployment,
    seen: &Deployment,
    sets: &Sets,
    context: &Context,
) {
    count(draft, sets, context.now);
    plan.write_if(Write::patch_status(seen, draft, "its replica sets changed"));
}

/// Counts and progress.
pub(super) fn rollout(
    plan: &mut Plan,
    draft: &mut Deployment,
    seen: &Deployment,
    sets: &Sets,
    context: &Context,
) {
    count(draft, sets, context.now);
    progress(draft, seen, sets, context.now);
    failures(draft, sets, context);
    plan.write_if(Write::patch_status(seen, draft, "the rollout moved on"));
    let waiting = condition(&draft.status, PROGRESSING)
        .filter(|c| !is_complete(draft, &draft.status) && c.reason != "ProgressDeadlineExceeded");
    if let (Some(limit), Some(condition)) = (deadline(draft), waiting) {
        plan.wake_at(
            condition
                .last_update_time
                .plus_seconds(i64::from(limit) + 1),
        );
    }
}

fn progress(draft: &mut Deployment, seen: &Deployment, sets: &Sets, now: Time) {
    let Some(limit) = deadline(draft) else {
        remove(&mut draft.status, PROGRESSING);
        return;
    };
    let current = condition(&draft.status, PROGRESSING).cloned();
    let done = current
        .as_ref()
        .is_some_and(|c| c.reason == "NewReplicaSetAvailable");
    if draft.status.replicas == draft.status.updated_replicas && done {
        return;
    }
    let subject = match &sets.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.set.metadata.name),
        None => format!("Deployment \"{}\"", draft.metadata.name),
    };
    if is_complete(draft, &draft.status) {
        let text = format!("{subject} has successfully progressed.");
        set(
            &mut draft.status,
            new_condition(PROGRESSING, "True", "NewReplicaSetAvailable", text, now),
        );
    } else if has_progressed(&seen.status, &draft.status) {
        let text = format!("{subject} is progressing.");
        let mut new = new_condition(PROGRESSING, "True", "ReplicaSetUpdated", text, now);
        if let Some(old) = current.filter(|c| c.status == "True") {
            new.last_transition_time = old.last_transition_time;
        }
        remove(&mut draft.status, PROGRESSING);
        draft.status.conditions.push(new);
    } else if current
        .is_some_and(|c| !done && c.last_update_time.plus_seconds(i64::from(limit)) < now)
    {
        let text = format!("{subject} has timed out progressing.");
        set(
            &mut draft.status,
            new_condition(PROGRESSING, "False", "ProgressDeadlineExceeded", text, now),
        );
    }
}

/// Shows the new set's failure to create pods, or else an old one's, on the deployment.
fn failures(draft: &mut Deployment, sets: &Sets, context: &Context) {
    let order = sets.new.iter().chain(sets.old.iter());
    let failed = order
        .flat_map(|d| d.set.status.conditions.iter())
        .find(|c| c.type_ == "ReplicaFailure");
    match failed {
        Some(c) => {
            let mut new = new_condition(
                "ReplicaFailure",
                &c.status,
                &c.reason,
                c.message.to_string(),
                context.now,
            );
            new.last_transition_time = c.last_transition_time;
            new.last_update_time = c.last_transition_time;
            set(&mut draft.status, new);
        }
        None => remove(&mut draft.status, "ReplicaFailure"),
    }
    let create = context
        .failure
        .as_ref()
        .filter(|f| f.verb == "create" && f.reason != "AlreadyExists");
    if let (Some(failure), Some(new), Some(_)) = (
        create,
        sets.new.as_ref().filter(|d| d.seen.is_none()),
        deadline(draft),
    ) {
        let text = format!(
            "Failed to create new replica set \"{}\": {}",
            new.set.metadata.name, failure.message
        );
        set(
            &mut draft.status,
            new_condition(
                PROGRESSING,
                "False",
                "ReplicaSetCreateError",
                text,
                context.now,
            ),
        );
    }
}
