//! Plugins for other objects that run only when they are asked for: DenyServiceExternalIPs and
//! OwnerReferencesPermissionEnforcement.

use super::{Denial, Operation, Review};
use crate::attributes::Attributes;
use corten_api::Object;
use corten_api::core::v1::Service;
use corten_api::meta::v1::OwnerReference;

/// DenyServiceExternalIPs: nobody takes over addresses that are not the cluster's. Those that are there may stay.
pub(super) fn external_ips(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let service = object.filter(|_| written && review.is("", "services"));
    let Some(service) = service.and_then(|o| o.downcast_ref::<Service>()) else {
        return Ok(());
    };
    let old = review.old.and_then(|o| o.downcast_ref::<Service>());
    let had = |ip| old.is_some_and(|old| old.spec.external_ips.contains(ip));
    match service.spec.external_ips.iter().all(had) {
        true => Ok(()),
        false => Err(Denial::forbidden(
            "Use of external IPs is denied by admission control",
        )),
    }
}

/// OwnerReferencesPermissionEnforcement: owners may be changed by who may delete the object, and an owner's deletion is
/// blocked by who may set its finalizers.
pub(super) fn owners(review: &Review, object: Option<&Object>) -> Result<(), Denial> {
    let written = matches!(review.operation, Operation::Create | Operation::Update);
    let Some(object) = object.filter(|_| written) else {
        return Ok(());
    };
    let exempt = review.resource.group.is_empty()
        && review.resource.resource == "pods"
        && matches!(review.subresource, "status");
    let new = &object.meta().owner_references;
    let none = Default::default();
    let old = review.old.map_or(&none, |o| &o.meta().owner_references);
    if exempt || **new == **old {
        return Ok(());
    }
    let allowed = |attributes: &Attributes| review.may(attributes);
    if review.operation != Operation::Create {
        let delete = Attributes {
            verb: "delete",
            group: &review.resource.group,
            version: &review.resource.version,
            resource: &review.resource.resource,
            subresource: review.subresource,
            namespace: review.namespace,
            name: review.name,
            ..review.asks()
        };
        if !allowed(&delete) {
            return Err(Denial::forbidden(
                "cannot set an ownerRef on a resource you can't delete: , <nil>",
            ));
        }
    }
    let blocks = |r: &OwnerReference| r.block_owner_deletion == Some(true);
    let blocked_before = |r: &OwnerReference| old.iter().any(|o| o.uid == r.uid && blocks(o));
    let anything = Attributes {
        verb: "update",
        group: "*",
        version: "*",
        resource: "*",
        subresource: "finalizers",
        name: "*",
        ..review.asks()
    };
    for owner in new.iter().filter(|r| blocks(r) && !blocked_before(r)) {
        if allowed(&anything) {
            return Ok(());
        }
        check_owner(review, owner, &allowed)?;
    }
    Ok(())
}

fn check_owner(
    review: &Review,
    owner: &OwnerReference,
    allowed: &dyn Fn(&Attributes) -> bool,
) -> Result<(), Denial> {
    let (group, version) = owner
        .api_version
        .split_once('/')
        .unwrap_or(("", &owner.api_version));
    let kind = corten_api::resources()
        .iter()
        .find(|r| r.group == group && r.kind == owner.kind);
    let Some(kind) = kind else {
        return Err(Denial::forbidden(format!(
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {}: no \
             matches for kind {:?} in version {:?}",
            owner.api_version,
            owner.kind,
            owner.kind.as_str(),
            owner.api_version.as_str()
        )));
    };
    let update = Attributes {
        verb: "update",
        group,
        version,
        resource: kind.plural,
        subresource: "finalizers",
        namespace: if kind.namespaced {
            review.namespace
        } else {
            ""
        },
        name: &owner.name,
        ..review.asks()
    };
    match allowed(&update) {
        true => Ok(()),
        false => Err(Denial::forbidden(
            "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: , <nil>",
        )),
    }
}
