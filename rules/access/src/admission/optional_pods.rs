//! Plugins for pods that run only when they are asked for: AlwaysPullImages, PodNodeSelector, PodTolerationRestriction,
//! ExtendedResourceToleration and LimitPodHardAntiAffinityTopology.

use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::{Container, Namespace, Pod, Toleration};
use corten_core::{Str, from_value, json_text};
use std::collections::BTreeSet;

fn pod_of<'a>(review: &Review, object: &'a mut Object) -> Option<&'a mut Pod> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    if written && review.is("", "pods") {
        return object.downcast_mut();
    }
    None
}

fn images(pod: &Pod) -> BTreeSet<&str> {
    let spec = &pod.spec;
    let own = spec.init_containers.iter().chain(spec.containers.iter());
    let debugging = spec
        .ephemeral_containers
        .iter()
        .map(|c| c.ephemeral_container_common.image.as_str());
    own.map(|c| c.image.as_str()).chain(debugging).collect()
}

/// Whether an update brings no image that was not there.
fn has_no_new_images(review: &Review, pod: &Pod) -> bool {
    let old = review.old.and_then(|o| o.downcast_ref::<Pod>());
    old.is_some_and(|old| images(old).is_superset(&images(pod)))
}

/// AlwaysPullImages: who may use an image is asked anew for each pod.
pub(super) fn always_pull(review: &Review, object: &mut Object) {
    let Some(pod) = pod_of(review, object) else {
        return;
    };
    if has_no_new_images(review, pod) {
        return;
    }
    let spec = &mut pod.spec;
    for container in spec
        .init_containers
        .iter_mut()
        .chain(spec.containers.iter_mut())
    {
        container.image_pull_policy = "Always".into();
    }
    for container in spec.ephemeral_containers.iter_mut() {
        container.ephemeral_container_common.image_pull_policy = "Always".into();
    }
    for volume in spec.volumes.iter_mut() {
        if let Some(image) = &mut volume.volume_source.image {
            image.pull_policy = "Always".into();
        }
    }
}

/// What may have been changed since.
pub(super) fn check_always_pull(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let pod = object.filter(|_| written && review.is("", "pods"));
    let Some(pod) = pod.and_then(|o| o.downcast_ref::<Pod>()) else {
        return Ok(());
    };
    if has_no_new_images(review, pod) {
        return Ok(());
    }
    for (list, containers) in [
        ("initContainers", &pod.spec.init_containers),
        ("containers", &pod.spec.containers),
    ] {
        let wrong = containers
            .iter()
            .position(|c| c.image_pull_policy != "Always");
        if let Some(at) = wrong {
            return Err(Denial::forbidden(format!(
                "spec.{list}[{at}].imagePullPolicy: Unsupported value: {:?}: supported values: \"Always\"",
                containers[at].image_pull_policy.as_str()
            )));
        }
    }
    Ok(())
}

fn namespace<'a>(review: &Review<'a>) -> Option<&'a Namespace> {
    review.snapshot.get::<Namespace>("", review.namespace)
}

const CLUSTER_SELECTOR: &str = "clusterDefaultNodeSelector";
const NODE_SELECTOR: &str = "scheduler.alpha.kubernetes.io/node-selector";

/// PodNodeSelector: pods of a namespace run on its nodes only.
pub(super) fn node_selector(review: &Review, object: &mut Object) -> Result<(), Denial> {
    if review.operation != Operation::Create {
        return Ok(());
    }
    let Some(pod) = pod_of(review, object) else {
        return Ok(());
    };
    for (key, value) in chosen_nodes(review)? {
        match pod.spec.node_selector.get(key.as_str()) {
            Some(own) if *own != value.as_str() => {
                return Err(Denial::forbidden(
                    "pod node label selector conflicts with its namespace node label selector",
                ));
            }
            Some(_) => {}
            None => {
                pod.spec
                    .node_selector
                    .insert(Str::from(key), Str::from(value));
            }
        }
    }
    Ok(())
}

/// The selector of a namespace, or the cluster's own for those without.
fn chosen_nodes(review: &Review) -> Result<Vec<(String, String)>, Denial> {
    let own = namespace(review).and_then(|n| n.metadata.annotations.get(NODE_SELECTOR));
    let usual = review.settings.node_selectors.get(CLUSTER_SELECTOR);
    match (own, usual) {
        (Some(own), _) => pairs(own),
        (None, Some(usual)) => pairs(usual),
        (None, None) => Ok(Vec::new()),
    }
}

/// PodNodeSelector: what may have been changed since, and what the cluster lets a namespace choose.
pub(super) fn check_node_selector(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let created = review.operation == Operation::Create && review.is("", "pods");
    let pod = object.filter(|_| created);
    let Some(pod) = pod.and_then(|o| o.downcast_ref::<Pod>()) else {
        return Ok(());
    };
    let chosen = &pod.spec.node_selector;
    for (key, value) in chosen_nodes(review)? {
        if chosen
            .get(key.as_str())
            .is_some_and(|own| *own != value.as_str())
        {
            return Err(Denial::forbidden(
                "pod node label selector conflicts with its namespace node label selector",
            ));
        }
    }
    let Some(allowed) = review.settings.node_selectors.get(review.namespace) else {
        return Ok(());
    };
    let allowed = pairs(allowed)?;
    let outside = |key: &str, value: &str| !allowed.iter().any(|(k, v)| k == key && v == value);
    if !allowed.is_empty() && chosen.iter().any(|(k, v)| outside(k, v)) {
        return Err(Denial::forbidden(
            "pod node label selector labels conflict with its namespace whitelist",
        ));
    }
    Ok(())
}

/// `a=b,c=d`
fn pairs(text: &str) -> Result<Vec<(String, String)>, Denial> {
    let items = text.split(',').filter(|item| !item.is_empty());
    let pair = |item: &str| match item.split_once('=') {
        Some((key, value)) => Ok((
            key.trim().to_owned(),
            value.trim_start_matches('=').trim().to_owned(),
        )),
        None => Err(Denial::new(
            500,
            "InternalError",
            format!("invalid selector: {text}"),
        )),
    };
    items.map(pair).collect()
}

const DEFAULTS: &str = "scheduler.alpha.kubernetes.io/defaultTolerations";
const ALLOWED: &str = "scheduler.alpha.kubernetes.io/tolerationsWhitelist";

/// The tolerations of an annotation of the namespace; none without it.
fn annotated(review: &Review, key: &str) -> Result<Option<Vec<Toleration>>, Denial> {
    let Some(text) = namespace(review).and_then(|n| n.metadata.annotations.get(key)) else {
        return Ok(None);
    };
    if text.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let broken = |why: String| Denial::new(500, "", format!("annotation {key}: {why}"));
    let value = json_text::parse(text.as_bytes()).map_err(|e| broken(e.to_string()))?;
    let items = value.as_list().unwrap_or_default().iter();
    let tolerations =
        items.map(|item| from_value::<Toleration>(item).map_err(|e| broken(e.to_string())));
    tolerations.collect::<Result<_, _>>().map(Some)
}

/// PodTolerationRestriction: a namespace's tolerations, or the cluster's, are given to its pods.
pub(super) fn tolerations(review: &Review, object: &mut Object) -> Result<(), Denial> {
    let Some(pod) = pod_of(review, object) else {
        return Ok(());
    };
    let mut more = Vec::new();
    if review.operation == Operation::Create {
        let usual = &review.settings.default_tolerations;
        more = annotated(review, DEFAULTS)?.unwrap_or_else(|| usual.clone());
    }
    let best_effort = pod
        .spec
        .init_containers
        .iter()
        .chain(pod.spec.containers.iter())
        .all(|c| c.resources.requests.is_empty() && c.resources.limits.is_empty());
    if !best_effort {
        more.push(Toleration {
            key: "node.kubernetes.io/memory-pressure".into(),
            operator: "Exists".into(),
            effect: "NoSchedule".into(),
            ..Toleration::default()
        });
    }
    if !more.is_empty() {
        let all: Vec<Toleration> = pod.spec.tolerations.iter().cloned().chain(more).collect();
        pod.spec.tolerations = merged(&all).into_iter().collect();
    }
    only_allowed_tolerations(review, pod)
}

/// What may have been changed since.
pub(super) fn check_tolerations(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let pod = object.filter(|_| written && review.is("", "pods"));
    match pod.and_then(|o| o.downcast_ref::<Pod>()) {
        Some(pod) => only_allowed_tolerations(review, pod),
        None => Ok(()),
    }
}

/// Pods have no other tolerations than their namespace, or else the cluster, allows.
fn only_allowed_tolerations(review: &Review, pod: &Pod) -> Result<(), Denial> {
    if pod.spec.tolerations.is_empty() {
        return Ok(());
    }
    let own = annotated(review, ALLOWED)?;
    let scope = match own {
        Some(_) => "namespace",
        None => "cluster",
    };
    let allowed = own.unwrap_or_else(|| review.settings.allowed_tolerations.clone());
    let outside = |t: &Toleration| !allowed.iter().any(|wide| covers(wide, t));
    if !allowed.is_empty() && pod.spec.tolerations.iter().any(outside) {
        return Err(Denial::new(
            500,
            "",
            format!(
                "pod tolerations (possibly merged with namespace default tolerations) conflict with its {scope} whitelist"
            ),
        ));
    }
    Ok(())
}

/// Without those that others cover; of equal ones the first stays.
fn merged(all: &[Toleration]) -> Vec<Toleration> {
    let mut out: Vec<Toleration> = Vec::new();
    for (i, one) in all.iter().enumerate() {
        let before = out.iter().any(|wide| covers(wide, one));
        let after = all[i + 1..]
            .iter()
            .any(|wide| wide != one && covers(wide, one));
        if !before && !after {
            out.push(one.clone());
        }
    }
    out
}

fn covers(wide: &Toleration, one: &Toleration) -> bool {
    if wide == one {
        return true;
    }
    let any_key = wide.key.is_empty() && wide.operator == "Exists";
    if (wide.key != one.key && !any_key) || (wide.effect != one.effect && !wide.effect.is_empty()) {
        return false;
    }
    if wide.effect == "NoExecute"
        && let Some(most) = wide.toleration_seconds
        && one.toleration_seconds.is_none_or(|s| s > most)
    {
        return false;
    }
    match wide.operator.as_str() {
        "Exists" => true,
        "" | "Equal" => one.operator == "Equal" && one.value == wide.value,
        _ => false,
    }
}

/// ExtendedResourceToleration: who asks for a device tolerates the taint that keeps others off its nodes.
pub(super) fn extended_resources(review: &Review, object: &mut Object) {
    let Some(pod) = pod_of(review, object) else {
        return;
    };
    let asked = |c: &Container| -> Vec<Str> {
        let names = c.resources.requests.iter().map(|(name, _)| name);
        names.filter(|name| is_extended(name)).cloned().collect()
    };
    let spec = &mut pod.spec;
    let all: BTreeSet<Str> = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter())
        .flat_map(asked)
        .collect();
    for name in all {
        let toleration = Toleration {
            key: name,
            operator: "Exists".into(),
            effect: "NoSchedule".into(),
            ..Toleration::default()
        };
        let same = |t: &Toleration| {
            (&t.key, &t.effect, &t.operator, &t.value)
                == (
                    &toleration.key,
                    &toleration.effect,
                    &toleration.operator,
                    &toleration.value,
                )
        };
        match spec.tolerations.iter_mut().find(|t| same(t)) {
            Some(old) => *old = toleration,
            None => spec.tolerations.push(toleration),
        }
    }
}

fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// LimitPodHardAntiAffinityTopology: nobody keeps a whole zone for one pod.
pub(super) fn anti_affinity(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let pod = object.filter(|_| written && review.is("", "pods"));
    let affinity = pod
        .and_then(|o| o.downcast_ref::<Pod>())
        .and_then(|p| p.spec.affinity.as_ref());
    let Some(apart) = affinity.and_then(|a| a.pod_anti_affinity.as_ref()) else {
        return Ok(());
    };
    let terms = &apart.required_during_scheduling_ignored_during_execution;
    match terms
        .iter()
        .find(|t| t.topology_key != "kubernetes.io/hostname")
    {
        Some(term) => Err(Denial::forbidden(format!(
            "affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey {} but only key kubernetes.io/hostname is \
             allowed",
            term.topology_key
        ))),
        None => Ok(()),
    }
}
