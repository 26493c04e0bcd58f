//! Custom resources as their definitions declare them, and which resource serves a kind, custom or not.
//!
//! Invariant: only what the snapshot's definitions say; a definition that is not established yet serves nothing.

use corten_api::apiextensions::v1::CustomResourceDefinition;
use corten_meta::{GroupResource, GroupVersionResource, Snapshot};

/// Whether objects of a resource lie in namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They do.
    Namespaced,
    /// They do not.
    Cluster,
}

/// The resource that a definition serves, in the version in which it is stored when that is served, else in the first
/// that is.
pub fn resource_of(definition: &CustomResourceDefinition) -> Option<GroupVersionResource> {
    let mut conditions = definition.status.conditions.iter();
    if !conditions.any(|c| c.type_ == "Established" && c.status == "True") {
        return None;
    }
    let spec = &definition.spec;
    let stored = spec.versions.iter().find(|v| v.storage && v.served);
    let version = stored.or_else(|| spec.versions.iter().find(|v| v.served))?;
    Some(GroupVersionResource::new(
        spec.group.clone(),
        version.name.clone(),
        spec.names.plural.clone(),
    ))
}

/// Every custom resource that is served.
pub fn resources(snapshot: &Snapshot) -> impl Iterator<Item = GroupVersionResource> {
    snapshot
        .list::<CustomResourceDefinition>()
        .filter_map(resource_of)
}

/// Where a definition puts its objects.
pub fn scope_of(definition: &CustomResourceDefinition) -> Scope {
    match definition.spec.scope.as_str() {
        "Namespaced" => Scope::Namespaced,
        _ => Scope::Cluster,
    }
}

/// The resource that serves a kind, and its scope: in the version asked for when it is served, else in another. Nothing
/// for kinds that nobody serves.
pub fn serving(
    snapshot: &Snapshot,
    group: &str,
    version: &str,
    kind: &str,
) -> Option<(GroupVersionResource, Scope)> {
    let built_in = || {
        corten_api::resources()
            .iter()
            .filter(|r| r.kind == kind && r.group == group)
    };
    let found = built_in()
        .find(|r| r.version == version)
        .or_else(|| built_in().next());
    if let Some(found) = found {
        let scope = match found.namespaced {
            true => Scope::Namespaced,
            false => Scope::Cluster,
        };
        let resource = GroupVersionResource::new(found.group, found.version, found.plural);
        return Some((resource, scope));
    }
    let definition = snapshot
        .list::<CustomResourceDefinition>()
        .find(|d| d.spec.group == group && d.spec.names.kind == kind)?;
    Some((resource_of(definition)?, scope_of(definition)))
}

/// The scope of a resource.
pub fn scope(snapshot: &Snapshot, resource: &GroupResource) -> Option<Scope> {
    let built_in = corten_api::resources()
        .iter()
        .find(|r| r.group == resource.group && r.plural == resource.resource);
    if let Some(found) = built_in {
        return Some(match found.namespaced {
            true => Scope::Namespaced,
            false => Scope::Cluster,
        });
    }
    snapshot
        .list::<CustomResourceDefinition>()
        .find(|d| d.spec.group == resource.group && d.spec.names.plural == resource.resource)
        .map(scope_of)
}
