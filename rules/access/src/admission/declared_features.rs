//! NodeDeclaredFeatureValidator: a bound pod is changed only in ways that its node has declared to know.

use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::{Container, Node, Pod};
use corten_core::semantic_eq;

/// The feature that a node needs to resize a pod as a whole.
const POD_RESIZE: &str = "InPlacePodLevelResourcesVerticalScaling";
/// The feature that a node needs to resize init containers that end.
const INIT_RESIZE: &str = "InPlacePodVerticalScalingInitContainers";

/// Refuses a change for which the pod's node lacks a feature.
pub(super) fn validate(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let is_spec = review.is("", "pods") || review.is_part("", "pods", "resize");
    if !is_spec || review.operation != Operation::Update {
        return Ok(());
    }
    let new = object.and_then(|o| o.downcast_ref::<Pod>());
    let old = review.old.and_then(|o| o.downcast_ref::<Pod>());
    let (Some(new), Some(old)) = (new, old) else {
        return Ok(());
    };
    let name = new.spec.node_name.as_str();
    if name.is_empty() || new.metadata.generation == old.metadata.generation {
        return Ok(());
    }
    let wanted = wanted(old, new);
    if wanted.is_empty() {
        return Ok(());
    }
    let Some(node) = review.snapshot.get::<Node>("", name) else {
        return Err(Denial::forbidden(format!("node {name:?} not found")));
    };
    let declared = &node.status.declared_features;
    let lacks = |feature: &&str| !declared.iter().any(|d| d == *feature);
    let missing: Vec<&str> = wanted.into_iter().filter(lacks).collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Denial::forbidden(format!(
            "pod update requires features {} which are not available on node {name:?}",
            missing.join(", ")
        ))),
    }
}

/// The features that a change needs.
fn wanted(old: &Pod, new: &Pod) -> Vec<&'static str> {
    let pod = match (&old.spec.resources, &new.spec.resources) {
        (None, None) => false,
        (Some(old), Some(new)) => !semantic_eq(&**old, &**new),
        _ => true,
    };
    let stays = |container: &Container| container.restart_policy.as_deref() == Some("Always");
    let (before, after) = (&old.spec.init_containers, &new.spec.init_containers);
    let init = before
        .iter()
        .zip(after.iter())
        .any(|(old, new)| !stays(old) && !semantic_eq(&old.resources, &new.resources));
    let all = [(pod, POD_RESIZE), (init, INIT_RESIZE)];
    let needed = all.into_iter().filter(|(is_needed, _)| *is_needed);
    needed.map(|(_, feature)| feature).collect()
}
