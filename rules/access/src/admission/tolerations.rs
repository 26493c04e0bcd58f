//! DefaultTolerationSeconds and TaintNodesByCondition: pods stay five minutes on a node that is lost, and a new node
//! takes none until it is ready.

use super::{Operation, Plugin, Review};
use corten_api::Object;
use corten_api::core::v1::{Node, Pod, Taint, Toleration};

/// How long pods stay, in seconds.
const STAY: i64 = 300;
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

pub(super) fn mutate(review: &Review, object: &mut Object) {
    let on = |plugin| review.enabled.has(plugin);
    if review.is("", "nodes") && review.operation == Operation::Create {
        if on(Plugin::TaintNodesByCondition)
            && let Some(node) = object.downcast_mut::<Node>()
        {
            taint(node);
        }
    } else if review.is("", "pods")
        && on(Plugin::DefaultTolerationSeconds)
        && matches!(review.operation, Operation::Create | Operation::Update)
        && let Some(pod) = object.downcast_mut::<Pod>()
    {
        tolerate(pod, NOT_READY);
        tolerate(pod, UNREACHABLE);
    }
}

fn taint(node: &mut Node) {
    let tainted = node
        .spec
        .taints
        .iter()
        .any(|t| t.key == NOT_READY && t.effect == "NoSchedule");
    if !tainted {
        node.spec.taints.push(Taint {
            key: NOT_READY.into(),
            effect: "NoSchedule".into(),
            ..Default::default()
        });
    }
}

fn tolerate(pod: &mut Pod, key: &str) {
    let covered = |t: &Toleration| {
        (t.key == key || t.key.is_empty()) && (t.effect == "NoExecute" || t.effect.is_empty())
    };
    if !pod.spec.tolerations.iter().any(covered) {
        pod.spec.tolerations.push(Toleration {
            key: key.into(),
            operator: "Exists".into(),
            effect: "NoExecute".into(),
            toleration_seconds: Some(STAY),
            ..Default::default()
        });
    }
}
