//! Priority: a pod's class becomes its number, and the class marked as the default serves pods without one.

use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::Pod;
use corten_api::scheduling::v1::PriorityClass;
use corten_core::Str;

const DEFAULT_POLICY: &str = "PreemptLowerPriority";

pub(super) fn mutate(review: &Review, object: &mut Object) -> Result<(), Denial> {
    if !review.is("", "pods") || !matches!(review.operation, Operation::Create | Operation::Update)
    {
        return Ok(());
    }
    let old = review.old.and_then(|o| o.downcast_ref::<Pod>());
    let Some(pod) = object.downcast_mut::<Pod>() else {
        return Ok(());
    };
    if review.operation == Operation::Update {
        if let Some(old) = old.filter(|_| pod.spec.priority.is_none()) {
            pod.spec.priority = old.spec.priority;
        }
        if let Some(old) = old.filter(|_| pod.spec.preemption_policy.is_none()) {
            pod.spec.preemption_policy = old.spec.preemption_policy.clone();
        }
        return Ok(());
    }
    let (priority, policy) = resolve(review, &mut pod.spec.priority_class_name)?;
    if pod.spec.priority.is_some_and(|given| given != priority) {
        return Err(Denial::forbidden(format!(
            "the integer value of priority ({}) must not be provided in pod spec; priority admission controller \
             computed {priority} from the given PriorityClass name",
            pod.spec.priority.unwrap_or_default()
        )));
    }
    pod.spec.priority = Some(priority);
    let given = pod
        .spec
        .preemption_policy
        .get_or_insert_with(|| policy.clone())
        .clone();
    if given != policy {
        return Err(Denial::forbidden(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
             controller computed {policy} from the given PriorityClass name"
        )));
    }
    Ok(())
}

fn resolve(review: &Review, class: &mut Str) -> Result<(i32, Str), Denial> {
    let policy_of = |class: &PriorityClass| {
        class
            .preemption_policy
            .clone()
            .unwrap_or(DEFAULT_POLICY.into())
    };
    if class.is_empty() {
        let defaults = review
            .snapshot
            .list::<PriorityClass>()
            .filter(|c| c.global_default);
        return Ok(match defaults.min_by_key(|c| c.value) {
            Some(found) => {
                *class = found.metadata.name.clone();
                (found.value, policy_of(found))
            }
            None => (0, DEFAULT_POLICY.into()),
        });
    }
    match review.snapshot.get::<PriorityClass>("", class) {
        Some(found) => Ok((found.value, policy_of(found))),
        None => Err(Denial::forbidden(format!(
            "no PriorityClass with name {class} was found"
        ))),
    }
}
