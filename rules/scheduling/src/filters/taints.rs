//! TaintToleration: a node's taints keep away pods that do not tolerate them.

use super::Refusal;
use crate::cluster::NodeInfo;
use crate::pod::PodView;
use corten_api::core::v1::{Taint, Toleration};

/// Whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    if !toleration.effect.is_empty() && toleration.effect != taint.effect {
        return false;
    }
    if !toleration.key.is_empty() && toleration.key != taint.key {
        return false;
    }
    let numbers = || {
        Some((
            taint.value.parse::<i64>().ok()?,
            toleration.value.parse::<i64>().ok()?,
        ))
    };
    match toleration.operator.as_str() {
        "" | "Equal" => toleration.value == taint.value,
        "Exists" => true,
        "Lt" => numbers().is_some_and(|(taint, bound)| taint < bound),
        "Gt" => numbers().is_some_and(|(taint, bound)| taint > bound),
        _ => false,
    }
}

/// The first taint with one of `effects` that no toleration covers.
pub fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
    effects: &[&str],
) -> Option<&'a Taint> {
    let covered = |taint: &Taint| tolerations.iter().any(|t| tolerates(t, taint));
    taints
        .iter()
        .filter(|t| effects.iter().any(|e| t.effect == *e))
        .find(|t| !covered(t))
}

pub(super) fn filter(pod: &PodView, node: &NodeInfo) -> Vec<Refusal> {
    let Some(object) = node.node() else {
        return Vec::new();
    };
    match untolerated(
        &object.spec.taints,
        &pod.pod.spec.tolerations,
        &["NoSchedule", "NoExecute"],
    ) {
        Some(_) => vec![Refusal::lasting("node(s) had untolerated taint(s)")],
        None => Vec::new(),
    }
}
