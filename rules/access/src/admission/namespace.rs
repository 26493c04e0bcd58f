//! NamespaceLifecycle: nothing is created in a namespace that is going or missing, and some namespaces never go.

use super::{Denial, Operation, Review};
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
    if review.namespace.is_empty() || review.operation != Operation::Create || reviews_access {
        return Ok(());
    }
    let Some(namespace) = review.snapshot.get::<Namespace>("", review.namespace) else {
        let message = format!("namespaces {:?} not found", review.namespace);
        return Err(Denial {
            code: 404,
            reason: "NotFound",
            message,
        });
    };
    if namespace.status.phase != "Terminating" {
        return Ok(());
    }
    let name = review.namespace;
    Err(Denial::forbidden(format!(
        "unable to create new content in namespace {name} because it is being terminated"
    )))
}
