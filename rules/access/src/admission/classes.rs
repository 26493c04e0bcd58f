//! DefaultStorageClass, DefaultIngressClass and RuntimeClass: what follows from the class that an object names, or the
//! class that it gets because it names none.
//!
//! Invariant: of several default classes the newest counts, and of equally old ones the first by name.

use super::{Denial, Operation, Review};
use corten_api::core::v1::{PersistentVolumeClaim, Pod, Toleration};
use corten_api::meta::v1::ObjectMeta;
use corten_api::networking::v1::{Ingress, IngressClass};
use corten_api::node::v1::RuntimeClass;
use corten_api::storage::v1::StorageClass;
use corten_api::{Kind, Object};
use corten_core::{List, Str};
use std::cmp::Reverse;

const STORAGE: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const INGRESS: [&str; 1] = ["ingressclass.kubernetes.io/is-default-class"];
const OLD_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const OLD_INGRESS_CLASS: &str = "kubernetes.io/ingress.class";

fn default_class<K: Kind>(review: &Review, annotations: &[&str]) -> Option<Str> {
    let chosen = |meta: &&ObjectMeta| {
        let mut values = annotations.iter().filter_map(|a| meta.annotations.get(a));
        values.any(|v| v == "true")
    };
    let classes = review.snapshot.list::<K>().map(|class| class.meta());
    let newest = |meta: &&ObjectMeta| {
        let created = meta.creation_timestamp;
        (Reverse(created), meta.name.clone())
    };
    let found = classes.filter(chosen).min_by_key(newest);
    found.map(|meta| meta.name.clone())
}

pub(super) fn default_storage_class(review: &Review, object: &mut Object) {
    let asked = review.is("", "persistentvolumeclaims") && review.operation == Operation::Create;
    if let Some(claim) = object
        .downcast_mut::<PersistentVolumeClaim>()
        .filter(|_| asked)
    {
        let named = claim.metadata.annotations.contains_key(OLD_STORAGE_CLASS);
        if !named && claim.spec.storage_class_name.is_none() {
            claim.spec.storage_class_name = default_class::<StorageClass>(review, &STORAGE);
        }
    }
}

pub(super) fn default_ingress_class(review: &Review, object: &mut Object) {
    let asked =
        review.is("networking.k8s.io", "ingresses") && review.operation == Operation::Create;
    if let Some(ingress) = object.downcast_mut::<Ingress>().filter(|_| asked) {
        let named = ingress.metadata.annotations.contains_key(OLD_INGRESS_CLASS);
        if !named && ingress.spec.ingress_class_name.is_none() {
            ingress.spec.ingress_class_name = default_class::<IngressClass>(review, &INGRESS);
        }
    }
}

fn runtime_class<'a>(review: &Review<'a>, pod: &Pod) -> Result<Option<&'a RuntimeClass>, Denial> {
    let Some(name) = &pod.spec.runtime_class_name else {
        return Ok(None);
    };
    match review.snapshot.get::<RuntimeClass>("", name) {
        Some(class) => Ok(Some(class)),
        None => Err(Denial::forbidden(format!(
            "pod rejected: RuntimeClass {:?} not found",
            name.as_str()
        ))),
    }
}

const MISMATCH: &str = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// Overhead, node selector and tolerations of the pod's runtime class.
pub(super) fn apply_runtime_class(review: &Review, object: &mut Object) -> Result<(), Denial> {
    let asked = review.is("", "pods") && review.operation == Operation::Create;
    let Some(pod) = object.downcast_mut::<Pod>().filter(|_| asked) else {
        return Ok(());
    };
    let Some(class) = runtime_class(review, pod)? else {
        return Ok(());
    };
    if let Some(overhead) = class.overhead.as_deref() {
        if !pod.spec.overhead.is_empty() && pod.spec.overhead != overhead.pod_fixed {
            return Err(Denial::forbidden(MISMATCH));
        }
        pod.spec.overhead = overhead.pod_fixed.clone();
    }
    let Some(scheduling) = class.scheduling.as_deref() else {
        return Ok(());
    };
    for (key, value) in scheduling.node_selector.iter() {
        if let Some(other) = pod
            .spec
            .node_selector
            .get(key)
            .filter(|other| *other != value)
        {
            return Err(Denial::forbidden(format!(
                "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {other}"
            )));
        }
        pod.spec.node_selector.insert(key.clone(), value.clone());
    }
    pod.spec.tolerations = merged(&pod.spec.tolerations, &scheduling.tolerations);
    Ok(())
}

/// Refuses overhead that no runtime class gives.
pub(super) fn check_overhead(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let asked = review.is("", "pods") && review.operation == Operation::Create;
    let Some(pod) = object
        .and_then(|o| o.downcast_ref::<Pod>())
        .filter(|_| asked)
    else {
        return Ok(());
    };
    let class = runtime_class(review, pod)?;
    match class.and_then(|class| class.overhead.as_deref()) {
        Some(overhead) if overhead.pod_fixed != pod.spec.overhead => {
            Err(Denial::forbidden(MISMATCH))
        }
        None if !pod.spec.overhead.is_nil() => Err(Denial::forbidden(
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        )),
        _ => Ok(()),
    }
}

/// Both lists in order, without tolerations that another one includes.
fn merged(first: &[Toleration], second: &[Toleration]) -> List<Toleration> {
    let all: Vec<&Toleration> = first.iter().chain(second).collect();
    let mut kept: Vec<Toleration> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let before = kept.iter().any(|other| includes(other, toleration));
        let mut later = all[index + 1..].iter();
        let after = later.any(|other| other != toleration && includes(other, toleration));
        if !before && !after {
            kept.push((*toleration).clone());
        }
    }
    kept.into_iter().collect()
}

/// Whether `wide` tolerates all that `narrow` does.
fn includes(wide: &Toleration, narrow: &Toleration) -> bool {
    if wide == narrow {
        return true;
    }
    let any_key = wide.key.is_empty() && wide.operator == "Exists";
    if (wide.key != narrow.key && !any_key)
        || (wide.effect != narrow.effect && !wide.effect.is_empty())
    {
        return false;
    }
    if let (true, Some(most)) = (wide.effect == "NoExecute", wide.toleration_seconds)
        && narrow
            .toleration_seconds
            .is_none_or(|seconds| seconds > most)
    {
        return false;
    }
    match wide.operator.as_str() {
        "" | "Equal" => narrow.operator == "Equal" && narrow.value == wide.value,
        "Exists" => true,
        _ => false,
    }
}
