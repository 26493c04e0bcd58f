//! NamespaceLifecycle: nothing is created in a namespace that is going or missing, and some namespaces never go; and
//! NamespaceExists: nothing is changed in one that is missing.

use super::{Cause, Denial, Operation, Review};
use corten_api::core::v1::Namespace;

/// Namespaces that cannot be deleted.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) fn check(review: &Review) -> Result<(), Denial> {
    if review.is("", "namespaces") {
        if review.operation == Operation::Delete && IMMORTAL.contains(&review.name) {
            return Err(Denial::forbidden("this namespace may not be deleted"));
        }
        return Ok(());
    }
    let reviews_access = review.is("authorization.k8s.io", "localsubjectaccessreviews");
    let checked = matches!(review.operation, Operation::Create | Operation::Update);
    if review.namespace.is_empty() || !checked || reviews_access {
        return Ok(());
    }
    let Some(namespace) = review.snapshot.get::<Namespace>("", review.namespace) else {
        return Err(Denial::not_found("", "namespaces", review.namespace));
    };
    if review.operation == Operation::Update || namespace.status.phase != "Terminating" {
        return Ok(());
    }
    let name = review.namespace;
    let mut denial = Denial::forbidden(format!(
        "unable to create new content in namespace {name} because it is being terminated"
    ));
    denial.causes.push(Cause {
        reason: "NamespaceTerminating",
        message: format!("namespace {name} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    Err(denial)
}

/// Refuses whatever is created, changed or deleted in a namespace that does not exist.
pub(super) fn exists(review: &Review) -> Result<(), Denial> {
    let own = review.is("", "namespaces");
    if review.namespace.is_empty() || own || review.operation == Operation::Connect {
        return Ok(());
    }
    match review.snapshot.get::<Namespace>("", review.namespace) {
        Some(_) => Ok(()),
        None => Err(Denial::not_found("", "namespaces", review.namespace)),
    }
}
