//! Resources of the API as upstream's discovery lists them, all groups and versions enabled, and where objects are stored.
//! Invariant: resources ascend by group, version and plural. Leaves out custom resources.

use crate::kind::Gvk;

/// One resource of one group and version.
#[derive(Debug, PartialEq)]
pub struct Resource {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// The kind of its objects.
    pub kind: &'static str,
    /// `deployments`
    pub plural: &'static str,
    /// `deployment`
    pub singular: &'static str,
    /// Whether objects lie in namespaces.
    pub namespaced: bool,
    /// `deploy`
    pub short_names: &'static [&'static str],
    /// `all`
    pub categories: &'static [&'static str],
    /// `create`, `delete`, ...
    pub verbs: &'static [&'static str],
    /// What discovery shows; empty for resources that are not stored.
    pub storage_version_hash: &'static str,
    /// Group in which upstream stores it (events of both groups are stored as core).
    pub storage_group: &'static str,
    /// Version in which upstream stores it.
    pub storage_version: &'static str,
    /// Key below `/registry/`, before namespace and name: `services/specs`.
    pub storage_prefix: &'static str,
    /// Subresources in alphabetical order.
    pub subresources: &'static [Subresource],
}

/// A subresource.
#[derive(Debug, PartialEq)]
pub struct Subresource {
    /// `status`
    pub name: &'static str,
    /// Group of the objects that it takes and gives.
    pub group: &'static str,
    /// Version of those objects.
    pub version: &'static str,
    /// Kind of those objects: `Scale`, `Eviction`, `TokenRequest`, or the resource's own.
    pub kind: &'static str,
    /// `get`, `patch`, `update`, ...
    pub verbs: &'static [&'static str],
}

/// An API group.
#[derive(Debug, PartialEq)]
pub struct Group {
    /// Empty for core.
    pub name: &'static str,
    /// In order of preference.
    pub versions: &'static [&'static str],
}

impl Resource {
    /// Whether upstream serves it without being asked to: only versions that are neither alpha nor beta.
    pub fn default_on(&self) -> bool {
        !self.version.contains("alpha") && !self.version.contains("beta")
    }
    /// Group, version and kind of its objects.
    pub fn gvk(&self) -> Gvk<'static> {
        Gvk {
            group: self.group,
            version: self.version,
            kind: self.kind,
        }
    }
    /// The subresource of that name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }
    /// Whether it is stored; reviews and bindings are not.
    pub fn stored(&self) -> bool {
        !self.storage_version_hash.is_empty()
    }
}

/// All resources, ascending by group, version and plural.
pub fn resources() -> &'static [Resource] {
    crate::generated::resources::RESOURCES
}

/// All groups in the order of upstream's discovery, core first.
pub fn groups() -> &'static [Group] {
    crate::generated::resources::GROUPS
}

/// The resource of that name.
pub fn resource_of(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    let at = resources()
        .binary_search_by(|r| (r.group, r.version, r.plural).cmp(&(group, version, plural)));
    at.ok().map(|i| &resources()[i])
}

/// The resource that serves a kind.
pub fn resource_of_kind(gvk: Gvk) -> Option<&'static Resource> {
    resources()
        .iter()
        .find(|r| r.kind == gvk.kind && r.group == gvk.group && r.version == gvk.version)
}
