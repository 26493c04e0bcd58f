//! Names of kinds and resources, with and without their version.

use corten_api::{Gvk, Kind, Resource};
use corten_core::Str;
use std::fmt;

/// A kind of an API version, printed as upstream does: `apps/v1, Kind=Deployment`, `/v1, Kind=Pod`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// The API group; empty for the core group.
    pub group: Str,
    /// The version, such as `v1`.
    pub version: Str,
    /// The kind, such as `Deployment`.
    pub kind: Str,
}

/// A resource of an API version, printed as upstream does: `apps/v1, Resource=deployments`, `/v1, Resource=pods`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionResource {
    /// The API group; empty for the core group.
    pub group: Str,
    /// The version, such as `v1`.
    pub version: Str,
    /// The plural name, such as `deployments`.
    pub resource: Str,
}

/// A resource whatever its version: `deployments.apps`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupResource {
    /// The API group; empty for the core group.
    pub group: Str,
    /// The plural name, such as `deployments`.
    pub resource: Str,
}

/// `v1` for the core group, else `group/version`.
fn api_version(group: &str, version: &str) -> String {
    match group.is_empty() {
        true => version.to_owned(),
        false => format!("{group}/{version}"),
    }
}

impl GroupVersionKind {
    /// The kind `kind` of `group` at `version`.
    pub fn new(group: impl Into<Str>, version: impl Into<Str>, kind: impl Into<Str>) -> Self {
        GroupVersionKind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        }
    }

    /// The kind that an object's `apiVersion` and `kind` name.
    pub fn of(api_version: &str, kind: &str) -> Self {
        match api_version.split_once('/') {
            Some((group, version)) => Self::new(group, version, kind),
            None => Self::new("", api_version, kind),
        }
    }

    /// The text of an object's `apiVersion` field.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl GroupVersionResource {
    /// The resource `resource` of `group` at `version`.
    pub fn new(group: impl Into<Str>, version: impl Into<Str>, resource: impl Into<Str>) -> Self {
        GroupVersionResource {
            group: group.into(),
            version: version.into(),
            resource: resource.into(),
        }
    }

    /// The resource that serves kind `T`.
    pub const fn of<T: Kind>() -> Self {
        GroupVersionResource {
            group: Str::from_static(T::GROUP),
            version: Str::from_static(T::VERSION),
            resource: Str::from_static(T::PLURAL),
        }
    }

    /// Without the version.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource {
            group: self.group.clone(),
            resource: self.resource.clone(),
        }
    }

    /// `v1` for the core group, else `group/version`.
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }
}

impl From<&'static Resource> for GroupVersionResource {
    fn from(resource: &'static Resource) -> Self {
        GroupVersionResource {
            group: Str::from_static(resource.group),
            version: Str::from_static(resource.version),
            resource: Str::from_static(resource.plural),
        }
    }
}

impl From<Gvk<'_>> for GroupVersionKind {
    fn from(gvk: Gvk<'_>) -> Self {
        GroupVersionKind::new(gvk.group, gvk.version, gvk.kind)
    }
}

impl GroupResource {
    /// The resource that serves kind `T`.
    pub const fn of<T: Kind>() -> Self {
        GroupResource {
            group: Str::from_static(T::GROUP),
            resource: Str::from_static(T::PLURAL),
        }
    }

    /// The resource `resource` of `group`.
    pub fn new(group: impl Into<Str>, resource: impl Into<Str>) -> Self {
        GroupResource {
            group: group.into(),
            resource: resource.into(),
        }
    }
}

impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}, Kind={}", self.group, self.version, self.kind)
    }
}

impl fmt::Display for GroupVersionResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}, Resource={}",
            self.group, self.version, self.resource
        )
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group.is_empty() {
            true => f.write_str(&self.resource),
            false => write!(f, "{}.{}", self.resource, self.group),
        }
    }
}
