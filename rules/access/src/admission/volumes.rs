//! StorageObjectInUseProtection and PersistentVolumeClaimResize: storage in use stays, and grows only where its class
//! allows it.

use super::{Denial, Operation, Review};
use corten_api::Object;
use corten_api::core::v1::PersistentVolumeClaim;
use corten_api::storage::v1::StorageClass;
use corten_core::{Quantity, QuantityFormat, Str};

const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Adds the finalizer that keeps an object until nobody uses it.
pub(super) fn protect(review: &Review, object: &mut Object) {
    let finalizer = if review.is("", "persistentvolumes") {
        "kubernetes.io/pv-protection"
    } else if review.is("", "persistentvolumeclaims") {
        "kubernetes.io/pvc-protection"
    } else if review.is("storage.k8s.io", "volumeattributesclasses") {
        "kubernetes.io/vac-protection"
    } else {
        return;
    };
    if review.operation != Operation::Create {
        return;
    }
    let finalizers = &mut object.meta_mut().finalizers;
    if !finalizers.iter().any(|f| f == finalizer) {
        finalizers.push(finalizer);
    }
}

fn class_of(claim: &PersistentVolumeClaim) -> Option<&Str> {
    let annotated = claim.metadata.annotations.get(OLD_CLASS);
    let class = annotated.or(claim.spec.storage_class_name.as_ref());
    class.filter(|class| !class.is_empty())
}

fn size(claim: &PersistentVolumeClaim) -> Quantity {
    let asked = claim.spec.resources.requests.get("storage").cloned();
    asked.unwrap_or_else(|| Quantity::new(0, QuantityFormat::DecimalSi))
}

pub(super) fn check_resize(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let asked = review.is("", "persistentvolumeclaims") && review.operation == Operation::Update;
    let new = object.and_then(|o| o.downcast_ref::<PersistentVolumeClaim>());
    let old = review
        .old
        .and_then(|o| o.downcast_ref::<PersistentVolumeClaim>());
    let (Some(new), Some(old), true) = (new, old, asked) else {
        return Ok(());
    };
    if size(new) <= size(old) {
        return Ok(());
    }
    if old.status.phase != "Bound" {
        return Err(Denial::forbidden(
            "Only bound persistent volume claims can be expanded",
        ));
    }
    let class = class_of(new).filter(|class| class_of(old) == Some(class));
    let class = class.and_then(|class| review.snapshot.get::<StorageClass>("", class));
    match class.is_some_and(|class| class.allow_volume_expansion == Some(true)) {
        true => Ok(()),
        false => Err(Denial::forbidden(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support \
             resize",
        )),
    }
}
